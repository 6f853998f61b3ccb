"""A local folder and an object store give the same objects, names and failures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from runner.archive import store as stores
from runner.archive.store import Store, open_store
from runner.core.errors import BackendError, InvalidInput, OutputError


def local(folder: Path) -> Store:
    return open_store(str(folder / "archive"))


def remote(folder: Path) -> Store:
    fsspec.filesystem("memory").store.clear()
    return open_store("memory://an/archive/")


both = pytest.mark.parametrize("make", [local, remote])
Make = Callable[[Path], Store]


@both
def test_objects_are_given_in_the_order_asked_for_however_many_at_once(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_BATCH", 2)
    store = make(tmp_path)
    for number in range(5):
        assert store.create(f"cards/{number}", str(number).encode())
    names = [f"cards/{number}" for number in (4, 9, 0, 3, 1)]
    expected = [(names[0], b"4"), (names[1], None), (names[2], b"0"), (names[3], b"3"), (names[4], b"1")]
    assert list(store.read_many(iter(names))) == expected
    assert list(store.read_many([])) == []
    assert (store.read("cards/2"), store.read("cards/7")) == (b"2", None)
    assert (store.exists("cards/2"), store.exists("cards/7"), store.exists("cards")) == (
        True,
        False,
        store.fs is not None,
    )


@both
def test_names_are_sorted_and_those_with_a_dot_are_none(make: Make, tmp_path: Path) -> None:
    store = make(tmp_path)
    assert store.names("cards") == []
    for name in ("cards/b/2", "cards/a/1", "cards/a/.hidden", "cards/.x/3", "heads/1"):
        assert store.create(name, b"x")
    assert store.names("cards") == ["cards/.x/3", "cards/a/1", "cards/b/2"]
    assert store.names("heads") == ["heads/1"]


@both
def test_what_is_there_is_left_as_it_is(make: Make, tmp_path: Path) -> None:
    store = make(tmp_path)
    assert store.create("cards/1", b"first") is True
    assert store.create("cards/1", b"second") is False
    assert store.read("cards/1") == b"first"
    assert store.leftovers() == []


def test_the_address_of_an_object_has_one_slash(tmp_path: Path) -> None:
    assert open_store("memory://a/b/").address_of("cards/1") == "memory://a/b/cards/1"
    assert open_store("here").address_of("cards/1") == "here/cards/1"
    for address in (f"file://{tmp_path}/archive", f"{tmp_path}/archive"):
        assert open_store(address) == Store(address, tmp_path / "archive", None, "")


def test_two_who_open_an_archive_share_no_connection() -> None:
    assert open_store("memory://a").fs is not open_store("memory://a").fs


def test_an_address_whose_library_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: Any, **__: Any) -> None:
        raise ImportError("Install s3fs")

    monkeypatch.setattr(fsspec, "url_to_fs", without)
    with pytest.raises(InvalidInput, match="s3:// needs a library that is not installed: Install s3fs") as refused:
        open_store("s3://bucket/folder")
    assert [(fault.code, fault.file) for fault in refused.value.faults] == [("ARCHIVE_ADDRESS", "s3://bucket/folder")]


def test_what_a_killed_writer_left_is_told_by_name(tmp_path: Path) -> None:
    store = local(tmp_path)
    for name in ("cards/b/.1.ab.part", ".archive.json.cd.part"):
        assert store.create(name, b"x")
    assert store.leftovers() == [".archive.json.cd.part", "cards/b/.1.ab.part"]
    assert remote(tmp_path).leftovers() == []


def test_a_file_that_cannot_be_read_or_is_too_large_is_no_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = local(tmp_path)
    store.create("cards/1", b"0123456789")
    monkeypatch.setattr(stores, "MAX_BYTES", 10)
    assert store.read("cards/1") == b"0123456789"
    monkeypatch.setattr(stores, "MAX_BYTES", 9)
    assert store.read("cards/1") == b""

    def broken(path: Path, most: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(stores, "read_whole", broken)
    with pytest.raises(BackendError) as refused:
        store.read("cards/1")
    assert [(fault.code, fault.file, fault.message) for fault in refused.value.faults] == [
        ("ARCHIVE_UNREACHABLE", store.address_of("cards/1"), "cannot be read: Input/output error.")
    ]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"a file")
    with pytest.raises(OutputError) as refused:
        local(tmp_path).create("cards/1", b"x")
    assert [(fault.code, fault.file) for fault in refused.value.faults] == [
        ("ARCHIVE_UNWRITABLE", str(tmp_path / "archive" / "cards" / "1"))
    ]


def test_an_error_of_a_service_is_told_and_one_of_ours_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = remote(tmp_path)

    def fail_with(error: Exception) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(store.fs, "exists", fail)

    class ClientError(Exception):
        pass

    ClientError.__module__ = "botocore.exceptions"
    for error, words in (
        (ClientError("no such bucket"), "no such bucket"),
        (OSError(), "OSError"),
        (ClientError("x" * 400), "x" * 300),
    ):
        fail_with(error)
        with pytest.raises(BackendError) as refused:
            store.exists("cards/1")
        assert [(fault.code, fault.file, fault.message) for fault in refused.value.faults] == [
            ("ARCHIVE_UNREACHABLE", store.address, f"The store answers: {words}.")
        ]
    fail_with(KeyError("a bug"))
    with pytest.raises(KeyError):
        store.exists("cards/1")


def test_a_write_that_failed_though_the_object_is_there_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = remote(tmp_path)
    written = store.fs.pipe_file

    def precondition_failed(path: str, data: bytes, mode: str) -> None:
        raise OSError("412")

    monkeypatch.setattr(store.fs, "pipe_file", precondition_failed)
    with pytest.raises(BackendError, match="412"):
        store.create("cards/1", b"mine")
    written(f"{store.root}/cards/1", b"theirs")
    assert store.create("cards/1", b"mine") is False
