"""Elements that come one at a time are those of the whole document, with their lines; faults name theirs."""

import datetime
import io
import json
import os
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core import clock, environment, json_schema, resources
from runner.core.strict_json import JsonFault, elements

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abé\n", max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=4), st.sampled_from([None, 1]))
def test_an_array_is_given_element_by_element(values, indent):
    document = json.dumps(values, indent=indent).encode()
    assert [(key, value) for _, key, value in elements(document, max_bytes=1 << 20)] == [
        (None, each) for each in values
    ]


@given(st.dictionaries(st.text("abé\n", max_size=3), VALUES, max_size=4), st.sampled_from([None, 1]))
def test_an_object_is_given_member_by_member(values, indent):
    document = json.dumps(values, indent=indent).encode()
    assert [(key, value) for _, key, value in elements(document, max_bytes=1 << 20)] == list(values.items())


def test_each_has_the_line_on_which_it_begins():
    array, mapping = b' \n[\n 1,\n\n {"a":\n 2}\n, 3]\n', b'{"a": 1,\n"b":\n2,\n\n"c": 3}'
    assert [line for line, _, _ in elements(array, max_bytes=99)] == [3, 5, 7]
    assert [line for line, _, _ in elements(mapping, max_bytes=99)] == [1, 2, 5]


@pytest.mark.parametrize(
    ("document", "line", "words"),
    [
        (b'\n{"a": 1,\n"a": 2}', 3, "key given twice: 'a'"),
        (b'[1,\n{"b": 1, "b": 2}]', 2, "key given twice"),
        (b"\n[1,\n2] 3\n", 3, "there is more after the end of the document"),
        (b"\n[1\n2,\n3]", 3, ", or ] was expected"),
        (b'{"a"\n1,\n"b": 2}', 2, ": was expected"),
        (b"{\n1: 2}", 2, "a name in quotes was expected"),
        (b"[\nNaN]", 2, "NaN"),
        (b"[1,\n]", 2, "Expecting value at column 1"),
        (b"[]1", 1, "there is more after the end of the document"),
        (b"{}\n{}", 1, "there is more after the end of the document"),
        (b"7", 1, "an array of rows"),
        (b"", 1, "an array of rows"),
    ],
)
def test_a_fault_names_its_line(document, line, words):
    with pytest.raises(JsonFault) as refused:
        list(elements(document, max_bytes=99))
    assert refused.value.code == "JSON"
    assert words in refused.value.message
    assert refused.value.line == line


def test_bounds_of_size_and_depth():
    assert len(list(elements(b"[1]", max_bytes=3))) == 1
    with pytest.raises(JsonFault, match="3 bytes, at most 2 are read"):
        list(elements(b"[1]", max_bytes=2))
    for depth in (3, 64):
        given_depth = {} if depth == 64 else {"max_depth": depth}
        assert len(list(elements(b"[" * depth + b"]" * depth, max_bytes=999, **given_depth))) == 1
        with pytest.raises(JsonFault, match=f"more than {depth} levels deep"):
            list(elements(b"[" * (depth + 1) + b"]" * (depth + 1), max_bytes=999, **given_depth))


# --- small nouns --------------------------------------------------------------------------------------------------


def test_the_time_is_utc_to_the_second():
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    text = clock.now()
    assert len(text) == len("2026-01-01T00:00:00Z")
    assert before <= datetime.datetime.fromisoformat(text) <= datetime.datetime.now(datetime.UTC)


def test_files_that_travel_with_the_package(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert json.loads((resources.schema_folder() / "keyring.schema.json").read_bytes())["$schema"]
    assert resources.benchmark_file().name == "benchmark.yaml"
    assert resources.released_benchmarks()[0] == resources.benchmark_file()
    assert len(resources.released_benchmarks()) > 1
    assert resources.embedded_data("sample").is_dir()
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "runner")
    assert resources.benchmark_file() == tmp_path / "benchmark.yaml"  # the checkout's
    installed = tmp_path / "runner" / "resources" / "benchmark.yaml"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert resources.benchmark_file() == installed


def test_the_cores_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    assert environment.cpus() == environment.describe()["system"]["cpus"] == 3
    assert set(environment.describe()) == {"versions", "system", "variables", "image_digest", "source_revision"}
    assert set(environment.describe()["system"]) == {"platform", "machine", "processor", "cpus", "memory_bytes"}


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ("processor\t: 0\nmodel name\t: Model: 5 \nmodel name\t: Other\n", "Model: 5"),
        ("processor\t: 0\n", None),
        (None, "by another way"),
    ],
)
def test_the_processors_name_is_the_kernels(
    lines: str | None, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: str, **_: str) -> io.StringIO:
        if lines is None:
            raise FileNotFoundError(path)
        return io.StringIO(lines)

    monkeypatch.setattr(environment, "open", opened, raising=False)
    monkeypatch.setattr(platform, "processor", lambda: "by another way")
    assert environment._processor() == name


def test_a_schema_without_any_property_knows_none():
    [found] = json_schema.mismatches({"type": "object", "additionalProperties": False}, {"a": 1})
    assert found.message == 'has unknown "a".'
