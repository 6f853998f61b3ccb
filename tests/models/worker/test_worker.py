"""A process that misbehaves is an error with a name, never an answer; and it is gone afterwards."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import tiny_submission
from support.paths import SUPPORT, TESTS

from runner.core import private_folder
from runner.core.errors import BackendError, Fault, InvalidInput, UserError
from runner.core.text import printable
from runner.core.types import Prompt
from runner.models.base import LoadOptions
from runner.models.worker import Limits, Worker, open_isolated, process, protocol, show_tokens_isolated
from runner.tasks.prompts import prompt_sha256

QUICK = Limits(start_seconds=60, load_seconds=60, plan_seconds=30, call_seconds=60, memory_bytes=1 << 30)
IMPATIENT = replace(QUICK, call_seconds=0.5)


def prompt(number: int = 0) -> Prompt:
    return Prompt(
        task="dilemmas",
        split="dev",
        item_id=str(number),
        prompt_id="letters",
        order=0,
        template="Which? $first",
        values={"first": f"this \u2603 \U0001f600 {number}"},
        cue_plain="\nAnswer:",
        cue_chat="Answer:",
        options=((" A", " a"), (" B",)),
        max_tokens=100,
        shorten="first",
    )


PROMPTS = [prompt(number) for number in range(600)]

Open = Callable[..., Worker]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Open]:
    """Open a process with a model that misbehaves in a given way."""
    made: list[Worker] = []

    def run(kind: str, limits: Limits = QUICK) -> Worker:
        monkeypatch.setattr(process, "ENTRY", kind if ":" in kind else f"support.misbehaving_worker:{kind}")
        made.append(open_isolated(tiny_submission.of(tmp_path), tmp_path, None, LoadOptions(device="cpu"), limits))
        return made[-1]

    yield run
    for worker in made:
        worker.close()


def fault(call: Callable[[], Any], kind: type[UserError] = BackendError) -> Fault:
    with pytest.raises(kind) as caught:
        call()
    (found,) = caught.value.faults
    assert str(found).isprintable()
    return found


def alive(number: int) -> bool:
    """Whether the process runs, or is left over as a zombie."""
    return Path(f"/proc/{number}").exists()


def gone(number: int, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and alive(number):
        time.sleep(0.02)
    return not alive(number)


@pytest.mark.slow
def test_answers_come_back_as_they_were_given(opened: Open) -> None:
    worker = opened("sound")
    assert worker.plan(PROMPTS) == [[number] for number in range(len(PROMPTS))]
    answers = list(worker.predict(PROMPTS))
    assert [answer.item_id for answer in answers] == [prompt.item_id for prompt in PROMPTS]
    assert {answer.log_scores for answer in answers} == {(-1.0, -2.0)}
    assert [answer.prompt_sha256 for answer in answers] == [prompt_sha256(prompt) for prompt in PROMPTS]
    assert worker.without_adapter() is None
    assert list(worker.predict([])) == []
    assert worker.plan([]) == []


def test_a_step_is_read_while_the_one_before_is_predicted(opened: Open) -> None:
    worker = opened("ahead")
    steps = [[PROMPTS[number]] for number in (6, 7, 8, 9)]
    found = [(step, answer.prompt_tokens) for step, (answer,) in worker.share(steps)]
    assert found == list(zip(steps, (6, 7, 8, 9), strict=True))


def test_a_step_that_cannot_be_read_is_told_in_its_turn(opened: Open) -> None:
    worker = opened("ahead")
    number = worker.peak_memory_bytes()
    shared = worker.share([PROMPTS[number]] for number in (4, 5, 9))
    assert [answer.item_id for answer in next(shared)[1]] == ["4"]
    assert fault(lambda: next(shared), InvalidInput).code == "PROMPT_TOO_LONG"
    # It was asked more than that, and nobody waits for the answer.
    assert gone(number)


def test_one_process_answers_all(opened: Open) -> None:
    worker = opened("sound")
    number = worker.peak_memory_bytes()
    assert number == worker.peak_memory_bytes() != os.getpid()
    assert worker.describe() == {"backend": "causal", "dtype": "float32"}
    worker.close()
    assert gone(number)
    worker.close()  # closing twice is closing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("panic", "WORKER_CRASH", "exit code 1 while predicting"),
        ("segfault", "WORKER_CRASH", "SIGSEGV"),
        ("exit", "WORKER_CRASH", "while predicting"),
        ("sleep", "WORKER_TIMEOUT", "did not answer in time while predicting"),
        ("stubborn", "WORKER_TIMEOUT", "did not answer in time"),
        ("babble", "WORKER_TIMEOUT", "did not answer in time"),
        ("trickle", "WORKER_TIMEOUT", "did not answer in time"),
        ("oom", "WORKER_MEMORY", "not enough memory"),
        ("reply", "WORKER_REPLY", "another prompt"),
        ("text", "WORKER_REPLY", "another prompt"),
        ("scores", "WORKER_REPLY", "3 scores for 2 labels"),
        ("counts", "WORKER_REPLY", "600,000 values of token_counts"),
        ("few", "WORKER_REPLY", "instead of 2"),
        ("many", "WORKER_REPLY", "instead of 2"),
    ],
)
def test_what_is_no_answer_is_an_error_with_a_name(opened: Open, kind: str, code: str, words: str) -> None:
    worker = opened(kind, IMPATIENT if code == "WORKER_TIMEOUT" else QUICK)
    number = worker.peak_memory_bytes()
    worker.plan(PROMPTS)
    found = fault(lambda: list(worker.predict(PROMPTS[:2])))
    assert (found.code, BackendError.exit_code) == (code, 3)
    assert words in found.message
    worker.close()
    assert gone(number)


@pytest.mark.slow
def test_the_last_words_are_told_without_what_could_steer_a_terminal(opened: Open) -> None:
    worker = opened("panic")
    found = fault(lambda: list(worker.predict(PROMPTS[:1])))
    assert found.hint is not None
    assert r"PanicException: index out of bounds \x1b[31m\x07" in found.hint
    assert len(found.hint) < 2000


def test_a_hanging_process_says_where_it_hung(opened: Open) -> None:
    found = fault(lambda: list(opened("sleep", IMPATIENT).predict(PROMPTS[:1])))
    assert found.hint is not None
    assert "misbehaving_worker.py" in found.hint


@pytest.mark.parametrize(("kind", "words"), [("nameless", "type of its numbers"), ("unsignable", "cannot be signed")])
def test_a_description_that_would_spoil_the_card_is_refused(opened: Open, kind: str, words: str) -> None:
    found = fault(lambda: opened(kind).describe())
    assert (found.code, words in found.message) == ("WORKER_REPLY", True)


@pytest.mark.slow
def test_a_plan_that_asks_a_prompt_twice_is_refused(opened: Open) -> None:
    assert fault(lambda: opened("plan").plan(PROMPTS)).code == "WORKER_REPLY"


HURRIED = replace(QUICK, plan_seconds=0.2, plan_seconds_per_prompt=0)


@pytest.mark.slow
def test_reading_prompts_may_take_the_clock_but_not_the_processor(opened: Open) -> None:
    assert opened("patient", HURRIED).plan(PROMPTS[:1]) == [[0]]
    found = fault(lambda: opened("busy", HURRIED).plan(PROMPTS[:1]), InvalidInput)
    assert (found.code, "of the processor" in found.message) == ("TOKENIZER_LIMIT", True)


@pytest.mark.slow
def test_a_tokenizer_that_does_not_come_back_is_ended_by_the_kernel(opened: Open) -> None:
    found = fault(lambda: opened("lost").plan(PROMPTS[:1]), InvalidInput)
    assert (found.code, "time of the processor" in found.message) == ("TOKENIZER_LIMIT", True)


@pytest.mark.slow
def test_importing_libraries_is_not_reading_prompts(tmp_path: Path) -> None:
    from support import tiny_models

    folder = tiny_models.save(tmp_path, tiny_models.model("llama", 300), tiny_models.byte_tokenizer())
    hurried = replace(HURRIED, plan_seconds=1)  # to import torch and transformers takes thrice as long
    (row,) = show_tokens_isolated(tiny_submission.of(folder), folder, PROMPTS[:1], hurried)
    assert row["token_ids"]


def test_output_of_libraries_is_no_answer_and_blocks_nothing(opened: Open) -> None:
    assert len(list(opened("loud").predict(PROMPTS[:2]))) == 2


def test_a_process_that_cannot_start_is_told(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert fault(lambda: opened("sound")).code == "WORKER_START"


def test_a_process_that_fails_at_once_is_told(opened: Open) -> None:
    found = fault(lambda: opened("support.misbehaving_worker:no_such_kind"))
    assert found.code == "WORKER_CRASH"
    assert "AttributeError" in str(found.hint)


# --- whatever is said -----------------------------------------------------------------------------------------------

ANSWER = (
    b'{"item":{"task":"dilemmas","item_id":"0","log_scores":[-1.0,-2.0],"split":"dev","prompt_id":"letters","order":0,'
    b'"prompt_sha256":"' + prompt_sha256(prompt()).encode() + b'"}}\n{"ok":null}\n'
)


@pytest.fixture
def said(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Any]:
    """The answer of a process that says these bytes when it is asked for a prediction."""
    folder = tmp_path / "raw"
    folder.mkdir()
    source = (SUPPORT / "raw_worker.py").read_text(encoding="utf-8")
    (folder / "said_raw.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)

    def ask(bytes_said: bytes) -> Any:
        (folder / "said").write_bytes(bytes_said)
        return list(opened("said_raw:main").predict([prompt()]))

    return ask


def test_a_sound_answer_is_taken(said: Callable[[bytes], Any]) -> None:
    (found,) = said(ANSWER)
    assert found.log_scores == (-1.0, -2.0)


@pytest.mark.parametrize(
    "spoilt",
    [
        ANSWER.replace(b"-1.0", b"NaN"),
        ANSWER.replace(b"-1.0", b"Infinity"),
        ANSWER.replace(b"-1.0", b"1e999"),
        ANSWER.replace(b"-1.0", b"null"),
        ANSWER.replace(b"-1.0", b'"-1"'),
        ANSWER.replace(b'"order":0', b'"order":0,"order":0'),
        ANSWER.replace(b'"order":0', b'"order":1'),
        ANSWER.replace(b'"order":0', b'"order":0,"more":1'),
        ANSWER.replace(b'"item_id":"0"', b'"item_id":"1"'),
        ANSWER.replace(b'{"item"', b'{"items"'),
        ANSWER.replace(b'{"item"', b'{"ok":1,"item"'),
        ANSWER.replace(b'{"ok":null}', b"null"),
        b'{"ok":null}\n' + ANSWER,
        b"\x80\x04\x95\n",
        b"[" * 100_000 + b"\n",
        b"\n",
        b'{"error":{"kind":"SystemExit","faults":[]}}\n',
        b'{"error":{"kind":"BackendError","faults":[]}}\n',
        b'{"error":{"kind":"BackendError","faults":[{"code":"x"}]}}\n',
        b"x" * (protocol.MOST_BYTES + (2 << 20)),
    ],
    ids=lambda said: repr(said[-60:] if isinstance(said, bytes) else said)[:60],
)
def test_an_answer_that_is_spoilt_is_refused(said: Callable[[bytes], Any], spoilt: bytes) -> None:
    assert spoilt != ANSWER
    found = fault(lambda: said(spoilt))
    assert found.code == "WORKER_REPLY"
    assert len(str(found)) < 1000


@given(st.binary(max_size=200))
def test_no_bytes_but_a_message_pass(line: bytes) -> None:
    try:
        message = protocol.message_of(line)
    except protocol.ProtocolError:
        return
    assert set(message) <= {"item", "ok", "error"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_every_check_of_an_answer_refuses_or_gives_what_it_says(value: Any) -> None:
    def passed(check: Callable[[Any], Any]) -> Any:
        try:
            return check(value)
        except protocol.ProtocolError:
            return None

    assert passed(lambda found: protocol.prediction_of(found, prompt())) is None
    assert passed(protocol.error_of) is None
    states = passed(protocol.states_of)
    assert states is None or all(isinstance(state, str) for state in states.values())
    batches = passed(lambda found: protocol.batches_of(found, 2))
    assert batches is None or sorted(number for batch in batches for number in batch) == [0, 1]
    assert isinstance(passed(protocol.facts_of), dict | None)
    number = passed(protocol.number_of)
    assert number is None or number >= 0


@pytest.mark.slow
@given(
    st.lists(
        st.builds(
            Fault,
            code=st.from_regex(r"[A-Z][A-Z0-9_]{1,39}", fullmatch=True),
            message=st.text(max_size=50).map(printable),
            file=st.none() | st.text(max_size=20).map(printable),
            line=st.none() | st.integers(1, 10**6),
            column=st.none() | st.integers(1, 10**6),
            path=st.none() | st.text(max_size=20).map(printable),
            hint=st.none() | st.text(max_size=20).map(printable),
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([InvalidInput, BackendError]),
)
def test_faults_that_can_be_printed_cross_the_pipe_as_they_are(faults: list[Fault], kind: type[UserError]) -> None:
    line = protocol.to_line({"error": protocol.error_row(kind(*faults))})
    found = protocol.error_of(protocol.message_of(line)["error"])
    assert type(found) is kind
    assert list(found.faults) == faults


@given(st.text(max_size=30), st.lists(st.lists(st.text(max_size=5), min_size=1, max_size=3), min_size=2, max_size=4))
def test_prompts_cross_the_pipe_as_they_are(text: str, options: list[list[str]]) -> None:
    one = Prompt("t", "s", "i", "p", 3, "$x", {"x": text}, text, "", tuple(map(tuple, options)), 5, None)
    line = protocol.to_line(next(iter(protocol.in_chunks([one]))))
    assert b"\n" not in line[:-1]
    assert protocol.prompt_of(json.loads(line)["prompts"][0]) == one


# --- the end of it --------------------------------------------------------------------------------------------------

PARENT = """
import sys, time
import signal
from pathlib import Path
from runner.models.base import LoadOptions
from runner.models.worker import Limits, open_isolated, process
# Whoever started the tests in the background has them, and so this, ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
import test_worker
from support import tiny_submission
process.ENTRY = "support.misbehaving_worker:stubborn"
worker = open_isolated(tiny_submission.of(Path.cwd()), Path.cwd(), None, LoadOptions(device="cpu"))
print(worker.peak_memory_bytes(), flush=True)
try:
    list(worker.predict([test_worker.prompt()]))
finally:
    worker.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_process_outlives_the_one_that_started_it(how: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, "PYTHONPATH": f"{TESTS}:{Path(__file__).parent}"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        number = int(parent.stdout.readline())
        time.sleep(0.3)  # it is asked, and does not answer
        assert alive(number)
        parent.send_signal(how)
        parent.communicate(timeout=30)
    assert gone(number)


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("moral-ambiguity-worker-abcdefgh", "moral-ambiguity-worker-mine", "benchmark-abcdefgh"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "moral-ambiguity-worker-linklink").symlink_to("elsewhere")
    (tmp_path / "moral-ambiguity-worker-onefile_").touch()
    kept = {path.name for path in tmp_path.iterdir()} - {"moral-ambiguity-worker-abcdefgh"}
    first = process.Process()
    second = process.Process()
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {*kept, first.folder.name, second.folder.name}
    first.close()
    second.close()
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_process_whose_folder_is_taken_before_it_is_locked_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lock = private_folder.fcntl.flock

    def late(handle: int, how: int) -> None:
        monkeypatch.setattr(private_folder.fcntl, "flock", lock)
        (taken,) = tmp_path.iterdir()
        private_folder.remove_if_left(taken)
        assert list(tmp_path.iterdir()) == []
        lock(handle, how)

    monkeypatch.setattr(private_folder.fcntl, "flock", late)
    started = process.Process()
    assert list(tmp_path.iterdir()) == [started.folder]
    started.close()


@pytest.mark.slow
def test_a_key_that_stops_the_parent_does_not_reach_the_process(opened: Open) -> None:
    """Ctrl-C goes to a terminal's whole group of processes; the model's is in one of its own."""
    worker = opened("sound")
    assert os.getpgid(worker.peak_memory_bytes()) != os.getpgid(0)
