"""Fixtures that several rooms share."""

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Read when libraries are imported. Models of the tests are so small that threads would mostly wait for each other; what
# several threads compute is tested with a number of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing is compiled here; bitsandbytes would import the compiler all the same, .8 processor-seconds in each process.
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

# A busy machine is no fault of what is tested; what must be fast is measured elsewhere.
settings.register_profile("quick", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=100)
settings.load_profile("quick")  # `--hypothesis-profile thorough` is what .ci/run asks for


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The million objects of modules and tests never become garbage: the collector does not look through them again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured of themselves (`record_property`), in words."""
    measured = [
        f"{name}: {value}"
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for name, value in report.user_properties
    ]
    if measured:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(measured))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def scruples() -> Path:
    """The folder of real Scruples files beside the checkout; they are never committed."""
    folder = ROOT.parent / "shared" / "data" / "scruples"
    if not (folder / "dev.scruples-dilemmas.jsonl").is_file():
        pytest.skip(f"the real Scruples data is not at {folder}")
    return folder
