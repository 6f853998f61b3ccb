"""What is no regular file, or one of any size, is refused by every command that reads it, and waited for by none."""

import json
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from support.command import Command, run_here
from support.special_files import KINDS, READ_BY

from runner.signing import keys

_SECONDS = 20
CASES = [
    pytest.param(name, kind, codes, arguments, id=f"{kind}-{name}-{' '.join(arguments)}")
    for name, commands in READ_BY.items()
    for codes, arguments in commands
    for kind in KINDS
]


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of `home`; whatever waits there for longer than it may is cut off."""
    shutil.copytree(home, tmp_path / "home", dirs_exist_ok=True)
    for name, value in Command(tmp_path / "home").environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path / "home")

    def late(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"it waited for {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_SECONDS)
    yield tmp_path / "home"
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(("name", "kind", "codes", "arguments"), CASES)
def test_it_is_refused_at_once(
    here: Path, name: str, kind: str, codes: int | tuple[int, ...], arguments: tuple[str, ...]
) -> None:
    place = here / name
    place.unlink(missing_ok=True)
    KINDS[kind](place)
    code, output = run_here(*(word.replace("{}", name) for word in arguments))
    assert code in ((codes,) if isinstance(codes, int) else codes), output
    assert output


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "a folder"])
def test_an_archive_names_the_object_that_is_none(here: Path, kind: str) -> None:
    for stored in ("cards", "predictions", "index"):
        [path] = [path for path in (here / "archive" / stored).rglob("*") if path.is_file()]
        kept = path.read_bytes()
        path.unlink()
        KINDS[kind](path)
        code, output = run_here("archive", "check", "archive", "--format", "json")
        assert code == 4
        told = json.loads(output.partition("\n}\n")[0] + "\n}")
        assert [fault for fault in told["faults"] if path.name in fault["file"]] or stored == "index", told
        assert told["faults"]
        path.unlink()
        path.write_bytes(kept)
    assert run_here("archive", "check", "archive")[0] == 0


def test_a_key_may_come_through_a_pipe_that_was_handed_over(here: Path) -> None:
    key = (here / "config" / "moral-ambiguity-benchmark" / "signing-key.pem").read_bytes()
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    # Later than it is asked for: a pipe is waited for.
    threading.Timer(0.2, lambda: (process.stdin.write(key), process.stdin.close())).start()  # type: ignore[union-attr]
    path = Path(f"/dev/fd/{process.stdout.fileno()}")
    assert keys.load_key(path).private_bytes_raw()
    process.stdout.close()
    process.wait()
