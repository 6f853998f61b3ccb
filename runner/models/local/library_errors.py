"""Calls into the model libraries: what they raise over a user's files said in words, what they print not shown."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging

from runner.core.errors import BackendError, Fault
from runner.models.local.devices import is_out_of_memory

_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    ArithmeticError,
    SafetensorError,
    StrictDataclassError,
)


@contextmanager
def translate_errors(code: str, what: str, folder: Path) -> Iterator[None]:
    """Turn what the libraries raise over a user's files into a `BackendError`; around calls into them only."""
    try:
        yield
    except BaseException as problem:
        if isinstance(problem, RuntimeError) and is_out_of_memory(problem):
            raise BackendError(Fault("OUT_OF_MEMORY", f"{what}: there is not enough memory.", str(folder))) from problem
        # The tokenizers library raises bare exceptions, and what panics in Rust is no `Exception` at all.
        bare = type(problem) is Exception or type(problem).__name__ == "PanicException"
        if not (bare or isinstance(problem, _ERRORS)):
            raise
        reason = " ".join(str(problem).split())[:300].rstrip(".")
        message = f"{what} ({type(problem).__name__}: {reason})."
        raise BackendError(Fault(code, message, file=str(folder))) from problem


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars, reports and warnings from the screen: what matters of them is checked."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
