"""Strict YAML: a JSON value with places, or faults; nothing else ever comes out."""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runner.config.benchmark import benchmark_faults
from runner.config.scalars import MAX_INTEGER, ScalarFault, plain
from runner.config.source import BENCHMARK_BYTES, Document, fault_at, json_path, parse
from runner.config.submission import submission_faults
from runner.core.errors import Fault, InvalidInput

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-MAX_INTEGER, MAX_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
NOT_RAW = re.compile("[^\\x00-\\x7e\u00a0-\u2027\u202a-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def read(text: str | bytes) -> Document:
    return parse(text.encode() if isinstance(text, str) else text, "file.yaml", BENCHMARK_BYTES)


def as_yaml(value: Any, indent: int | None) -> str:
    """JSON, which YAML 1.2 contains, with the few characters escaped that YAML does not take as they are."""
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    return NOT_RAW.sub(lambda match: f"\\u{ord(match[0]):04x}", written)


def depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@pytest.mark.slow
@given(VALUES.filter(lambda value: depth(value) <= 16), st.sampled_from([None, 1]))
def test_json_comes_back_as_it_was(value: Any, indent: int | None) -> None:
    document = read(as_yaml(value, indent))
    assert document.faults == ()
    assert json.dumps(document.value) == json.dumps(value)


@given(VALUES.filter(lambda value: depth(value) <= 16))
def test_every_value_and_every_key_has_its_place(value: Any) -> None:
    text = as_yaml(value, 1)
    document = read(text)
    lines = text.split("\n")

    def look(value: Any, path: tuple[str | int, ...]) -> None:
        line, column = document.positions[path]
        rest = lines[line - 1][column - 1 :]
        first = as_yaml(value, 1).split("\n", maxsplit=1)[0]
        assert rest.startswith(first)
        if isinstance(value, dict):
            for key, inner in value.items():
                line, column = document.key_positions[(*path, key)]
                assert lines[line - 1][column - 1 :].startswith(as_yaml(key, None) + ": ")
                look(inner, (*path, key))
        if isinstance(value, list):
            for number, inner in enumerate(value):
                look(inner, (*path, number))

    look(value, ())


@pytest.mark.slow
@given(VALUES.filter(lambda value: depth(value) <= 16), st.booleans())
def test_what_is_read_is_what_pyyaml_reads(value: Any, flow: bool) -> None:
    """Where a block-style document is accepted, another reader of YAML 1.1 agrees, except for floats such as 1e5."""
    text = yaml.safe_dump(value, allow_unicode=False, default_flow_style=flow, sort_keys=False)
    try:
        document = read(text)
    except InvalidInput:
        return
    if not document.faults:
        expected = yaml.load(text, Loader=WithJsonFloats)
        assert json.dumps(document.value) == json.dumps(expected)


class WithJsonFloats(yaml.SafeLoader):
    """The oracle, taught that 1e5 is a number."""


WithJsonFloats.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?[0-9]+(\.[0-9]+)?[eE][-+]?[0-9]+$"), list("-0123456789")
)


def faults_in(data: bytes) -> Sequence[Fault]:
    """Why `data` is not read, or else what either check finds: whatever is raised here is a bug."""
    try:
        document = read(data)
    except InvalidInput as error:
        return error.faults
    return [*submission_faults(document), *benchmark_faults(document)]


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_else(data: bytes) -> None:
    faults = faults_in(data)
    assert faults  # no bytes are a submission and a benchmark at once
    assert [fault for fault in faults if fault.line is None or fault.line < 1] == []


WORDS = (
    "a b 1 no ~ null true 0x1 : , - ? | > ' \" # & * ! % @ ` { } [ ] << = \\ \\U \\x \n \t --- ... %YAML %TAG "
    "&a *a !!str !<x> |2 >- \u00a0 é 😀 model name path backend datasets tasks prompts version 1.10 1:30"
)
FRAGMENTS = st.sampled_from([*WORDS.split(" "), "\n", "\n  ", ": ", "- ", " ", '"', "'"])


@given(st.lists(FRAGMENTS, max_size=30))
def test_random_fragments_of_yaml_raise_nothing_else(parts: list[str]) -> None:
    faults = faults_in("".join(parts).encode())
    assert faults
    assert [fault for fault in faults if fault.line is None or fault.line < 1] == []


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "{a: ", "[{", "[[]," * 3 + "["])
def test_depth_cannot_exhaust_the_reader(opening: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(opening * 5000)
    codes = [fault.code for fault in caught.value.faults]
    assert codes[-1] == "YAML_TOO_DEEP"
    assert set(codes[:-1]) <= {"YAML_KEY"}
    assert len(codes) <= 17


def test_sixteen_levels_are_read_and_seventeen_refused() -> None:
    assert depth(read("[" * 16 + "]" * 16).value) == 16
    with pytest.raises(InvalidInput, match="YAML_TOO_DEEP"):
        read("[" * 17 + "]" * 17)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("false", False), ("null", None),
        ("0", 0), ("-7", -7), ("9007199254740991", MAX_INTEGER), ("1.5", 1.5), ("1e5", 1e5), ("-2.5E-3", -0.0025),
        ("0e999999999999999999999", 0.0), ("0.1", 0.1), ("1e-9", 1e-9), ("1.10", 1.1),
        ("nothing", "nothing"), ("No.", "No."), ("nope", "nope"), ("1.2.3", "1.2.3"), ("10 items", "10 items"),
        ("a5bd01bed4f8ac", "a5bd01bed4f8ac"), ("nan", "nan"), ("Infinity", "Infinity"), ("1:99", "1:99"), ("-", "-"),
        ("2020-1", "2020-1"), ("0x", "0x"), ("e5", "e5"), ("==", "=="), ("host:80", "host:80"), (".", "."),
    ],
)  # fmt: skip
def test_plain_scalars_of_one_meaning(text: str, value: object) -> None:
    found = plain(text)
    assert found == value
    assert type(found) is type(value)


SURPRISES = (
    "no No NO yes Yes on OFF y N True FALSE ~ Null NULL 1:30 190:20:30 1:30.5 0123 -012 0o17 0b101 0x1F 1_000 1_0.5 +1 "
    "+1.5 1. .5 .5e3 .inf -.Inf +.INF .nan .NaN 2020-01-01 2001-12-14t21:59:43.10-05:00 2001-12-14 = 00 01.5 08 "
    "9007199254740992 -9007199254740992 1e400 -1e400 1e-400 0.12345678901234567890 1E309"
)


@pytest.mark.parametrize("text", ["", *SURPRISES.split(" ")])
def test_plain_scalars_of_more_than_one_meaning(text: str) -> None:
    with pytest.raises(ScalarFault) as caught:
        plain(text)
    assert caught.value.hint


@given(st.text("0123456789+-._:eExobaflsnyITZtd ~=<", max_size=12))
def test_a_scalar_that_is_read_means_the_same_to_a_reader_of_yaml_1_1(text: str) -> None:
    """The oracle is PyYAML: whatever passes is text to it as well, or the same number."""
    try:
        value = plain(text)
    except ScalarFault:
        return
    node = yaml.ScalarNode(WithJsonFloats("").resolve(yaml.ScalarNode, text, (True, False)), text)
    other = WithJsonFloats("").construct_object(node)
    assert other == value
    assert isinstance(value, str) == isinstance(other, str)
    assert not isinstance(value, float) or math.isfinite(value)


def test_quotes_make_text_of_anything() -> None:
    document = read("- 'no'\n- \"1:30\"\n- |-\n  0123\n- >-\n  ~\n")
    assert document.value == ["no", "1:30", "0123", "~"]
    assert document.faults == ()


def test_faults_that_leave_the_rest_readable_are_gathered() -> None:
    document = read("a: no\nb: &x 1\nc: *x\nd: !!int 3\na: 2\n<<: {e: 1}\n5: f\n")
    assert [(fault.code, fault.line, fault.column) for fault in document.faults] == [
        ("YAML_SCALAR", 1, 4),
        ("YAML_ALIAS", 2, 4),
        ("YAML_ALIAS", 3, 4),
        ("YAML_TAG", 4, 4),
        ("YAML_DUPLICATE_KEY", 5, 1),
        ("YAML_ALIAS", 6, 1),
        ("YAML_KEY", 7, 1),
    ]
    assert document.spoiled == {("a",), ("c",), ("d",), ()}


def test_paths_are_written_as_rfc_9535_writes_them() -> None:
    assert json_path(()) == "$"
    assert json_path(("tasks", "dilemmas", "labels", 1)) == "$.tasks.dilemmas.labels[1]"
    assert json_path(("prompts", "a-b", 0)) == "$.prompts['a-b'][0]"
    assert json_path(("\x1b[31m",)) == "$['\\x1b[31m']"


def test_a_fault_without_a_place_of_its_own_stands_at_the_key_of_its_parent() -> None:
    document = read("model:\n  format: plain\n")
    assert fault_at(document, "X", ("model", "dtype"), "").place() == "file.yaml:1:1"
    assert fault_at(document, "X", ("model", "format"), "").place() == "file.yaml:2:11"
    assert fault_at(document, "X", ("model", "format"), "", key=True).place() == "file.yaml:2:3"


def test_a_megabyte_is_refused_or_read_in_bounded_time() -> None:
    with pytest.raises(InvalidInput, match="YAML_TOO_LARGE"):
        parse(b"- a\n" * 300_000, "file.yaml", BENCHMARK_BYTES)
