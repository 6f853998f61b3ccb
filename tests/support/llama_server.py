"""Servers of llama.cpp on this machine, in a process that ends with this one; run as a script, that of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\nAnswer:{% endif %}"
)
"""The chat template of the model that is served."""
_ENVIRONMENT = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
_LONGEST_START = 120
"""Seconds."""


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
        env=_ENVIRONMENT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), f"the server did not start: {address!r}"
        yield f"{address}/v1"
    finally:
        process.stdin.close()
        _end(process)
        process.stdout.close()


@contextmanager
def served_by_llama_cpp_python(python: str, model: Path) -> Iterator[str]:
    """The same by the server of the package llama-cpp-python, in the environment of the interpreter `python`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "model": model,
        "model_alias": "tiny",
        "n_ctx": 1024,
        "n_threads": 1,
        "n_threads_batch": 1,
        "type_k": 0,
        "type_v": 0,
        "logits_all": True,
        "verbose": False,
    }
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [python, "-m", "llama_cpp.server", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_ENVIRONMENT,
    )
    try:
        address = f"http://127.0.0.1:{port}/v1"
        for _ in range(_LONGEST_START):
            assert process.poll() is None, f"the server did not start: it ended with {process.returncode}"
            with suppress(OSError), urllib.request.urlopen(f"{address}/models", timeout=10):
                break
            time.sleep(1)
        yield address
    finally:
        process.terminate()
        _end(process)


def _end(process: subprocess.Popen[Any]) -> None:
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


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
