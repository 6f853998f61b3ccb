"""One split read: what is accepted, what is refused and in which words."""

import hashlib
import json
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.paths import EXAMPLES

from runner.core.errors import Fault, InvalidInput
from runner.core.resources import embedded_data
from runner.core.types import Item
from runner.tasks.data import Skipped, default_data_dir, find_file, load_items
from runner.tasks.data import load as load_module

INVALID = EXAMPLES / "invalid" / "data"
INDEX = json.loads((INVALID / "index.json").read_bytes())


def faults_of(call, *arguments) -> tuple[Fault, ...]:
    with pytest.raises(InvalidInput) as caught:
        call(*arguments)
    return caught.value.faults


def pair(number: int, votes: list[int], **changes) -> dict:
    row = {
        "id": f"p{number}",
        "actions": [{"description": "to go"}, {"description": "to stay"}],
        "gold_annotations": votes,
        "human_perf_annotations": [0, 0],
    }
    return row | changes


def story(number: int, votes: dict[str, int], **changes) -> dict:
    row = {"id": f"s{number}", "title": "Late", "text": "I came late.", "post_type": "HISTORICAL"}
    return row | {"label_scores": votes} | changes


def lines(*rows: dict, end: str = "\n") -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


@pytest.fixture
def load(tasks, pinned, tmp_path):
    def go(content: bytes, task: str = "dilemmas", **pin):
        path = tmp_path / "data.jsonl"
        path.write_bytes(content)
        return load_items(tasks[task], pinned(content, **pin), path)

    return go


# --- malformed files ------------------------------------------------------------------------------------------------


def test_every_malformed_file_is_in_the_index():
    assert {path.name for path in INVALID.glob("*.jsonl")} == set(INDEX)
    assert len(INDEX) >= 12


@pytest.mark.parametrize("name", sorted(INDEX))
def test_malformed(name, tasks, pinned):
    path, expected = INVALID / name, INDEX[name]
    data = pinned(path, rows=expected.get("rows"))
    if "sha256" in expected:
        data = replace(data, sha256=expected["sha256"])
    faults = faults_of(load_items, tasks[expected["task"]], data, path)
    found = [(fault.code, fault.line, fault.path) for fault in faults]
    wanted = [(want["code"], want.get("line"), want.get("path")) for want in expected["faults"]]
    # A path is stated in the index where it is worth stating.
    assert [(c, n, p if w[2] else None) for (c, n, p), w in zip(found, wanted, strict=True)] == wanted
    for fault, want in zip(faults, expected["faults"], strict=True):
        assert want.get("says", "") in fault.message
        assert fault.file == str(path)


def test_every_code_has_a_malformed_file():
    codes = {fault["code"] for entry in INDEX.values() for fault in entry["faults"]}
    assert codes == {
        *("DATA_DIGEST", "DATA_ROWS", "DATA_JSON", "DATA_FIELD", "DATA_VOTES", "DATA_LABEL"),
        *("DATA_NO_VOTES", "DATA_DUPLICATE_ID", "DATA_ENCODING"),
    }


def test_the_first_twenty_faults_and_the_number_of_the_others(load):
    def strange(number: int) -> dict:
        return pair(number, {"first": 1, "second": 1, f"other-{number}": 1})

    faults = faults_of(load, lines(*map(strange, range(50))))
    assert [fault.line for fault in faults[:-1]] == list(range(1, 21))
    assert (faults[-1].code, faults[-1].message) == ("DATA_MORE", "… and 30 more.")
    assert len(faults_of(load, lines(*map(strange, range(20))))) == 20


def test_equal_faults_are_one_with_the_number_of_rows_and_the_first_lines(load):
    wrong = [story(n, {"AUTHOR": 1, "OTHER": 1, "EVERYBODY": 0, "NOBODY": 0}) for n in range(7)]
    right = [story(n, dict.fromkeys(("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO"), 1)) for n in range(7, 20)]
    (fault,) = faults_of(load, lines(*right, *wrong), "anecdotes")
    assert fault.message == "7 of 20 rows have no count for 'INFO': `missing: zero`? (lines 14, 15, 16, 17, 18, …)"
    assert (fault.code, fault.line, fault.path) == ("DATA_LABEL", 14, "$.label_scores")


# --- what is accepted -----------------------------------------------------------------------------------------------


def test_an_item(load):
    content = lines(pair(1, [4, 1], human_perf_annotations=[3, 2]), pair(2, [0, 5]))
    loaded = load(content)
    fields = {"first": "to go", "second": "to stay"}
    assert loaded.items == (Item("p1", fields, (4, 1), (3, 2), None), Item("p2", fields, (0, 5), None, None))
    assert (loaded.rows, loaded.skipped, loaded.sha256) == (2, (), hashlib.sha256(content).hexdigest())


def test_votes_by_label_in_any_order(load):
    votes = {"INFO": 5, "NOBODY": 4, "AUTHOR": 1, "EVERYBODY": 3, "OTHER": 2}
    (item,) = load(lines(story(1, votes)), "anecdotes").items
    assert item.counts == (1, 2, 3, 4, 5)
    assert item.group == "HISTORICAL"


def test_votes_by_label_where_a_released_file_has_an_array_and_the_reverse(load):
    (item,) = load(lines(pair(1, {"second": 3, "first": 2}))).items
    assert item.counts == (2, 3)
    (item,) = load(lines(story(1, [1, 0, 0, 0, 2])), "anecdotes").items
    assert item.counts == (1, 0, 0, 0, 2)


def test_a_null_panel_is_none(load):
    assert load(lines(pair(1, [4, 1], human_perf_annotations=None))).items[0].panel is None


def test_no_rows_are_no_split_even_where_none_are_declared(load):
    (fault,) = faults_of(load, b"")
    assert (fault.code, fault.message) == ("DATA_ROWS", "The file has no rows.")


def test_rows_without_votes_are_skipped_where_the_task_says_so(load):
    none = dict.fromkeys(("AUTHOR", "OTHER", "EVERYBODY", "NOBODY", "INFO"), 0)
    loaded = load(lines(story(1, none), story(2, none | {"INFO": 1}), story(3, none)), "anecdotes")
    assert [item.id for item in loaded.items] == ["s2"]
    assert loaded.rows == 3
    assert [(skipped.id, skipped.line) for skipped in loaded.skipped] == [("s1", 1), ("s3", 3)]
    assert loaded.skipped[0] == Skipped("s1", 1, "nobody voted for any of AUTHOR, OTHER, EVERYBODY, NOBODY, INFO")


def test_a_skipped_row_still_has_its_id(load):
    none = [0, 0, 0, 0, 0]
    (fault,) = faults_of(load, lines(story(1, none), story(1, [1, 0, 0, 0, 0])), "anecdotes")
    assert (fault.code, fault.line) == ("DATA_DUPLICATE_ID", 2)


def test_an_empty_text_beside_a_title(load):
    (item,) = load(lines(story(1, [1, 0, 0, 0, 0], text="")), "anecdotes").items
    assert item.fields == {"title": "Late", "text": ""}


@pytest.mark.parametrize("strange", ["a\u2028b", "a\u0085b", "a\x0bb", "a\rb", "a\nb", "\U0001f600", "\x00", 'a\\b"c'])
def test_only_a_line_feed_ends_a_row(load, strange):
    row = pair(1, [1, 4], actions=[{"description": strange}, {"description": "x"}])
    for ascii_only in (True, False):
        content = json.dumps(row, ensure_ascii=ascii_only).encode() + b"\n" + lines(pair(2, [1, 4]))
        loaded = load(content, rows=2)
        assert loaded.items[0].fields["first"] == strange


def test_line_ends(load):
    rows = pair(1, [1, 4]), pair(2, [2, 3])
    expected = load(lines(*rows)).items
    assert load(lines(*rows, end="\r\n")).items == expected
    assert load(lines(*rows).removesuffix(b"\n")).items == expected
    (fault,) = faults_of(load, lines(*rows) + b"\r\n")
    assert (fault.code, fault.line) == ("DATA_JSON", 3)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
            st.text(st.characters(exclude_categories=["Cs"])),
            st.lists(st.integers(0, 1000), min_size=2, max_size=2).filter(any),
        ),
        min_size=1,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_written_is_read(load, rows):
    content = lines(
        *(
            {
                "id": name,
                "actions": [{"description": text}, {"description": "x"}],
                "gold_annotations": votes,
                "human_perf_annotations": votes,
            }
            for name, text, votes in rows
        )
    )
    loaded = load(content, rows=len(rows))
    assert [(item.id, item.fields["first"], list(item.counts), item.panel) for item in loaded.items] == [
        (name, text, votes, tuple(votes)) for name, text, votes in rows
    ]


# --- the pin --------------------------------------------------------------------------------------------------------


def test_both_kinds_of_pin(load):
    content = lines(pair(1, [1, 4]))
    assert load(content, git=True) == load(content, git=False)


def test_git_agrees_on_its_own_digest(tasks, pinned, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(lines(pair(1, [1, 4])))
    command = ["git", "hash-object", "--no-filters", str(path)]
    blob = subprocess.run(command, capture_output=True, check=True, text=True, cwd=tmp_path).stdout.strip()
    data = replace(pinned(path), sha256=None, git_blob=blob)
    assert load_items(tasks["dilemmas"], data, path).rows == 1
    with pytest.raises(InvalidInput, match=f"git_blob {blob}, expected 0{blob[1:]}0"):
        load_items(tasks["dilemmas"], replace(data, git_blob=f"0{blob[1:]}0"), path)


def test_a_changed_vote_is_found(tasks, pinned, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(lines(pair(1, [1, 4])))
    data = pinned(path)
    path.write_bytes(lines(pair(1, [2, 3])))
    (fault,) = faults_of(load_items, tasks["dilemmas"], data, path)
    assert fault.code == "DATA_DIGEST"
    assert data.sha256 in fault.message
    assert "benchmark data fetch" in fault.hint


@pytest.mark.parametrize("git", [True, False])
def test_changed_line_ends_are_recognised(tasks, pinned, tmp_path, git):
    path = tmp_path / "data.jsonl"
    content = lines(pair(1, [1, 4]))
    path.write_bytes(content.replace(b"\n", b"\r\n"))
    (fault,) = faults_of(load_items, tasks["dilemmas"], pinned(content, git=git), path)
    assert fault.code == "DATA_DIGEST"
    assert "CRLF" in fault.hint


def test_the_file_is_opened_once(tasks, pinned, tmp_path, monkeypatch):
    """What is hashed is what is parsed: there is no second look that could see other bytes."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(lines(pair(1, [1, 4])))
    data = pinned(path)
    opened = []
    read_whole = load_module.read_whole

    def read_and_swap(path, max_bytes):
        opened.append(path)
        content = read_whole(path, max_bytes)
        path.write_bytes(lines(pair(1, [4, 1])))
        return content

    monkeypatch.setattr(load_module, "read_whole", read_and_swap)
    assert load_items(tasks["dilemmas"], data, path).items[0].counts == (1, 4)
    assert opened == [path]


def test_a_large_file_that_changes_while_it_is_read_is_refused(tasks, pinned, tmp_path, monkeypatch):
    path = tmp_path / "data.jsonl"
    path.write_bytes(lines(pair(1, [1, 4])))
    data = pinned(path)
    read_rows = load_module.read_rows

    def read_after_change(*arguments):
        path.write_bytes(lines(pair(1, [4, 1]), pair(2, [4, 1])))
        return read_rows(*arguments)

    monkeypatch.setattr(load_module, "_WHOLE_FILE", 0)
    assert load_items(tasks["dilemmas"], data, path).items[0].counts == (1, 4)
    monkeypatch.setattr(load_module, "read_rows", read_after_change)
    (fault,) = faults_of(load_items, tasks["dilemmas"], data, path)
    assert (fault.code, fault.message) == ("DATA_DIGEST", "The file was changed while it was read.")


# --- where files lie ------------------------------------------------------------------------------------------------


def test_a_file_at_the_top_or_in_the_folder(released, tmp_path):
    dataset = released.datasets["scruples-dilemmas"]
    data = dataset.splits["dev"]
    (fault,) = faults_of(find_file, dataset, data, tmp_path)
    assert fault.code == "DATA_MISSING"
    assert str(tmp_path / data.file) in fault.message
    assert str(tmp_path / "dilemmas" / data.file) in fault.message
    assert "benchmark data fetch" in fault.hint
    below = tmp_path / "dilemmas" / data.file
    below.parent.mkdir()
    below.write_bytes(b"")
    assert find_file(dataset, data, tmp_path) == below
    (tmp_path / data.file).write_bytes(b"")
    assert find_file(dataset, data, tmp_path) == tmp_path / data.file


def test_a_folder_of_the_name_is_no_file(released, tmp_path):
    dataset = released.datasets["scruples-dilemmas"]
    (tmp_path / dataset.splits["dev"].file).mkdir()
    assert faults_of(find_file, dataset, dataset.splits["dev"], tmp_path)[0].code == "DATA_MISSING"


def test_the_default_folder(monkeypatch, released, tmp_path):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    expected = Path("/home/somebody/.cache/moral-ambiguity-benchmark/data")
    assert default_data_dir() == expected
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_data_dir() == expected
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "moral-ambiguity-benchmark" / "data"
    dataset = released.datasets["scruples-dilemmas"]
    assert str(default_data_dir()) in faults_of(find_file, dataset, dataset.splits["dev"], None)[0].message


def test_a_file_that_is_gone(tasks, pinned, tmp_path):
    (fault,) = faults_of(load_items, tasks["dilemmas"], pinned(b"{}"), tmp_path / "gone")
    assert (fault.code, fault.file) == ("DATA_MISSING", str(tmp_path / "gone"))


# --- the sample and the real data -----------------------------------------------------------------------------------


def test_every_split_of_the_sample_suite_loads(released):
    suite = released.suites["sample"]
    for name, dataset_name in suite.datasets.items():
        dataset = released.datasets[dataset_name]
        for data in dataset.splits.values():
            path = find_file(dataset, data, None)
            assert path.parent == embedded_data("sample")
            loaded = load_items(released.tasks[name], data, path)
            assert len(loaded.items) + len(loaded.skipped) == loaded.rows == data.rows


def test_dilemmas_dev_as_released(released, scruples):
    """Counts and digest from the description of the data, reference values computed by other code."""
    dataset = released.datasets["scruples-dilemmas"]
    data = dataset.splits["dev"]
    loaded = load_items(released.tasks["dilemmas"], data, find_file(dataset, data, scruples))
    assert loaded.sha256 == "780b28b57bfb7628ef60e574b8cb646625d1dc3932ceb32d5706ba350c73239a"
    assert (loaded.rows, len(loaded.items), loaded.skipped) == (2340, 2340, ())
    first = Counter(item.counts[0] for item in loaded.items)
    assert [first[n] for n in range(6)] == [393, 374, 362, 390, 420, 401]
    assert sum(min(item.counts) > 0 for item in loaded.items) == 1546
    assert all(sum(item.counts) == 5 and item.panel is not None and sum(item.panel) == 5 for item in loaded.items)


def test_dilemmas_dev_by_git_blob(released, scruples):
    path = scruples / "dev.scruples-dilemmas.jsonl"
    command = ["git", "hash-object", "--no-filters", str(path)]
    blob = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    data = replace(released.datasets["scruples-dilemmas"].splits["dev"], sha256=None, git_blob=blob)
    assert load_items(released.tasks["dilemmas"], data, path).rows == 2340


@pytest.mark.parametrize("task", ["anecdotes", "anecdotes-binary"])
def test_anecdotes_in_native_fields(released, scruples, pinned, task):
    path = scruples / "selected60.scruples-anecdotes.jsonl"
    data = replace(pinned(path, rows=60), sha256="4b2be9ac885adfb89e7c27129b0d1a384c8d5ad6f2a85321b9b108692523fd81")
    loaded = load_items(released.tasks[task], data, path)
    assert len(loaded.items) == 60
    assert {item.group for item in loaded.items} == {"HISTORICAL"}
    assert all(item.fields.keys() == {"title", "text"} for item in loaded.items)


def test_the_binary_votes_are_the_five_folded(released, scruples, pinned):
    """RIGHT = OTHER + NOBODY, WRONG = AUTHOR + EVERYBODY, INFO dropped (Scruples, arXiv 2008.09094)."""
    path = scruples / "selected60.scruples-anecdotes.jsonl"
    five, two = (
        load_items(released.tasks[task], pinned(path, rows=60), path).items
        for task in ("anecdotes", "anecdotes-binary")
    )
    for item, folded in zip(five, two, strict=True):
        author, other, everybody, nobody, _ = item.counts
        assert (item.id, (other + nobody, author + everybody)) == (folded.id, folded.counts)
