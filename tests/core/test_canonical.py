"""One way from a value to bytes and digests: published vectors, and other programs as oracles."""

import hashlib
import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.canonical import (
    digest,
    git_blob_bytes,
    git_blob_file,
    manifest,
    manifest_digest,
    sha256_bytes,
    sha256_file,
    to_bytes,
)

# RFC 8785, section 3.2.2 and 3.2.3: the sample input, its output.
RFC_INPUT = r"""
{
  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
  "literals": [null, true, false]
}
"""
RFC_OUTPUT = (
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
    '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
)
# Section 3.2.3: property names sorted by UTF-16 code units.
RFC_NAMES = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
RFC_SORTED = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_the_sample_of_the_rfc():
    assert to_bytes(json.loads(RFC_INPUT)).decode() == RFC_OUTPUT
    found = json.loads(
        to_bytes(dict.fromkeys(RFC_NAMES, 0)), object_pairs_hook=lambda pairs: [name for name, _ in pairs]
    )
    assert found == RFC_SORTED


# Appendix B of the RFC: IEEE 754 bit patterns and their form.
@pytest.mark.parametrize(
    ("bits", "form"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555555", "333333333.3333333"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
    ],
)
def test_numbers_of_the_rfc(bits, form):
    import struct

    assert to_bytes(struct.unpack(">d", bytes.fromhex(bits))[0]).decode() == form


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: abs(number) < 2**53 or abs(number) >= 1e21)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=10,
)


@given(values)
def test_what_is_written_is_the_same_value_and_a_fixed_point(value):
    data = to_bytes(value)
    assert json.loads(data) == value
    assert to_bytes(json.loads(data)) == data


def test_a_whole_float_between_is_written_as_an_integer_that_is_not_read():
    """JCS writes 2^53 to 10^21 without a point: signing reads what it wrote, and refuses such a card."""
    assert to_bytes(1e17) == b"100000000000000000"
    with pytest.raises(ValueError, match="integer"):
        to_bytes(json.loads(to_bytes(1e17)))


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 9), min_size=2))
def test_the_order_of_keys_changes_no_digest(value):
    assert digest(dict(reversed(value.items()))) == digest(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, -(2**53), {"a": [float("-inf")]}])
def test_what_has_no_canonical_form(value):
    with pytest.raises(ValueError, match=r"."):
        to_bytes(value)


def test_a_digest_says_its_algorithm():
    assert digest({}) == f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    assert sha256_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("data", [b"", b"abc", b"\0" * 70_000, b"line\r\n" * 400_000])
def test_digests_of_a_file(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    assert sha256_file(path) == sha256_bytes(data) == hashlib.sha256(data).hexdigest()
    assert git_blob_file(path) == git_blob_bytes(data)
    if shutil.which("git"):
        theirs = subprocess.run(["git", "hash-object", "--no-filters", path], capture_output=True, check=True)
        assert git_blob_file(path) == theirs.stdout.decode().strip()


def test_known_git_blobs():
    assert git_blob_bytes(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob_bytes(b"what is up, doc?") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


# --- manifests ----------------------------------------------------------------------------------------------------


def files(folder, **contents):
    found = {}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        found[name] = folder / name
    return found


def test_a_manifest_binds_names_sizes_and_bytes(tmp_path):
    one = manifest(files(tmp_path, a=b"1", b=b"22"))
    assert one == [
        {"name": "a", "size": 1, "sha256": sha256_bytes(b"1")},
        {"name": "b", "size": 2, "sha256": sha256_bytes(b"22")},
    ]
    swapped = manifest(files(tmp_path, a=b"22", b=b"1"))
    fewer = manifest(files(tmp_path, a=b"1"))
    digests = {manifest_digest(entries) for entries in (one, swapped, fewer, [])}
    assert len(digests) == 4
    assert manifest_digest(one) == digest({"files": one})


def test_names_are_sorted_by_their_bytes(tmp_path):
    names = ["\U0001f600", "\ufb33", "z", "Z", "é", "a/b", "a-b", "a"]
    path = files(tmp_path, x=b"")["x"]
    found = [entry["name"] for entry in manifest(dict.fromkeys(names, path))]
    assert found == sorted(names, key=str.encode)
    assert found[-2:] == ["\ufb33", "\U0001f600"]  # UTF-16 would have these two the other way round
