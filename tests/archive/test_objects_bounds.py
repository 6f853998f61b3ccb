"""What an archive holds of a stranger costs no more than it must, and what a kill left is named."""

import lzma
import tracemalloc
from pathlib import Path

from support.card_factory import People

from runner.archive import index, objects
from runner.archive.check import check
from runner.archive.store import open_store
from runner.core.canonical import sha256_bytes

KIND = objects.FILES["predictions"]


def test_the_name_of_an_object_holds_its_digest_and_begins_with_its_folder() -> None:
    sha256 = sha256_bytes(b"x")
    assert KIND.name(sha256) == f"predictions/{sha256[:2]}/{sha256}.jsonl.xz"
    assert KIND.sha256_in(KIND.name(sha256)) == sha256
    for name in (
        f"predictions/00/{sha256}.jsonl.xz",
        f"predictions/{sha256}.jsonl.xz",
        f"predictions/{sha256[:2]}/{sha256[:-1]}.jsonl.xz",
        f"predictions/{sha256[:2]}/{sha256}f.jsonl.xz",
        f"predictions/{sha256[:2]}/{sha256.upper()}.jsonl.xz",
        f"predictions/{sha256[:2]}/{sha256}.jsonl_xz",
        f"old/{KIND.name(sha256)}",
        objects.CARD.name(sha256),
    ):
        assert KIND.sha256_in(name) is None, name


def test_a_small_file_that_unpacks_to_much_is_refused_in_little_memory() -> None:
    bomb = lzma.compress(bytes(48 << 20), preset=0)
    assert len(bomb) < 1 << 20
    tracemalloc.start()
    content, problem = objects.unpack(KIND, "0" * 64, bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert content is None
    assert problem is not None
    assert "not that of its name" in problem
    assert peak < 16 << 20


def test_a_dictionary_larger_than_ours_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 128 << 20}]
    large = lzma.compress(b"x", format=lzma.FORMAT_XZ, filters=filters)
    assert objects.unpack(KIND, sha256_bytes(b"x"), large)[1] is not None
    assert objects.unpack(KIND, sha256_bytes(b"x"), lzma.compress(b"x")) == (b"x", None)


def test_what_is_cut_off_or_has_more_behind_it_is_refused() -> None:
    content = bytes(range(256)) * 10_000
    packed = lzma.compress(content)
    assert objects.unpack(KIND, sha256_bytes(content), packed) == (content, None)
    for changed in (packed[:-1], packed[: len(packed) // 2], packed + b"x", packed + packed, b"x"):
        assert objects.unpack(KIND, sha256_bytes(content), changed)[0] is None


def test_what_a_killed_writer_left_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "archive"))
    index.begun(store)
    (tmp_path / "archive" / "cards").mkdir()
    assert not [note for note in check(store, People().keyring).notes if "temporary" in note]
    (tmp_path / "archive" / "cards" / ".a.0123.part").write_bytes(b"x")
    [note] = [note for note in check(store, People().keyring).notes if "temporary" in note]
    assert "cards/.a.0123.part" in note
