"""llama.cpp's own server on this machine, in a process that ends with this one; run as a script, that process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\nAnswer:{% endif %}"
)
"""The chat template of the model that is served."""


@contextmanager
def served(model: Path, *, halved: bool = False) -> Iterator[str]:
    """The address of an OpenAI-compatible service that runs the GGUF file `model` on one thread of the processor.

    Keys and values are kept in float32, as the weights are, or `halved`, as the server has them by default.
    """
    process = subprocess.Popen(
        [sys.executable, __file__, str(model), "halved" if halved else "whole"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), f"the server did not start: {address!r}"
        yield f"{address}/v1"
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _serve(model: str, kept: str) -> None:
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.model_alias = {"tiny"}
    settings.port = 0
    settings.n_ctx = 8192
    settings.n_parallel = 2
    settings.n_gpu_layers = 0
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.n_threads_http = 16
    settings.fit_params = settings.warmup = settings.ui = False
    settings.cache_ram_mib = settings.verbosity = 0
    if kept == "whole":
        settings.cache_type_k = settings.cache_type_v = 0
        settings.flash_attn_type = 0
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)  # the one who asked has gone, and nothing is to be kept


if __name__ == "__main__":
    _serve(*sys.argv[1:])
