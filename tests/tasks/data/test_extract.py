"""Archives that try to be more than a folder of three files."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.tasks.data.extract import BadArchive, Limits, extract

NAME = "dilemmas/dev.jsonl"


def entry(name: str, content: bytes = b"", **changes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def packed(*entries: tuple[tarfile.TarInfo, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=format, compresslevel=1) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def take(folder: Path, archive: bytes, limits: Limits | None = None, name: str = NAME) -> dict[str, str]:
    (folder / "archive").write_bytes(archive)
    return extract(folder / "archive", {name: folder / "out" / "taken"}, limits)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} - {"archive", "out"}


@pytest.mark.parametrize("name", [NAME, f"./{NAME}"])
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 100_000])
def test_the_wanted_file_and_no_other(folder, name, format, size):
    content = bytes(range(256)) * 400
    archive = packed(
        entry("dilemmas", type=tarfile.DIRTYPE),
        entry("dilemmas/README", b"r" * 700),
        entry("dilemmas/empty"),
        entry("dilemmas/block", b"b" * 1024),
        entry(name, content[:size]),
        entry("dilemmas/later", b"l"),
        format=format,
    )
    assert take(folder, archive) == {}
    assert (folder / "out" / "taken").read_bytes() == content[:size]
    assert everything(folder) == {"out/taken"}


@pytest.mark.parametrize(
    "name",
    ["../dev.jsonl", "dilemmas/../dilemmas/dev.jsonl", "/dilemmas/dev.jsonl", "dev.jsonl", "x/dilemmas/dev.jsonl"],
)
def test_other_names_are_ignored(folder, name):
    assert take(folder, packed(entry(name, b"evil"))) == {NAME: "it is not in the archive"}
    assert everything(folder) == set()
    assert not (folder.parent / "dev.jsonl").exists()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a named pipe"),
        (tarfile.DIRTYPE, "a folder"),
        (tarfile.CONTTYPE, "something else"),
    ],
)
def test_only_regular_files_are_taken(folder, kind, told):
    reason = take(folder, packed(entry(NAME, type=kind, linkname="/etc/passwd")))[NAME]
    assert reason == f"it is {told} there, not a regular file"
    assert everything(folder) == set()


def test_a_link_does_not_stand_in_the_way_of_the_file(folder):
    archive = packed(entry(NAME, type=tarfile.SYMTYPE, linkname="/etc/passwd"), entry(NAME, b"true"))
    assert take(folder, archive) == {}
    assert (folder / "out" / "taken").read_bytes() == b"true"


def test_a_file_is_bounded(folder):
    archive = packed(entry(NAME, bytes(5001)))
    assert take(folder, archive, Limits(member=5000)) == {NAME: "it has 5,001 bytes, at most 5,000 are taken"}
    assert everything(folder) == set()
    assert take(folder, archive, Limits(member=5001)) == {}


def test_a_bomb_before_the_file_is_bounded(folder):
    archive = packed(entry("zeros", bytes(1 << 22)), entry(NAME, b"x"))
    assert len(archive) < 1 << 16
    with pytest.raises(BadArchive, match="unpacks to more than 1,048,576 bytes"):
        take(folder, archive, Limits(total=1 << 20))
    assert everything(folder) == set()


def test_a_length_that_is_declared_only_is_bounded(folder):
    info, _ = entry("zeros")
    info.size = 1 << 50
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(BadArchive, match="unpacks to more than"):
        take(folder, gzip.compress(header + bytes(1024)))


def test_a_long_header_is_bounded(folder):
    archive = packed(entry("x", pax_headers={"comment": "c" * 100_000}), entry(NAME, b"x"))
    with pytest.raises(BadArchive, match=r"a header of .* bytes"):
        take(folder, archive)


def test_a_chain_of_headers_is_bounded(folder):
    one, _ = entry("././@PaxHeader", type=tarfile.XHDTYPE)
    record = b"13 comment=x\n"
    one.size = len(record)
    link = one.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    with pytest.raises(BadArchive):
        take(folder, gzip.compress(link * 5000))


def test_many_entries_are_bounded(folder):
    archive = packed(*(entry(f"n{i}") for i in range(20)), entry(NAME, b"x"))
    with pytest.raises(BadArchive, match="more than 20 entries"):
        take(folder, archive, Limits(members=20))
    assert take(folder, archive, Limits(members=21)) == {}


@pytest.mark.parametrize("size", [-1, -5, -512, -513, -1024, -(1 << 40)])
def test_a_negative_length_is_never_taken(folder, size):
    """Python's tarfile has run in circles over these (CVE-2025-8194): the reading must end, with nothing written."""
    info, _ = entry(NAME)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" + (256**11 + size).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    plain = gzip.decompress(packed(entry("a", b"1"), entry("b", b"2"))).rstrip(b"\0").ljust(2048, b"\0")
    try:
        reason = take(folder, gzip.compress(plain + bytes(header) + bytes(1024)))[NAME]
    except BadArchive:
        pass
    else:
        assert reason == f"it has {size:,} bytes, at most 1,073,741,824 are taken"
    assert everything(folder) == set()


def test_a_sparse_file_is_refused(folder):
    info, _ = entry(NAME, b"", type=tarfile.GNUTYPE_SPARSE)
    assert "not a regular file" in take(folder, gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))[NAME]


def test_a_sparse_file_in_the_newer_form_is_refused(folder):
    """Its type is that of a regular file, and its length may be any."""
    sparse = {"GNU.sparse.map": "0,3", "GNU.sparse.size": "900"}
    assert "not a regular file" in take(folder, packed(entry(NAME, b"abc", pax_headers=sparse)))[NAME]


def test_a_header_with_what_is_no_number(folder):
    sparse = {"GNU.sparse.map": "many,more", "GNU.sparse.size": "900"}
    with pytest.raises(BadArchive, match="cannot be read"):
        take(folder, packed(entry(NAME, b"abc", pax_headers=sparse)))


# Named: a compressed file holds the second in which it was made, and test processes have to agree on the names.
@pytest.mark.parametrize(
    "content",
    [b"", b"not an archive", gzip.compress(b"no tar"), gzip.compress(b"t" * 2000)],
    ids=["empty", "text", "short", "long"],
)
def test_what_is_no_archive(folder, content):
    with pytest.raises(BadArchive, match="cannot be read as a gzip-compressed tar file"):
        take(folder, content)


def test_an_archive_cut_short(folder):
    whole = packed(entry("dilemmas/README", bytes(300)), entry(NAME, b"0123456789" * 20_000))
    raised = 0
    for end in range(20, len(whole), max(1, len(whole) // 40)):
        (folder / "out" / "taken").unlink(missing_ok=True)
        try:
            refused = take(folder, whole[:end])
        except BadArchive:
            raised += 1
        else:
            assert refused or (folder / "out" / "taken").stat().st_size == 200_000
    assert raised > 10


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_ends_in_a_sentence_and_writes_nothing_else(folder, data):
    """Any bytes changed anywhere before compression: taken, refused with a reason, or BadArchive; never another."""
    plain = bytearray(gzip.decompress(packed(entry("a", b"1", pax_headers={"k": "é" * 40}), entry(NAME, b"x" * 600))))
    for _ in range(data.draw(st.integers(1, 6))):
        plain[data.draw(st.integers(0, 3071))] = data.draw(st.integers(0, 255))
    (folder / "out" / "taken").unlink(missing_ok=True)
    try:
        refused = take(folder, gzip.compress(bytes(plain), 1))
    except BadArchive:
        pass
    else:
        assert refused.keys() <= {NAME}
        assert (NAME in refused) != (folder / "out" / "taken").exists()
    assert everything(folder) <= {"out/taken"}
