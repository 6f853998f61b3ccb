"""The command line itself: help, completion, variables, exit codes, and words instead of tracebacks."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from support.command import BENCHMARK, Command
from support.forked import Forked
from support.paths import EXAMPLES

from runner import __version__
from runner.cli import main

EXPECTED = re.compile(r"^# expect: (\S+) (\d+):(\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Forked(tmp_path_factory.mktemp("home"))


Here = Callable[[list[str]], Result]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """Run a command line in this process, which takes a tenth of the time; what is no `SystemExit` is raised."""
    for name, value in Command(tmp_path).environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield lambda arguments: CliRunner().invoke(main, arguments, prog_name="benchmark", catch_exceptions=False)
    signal.signal(signal.SIGTERM, before)


def leaves(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, child in group.commands.items():
        if isinstance(child, click.Group):
            yield (*path, name), child
            yield from leaves(child, *path, name)
        else:
            yield (*path, name), child


COMMANDS = dict(leaves(main))


# --- help ----------------------------------------------------------------------------------------------------------


def test_the_commands_are_those_of_the_contract() -> None:
    contract = "validate evaluate score verify compare prompts ceiling data baseline keys schema doctor completion"
    assert set(contract.split()) <= set(main.commands)
    assert set(main.commands["data"].commands) == {"fetch", "check", "stats", "pin"}
    assert set(main.commands["keys"].commands) == {"new", "show"}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_each_command_and_each_option_says_what_it_is(path: tuple[str, ...]) -> None:
    found = COMMANDS[path]
    assert found.help is not None
    first = found.help.split("\n\n")[0]
    assert first.rstrip().endswith(".")
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            assert parameter.help or isinstance(parameter.type, click.Choice), parameter.name
    text = found.get_help(click.Context(found, info_name=path[-1]))
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            assert parameter.opts[-1] in text


def test_short_help_is_not_cut_off(command: Command) -> None:
    """A list of commands whose sentences end in dots tells less than one whose sentences end."""
    groups = [path for path, found in COMMANDS.items() if isinstance(found, click.Group)]
    for group in ((), *groups):
        shown = command(*group, "--help").stdout.split("Commands:\n")[1]
        assert "..." not in shown, shown


def test_help_and_version(command: Command) -> None:
    shown = command("--help").stdout
    assert shown == command("-h").stdout
    assert "Exit codes: 0 done" in shown
    assert command("--version").stdout.strip() == f"benchmark, version {__version__}"
    module = Command(command.home, (sys.executable, "-m", "runner"))
    assert module("--version").stdout == command("--version").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["validate"],
        ["evaluate"],
        ["evaluate", "a.yaml", "--nope"],
        ["evaluate", "a.yaml", "--limit", "0"],
        ["evaluate", "a.yaml", "--limit", "many"],
        ["evaluate", "a.yaml", "--batch-tokens", "0"],
        ["evaluate", "a.yaml", "--batch-tokens", "1.5"],
        ["evaluate", "a.yaml", "--batch-tokens", "²"],
        ["evaluate", "a.yaml", "--dtype", "int8"],
        ["verify", "a", "--format", "xml"],
        ["compare", "a"],
        ["compare", "a", "b", "--gate", "cross_entropy"],
        ["compare", "a", "b", "--gate", "cross_entropy=-1"],
        ["compare", "a", "b", "--gate", "cross_entropy=nan"],
        ["compare", "a", "b", "--gate", "nope=1"],
        ["baseline", "uniform"],
        ["baseline", "nope", "-o", "x"],
        ["schema", "nope"],
        ["completion", "tcsh"],
        ["ceiling", "--draws", "1"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(here: Here, arguments: list[str]) -> None:
    done = here(arguments)
    assert done.exit_code == 2
    assert "Usage: benchmark" in done.stderr
    assert "Error:" in done.stderr
    assert not done.stdout


def test_wrong_usage_is_exit_code_2_for_the_shell_too(command: Forked) -> None:
    assert "Usage: benchmark" in command.installed("nope", code=2).stderr


def test_every_option_has_a_variable_of_its_own_name() -> None:
    names = [
        option.envvar for found in COMMANDS.values() for option in found.params if isinstance(option, click.Option)
    ]
    assert len(set(names)) == len(names)
    assert {"BENCHMARK_EVALUATE_TASK", "BENCHMARK_SCORE_KEY", "BENCHMARK_DATA_FETCH_DATA_DIR"} <= set(names)


def test_an_option_comes_from_the_environment(command: Command) -> None:
    done = command("evaluate", "x.yaml", code=1, env={"BENCHMARK_EVALUATE_SUITE": "nowhere"})
    assert "x.yaml" in done.stderr
    done = command("data", "stats", code=1, env={"BENCHMARK_DATA_STATS_SUITE": "nowhere"})
    assert "'nowhere'" in done.stderr
    found = command(
        "data", "stats", env={"BENCHMARK_DATA_STATS_SUITE": "sample", "BENCHMARK_DATA_STATS_FORMAT": "json"}
    )
    assert len(json.loads(found.stdout)) == 3
    # what is given on the command line counts
    found = command("data", "stats", "--suite", "sample", env={"BENCHMARK_DATA_STATS_SUITE": "nowhere"})
    assert found.stdout


# --- completion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_printed(command: Command, shell: str) -> None:
    script = command("completion", shell).stdout
    assert "_BENCHMARK_COMPLETE" in script
    assert f"{shell}_complete" in script
    assert script == command("completion", env={"SHELL": f"/usr/bin/{shell}"}).stdout


def complete(command: Command, *words: str) -> list[str]:
    """What bash, with the script sourced, offers for the last of `words`."""
    script = (
        'source <(benchmark completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_benchmark_completion benchmark; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    environment = command.environment()
    done = subprocess.run(
        ["bash", "-c", script, "bash", *words],
        env={**environment, "PATH": f"{BENCHMARK.parent}{os.pathsep}{environment['PATH']}"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert not done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_bash_completes_commands_options_and_choices(command: Command) -> None:
    assert complete(command, "benchmark", "eva") == ["evaluate"]
    assert complete(command, "benchmark", "data", "") == ["check", "fetch", "pin", "stats"]
    assert complete(command, "benchmark", "evaluate", "--bat") == ["--batch-tokens"]
    assert complete(command, "benchmark", "evaluate", "x.yaml", "--dtype", "b") == ["bfloat16"]


@pytest.mark.slow
def test_bash_completes_the_names_of_the_benchmark(command: Command, root: Path) -> None:
    assert complete(command, "benchmark", "evaluate", "x.yaml", "--suite", "") == ["full", "sample"]
    assert complete(command, "benchmark", "evaluate", "x.yaml", "--suite", "sample", "--task", "a") == [
        "anecdotes",
        "anecdotes-binary",
    ]
    assert complete(command, "benchmark", "score", "x.jsonl", "--split", "") == ["train", "dev", "test"]
    own = root / "tests" / "benchmarks" / "anecdotes60.yaml"
    assert complete(command, "benchmark", "score", "--benchmark", str(own), "--task", "") == [
        "anecdotes",
        "anecdotes-binary",
    ]
    assert complete(command, "benchmark", "score", "--benchmark", "nowhere.yaml", "--task", "") == []


# --- files that are wrong ------------------------------------------------------------------------------------------


def test_every_malformed_file_is_told_with_its_places_in_one_call(command: Command) -> None:
    paths = sorted(path for path in (EXAMPLES / "invalid").rglob("*.yaml"))
    assert len(paths) > 100
    done = command("validate", *paths, "--format", "json", code=1)
    found: dict[str, list[tuple[str, int, int]]] = {str(path): [] for path in paths}
    for fault in json.loads(done.stdout):
        found[fault["file"]].append((fault["code"], fault["line"], fault["column"]))
    for path in paths:
        expected = [(code, int(line), int(column)) for code, line, column in EXPECTED.findall(path.read_text("utf-8"))]
        assert found[str(path)] == expected, path
    assert not done.stderr


@pytest.mark.parametrize("kind", ["rich", "github"])
def test_faults_are_told_in_other_forms(command: Command, kind: str) -> None:
    path = EXAMPLES / "invalid" / "submission" / "several.yaml"
    done = command("validate", path, "--format", kind, code=1)
    shown = done.stdout.replace("\n", "")
    for code, line, column in EXPECTED.findall(path.read_text("utf-8")):
        assert code in shown
        assert f"{line}:{column}" in shown or f"line={line},col={column}" in shown
    assert "\x1b" not in shown


def test_a_valid_file_is_said_to_be_valid(command: Command, root: Path) -> None:
    path = root / "benchmark.yaml"
    assert command("validate", path).stdout == f"{path}: valid\n"
    assert command("validate", path, "-q").stdout == ""
    assert json.loads(command("validate", path, "--format", "json").stdout) == []
    mixed = command("validate", path, "nowhere.yaml", code=1)
    assert f"{path}: valid" in mixed.stdout
    assert "nowhere.yaml" in mixed.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["validate", "nowhere.yaml"], "no such file"),
        (["validate", "."], "no such file"),
        (["evaluate", "nowhere.yaml"], "no such file"),
        (["evaluate", "."], "folder"),
        (["evaluate", "nowhere.yaml", "--key", "nowhere.pem"], "nowhere"),
        (["score", "nowhere.jsonl", "--suite", "sample"], "No such file"),
        (["score", ".", "--suite", "sample"], "Is a directory"),
        (["score", "/dev/null", "--suite", "sample"], "not a regular file"),
        (["score", "empty.jsonl", "--suite", "sample"], "no row"),
        (["verify", "nowhere"], "No such file"),
        (["compare", "nowhere", "nowhere"], "No such file"),
        (["data", "stats", "--suite", "nope"], "there are: full, sample"),
        (["data", "stats", "--suite", "sample", "--task", "nope"], "it has: dilemmas, anecdotes, anecdotes-binary"),
        (["data", "stats", "--suite", "sample", "--split", "nope"], "it has: train, dev, test"),
        (["data", "stats", "--benchmark", "nowhere.yaml"], "no such file"),
        (["data", "stats"], "benchmark data fetch"),
        (["data", "fetch", "--dataset", "nope", "--data-dir", "d"], "there are: scruples-dilemmas"),
        (["prompts", "--suite", "sample", "--prompt", "nope"], "there are: dilemmas-letters"),
        (["ceiling", "nowhere.json"], "No such file"),
        (["keys", "show"], "benchmark keys new"),
        (["keys", "show", "--path", "."], "Is a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there_or_not_known_is_said(here: Here, arguments: list[str], says: str) -> None:
    if arguments[0] in ("evaluate", "score", "verify", "compare"):
        assert here(["keys", "new"]).exit_code == 0
    Path("empty.jsonl").touch()
    done = here(arguments)
    assert done.exit_code == 1
    assert says in " ".join(done.output.split())


def test_a_key_that_cannot_be_written_is_the_outputs_fault(here: Here) -> None:
    done = here(["keys", "new", "--path", "/proc/nowhere/key.pem"])
    assert done.exit_code == 3
    assert "KEY_UNWRITABLE" in done.stderr


def test_a_keyring_is_needed_where_there_is_no_key(tmp_path: Path) -> None:
    done = Forked(tmp_path)("verify", "nowhere", code=1)
    assert "KEYRING_MISSING" in done.stderr
    assert "--keyring" in done.stderr
    done = Forked(tmp_path)("verify", "nowhere", "--keyring", "keys.json", code=1)
    assert "keys.json" in done.stderr


@pytest.mark.slow
def test_a_key_that_is_locked_or_no_key_is_said(tmp_path: Path) -> None:
    command = Forked(tmp_path)
    (tmp_path / "key.pem").write_text("no key", encoding="utf-8")
    (tmp_path / "key.pem").chmod(0o600)
    rows = tmp_path / "rows.jsonl"
    command("baseline", "uniform", "--suite", "sample", "--task", "dilemmas", "-o", rows)
    score = ["score", rows, "--suite", "sample", "--task", "dilemmas"]
    assert "KEY_FORMAT" in command(*score, "--key", "key.pem", code=1).stderr
    (tmp_path / "key.pem").chmod(0o644)
    assert "KEY_PERMISSIONS" in command(*score, "--key", "key.pem", code=1).stderr
    # A passphrase is asked for; where nobody is there to answer, that is said.
    command("keys", "new", "--path", "locked.pem", "--passphrase", code=0, stdin=None, input="secret\nsecret\n")
    done = command(*score, "--key", "locked.pem", code=1)
    assert "KEY_PASSPHRASE" in done.stderr
    wrong = command(*score, "--key", "locked.pem", code=1, stdin=None, input="other\n")
    assert "KEY_PASSPHRASE" in wrong.stderr
    command(*score, "--key", "locked.pem", stdin=None, input="secret\n")


# --- output --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "check", "--dataset", "sample-dilemmas"],
        ["data", "stats", "--suite", "sample"],
        ["ceiling", "--suite", "sample", "--draws", "20"],
    ],
    ids=" ".join,
)
def test_json_is_json_and_words_have_no_colour_in_a_pipe(command: Command, arguments: list[str]) -> None:
    found = json.loads(command(*arguments, "--format", "json").stdout)
    assert found
    assert "NaN" not in command(*arguments, "--format", "json").stdout
    shown = command(*arguments).stdout
    assert "\x1b" not in shown


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs util-linux's script")
def test_colour_on_a_terminal_unless_it_is_refused(command: Command) -> None:
    def on_a_terminal(**more: str) -> str:
        environment = {**command.environment(), "TERM": "xterm-256color", "COLUMNS": "100", **more}
        line = f"{BENCHMARK} data check --dataset sample-dilemmas"
        done = subprocess.run(
            ["script", "-qec", line, "/dev/null"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        return done.stdout

    assert "\x1b[3" in on_a_terminal()
    plain = on_a_terminal(NO_COLOR="1")
    assert "sample-dilemmas" in plain
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["--help"], ["schema", "scorecard"], ["data", "check"]], ids=" ".join)
def test_output_that_cannot_be_written_is_a_failure_in_words(command: Command, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [BENCHMARK, *arguments],
            env=command.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=60,
        )
    assert done.returncode == 3
    assert done.stderr == "The output could not be written: No space left on device.\n"


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_failure(command: Command) -> None:
    line = f"set -o pipefail; {BENCHMARK} prompts --suite sample | head -n 1"
    done = subprocess.run(
        ["bash", "-c", line], env=command.environment(), capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["task"] == "dilemmas"
    assert not done.stderr


@pytest.mark.slow
def test_a_stop_is_exit_code_5(command: Command) -> None:
    """A writer whose reader does not read is stopped while it waits."""
    with command.start(["prompts", "--suite", "sample"]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 5
    assert said == "Stopped. Run the same command again.\n"


def test_schemas_are_printed_whole(command: Command, root: Path) -> None:
    names = command("schema").stdout.split()
    assert {"benchmark", "submission", "predictions", "scorecard", "keyring"} <= set(names)
    for name in names:
        text = command("schema", name).stdout
        assert text == (root / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
        assert json.loads(text)["$schema"].endswith("2020-12/schema")


def test_keys_are_made_once_and_shown(tmp_path: Path) -> None:
    command = Forked(tmp_path)
    made = command("keys", "new").stdout
    assert made == command("keys", "show").stdout
    path = Path(made.splitlines()[0].split()[-1])
    assert path.is_relative_to(tmp_path / "config")
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    assert "KEY_EXISTS" in command("keys", "new", code=1).stderr
    assert path.read_bytes() == before
    assert "PRIVATE" not in made
