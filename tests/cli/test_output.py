"""Output of any encoding and with a reader that goes: the exit code stays what it is, and nothing is a traceback."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import Command
from support.special_files import RUN

# Each command line with its exit code; a `*` marks those that print JSON, of which all must stay JSON.
COMMANDS = (
    (0, "--help"),
    (0, "evaluate --help"),
    (2, "nope"),
    (0, f"verify {RUN}"),
    (0, f"verify {RUN} --recompute"),
    (0, f"verify {RUN} --format json *"),
    (4, f"verify {RUN} --nonce other"),
    (0, f"compare {RUN} {RUN}"),
    (4, f"archive check archive --expect-head {'0' * 64}"),
    (0, f"report {RUN} -o -"),
    (0, f"export {RUN} --to csv --force"),
    (0, "archive list archive"),
    (0, "archive check archive"),
    (0, "leaderboard archive"),
    (0, "leaderboard archive --format json *"),
    (0, "leaderboard archive --format html"),
    (0, "leaderboard archive --format markdown"),
    (0, "prompts --suite sample --task dilemmas *"),
    (0, "ceiling --suite sample --task dilemmas --draws 20"),
    (0, "data stats --suite sample"),
    (1, "data check"),
    (0, "schema submission *"),
    (0, "keys show"),
    (1, "validate nówhere…yaml"),
    (0, "score rows.jsonl --suite sample --task dilemmas"),
)
# One process for all: `signal` what comes before each command, then the numbers of those that ended otherwise.
SCRIPT = """
import json, os, sys
from runner.cli import main, output
commands, gone = json.loads(sys.argv[1]), sys.argv[2] == "gone"
wrong = []
for expected, line in commands:
    if gone:
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)
        output._gone.clear()
    try:
        main([os.fsdecode(word.encode()) for word in line.split() if word != "*"], prog_name="benchmark")
    except SystemExit as end:
        if (end.code or 0) != expected:
            wrong.append((line, end.code))
    sys.stdout.flush()
    sys.stdout.buffer.write(b"\\n\\x1e") if not gone else None
    sys.stdout.flush()
open("wrong.json", "w").write(json.dumps(wrong))
"""
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "strict utf-8": {"PYTHONIOENCODING": "utf-8:strict"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}


def run_all(home: Path, mode: str, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(COMMANDS), mode],
        cwd=home,
        env={**Command(home).environment(), "COLUMNS": "80", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
    )
    assert b"Traceback" not in done.stderr, done.stderr[-3000:].decode("utf-8", "replace")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((home / "wrong.json").read_text(encoding="utf-8")) == []
    return done


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_command_ends_as_ever_whatever_the_encoding(home: Path, encoding: str) -> None:
    done = run_all(home, "there", ENCODINGS[encoding])
    parts = done.stdout.split(b"\n\x1e")[:-1]
    assert len(parts) == len(COMMANDS)
    for (_, line), shown in zip(COMMANDS, parts, strict=True):
        if line.endswith("*"):
            rows = shown.strip().splitlines() if line.startswith("prompts") else [shown]
            assert all(json.loads(row) for row in rows), line


@pytest.mark.slow
def test_every_command_ends_as_ever_when_nobody_reads_on(home: Path) -> None:
    """A gate that fails, a card that does not verify: `| head` is no way to lose either."""
    done = run_all(home, "gone", {})
    assert done.stdout == b""


@pytest.mark.slow
def test_the_shell_sees_it_too(home: Path) -> None:
    for line in ("--help", "prompts --suite sample", f"verify {RUN}"):
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as stream:
            done = subprocess.run(
                [str(Command(home).program[0]), *line.split()],
                cwd=home,
                env=Command(home).environment(),
                stdout=stream,
                stderr=subprocess.PIPE,
                timeout=60,
            )
        assert (done.returncode, done.stderr) == (0, b""), line


def _mind_stops() -> None:
    """Signals as a terminal leaves them, also where the tests themselves run in the background or below `nohup`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_stop_is_said_and_is_exit_code_5(home: Path, number: int) -> None:
    """Twice the same or both at once, as a terminal or a service that ends may send them."""
    script = (
        "import os, signal, sys\n"
        "from runner.cli import main, runs\n"
        "from runner.evaluation import validate\n"
        "def stop(*_, **__):\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "    signal.pause()\n"
        "validate.check, validate.ignored = stop, lambda *_, **__: ()\n"
        "main(['validate', 'x.yaml'], prog_name='benchmark')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=home,
        env=Command(home).environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        preexec_fn=_mind_stops,
    )
    assert done.returncode == 5
    assert done.stderr == "Stopped. Run the same command again.\n"


@pytest.mark.slow
def test_a_command_that_ignores_a_hangup_goes_on(home: Path) -> None:
    script = (
        "import os, signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from runner.cli import main\n"
        "from runner.evaluation import validate\n"
        "def stop(*_, **__):\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    return ()\n"
        "validate.check, validate.ignored = stop, lambda *_, **__: ()\n"
        "main(['validate', 'x.yaml'], prog_name='benchmark')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=home, capture_output=True, encoding="utf-8", timeout=60)
    assert (done.returncode, done.stdout) == (0, "x.yaml: valid\n")
