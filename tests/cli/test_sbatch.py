"""`evaluate --print sbatch`: a script that a shell takes, and that gives the very command line to each part."""

import os
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import run_here
from support.paths import EXAMPLES

SUBMISSION = EXAMPLES / "valid" / "submission-path.yaml"
# Each call of sbatch leaves its arguments and the job's script, and tells a number as `--parsable` does.
SBATCH = """\
#!/bin/bash
call=$(mktemp -p "$CALLS" "$(ls "$CALLS" | wc -l)-XXXX")
printf '%s\\n' "$@" > "$call"
cat > "$call.job"
echo "4711;cluster"
"""


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The command sets up its signals; the tests have their own again."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def script(*options: str, submission: Path = SUBMISSION) -> str:
    code, output = run_here("evaluate", str(submission), *options, "--print", "sbatch")
    assert code == 0, output
    return output


def submitted(text: str, folder: Path, *arguments: str, parts: str | None = None) -> list[tuple[list[str], str]]:
    """The calls of sbatch that the script makes: arguments, and the script of the job."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "sbatch"
    program.write_text(SBATCH, encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    calls = folder / "calls"
    calls.mkdir()
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(calls)}
    subprocess.run(
        ["bash", "-s", "--", *arguments],
        input=text.encode(),
        env=environment | ({"PARTS": parts} if parts else {}),
        check=True,
        cwd=folder,
    )
    jobs = sorted(calls.glob("*.job"))
    return [(job.with_suffix("").read_text("utf-8").splitlines(), job.read_text("utf-8")) for job in jobs]


def last_command(job: str) -> list[str]:
    return shlex.split(job.splitlines()[-1].removeprefix("exec "))


def test_the_array_has_the_command_line_and_the_merge_waits_for_it(tmp_path: Path) -> None:
    odd = 'it\'s $HOME, a "folder" \\ `x`'
    text = script(
        "--suite", "sample", "--task", "dilemmas", "--task", "anecdotes", "--batch-tokens", "600", "--no-resume",
        "--output-dir", odd, "--key", "my key.pem", "--nonce", "a b", "--shard", "auto",
    )  # fmt: skip
    array, merge = submitted(text, tmp_path, "--partition=gpu", parts="3")
    assert array[0] == ["--parsable", "--array=0-2", "--partition=gpu"]
    assert merge[0] == ["--dependency=afterok:4711", "--partition=gpu"]
    assert last_command(array[1]) == [
        "benchmark", "evaluate", str(SUBMISSION), "--suite", "sample", "--task", "dilemmas", "--task", "anecdotes",
        "--output-dir", odd, "--batch-tokens", "600", "--no-resume", "--nonce", "a b", "--shard", "auto",
    ]  # fmt: skip
    assert sorted(last_command(merge[1])) == sorted(
        ["benchmark", "merge", f"{odd}/tiny-llama", "--output-dir", odd, "--key", "my key.pem"]
    )
    for job in (text, array[1], merge[1]):
        assert job.startswith("#!/bin/bash\n")
        subprocess.run(["bash", "-n"], input=job.encode(), check=True)


def test_the_commands_of_both_jobs_are_commands(tmp_path: Path) -> None:
    import click

    from runner.cli import main

    parsed = {}
    for _, job in submitted(script("--limit", "4", "-q"), tmp_path):
        words = last_command(job)
        command = main.commands[words[1]]
        words = ["0/8" if word == "auto" else word for word in words[2:]]
        context = command.make_context(command.name, words, parent=click.Context(main))
        parsed[command.name] = context.params
    assert set(parsed) == {"evaluate", "merge"}
    assert parsed["evaluate"]["limit"] == 4
    assert parsed["evaluate"]["submission"] == parsed["evaluate"]["submission"].resolve()


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ([], ["--gpus=1"]),
        (["--device", "cpu"], []),
        (["--device", "cuda:0,cuda:1"], ["--gpus=2"]),
        (["--device", "cuda:0+cuda:1,cuda:2+cuda:3"], ["--gpus=4"]),
        (["--device", "cpu,cpu", "--threads", "4"], ["--cpus-per-task=8"]),
    ],
)
def test_what_the_job_needs_follows_from_the_devices(options: list[str], lines: list[str]) -> None:
    directives = [line.removeprefix("#SBATCH ") for line in script(*options).splitlines() if line.startswith("#SBATCH")]
    assert [line for line in directives if not line.startswith(("--job-name", "--requeue"))] == lines


def test_options_of_the_environment_are_repeated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCHMARK_EVALUATE_LIMIT", "7")
    (_, job), _ = submitted(script(), tmp_path)
    assert last_command(job)[-4:] == ["--limit", "7", "--shard", "auto"]


def test_one_part_of_a_script_is_a_usage_error_and_a_broken_submission_is_told() -> None:
    code, output = run_here("evaluate", str(SUBMISSION), "--shard", "0/4", "--print", "sbatch")
    assert code == 2
    assert "--shard" in output
    assert run_here("evaluate", "nowhere.yaml", "--print", "sbatch")[0] == 1
    code, output = run_here("evaluate", str(EXAMPLES / "valid" / "submission-api.yaml"), "--print", "sbatch")
    assert code == 1
    assert "OPTION" in output
