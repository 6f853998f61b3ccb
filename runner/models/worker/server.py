"""The process that holds the model: it gives up what it does not need, loads, and answers requests."""

import json
import math
import os
import queue
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from runner.core.errors import BackendError, Fault, InvalidInput, UserError
from runner.core.types import Prompt
from runner.models.base import LoadOptions, LocalModel
from runner.models.local.open import import_tokenization, open_backend, show_tokens
from runner.models.worker import protocol, sandbox
from runner.tasks.thoughts import to_record

Json = dict[str, Any]
Say = Callable[[Json], None]
_LOAD_BYTES, _LOAD_FACTOR = 4 << 30, 5
_GRACE_SECONDS = 5


def main(parent: int) -> None:
    """Serve the process `parent`, which started this one, until it closes the pipe; never returns."""
    replies = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    opening = json.loads(sys.stdin.buffer.readline())
    folders = [Path(folder) for folder in opening["folders"]]
    cuda = sandbox.may_use_cuda(opening["device"])
    memory = _memory_limit(folders, opening["memory_bytes"])
    states = sandbox.protect(folders, Path.cwd(), parent, cuda=cuda, memory_bytes=memory)

    def say(message: Json) -> None:
        waiting = memoryview(protocol.to_line(message))
        while waiting:
            waiting = waiting[os.write(replies, waiting) :]

    try:
        say({"item": states})
        _serve(say)
    except BaseException:
        # What panics in a library is no `Exception`; the parent tells of it. Python's own way out would wait for the
        # thread that listens.
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def _listen(take: Callable[[Json, list[Prompt]], None]) -> None:
    """Hand each request with all its prompts to `take`; this process ends with the pipe, whatever it is doing."""
    try:
        prompts: list[Prompt] = []
        for line in sys.stdin.buffer:
            request = json.loads(line)
            prompts += map(protocol.prompt_of, request.get("prompts", ()))
            if not request.get("more"):
                take(request, prompts)
                prompts = []
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _serve(say: Say) -> None:
    backend: LocalModel | None = None
    waiting: queue.SimpleQueue[tuple[Json, list[Prompt], Future[Any] | None]] = queue.SimpleQueue()
    reader = ThreadPoolExecutor(1)

    def take(request: Json, prompts: list[Prompt]) -> None:
        # The next prompts may be here while the model still computes: they are read meanwhile.
        encodings = reader.submit(backend.read, prompts) if backend and request["do"] == "predict" else None
        waiting.put((request, prompts, encodings))

    threading.Thread(target=_listen, args=(take,), daemon=True).start()
    with ExitStack() as adapter_off:
        while True:
            request, prompts, encodings = waiting.get()
            try:
                if request["do"] == "load":
                    with _bounded_load(request):
                        backend = _load(request)
                    answer: Any = {"adapter": backend.without_adapter() is not None}
                else:
                    answer = _answer(request, backend, prompts, encodings, adapter_off, say)
                say({"ok": answer})
            except UserError as problem:
                say({"error": protocol.error_row(problem)})
            except MemoryError:
                message = f"There is not enough memory to {request['do']}."
                say({"error": protocol.error_row(BackendError(Fault("WORKER_MEMORY", message)))})


def _load(request: Json) -> LocalModel:
    adapter = request["adapter_folder"]
    return open_backend(
        protocol.submission_of(request["submission"]),
        Path(request["model_folder"]),
        Path(adapter) if adapter is not None else None,
        LoadOptions(request["device"], request["dtype"], request["batch_tokens"]),
    )


@contextmanager
def _bounded_load(request: Json) -> Iterator[None]:
    """Within it no more memory may be taken than weights of that size need: a claim in a file costs no machine.

    Weights of 16 bits become 32, are held twice for a moment, and libraries need room; with CUDA there is no limit.
    """
    folders = [Path(folder) for folder in (request["model_folder"], request["adapter_folder"]) if folder is not None]
    before = resource.getrlimit(resource.RLIMIT_DATA)
    used = _data_bytes()
    if used is not None and before[0] >= 0:
        data_limit = used + _LOAD_BYTES + _LOAD_FACTOR * _file_bytes(folders)
        resource.setrlimit(resource.RLIMIT_DATA, (min(data_limit, before[0]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _answer(
    request: Json,
    backend: LocalModel | None,
    prompts: list[Prompt],
    encodings: Future[Any] | None,
    adapter_off: ExitStack,
    say: Say,
) -> Any:
    """The answer to a request, after the items that it asks for."""
    if request["do"] == "tokens":
        import_tokenization()  # what the libraries take is not the tokenizer's doing
        with _bounded(request["seconds"], request["bytes"]):
            rows = list(show_tokens(protocol.submission_of(request["submission"]), prompts))
        for row in rows:
            say({"item": row})
        return None
    if backend is None:
        raise ValueError(f"asked to {request['do']} before a model was loaded")
    match request["do"]:
        case "plan":
            with _bounded(request["seconds"], request["bytes"]):
                return backend.plan(prompts)
        case "predict":
            for prediction in backend.predict(prompts, encodings.result() if encodings else None):
                say({"item": to_record(prediction)})
            return None
        case "adapter off":
            without = backend.without_adapter()
            if without is not None:
                adapter_off.enter_context(without)
            return None
        case "adapter on":
            adapter_off.close()
            return None
        case "describe":
            return dict(backend.describe())
        case "peak memory":
            return backend.peak_memory_bytes()
        case other:
            raise ValueError(other)


# --- limits on what a tokenizer and a template may take ------------------------------------------------------------


class _TooLong(BaseException):
    """The time for reading prompts is over; no library is to catch it."""


@contextmanager
def _bounded(seconds: float, more_bytes: int) -> Iterator[None]:
    """Within it, only so much of the processor's time and of memory may be taken.

    More is `TEMPLATE_LIMIT` or `TOKENIZER_LIMIT`, by who took it. A tokenizer's library that does not come back cannot
    be interrupted here: the kernel ends this process some seconds later (SIGXCPU).
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    used = _data_bytes()
    if used is not None:
        limit = used + more_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit if before[1] < 0 else min(limit, before[1]), before[1]))
    processor = resource.getrlimit(resource.RLIMIT_CPU)
    last = math.ceil(time.process_time() + seconds) + _GRACE_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (last if processor[1] < 0 else min(last, processor[1]), processor[1]))
    signal.signal(signal.SIGPROF, _late)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    except (MemoryError, _TooLong) as problem:
        template = _in_template(problem.__traceback__)
        what = (
            f"{seconds:,.0f} seconds of the processor"
            if isinstance(problem, _TooLong)
            else f"{more_bytes >> 20:,} MiB of memory"
        )
        taken = "Rendering the chat template" if template else "Encoding the prompts"
        code = "TEMPLATE_LIMIT" if template else "TOKENIZER_LIMIT"
        raise InvalidInput(Fault(code, f"{taken} took more than {what}.")) from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_CPU, processor)
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _late(_number: int, _frame: FrameType | None) -> None:
    raise _TooLong


def _in_template(at: TracebackType | None) -> bool:
    while at is not None:
        if str(at.tb_frame.f_globals.get("__name__")).startswith("jinja2."):
            return True
        at = at.tb_next
    return False


def _data_bytes() -> int | None:
    """Private memory of this process that can be written, or None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), None)


def _memory_limit(folders: list[Path], memory_bytes: int | None) -> int:
    """What the machine or the control group has, and the files of the model on top: they are mapped, not read."""
    if memory_bytes is not None:
        return memory_bytes
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no control group, or `max`
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total + _file_bytes(folders)


def _file_bytes(folders: list[Path]) -> int:
    return sum(
        file.stat().st_size for folder in folders if folder.is_dir() for file in folder.iterdir() if file.is_file()
    )
