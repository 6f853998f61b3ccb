"""A finished run, and what lies beside one."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import Command, run_here
from support.special_files import RUN


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A signed run without a model, and everything beside it that a command can be given."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in Command(folder).environment().items():
            patched.setenv(name, value)
        patched.chdir(folder)
        before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP)]
        assert run_here("keys", "new")[0] == 0
        chosen = ("--suite", "sample", "--task", "dilemmas")
        assert run_here("baseline", "uniform", *chosen, "-o", "rows.jsonl")[0] == 0
        code, output = run_here("score", "rows.jsonl", *chosen, "-q")
        assert code == 0
        Path(output.splitlines()[-1]).rename(RUN)
        shutil.rmtree("results")
        Path(RUN, "submission.yaml").write_text("schema_version: '1'\n", encoding="utf-8")
        assert run_here("verify", RUN)[0] == 0
        assert run_here("archive", "add", "archive", RUN)[0] == 0
        Path("data").mkdir()
        yield folder
        for number, handler in before:
            signal.signal(number, handler)
