"""Runs that are killed, stopped, starved of disk or run twice at once end in words, and go on from where they were."""

import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command import Command
from support.forked import Done, Forked, Running
from support.paths import TESTS

pytestmark = pytest.mark.slow

ONE_TASK = ("--suite", "sample", "--task", "dilemmas")
ONE_PROMPT = (*ONE_TASK, "--prompt", "dilemmas-letters")
# 2 scored items and 2 that are fitted on, in two orders: 8 prompts in batches of one
FEW = (*ONE_PROMPT, "--limit", "2", "--batch-tokens", "1", "--quiet")
PROMPTS = 8
KEPT = 5


@dataclass(frozen=True)
class Forks:
    """`benchmark evaluate` in forks, by default on a few items, that can be killed at any durability point."""

    command: Forked
    small: tuple[object, ...]

    def __call__(
        self,
        submission: Path,
        output: Path,
        *options: object,
        stop: tuple[int, str] | None = None,
        user: int | None = None,
        file_bytes: int | None = None,
        code: int = 0,
    ) -> Done:
        arguments = ["evaluate", str(submission), *map(str, options or self.small), "--output-dir", str(output)]
        return self.command.run(arguments, under=output, stop=stop, user=user, file_bytes=file_bytes, code=code)


@pytest.fixture(scope="module")
def small(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Options for a few items of a benchmark with one task, which draws and checks less often than the released one."""
    value = yaml.safe_load((root / "benchmark.yaml").read_bytes())
    task = value["tasks"]["dilemmas"]
    value["tasks"] = {"dilemmas": {key: task[key] for key in task if key not in ("verbalized", "sampled")}}
    value["prompts"] = {
        name: prompt
        for name, prompt in value["prompts"].items()
        if (prompt["task"], prompt["elicitation"]) == ("dilemmas", "logprob")
    }
    value["datasets"] = {"sample-dilemmas": value["datasets"]["sample-dilemmas"]}
    value["suites"] = {"sample": {**value["suites"]["sample"], "datasets": {"dilemmas": "sample-dilemmas"}}}
    for part in ("ceiling", "intervals"):
        value["scoring"][part]["draws"] = 20
    value["scoring"]["self_check"]["prompts"] = 2
    quick = tmp_path_factory.mktemp("benchmark") / "quick.yaml"
    quick.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    return (*FEW, "--benchmark", quick)


@pytest.fixture(scope="module")
def forks(command: Forked, small: tuple[object, ...]) -> Forks:
    return Forks(command, small)


@pytest.fixture(scope="module")
def unbroken(forks: Forks, submissions: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """The predictions of a run that nothing disturbs, and how many durability points it passes."""
    output = tmp_path_factory.mktemp("unbroken")
    done = forks(submissions.base, output)
    assert done.code == 0, done
    return (Path(done.stdout.strip()) / "predictions.jsonl").read_bytes(), done.points


def folders(output: Path) -> list[Path]:
    try:
        return sorted(path for path in output.glob("*/[!.]*") if path.is_dir())
    except FileNotFoundError:  # made by a run that has just begun, and gone again while this looks
        return []


def journal_rows(folder: Path) -> int:
    """Whole lines of a journal after its header; -1 without a whole header."""
    path = folder / "journal.jsonl"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else -1


def card_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "scorecard.json").read_text(encoding="utf-8"))


def test_a_run_killed_at_any_point_goes_on_and_equals_an_unbroken_one(
    forks: Forks,
    command: Command,
    submissions: Any,
    unbroken: tuple[bytes, int],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    predictions, points = unbroken
    # header, answers, 6 files written whole: each is synced, and the files are renamed
    assert points > 1 + PROMPTS + 2 * 6
    resumed_from = set()
    for number in range(points):
        output = tmp_path / str(number)
        crashed = forks(submissions.base, output, stop=(number, "torn"))
        assert crashed.points == number
        left = folders(output)
        kept = journal_rows(left[0]) if left else -1
        assert bool(left) is (kept >= 0), number  # no run's folder without a whole header in it
        done = forks(submissions.base, output)
        assert done.code == 0, (number, done)
        run = Path(done.stdout.strip())
        assert list((output / "tiny-base").iterdir()) == [run], number  # nor anything else that a crash left
        assert (run / "predictions.jsonl").read_bytes() == predictions, number
        assert {path.name for path in run.iterdir()} == {
            *("benchmark.yaml", "submission.yaml", "environment.json", "predictions.jsonl"),
            *("scorecard.json", "scorecard.sigstore.json"),
        }, number
        if kept >= 0:
            assert left == [run] == folders(output), number
            timing = json.loads((run / "environment.json").read_text(encoding="utf-8"))["timing"]
            assert timing["prompts_resumed"] == kept
            assert timing["prompts"] == PROMPTS - kept
            resumed_from.add(kept)
        if number % 9 == 0 or number == points - 1:
            command("verify", run, "--recompute", "--quiet", "--benchmark", forks.small[-1])
        shutil.rmtree(output)
    assert resumed_from == set(range(PROMPTS + 1))
    record_property("kill points", f"{points} tried, each with half of the last write lost; {points} recovered")


def test_a_second_crash_and_a_third_do_no_harm(
    forks: Forks, submissions: Any, unbroken: tuple[bytes, int], tmp_path: Path
) -> None:
    predictions, _ = unbroken
    for stop in (5, 4, 6, 9):
        forks(submissions.base, tmp_path, stop=(stop, "torn"))
    done = forks(submissions.base, tmp_path)
    assert (Path(done.stdout.strip()) / "predictions.jsonl").read_bytes() == predictions
    assert len(folders(tmp_path)) == 1


@pytest.fixture(scope="module")
def interrupted(
    forks: Forks, submissions: Any, unbroken: tuple[bytes, int], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Path]:
    """Copy a killed run with some answers to an output folder; the run's folder there."""
    output = tmp_path_factory.mktemp("interrupted")
    number = 0
    while not folders(output) or journal_rows(folders(output)[0]) < KEPT:
        shutil.rmtree(output)
        output.mkdir()
        number += 1
        forks(submissions.base, output, stop=(number, "killed"))
    [run] = folders(output)

    def copy(to: Path) -> Path:
        shutil.copytree(output, to, dirs_exist_ok=True)
        return to / run.relative_to(output)

    return copy


def test_any_cut_of_the_journal_is_mended(
    forks: Forks,
    submissions: Any,
    unbroken: tuple[bytes, int],
    interrupted: Callable[[Path], Path],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    whole = (interrupted(tmp_path / "whole") / "journal.jsonl").read_bytes()
    header = whole.index(b"\n") + 1
    chance = random.Random(20261121)
    cuts = [header, header + 1, len(whole) - 1, len(whole), *(chance.randrange(header, len(whole)) for _ in range(6))]
    record_property("journals cut short", f"{len(cuts)} tried, {len(cuts)} mended")
    for cut in cuts:
        run = interrupted(tmp_path / str(cut))
        (run / "journal.jsonl").write_bytes(whole[:cut])
        done = forks(submissions.base, tmp_path / str(cut))
        assert Path(done.stdout.strip()) == run, cut
        assert (run / "predictions.jsonl").read_bytes() == unbroken[0], cut
        timing = json.loads((run / "environment.json").read_text(encoding="utf-8"))["timing"]
        assert timing["prompts_resumed"] == whole[:cut].count(b"\n") - 1, cut


@pytest.mark.parametrize("place", ["score", "last line", "junk behind"])
def test_an_altered_journal_is_not_believed(
    forks: Forks,
    submissions: Any,
    unbroken: tuple[bytes, int],
    interrupted: Callable[[Path], Path],
    tmp_path: Path,
    place: str,
) -> None:
    run = interrupted(tmp_path)
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    match place:
        case "score":
            lines[3] = lines[3].replace(b'"log_scores":[-', b'"log_scores":[-1')
        case "last line":
            lines[-1] = lines[-1].replace(b"dilemmas", b"dilemmaz")
        case _:
            lines.append(b"\x00\xff\xfe not ours\n\n[]\n")
    (run / "journal.jsonl").write_bytes(b"".join(lines))
    done = forks(submissions.base, tmp_path)
    assert Path(done.stdout.strip()) == run
    assert (run / "predictions.jsonl").read_bytes() == unbroken[0]


def test_the_journal_of_another_run_is_never_used(
    forks: Forks, submissions: Any, interrupted: Callable[[Path], Path], tmp_path: Path
) -> None:
    document = submissions.base.read_text(encoding="utf-8")
    other = tmp_path / "other"
    shutil.copytree(submissions.other.parent, other)
    (other / "base.yaml").write_text(document, encoding="utf-8")
    half = submissions.base.with_name("half.yaml")
    half.write_text(document.replace("float32", "bfloat16"), encoding="utf-8")
    benchmark = tmp_path / "benchmark.yaml"
    text = Path(str(forks.small[-1])).read_text(encoding="utf-8")
    benchmark.write_text(text.replace("Here are two actions", "Here are 2 actions"), encoding="utf-8")
    small = forks.small
    cases: dict[str, tuple[Path, tuple[object, ...]]] = {
        "another model": (other / "base.yaml", small),
        "another type of numbers": (half, small),
        "another limit": (submissions.base, (*small, "--limit", "3")),
        "another split": (submissions.base, (*small, "--split", "train")),
        "another prompt": (submissions.base, (*small, "--prompt", "dilemmas-seed-yes-no")),
        "another benchmark": (submissions.base, (*small, "--benchmark", benchmark)),
        "another challenge": (submissions.base, (*small, "--nonce", "n-1")),
        "no resuming": (submissions.base, (*small, "--no-resume")),
        "no other": (submissions.base, (*small, "--resume")),
    }
    for name, (submission, options) in cases.items():
        output = tmp_path / name
        left = interrupted(output)
        before = (left / "journal.jsonl").read_bytes()
        done = forks(submission, output, *options)
        assert done.code == 0, (name, done)
        run = Path(done.stdout.strip())
        timing = json.loads((run / "environment.json").read_text(encoding="utf-8"))["timing"]
        if name == "no other":
            assert run == left
            assert timing["prompts_resumed"] == KEPT
        else:
            assert run != left, name
            assert timing["prompts_resumed"] == 0, name
            assert (left / "journal.jsonl").read_bytes() == before, name


def test_a_journal_that_is_not_ours_to_write_is_passed_over(
    forks: Forks, submissions: Any, interrupted: Callable[[Path], Path], tmp_path: Path
) -> None:
    left = interrupted(tmp_path)
    (left / "journal.jsonl").unlink()
    (left / "journal.jsonl").mkdir()
    done = forks(submissions.base, tmp_path)
    assert done.code == 0, done
    assert Path(done.stdout.strip()) != left


# --- real processes ------------------------------------------------------------------------------------------------

LONG = (*ONE_PROMPT, "--batch-tokens", "1")


def wait_for_rows(process: subprocess.Popen[str] | Running, output: Path, rows: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(journal_rows(folder) >= rows for folder in folders(output)):
            return
        time.sleep(0.002)
    pytest.fail(f"no journal with {rows} rows: {process.communicate()}")


def children(parent: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def is_gone(process: int) -> bool:
    """Whether a process ends by itself, soon."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def long_run(forks: Forks, submissions: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    done = forks(submissions.base, tmp_path_factory.mktemp("long"), *LONG, "--quiet")
    return (Path(done.stdout.strip()) / "predictions.jsonl").read_bytes()


def test_kill_dash_nine_at_random_moments(
    command: Command,
    forks: Forks,
    submissions: Any,
    long_run: bytes,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    chance = random.Random(time.time_ns())
    record_property("kill -9 of real processes at random moments", "3 tried, 3 recovered")
    moments = sorted(chance.sample(range(1, 300), 3))
    for rows in moments:
        with command.start(["evaluate", submissions.base, *LONG, "-o", tmp_path]) as process:
            wait_for_rows(process, tmp_path, rows)
            [worker] = children(process.pid)
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert is_gone(worker)
    kept = journal_rows(folders(tmp_path)[0])
    assert kept >= moments[-1], moments
    done = forks(submissions.base, tmp_path, *LONG, "--quiet")
    run = Path(done.stdout.strip())
    assert folders(tmp_path) == [run], moments
    assert (run / "predictions.jsonl").read_bytes() == long_run, moments
    command("verify", run, "--recompute")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_a_polite_stop_says_what_is_kept(
    command: Forked, forks: Forks, submissions: Any, long_run: bytes, tmp_path: Path, number: int
) -> None:
    with command.start_fork(["evaluate", submissions.base, *LONG, "-o", tmp_path]) as process:
        wait_for_rows(process, tmp_path, 20)
        [worker] = children(process.pid)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 5, said
    assert is_gone(worker)
    assert "Traceback" not in said
    kept = journal_rows(folders(tmp_path)[0])
    # A stop between a row's way to the disk and its being counted is one that keeps more than it says.
    assert any(f"Stopped after {count} of 320 prompts; they are kept." in said for count in (kept, kept - 1)), said
    assert "Run the same command again" in said
    done = forks(submissions.base, tmp_path, *LONG)
    assert f"({320 - kept} prompts; {kept} were answered before)" in done.stderr
    [run] = folders(tmp_path)
    assert done.stdout.endswith(f"{run}\n")
    assert (run / "predictions.jsonl").read_bytes() == long_run


def minds_stops(process: int) -> bool:
    """Whether it has a handler for SIGTERM, from `SigCgt` in what the system tells of it."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def has_a_worker(process: int) -> bool:
    return bool(children(process))


def has_a_worker_with_torch(process: int) -> bool:
    return any("libtorch" in maps_of(child) for child in children(process))


def maps_of(process: int) -> str:
    """What a process has mapped; nothing if it ended first, as a helper with one question does."""
    try:
        return Path(f"/proc/{process}/maps").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
@pytest.mark.parametrize("ready", [minds_stops, has_a_worker, has_a_worker_with_torch])
def test_a_stop_before_the_first_answer_is_a_stop_too(
    command: Command, submissions: Any, tmp_path: Path, number: int, ready: Callable[[int], bool]
) -> None:
    with command.start(["evaluate", submissions.base, *LONG, "-o", tmp_path]) as process:
        deadline = time.monotonic() + 120
        while not ready(process.pid):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 5, said
    assert "Stopped" in said
    assert "Traceback" not in said


def test_two_at_once_in_one_folder_both_finish(
    command: Forked, forks: Forks, submissions: Any, unbroken: tuple[bytes, int], tmp_path: Path
) -> None:
    arguments = ["evaluate", submissions.base, *forks.small, "-o", tmp_path]
    with command.start_fork(arguments) as one, command.start_fork(arguments) as two:
        ends = [process.communicate(timeout=200) for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], ends
    runs = [Path(out.strip()) for out, _ in ends]
    assert runs[0] != runs[1]
    assert {(run / "predictions.jsonl").read_bytes() for run in runs} == {unbroken[0]}
    assert card_of(runs[0])["run"]["id"] != card_of(runs[1])["run"]["id"]


def test_a_journal_that_a_live_process_holds_is_left_alone(
    command: Forked, forks: Forks, submissions: Any, long_run: bytes, tmp_path: Path
) -> None:
    with command.start_fork(["evaluate", submissions.base, *LONG, "-o", tmp_path]) as process:
        wait_for_rows(process, tmp_path, 5)
        process.send_signal(signal.SIGSTOP)
        done = forks(submissions.base, tmp_path, *LONG, "--quiet")
        process.send_signal(signal.SIGCONT)
        out, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert Path(done.stdout.strip()) != Path(out.splitlines()[-1])
    assert (Path(out.splitlines()[-1]) / "predictions.jsonl").read_bytes() == long_run


DISK = 24_000
"""Bytes: room for the private copy of the tokenizer (20 kB), none for the journal of a long run."""


def limited_to(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_while_predicting_keeps_what_was_written(
    forks: Forks, submissions: Any, long_run: bytes, tmp_path: Path
) -> None:
    done = forks(submissions.base, tmp_path, *LONG, file_bytes=DISK, code=5)
    kept = journal_rows(folders(tmp_path)[0])
    assert kept > 10
    assert f"after {kept} of 320 prompts; they are kept." in done.stderr
    assert "Writing failed (File too large)" in done.stderr
    # Still full: still words.
    forks(submissions.base, tmp_path, *LONG, file_bytes=DISK, code=5)
    again = forks(submissions.base, tmp_path, *LONG, "--quiet")
    assert folders(tmp_path) == [Path(again.stdout.strip())]
    assert (Path(again.stdout.strip()) / "predictions.jsonl").read_bytes() == long_run


def test_a_full_disk_while_the_results_are_written_keeps_the_answers(
    command: Command, forks: Forks, submissions: Any, unbroken: tuple[bytes, int], tmp_path: Path
) -> None:
    # The copy of the benchmark is the one file that has no room.
    padded = tmp_path / "padded.yaml"
    padded.write_text(Path(str(forks.small[-1])).read_text(encoding="utf-8") + "# filler\n" * 5000, encoding="utf-8")
    options, output = (*FEW, "--benchmark", padded), tmp_path / "results"
    done = forks(submissions.base, output, *options, file_bytes=40_000, code=5)
    assert f"after {PROMPTS} of {PROMPTS} prompts; they are kept." in done.stderr
    [left] = folders(output)
    assert not (left / "scorecard.sigstore.json").exists()
    assert "no" in command("verify", left, code=1).stderr
    again = forks(submissions.base, output, *options)
    assert Path(again.stdout.strip()) == left
    assert (left / "predictions.jsonl").read_bytes() == unbroken[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 KiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "none", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_without_room_keeps_what_was_written(
    command: Command, forks: Forks, submissions: Any, long_run: bytes, small_disk: Path
) -> None:
    done = command("evaluate", submissions.base, *LONG, "-o", small_disk, code=5)
    [left] = folders(small_disk)
    kept = journal_rows(left)
    assert kept > 10
    said = " ".join(done.stderr.split())
    assert f"Writing failed (No space left on device) after {kept} of 320 prompts; they are kept." in said
    # Still full: still words, and before the model is loaded.
    again = command("evaluate", submissions.base, *LONG, "-o", small_disk, code=3)
    assert "No space left on device" in " ".join(again.stderr.split())
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    again = forks(submissions.base, small_disk, *LONG, "--quiet")
    assert folders(small_disk) == [left] == [Path(again.stdout.strip())]
    assert (left / "predictions.jsonl").read_bytes() == long_run


def test_a_disk_that_is_full_already_is_told_before_the_model_is_loaded(
    command: Command, submissions: Any, tmp_path: Path
) -> None:
    done = command("evaluate", submissions.base, *ONE_TASK, "-o", tmp_path, code=3, preexec_fn=limited_to(1_000))
    assert "OUTPUT_UNWRITABLE" in done.stderr
    assert "Loading" not in done.stderr


NOBODY = 65534


@pytest.fixture
def foreign(submissions: Any, command: Command, small: tuple[object, ...]) -> Iterator[Path]:
    """A folder that nobody can reach, with a submission, a benchmark and a key, for a process of another user."""
    if os.getuid() != 0:
        pytest.skip("only root can run a process as another user")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(submissions.base.parent, folder / "submission")
        for file in (folder / "submission").rglob("*.*"):
            file.chmod(0o644)
        shutil.copy(command.home / "config" / "moral-ambiguity-benchmark" / "signing-key.pem", folder / "key.pem")
        (folder / "key.pem").chmod(0o600)
        os.chown(folder / "key.pem", NOBODY, NOBODY)
        shutil.copy(str(small[-1]), folder / "quick.yaml")
        (folder / "closed").mkdir()
        (folder / "open").mkdir(mode=0o777)
        (folder / "open").chmod(0o777)
        folder.chmod(0o755)
        yield folder


def test_an_output_folder_that_is_not_writable_is_told_before_the_model_is_loaded(forks: Forks, foreign: Path) -> None:
    options = (*ONE_TASK, "--key", foreign / "key.pem")
    for output in (foreign / "closed", foreign / "closed" / "results"):
        done = forks(foreign / "submission" / "base.yaml", output, *options, user=NOBODY, code=3)
        assert "OUTPUT_UNWRITABLE" in done.stderr
        assert "Permission denied" in done.stderr
        assert "--output-dir" in done.stderr
        assert "Loading" not in done.stderr
    assert list((foreign / "closed").iterdir()) == []


def test_an_unfinished_run_of_another_user_is_passed_over(forks: Forks, foreign: Path) -> None:
    submission, output = foreign / "submission" / "base.yaml", foreign / "open"
    options = (*FEW, "--benchmark", foreign / "quick.yaml", "--key", foreign / "key.pem")
    forks(submission, output, *options, stop=(9, "killed"))
    [left] = folders(output)
    assert journal_rows(left) > 0
    left.parent.chmod(0o777)
    done = forks(submission, output, *options, user=NOBODY)
    assert Path(done.stdout.strip()) != left
    again = forks(submission, output, *options)
    assert Path(again.stdout.strip()) == left


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate", "CLOSED/submission.yaml"],
        ["evaluate", "CLOSED/submission.yaml", "--suite", "sample", "--key", "KEY"],
        ["evaluate", "OPEN/base.yaml", "--suite", "sample", "--benchmark", "CLOSED/benchmark.yaml", "--key", "KEY"],
        ["evaluate", "OPEN/base.yaml", "--suite", "sample", "--key", "CLOSED/key.pem"],
        # Without a key given, there is one to be made in a home that belongs to another user.
        ["evaluate", "OPEN/base.yaml", "--suite", "sample"],
        ["evaluate", "OPEN/base.yaml", "--data-dir", "CLOSED/data", "--key", "KEY"],
        ["score", "CLOSED/rows.jsonl", "--suite", "sample", "--key", "KEY"],
        ["verify", "CLOSED/run", "--keyring", "RING"],
        ["verify", "CLOSED/run", "--keyring", "CLOSED/keys.json"],
        ["compare", "CLOSED/a", "CLOSED/b", "--keyring", "RING"],
        ["keys", "show"],
        ["keys", "new"],
        ["keys", "new", "--path", "CLOSED/key.pem"],
        ["ceiling", "CLOSED/counts.json"],
        ["data", "stats", "--data-dir", "CLOSED/data"],
        ["prompts", "--suite", "sample", "--submission", "CLOSED/submission.yaml"],
    ],
    ids=" ".join,
)
def test_what_belongs_to_another_user_is_said(forks: Forks, foreign: Path, arguments: list[str]) -> None:
    (foreign / "closed").chmod(0o700)
    shutil.copy(TESTS / "conformance" / "keyring.json", foreign / "keyring.json")
    places = {
        "CLOSED": str(foreign / "closed"),
        "OPEN": str(foreign / "submission"),
        "KEY": str(foreign / "key.pem"),
        "RING": str(foreign / "keyring.json"),
    }
    given = [re.sub("|".join(places), lambda found: places[found[0]], word) for word in arguments]
    # What cannot be read is a wrong input, a key that cannot be written a failed output.
    done = forks.command.run(given, under=foreign, user=NOBODY, code=3 if arguments[:2] == ["keys", "new"] else 1)
    assert "denied" in done.stderr or "not found" in done.stderr
    assert str(foreign / "closed") in "".join(done.stderr.split()) or "CLOSED" not in " ".join(arguments)


def test_an_output_path_that_is_a_file_is_told(command: Command, submissions: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    (tmp_path / "tiny-base").write_text("mine", encoding="utf-8")
    for output in (tmp_path / "taken", tmp_path):
        done = command("evaluate", submissions.base, *ONE_TASK, "-o", output, code=3)
        assert "OUTPUT_UNWRITABLE" in done.stderr
        assert "Loading" not in done.stderr
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


def test_a_model_process_that_is_killed_is_told_and_the_run_goes_on(
    command: Forked, forks: Forks, submissions: Any, long_run: bytes, tmp_path: Path
) -> None:
    with command.start_fork(["evaluate", submissions.base, *LONG, "-o", tmp_path]) as process:
        wait_for_rows(process, tmp_path, 20)
        [worker] = children(process.pid)
        os.kill(worker, signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "WORKER_MEMORY" in said
    assert "Traceback" not in said
    assert journal_rows(folders(tmp_path)[0]) >= 20
    done = forks(submissions.base, tmp_path, *LONG, "--quiet")
    assert folders(tmp_path) == [Path(done.stdout.strip())]
    assert (Path(done.stdout.strip()) / "predictions.jsonl").read_bytes() == long_run


def test_weights_that_are_no_numbers_are_named(command: Command, submissions: Any, tmp_path: Path) -> None:
    done = command("evaluate", submissions.broken, *ONE_TASK, "--limit", 2, "-o", tmp_path, code=3)
    assert "WEIGHTS_NON_FINITE" in done.stderr
    assert "model.layers.1.mlp.down_proj.weight" in done.stderr.replace("\n", "").replace(" ", "")
    assert folders(tmp_path) == []
