"""Whatever bytes a folder holds, faults come out and never an exception; and only headers are read."""

import json
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import hostile_submissions as hostile

from runner.artifacts import check_adapter, check_model
from runner.artifacts.reading import capped
from runner.artifacts.safetensors_header import MAX_HEADER, Tensor, check_header, read_header
from runner.core.errors import Fault
from runner.core.strict_json import JsonFault, parse

DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "I64": "i8",
    "I32": "i4",
    "I16": "i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda n: n != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=4)
tensors = st.dictionaries(names, st.tuples(st.sampled_from(sorted(DTYPES)), shapes), max_size=6)
metadata = st.none() | st.dictionaries(
    names, st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=3
)


def saved(described: dict[str, tuple[str, list[int]]], notes: dict[str, str] | None = None) -> bytes:
    arrays = {name: np.zeros(shape, dtype=DTYPES[dtype]) for name, (dtype, shape) in described.items()}
    return bytes(safetensors.numpy.save(arrays, metadata=notes))


def checked(data: bytes) -> tuple[list[Fault], dict[str, Tensor] | None]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(data)
        return read_header(path, "x")


def library_accepts(data: bytes) -> bool:
    try:
        safetensors.deserialize(data)
    except safetensors.SafetensorError:
        return False
    return True


@given(tensors, metadata)
def test_what_the_library_writes_is_read_as_it_was_meant(
    described: dict[str, tuple[str, list[int]]], notes: dict[str, str] | None
) -> None:
    faults, header = checked(saved(described, notes))
    assert faults == []
    assert header == {name: Tensor(dtype, tuple(shape)) for name, (dtype, shape) in described.items()}


SOUND = saved({"a": ("F32", [2, 3]), "b.weight": ("F16", [4]), "c": ("I64", []), "d": ("U8", [0, 5])}, {"format": "pt"})
LENGTH = struct.unpack("<Q", SOUND[:8])[0]


@given(st.lists(st.tuples(st.integers(0, 8 + LENGTH - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_refused_by_us_or_accepted_by_both(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SOUND)
    for position, value in changes:
        data[position] = value
    faults, header = checked(bytes(data))
    assert (header is None) is bool(faults)
    if not faults:
        assert library_accepts(bytes(data))


# Bytes that keep a header JSON more often than chance: digits, signs, quotes and brackets.
@given(st.lists(st.tuples(st.integers(0, LENGTH - 1), st.sampled_from(b'0123456789-+.eE"{}[],: \\u')), max_size=3))
@example([(next(n for n in range(LENGTH) if SOUND[8 + n : 9 + n] == b"0"), ord("-"))])
def test_changed_json_is_refused_by_us_or_accepted_by_both(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SOUND)
    for position, value in changes:
        data[8 + position] = value
    faults, _ = checked(bytes(data))
    if not faults:
        assert library_accepts(bytes(data))


numbers = st.sampled_from(
    [-1, -0.0, 0, 1, 2, 4, 8, 24, 2**31, 2**32, 2**53 - 1, 2**53, 2**63, 2**64, 10**40, 0.5, 1e300]
)
odd = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5) | st.sampled_from(["F32", "F4", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from([*DTYPES, "BF16", "F8_E4M3", "U64"]) | odd,
        "shape": st.lists(numbers, max_size=3) | odd,
        "data_offsets": st.lists(numbers, min_size=2, max_size=2) | odd,
        "extra": odd,
    },
)
headers = st.dictionaries(st.sampled_from(["__metadata__", "a", "b", "\ud800", "-"]), entries | odd, max_size=4)


@given(headers, st.sampled_from([0, 1, 8, 24, 32]))
def test_any_header_gives_faults_or_what_the_library_accepts(described: dict[str, Any], length: int) -> None:
    header = json.dumps(described).encode()
    faults, found = check_header(header, length, "x")
    for fault in faults:
        str(fault).encode()
    if found is not None:
        assert library_accepts(struct.pack("<Q", len(header)) + header + bytes(length))


@pytest.mark.parametrize("shape", [[2**52, 2**52, 0], [2**40, 2**40], [1] * 9])
def test_shapes_that_overflow_are_refused_even_when_empty(shape: list[int]) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}).encode()
    faults, _ = check_header(header, 0, "x")
    assert [fault.code for fault in faults] == ["ST_SHAPE"]


def test_a_negative_zero_is_refused_though_python_takes_it_for_zero() -> None:
    header = b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[-0,0]}}'
    assert not library_accepts(struct.pack("<Q", len(header)) + header)
    assert [fault.code for fault in check_header(header, 0, "x")[0]] == ["ST_HEADER_JSON"]


def test_many_faults_of_one_kind_are_counted_and_not_listed() -> None:
    faults = capped([Fault("A", f"{n}.", file="x") for n in range(1000)] + [Fault("B", "b.", file="x")])
    assert len(faults) == 10
    assert "992 more" in faults[-1].message


def bytes_read() -> int:
    """Bytes that this process has asked the system to read so far."""
    counters = Path("/proc/self/io").read_text()
    return int(counters.split("rchar:")[1].split()[0])


def test_sixteen_gigabytes_are_checked_by_reading_a_header(tmp_path: Path) -> None:
    if not Path("/proc/self/io").is_file():
        pytest.skip("this system does not count the bytes that a process reads")
    hostile.make_model(tmp_path / "model")
    sizes = {"vocab_size": 512_000, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 32}
    hostile.setting("config.json", **sizes)(tmp_path / "model")
    grown = {
        name: [{64: 512_000, 32: 4096}[n] if "embed" in name or "lm_head" in name else {64: 64, 32: 4096}[n] for n in s]
        for name, s in hostile.SHAPES.items()
    }
    header = hostile.header_of(grown)
    raw = json.dumps(header).encode()
    path = tmp_path / "model" / "model.safetensors"
    hostile.write_raw(path, raw, b"")
    os.truncate(path, 8 + len(raw) + hostile.data_bytes(header))
    assert path.stat().st_size > 16 * 10**9
    before = bytes_read()
    faults, facts = check_model(tmp_path / "model")
    read = bytes_read() - before
    assert faults == ()
    assert facts is not None
    assert facts.parameters > 4 * 10**9
    held = sum(file.stat().st_size for file in path.parent.iterdir() if file != path) + 8 + len(raw)
    assert read < 2 * held + 4096  # tokenizer_config.json is read twice; the counter itself is a read


def test_a_header_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", MAX_HEADER + 1))
    os.truncate(path, MAX_HEADER + 100)
    before = bytes_read()
    faults, _ = read_header(path, "x")
    assert [fault.code for fault in faults] == ["ST_HEADER_SIZE"]
    assert bytes_read() - before < 4096


# --- JSON files ----------------------------------------------------------------------------------------------------

FILES = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors.index.json",
    "adapter_config.json",
]
KEYS = sorted(
    {
        *hostile.CONFIG,
        *hostile.TOKENIZER,
        *hostile.ADAPTER,
        *("weight_map", "auto_map", "rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern"),
        *("chat_template", "tokenizer_class", "vocab_file", "quantization_config", "head_dim", "lora_bias", "use_dora"),
        *("type", "normalizers", "pretokenizers", "processors", "pattern", "behavior", "single", "exclude_modules"),
    }
)
kinds = st.sampled_from(
    ["Sequence", "Split", "Replace", "TemplateProcessing", "LORA", "llama", "q_proj", "Regex", "/x"]
)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5) | kinds,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)


def faults_in(folder: Path) -> list[Fault]:
    return [*check_model(folder)[0], *check_adapter(folder, None)[0]]


def fit(fault: Fault) -> bool:
    """Whether it has a code, and is short and printable as a terminal shows it."""
    return bool(fault.code) and str(fault).isprintable() and len(str(fault)) < 2000


@pytest.mark.slow
@given(st.sampled_from(FILES), st.dictionaries(st.sampled_from(KEYS), values, max_size=4), st.booleans())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_json_gives_faults_and_no_exception(file: str, change: dict[str, Any], keep: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hostile.make_model(folder)
        hostile.make_adapter(folder)
        path = folder / file
        sound = json.loads(path.read_text(encoding="utf-8")) if keep and path.exists() else {}
        path.write_text(json.dumps({**sound, **change}), encoding="utf-8")
        assert [fault for fault in faults_in(folder) if not fit(fault)] == []


@pytest.mark.slow
@given(st.sampled_from([*FILES, "chat_template.jinja", "model.safetensors"]), st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_give_faults_and_no_exception(file: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hostile.make_model(folder)
        hostile.make_adapter(folder)
        (folder / file).write_bytes(data)
        assert [fault for fault in faults_in(folder) if not fit(fault)] == []


def test_a_larger_integer_is_read_only_when_asked_for() -> None:
    assert parse(b"1000000000000000019884624838656", max_integer=10**31) == 1000000000000000019884624838656
    with pytest.raises(JsonFault):
        parse(b"1000000000000000019884624838656")
    with pytest.raises(JsonFault):
        parse(b"10000000000000000000000000000001", max_integer=10**31)
