"""Adding, checking and getting back: what was removed or altered is found, whoever did it."""

import gzip
import json
import lzma
import multiprocessing
import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.card_factory import People, keyring_document, keyring_of, maker

from runner.archive import index, objects
from runner.archive.add import add
from runner.archive.check import Checked, check
from runner.archive.get import find, get
from runner.archive.heads import HEAD_TYPE, checkpoint_name, read_checkpoints
from runner.archive.index import Appender, name_of, read_index
from runner.archive.objects import CARD, FILES
from runner.archive.store import Store, open_store
from runner.core.canonical import sha256_bytes, sha256_file
from runner.core.errors import BackendError, InvalidInput, OutputError, VerificationError
from runner.scorecard import filenames
from runner.scorecard.verify import verify
from runner.signing import dsse
from runner.signing.keyring import parse_keyring
from runner.signing.keys import keyid
from runner.signing.sign import PREDICATE_TYPE

Make = Callable[..., Path]


def codes(found: Checked) -> set[str]:
    return {fault.code for fault in found.faults}


def object_of(store: Store, name: str, sha256: str) -> Path:
    kind = CARD if name == "card" else FILES[name]
    assert store.folder is not None
    return store.folder / kind.name(sha256)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "archive"))


@pytest.fixture(scope="module")
def template(real_run: Any, people: People, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cards under a signed head."""
    folder = tmp_path_factory.mktemp("template")
    make = maker(*real_run, folder / "made", people.lab)
    cards = [make(f"model {number}", 0.6 + number / 100) for number in range(5)]
    add(open_store(str(folder / "archive")), cards, people.keyring, head_key=people.maintainer)
    return folder / "archive"


@pytest.fixture
def filled(store: Store, template: Path) -> Store:
    """A copy of the template, to be damaged."""
    shutil.copytree(template, store.address)
    return store


# --- adding --------------------------------------------------------------------------------------------------------


def test_a_sound_archive_is_whole(filled: Store, people: People) -> None:
    seen: list[tuple[int, int]] = []
    found = check(filled, people.keyring, observe=lambda done, total: seen.append((done, total)))
    assert (found.faults, found.notes) == ((), ())
    # Each has predictions, and they share an environment and a benchmark.
    assert (found.entries, found.cards, found.objects) == (5, 5, 5 + 3)
    assert seen == [(done, 5) for done in range(1, 6)]
    assert found.signed is not None
    assert found.signed.sequence == 5
    assert found.head == sha256_file(filled.folder / name_of(5))  # type: ignore[operator]


def test_adding_twice_changes_nothing_and_says_so(filled: Store, make: Make, people: People, tmp_path: Path) -> None:
    card = make("model 0", 0.6, again=1)
    assert add(filled, [card], people.keyring)[0].sequence == 6
    before = {path: path.read_bytes() for path in Path(filled.address).rglob("*") if path.is_file()}
    again = add(filled, [card], people.keyring)
    assert again[0].sequence is None
    assert again[0].restored == ()
    assert {path: path.read_bytes() for path in Path(filled.address).rglob("*") if path.is_file()} == before


def test_nothing_is_added_when_one_card_is_refused(store: Store, make: Make, people: People) -> None:
    good, forged = make("good"), make("forged", key=people.stranger)
    with pytest.raises(VerificationError) as refused:
        add(store, [good, forged], people.keyring)
    assert [fault.code for fault in refused.value.faults] == ["SIG_UNTRUSTED"]
    assert not Path(store.address).exists()


def test_an_edited_card_and_an_edited_copy_are_refused(store: Store, make: Make, people: People) -> None:
    bundle = make("edited") / filenames.BUNDLE
    text = bundle.read_text()
    document = json.loads(text)
    payload = document["dsseEnvelope"]["payload"]
    document["dsseEnvelope"]["payload"] = payload[:400] + ("A" if payload[400] != "A" else "B") + payload[401:]
    bundle.write_text(json.dumps(document))
    plain = make("plain")
    (plain / filenames.CARD).write_text((plain / filenames.CARD).read_text().replace('"full"', '"sample"'))
    with pytest.raises(VerificationError) as refused:
        add(store, [bundle, plain], people.keyring)
    assert {fault.code for fault in refused.value.faults} == {"SIG_UNTRUSTED", "SIG_FILES"}


def test_swapped_predictions_are_refused_at_the_door(store: Store, make: Make, people: People) -> None:
    folder = make("swapped")
    (folder / filenames.PREDICTIONS).write_bytes(b'{"task":"dilemmas","item_id":"1","log_scores":[-2.0,-1.0]}\n')
    with pytest.raises(VerificationError, match="the file was changed"):
        add(store, [folder], people.keyring)


def test_an_unsigned_run_is_refused(store: Store, make: Make, people: People) -> None:
    folder = make("unsigned")
    (folder / filenames.BUNDLE).unlink()
    with pytest.raises(InvalidInput, match="cannot be read"):
        add(store, [folder], people.keyring)


def test_the_recomputation_is_asked_for_and_its_refusal_counts(store: Store, make: Make, people: People) -> None:
    seen = []

    def refuse(report: Any) -> Any:
        seen.append(report.card["submission"]["name"])
        raise VerificationError(*_fault("SIG_RECOMPUTE"))

    with pytest.raises(VerificationError, match="SIG_RECOMPUTE"):
        add(store, [make("wrong numbers")], people.keyring, recompute=refuse)
    assert seen == ["wrong numbers"]
    add(store, [make("right numbers")], people.keyring, recompute=lambda report: report)
    assert [entry.recomputed for entry in read_index(store).entries] == [True]


def _fault(code: str) -> tuple[Any, ...]:
    from runner.core.errors import Fault

    return (Fault(code, "no"),)


def test_files_that_come_later_make_an_entry_of_their_own(store: Store, make: Make, people: People) -> None:
    folder = make("late")
    rows = (folder / filenames.PREDICTIONS).read_bytes()
    (folder / filenames.PREDICTIONS).unlink()
    assert add(store, [folder], people.keyring)[0].missing == ("predictions",)
    (folder / filenames.PREDICTIONS).write_bytes(rows)
    assert add(store, [folder], people.keyring)[0].sequence == 2
    assert add(store, [folder], people.keyring)[0].sequence is None
    found = check(store, people.keyring)
    assert (found.entries, found.cards, found.faults) == (2, 1, ())


def test_a_lost_object_is_named_and_comes_back_when_the_card_is_added_again(
    filled: Store, make: Make, people: People
) -> None:
    folder = make("model 0", again=7)
    add(filled, [folder], people.keyring)
    lost = object_of(filled, "predictions", sha256_file(folder / filenames.PREDICTIONS))
    lost.unlink()
    assert codes(check(filled, people.keyring)) == {"ARCHIVE_MISSING"}
    assert add(filled, [folder], people.keyring)[0].restored == (filenames.PREDICTIONS,)
    assert check(filled, people.keyring).faults == ()


def test_a_damaged_object_is_not_taken_for_the_card_that_is_added(filled: Store, make: Make, people: People) -> None:
    folder = make("model 0", again=7)
    add(filled, [folder], people.keyring)
    object_of(filled, "card", sha256_file(folder / filenames.BUNDLE)).write_bytes(b"{}")
    with pytest.raises(VerificationError, match="ARCHIVE_DAMAGED"):
        add(filled, [folder], people.keyring)


def test_predictions_are_small_the_same_again_and_give_back_their_bytes() -> None:
    rows = "".join(
        f'{{"task":"dilemmas","item_id":"{sha256_bytes(bytes([n % 256, n // 256]))[:32]}","log_scores":[-{n}.5,-1]}}\n'
        for n in range(2_000)
    ).encode()
    packed = objects._pack(rows)
    assert packed == objects._pack(rows)
    assert len(packed) < len(gzip.compress(rows, mtime=0))
    assert objects.unpack(FILES["predictions"], sha256_bytes(rows), packed) == (rows, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        lzma.compress(b"rows")[:-1],
        lzma.compress(b"rows") + b"more",
        lzma.compress(b"rows", format=lzma.FORMAT_ALONE),
        lzma.compress(b"other rows"),
        b"rows",
    ],
)
def test_what_is_not_the_packed_content_is_refused(data: bytes) -> None:
    content, problem = objects.unpack(FILES["predictions"], sha256_bytes(b"rows"), data)
    assert content is None
    assert problem


def test_what_could_not_be_unpacked_again_is_not_added(
    store: Store, make: Make, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make("too much")
    largest = max(path.stat().st_size for path in run.iterdir())
    (run / filenames.SUBMISSION).write_bytes(b"#" * (largest + 1))
    monkeypatch.setattr(objects, "MOST_BYTES", largest)
    with pytest.raises(InvalidInput) as refused:
        add(store, [run], people.keyring)
    assert [fault.code for fault in refused.value.faults] == ["ARCHIVE_TOO_LARGE"]
    assert store.names("cards") == []


def test_a_compression_bomb_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MOST_BYTES", 1 << 20)
    bomb = lzma.compress(bytes(4 << 20), preset=0)
    assert len(bomb) < 1 << 20
    content, problem = objects.unpack(FILES["predictions"], "0" * 64, bomb)
    assert content is None
    assert problem is not None
    assert "1,048,576" in problem


# --- what check finds ----------------------------------------------------------------------------------------------


def test_a_deleted_card_is_found(filled: Store, people: People) -> None:
    victim = read_index(filled).entries[2]
    object_of(filled, "card", victim.card).unlink()
    found = check(filled, people.keyring)
    assert codes(found) == {"ARCHIVE_MISSING"}
    assert victim.card in str(found.faults[0])


def test_a_deleted_card_with_its_entry_is_found_twice(filled: Store, people: People) -> None:
    victim = read_index(filled).entries[2]
    object_of(filled, "card", victim.card).unlink()
    (Path(filled.address) / name_of(3)).unlink()
    assert codes(check(filled, people.keyring)) == {"ARCHIVE_GAP"}


def test_an_entry_taken_out_with_the_chain_mended_is_found_by_the_signed_head(filled: Store, people: People) -> None:
    _rewrite(filled, keep=lambda entry: entry.sequence != 3)
    assert codes(check(filled, people.keyring)) == {"ARCHIVE_TRUNCATED", "ARCHIVE_UNLISTED"}


def _rewrite(store: Store, keep: Callable[[Any], bool]) -> None:
    """What somebody who can write everything can do: a new, consistent chain without some entries."""
    entries = [entry for entry in read_index(store).entries if keep(entry)]
    shutil.rmtree(Path(store.address) / "index")
    end = Appender(store)
    for entry in entries:
        end._known.clear()
        end.append(entry.card, entry.files, entry.summary, recomputed=entry.recomputed)


def test_an_edited_summary_breaks_the_chain(filled: Store, people: People) -> None:
    path = Path(filled.address) / name_of(2)
    path.write_bytes(path.read_bytes().replace(b"0.61", b"0.51"))
    found = check(filled, people.keyring)
    assert codes(found) == {"ARCHIVE_CHAIN", "ARCHIVE_SUMMARY"}
    assert any(name_of(3) in str(fault) for fault in found.faults)


def test_an_edited_last_entry_is_found_though_nothing_follows_it(filled: Store, people: People) -> None:
    path = Path(filled.address) / name_of(5)
    path.write_bytes(path.read_bytes().replace(b'"recomputed":false', b'"recomputed":true'))
    assert codes(check(filled, people.keyring)) == {"ARCHIVE_HEAD"}


@pytest.mark.parametrize("data", [b"", b"[]\n", b"{}\n", b"nonsense", b'{"schema_version":"1"}'])
def test_an_unreadable_entry_is_named(filled: Store, people: People, data: bytes) -> None:
    (Path(filled.address) / name_of(2)).write_bytes(data)
    found = check(filled, people.keyring)
    assert {"ARCHIVE_ENTRY", "ARCHIVE_CHAIN"} <= codes(found)
    files = {(fault.code, fault.file) for fault in found.faults}
    assert ("ARCHIVE_ENTRY", filled.address_of(name_of(2))) in files
    assert ("ARCHIVE_CHAIN", filled.address_of(name_of(3))) in files


def test_a_file_among_the_entries_that_is_none_is_named(filled: Store) -> None:
    for name in ("index/0000/00000000.json", "index/0001/00000002.json", "index/0000/6.json"):
        filled.create(name, b"{}")
        (fault,) = read_index(filled).faults
        assert (fault.code, fault.file) == ("ARCHIVE_ENTRY", filled.address_of(name))
        (Path(filled.address) / name).unlink()


def test_an_object_that_no_entry_names_is_noted(filled: Store, people: People) -> None:
    filled.create("environments/00/other.json", b"{}")
    found = check(filled, people.keyring)
    assert found.faults == ()
    assert found.notes == ("1 files that no entry names, the first environments/00/other.json.",)


def test_a_truncated_index_is_found_by_the_signed_head_and_nothing_is_added_to_it(
    filled: Store, make: Make, people: People
) -> None:
    (Path(filled.address) / name_of(5)).unlink()
    assert codes(check(filled, people.keyring)) == {"ARCHIVE_TRUNCATED", "ARCHIVE_UNLISTED"}
    with pytest.raises(VerificationError, match="entries were removed"):
        add(filled, [make("new")], people.keyring)


def test_a_cut_with_all_traces_removed_is_found_only_by_a_head_known_from_elsewhere(
    filled: Store, people: People
) -> None:
    head = read_index(filled).head
    assert head is not None
    victim = read_index(filled).entries[4]
    (Path(filled.address) / name_of(5)).unlink()
    (Path(filled.address) / checkpoint_name(5)).unlink()
    object_of(filled, "card", victim.card).unlink()
    found = check(filled, people.keyring)
    assert found.faults == ()
    assert any("--expect-head" in note for note in found.notes)
    assert codes(check(filled, people.keyring, expect_head=head)) == {"ARCHIVE_TRUNCATED"}


def test_a_head_from_before_is_in_an_archive_that_has_grown(filled: Store, make: Make, people: People) -> None:
    head = read_index(filled).head
    add(filled, [make("new")], people.keyring)
    assert check(filled, people.keyring, expect_head=f"sha256:{head}").faults == ()
    assert codes(check(filled, people.keyring, expect_head="0" * 64)) == {"ARCHIVE_TRUNCATED"}


def test_an_edited_card_in_the_archive_is_found(filled: Store, people: People) -> None:
    path = object_of(filled, "card", read_index(filled).entries[0].card)
    path.write_bytes(path.read_bytes().replace(b'"sig"', b'"sIg"'))
    assert codes(check(filled, people.keyring)) == {"ARCHIVE_DAMAGED"}


def test_swapped_predictions_in_the_archive_are_found(store: Store, make: Make, people: People) -> None:
    rows = [f'{{"task":"dilemmas","item_id":"{n}","log_scores":[-1.0,-2.0]}}\n'.encode() for n in range(2)]
    add(store, [make(f"model {n}", predictions=row) for n, row in enumerate(rows)], people.keyring)
    first, second = (object_of(store, "predictions", sha256_bytes(row)) for row in rows)
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    found = check(store, people.keyring)
    assert [fault.code for fault in found.faults] == ["ARCHIVE_DAMAGED"] * 2
    assert {fault.file for fault in found.faults} == {str(first), str(second)}


def test_an_entry_that_names_anothers_predictions_is_found(store: Store, make: Make, people: People) -> None:
    rows = [f'{{"task":"dilemmas","item_id":"{n}","log_scores":[-1.0,-2.0]}}\n'.encode() for n in range(2)]
    add(store, [make(f"model {n}", predictions=row) for n, row in enumerate(rows)], people.keyring)
    first, second = read_index(store).entries
    shutil.rmtree(Path(store.address) / "index")
    end = Appender(store)
    end._all_known = True
    end.append(first.card, first.files | {"predictions": second.files["predictions"]}, first.summary, recomputed=False)
    end.append(second.card, second.files, second.summary, recomputed=False)
    assert "ARCHIVE_FILES" in codes(check(store, people.keyring))


def test_a_card_put_in_beside_the_index_is_found(filled: Store, make: Make, people: People) -> None:
    data = (make("slipped in") / filenames.BUNDLE).read_bytes()
    filled.create(CARD.name(sha256_bytes(data)), data)
    assert codes(check(filled, people.keyring)) == {"ARCHIVE_UNLISTED"}


def test_an_adding_that_was_broken_off_is_finished_by_the_same_command(
    filled: Store, make: Make, people: People
) -> None:
    folder = make("broken off")
    data = (folder / filenames.BUNDLE).read_bytes()
    filled.create(CARD.name(sha256_bytes(data)), data)  # the entry was never written
    assert add(filled, [folder], people.keyring)[0].sequence == 6
    assert check(filled, people.keyring).faults == ()


def test_a_card_whose_key_was_revoked_no_longer_verifies(filled: Store, people: People) -> None:
    revoked = {"at": "2026-01-01T00:00:00Z", "reason": "stolen", "honour_digests": []}
    keyring = keyring_of({**people.entries[0], "revoked": revoked}, *people.entries[1:])
    assert codes(check(filled, keyring)) == {"SIG_KEY_REVOKED"}


def test_a_head_by_a_key_that_may_not_sign_heads_does_not_count(filled: Store, make: Make, people: People) -> None:
    add(filled, [make("new")], people.keyring, head_key=people.lab)
    found = check(filled, people.keyring)
    assert codes(found) == {"HEAD_UNTRUSTED"}
    assert HEAD_TYPE in str(found.faults[0])


def test_a_head_by_a_stranger_does_not_count(filled: Store, make: Make, people: People) -> None:
    add(filled, [make("new")], people.keyring, head_key=people.stranger)
    assert codes(check(filled, people.keyring)) == {"HEAD_UNTRUSTED"}


def test_a_signed_card_is_no_head(filled: Store, make: Make, people: People) -> None:
    data = (make("card as head") / filenames.BUNDLE).read_bytes()
    filled.create(checkpoint_name(4), data)
    assert codes(check(filled, people.keyring)) == {"HEAD_FORMAT"}


def _signed_head(people: People, payload: bytes) -> bytes:
    signature = people.maintainer.sign(dsse.pae(dsse.PAYLOAD_TYPE, payload))
    return dsse.write(dsse.Envelope(payload, signature, keyid(people.maintainer)))


def _head(**changed: Any) -> bytes:
    predicate = {"sequence": 4, "entry": "0" * 64, "signed_at": "2026-11-01T00:00:00Z"} | changed
    return json.dumps({"predicateType": HEAD_TYPE, "predicate": predicate}).encode()


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"no JSON", "the signed bytes:"),
        (b"[]", "is not a statement of the type"),
        (_head().replace(HEAD_TYPE.encode(), b"another"), "is not a statement of the type"),
        (json.dumps({"predicateType": HEAD_TYPE}).encode(), "does not say which entry"),
        (_head(sequence=0), "does not say which entry"),
        (_head(sequence="4"), "does not say which entry"),
        (_head(entry=None), "does not say which entry"),
        (_head(signed_at=None), "does not say which entry"),
        (_head(sequence=3), "is about entry 3"),
    ],
)
def test_a_head_of_another_form_does_not_count(filled: Store, people: People, payload: bytes, message: str) -> None:
    filled.create(checkpoint_name(4), _signed_head(people, payload))
    heads, (fault,) = read_checkpoints(filled, people.keyring)
    assert [head.sequence for head in heads] == [5]
    assert (fault.code, fault.file) == ("HEAD_FORMAT", filled.address_of(checkpoint_name(4)))
    assert message in fault.message


@pytest.mark.parametrize(
    ("window", "counts"),
    [
        ({"not_before": "2026-11-01T00:00:00Z"}, True),
        ({"not_before": "2026-11-01T00:00:01Z"}, False),
        ({"not_after": "2026-11-01T00:00:00Z"}, True),
        ({"not_after": "2026-10-31T23:59:59Z"}, False),
        ({"revoked": {"at": "2027-01-01T00:00:00Z", "reason": "stolen", "honour_digests": []}}, False),
        ({"predicate_types": [PREDICATE_TYPE]}, False),
    ],
)
def test_a_head_counts_by_what_its_key_may_sign_and_when(
    filled: Store, people: People, window: dict[str, Any], counts: bool
) -> None:
    entry = read_index(filled).digests[4]
    (Path(filled.address) / checkpoint_name(5)).unlink()
    filled.create(checkpoint_name(4), _signed_head(people, _head(entry=entry)))
    heads, faults = read_checkpoints(filled, keyring_of(*people.entries[:2], people.entries[2] | window))
    assert [(head.sequence, head.entry) for head in heads] == [(4, entry)] * counts
    assert [fault.code for fault in faults] == ["HEAD_UNTRUSTED"] * (not counts)


def test_a_time_of_signing_that_is_none_does_not_count(filled: Store, people: People) -> None:
    filled.create(checkpoint_name(4), _signed_head(people, _head(signed_at="last week")))
    assert [fault.code for fault in read_checkpoints(filled, people.keyring)[1]] == ["HEAD_UNTRUSTED"]


def test_a_head_moved_to_another_entry_is_found(filled: Store, people: People) -> None:
    place = Path(filled.address)
    (place / checkpoint_name(5)).rename(place / checkpoint_name(3))
    assert codes(check(filled, people.keyring)) == {"HEAD_FORMAT"}


def test_damage_is_not_signed(filled: Store, make: Make, people: People) -> None:
    (Path(filled.address) / name_of(2)).unlink()
    with pytest.raises(VerificationError, match="is missing"):
        add(filled, [make("new")], people.keyring, head_key=people.maintainer)
    assert not (Path(filled.address) / checkpoint_name(6)).exists()


def test_signing_alone_covers_what_others_added(filled: Store, make: Make, people: People) -> None:
    folder = make("new")
    add(filled, [folder], people.keyring)
    assert any("after 5" in note for note in check(filled, people.keyring).notes)
    add(filled, [folder], people.keyring, head_key=people.maintainer)
    found = check(filled, people.keyring)
    assert found.signed is not None
    assert found.signed.sequence == 6


# --- getting back --------------------------------------------------------------------------------------------------


def test_what_comes_back_verifies_and_is_the_same(filled: Store, make: Make, people: People, tmp_path: Path) -> None:
    folder = make("dort und zurück", 0.7)
    (folder / filenames.SUBMISSION).write_text("name: dort und zurück\n")
    add(filled, [folder], people.keyring)
    back = get(filled, "dort und zurück", tmp_path / "back")
    assert back.name == sha256_file(folder / filenames.BUNDLE)[:16]
    assert back == get(filled, sha256_file(folder / filenames.BUNDLE), tmp_path / "again").parent.parent / "back" / (
        back.name
    )
    for name in (filenames.BUNDLE, filenames.PREDICTIONS, filenames.ENVIRONMENT, filenames.BENCHMARK):
        assert (back / name).read_bytes() == (folder / name).read_bytes()
    plain = (back / filenames.CARD).read_text(encoding="utf-8")
    assert json.loads(plain) == json.loads((folder / filenames.CARD).read_text(encoding="utf-8"))
    assert plain.startswith('{\n  "benchmark": {\n    "')
    assert "dort und zurück" in plain
    assert (back / filenames.SUBMISSION).read_text() == "name: dort und zurück\n"
    report = verify(back, people.keyring)
    # These cards bear no digest of the YAML.
    assert [check.name for check in report.checks if check.state not in {"ok", "note"}] == [filenames.SUBMISSION]
    with pytest.raises(InvalidInput, match="is there already"):
        get(filled, "dort und zurück", tmp_path / "back")


def test_a_name_with_several_cards_is_not_guessed(filled: Store, make: Make, people: People, tmp_path: Path) -> None:
    add(filled, [make("model 0", 0.5, again=1)], people.keyring)
    with pytest.raises(InvalidInput, match="2 cards") as refused:
        get(filled, "model 0", tmp_path)
    for entry in read_index(filled).entries:
        assert (entry.card[:16] in str(refused.value)) == (entry.summary["name"] == "model 0")
    with pytest.raises(InvalidInput, match="No card"):
        get(filled, "model 9", tmp_path)


def test_a_hostile_name_leads_nowhere(store: Store, make: Make, people: People, tmp_path: Path) -> None:
    add(store, [make("../../escaped")], people.keyring)
    back = get(store, "../../escaped", tmp_path / "back")
    assert back.parent == tmp_path / "back"


def test_damage_is_told_before_anything_is_written(filled: Store, people: People, tmp_path: Path) -> None:
    entry = read_index(filled).entries[0]
    for name in ("card", "predictions"):
        object_of(filled, name, entry.card if name == "card" else entry.files[name]).write_bytes(b"broken")
    with pytest.raises(VerificationError) as refused:
        get(filled, entry.card, tmp_path / "back")
    assert len(refused.value.faults) == 2
    assert not (tmp_path / "back").exists()


def test_a_folder_that_cannot_be_written_is_not_there_by_half(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def full(path: Path, content: bytes) -> None:
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr("runner.archive.get.write_whole", full)
    with pytest.raises(OutputError, match="No space left") as refused:
        get(filled, "model 0", tmp_path / "back")
    assert [(fault.code, fault.file) for fault in refused.value.faults] == [
        ("OUTPUT_UNWRITABLE", str(tmp_path / "back"))
    ]
    assert list((tmp_path / "back").iterdir()) == []


def test_a_card_is_found_by_eight_digits_of_its_digest_or_more(filled: Store, tmp_path: Path) -> None:
    entries = read_index(filled)
    card = entries.entries[1].card
    for reference in (card, card[:8], f"sha256:{card[:12]}", "model 1"):
        assert find(entries, reference, "here") == card
    for reference in (card[:7], f"sha256:{card[:7]}", card[1:], card.upper(), f"{card}0"):
        with pytest.raises(InvalidInput, match="ARCHIVE_UNKNOWN"):
            find(entries, reference, "here")


# --- writers at the same time, and stores --------------------------------------------------------------------------


def _add_all(address: str, folders: list[Path], keyring: bytes, start: Any) -> None:
    start.wait(120)
    for folder in folders:
        add(open_store(address), [folder], parse_keyring(keyring))


def run_both(address: str, halves: list[list[Path]], people: People) -> None:
    """Two processes that begin to add at the same moment, one card after the other."""
    keyring = json.dumps(keyring_document(*people.entries)).encode()
    # The client of a store over the network does not like to be forked.
    context = multiprocessing.get_context("spawn" if "://" in address else "fork")
    start = context.Barrier(2)
    workers = [context.Process(target=_add_all, args=(address, half, keyring, start)) for half in halves]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0


@pytest.mark.slow
@pytest.mark.parametrize("each", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_two_processes_lose_nothing(store: Store, make: Make, people: People, each: int) -> None:
    halves = [[make(f"{who} {number}", 0.5 + number / 1000) for number in range(each)] for who in ("one", "other")]
    halves[1].append(halves[0][each // 2])  # and one card from both
    run_both(store.address, halves, people)
    found = check(store, people.keyring)
    assert (found.faults, found.cards, found.entries) == ((), 2 * each, 2 * each)
    names = [entry.summary["name"] for entry in read_index(store).entries]
    changes = sum(one.split()[0] != other.split()[0] for one, other in pairwise(names))
    assert changes > 1, "the two did not write at the same time"


def test_a_writer_that_was_overtaken_goes_on_behind_the_other(store: Store, make: Make, people: People) -> None:
    slow = Appender(index.begun(store))
    add(store, [make("quick"), make("shared")], people.keyring)
    shared = read_index(store).entries[1]
    assert slow.append(shared.card, shared.files, shared.summary, recomputed=True) is None
    behind = slow.append("0" * 64, shared.files, shared.summary, recomputed=False)
    assert behind is not None
    assert (behind.sequence, behind.previous) == (3, shared.sha256)
    assert read_index(store).faults == ()


def test_a_lost_answer_is_not_a_second_entry(store: Store, make: Make, people: People) -> None:
    """A service took the entry, but says that there is one already."""
    add(store, [make("first")], people.keyring)
    entry = read_index(store).entries[0]
    end = Appender(store)

    class Forgetful:
        def create(self, name: str, data: bytes) -> bool:
            assert store.create(name, data)
            return False

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

    end._store = Forgetful()  # type: ignore[assignment]
    assert end.append("0" * 64, entry.files, entry.summary, recomputed=False) is not None
    assert len(read_index(store).entries) == 2


def test_a_writer_that_others_always_overtake_gives_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    end = Appender(index.begun(store))
    tried = []

    class Busy:
        address = store.address

        def create(self, name: str, data: bytes) -> bool:
            tried.append(name)
            return False

        def read(self, name: str) -> bytes:
            return b"somebody else's, and damaged"

    end._store = Busy()  # type: ignore[assignment]
    monkeypatch.setattr(index, "_MOST_CONFLICTS", 3)
    with pytest.raises(OutputError) as refused:
        end.append("0" * 64, {}, {}, recomputed=False)
    assert [(fault.code, fault.file) for fault in refused.value.faults] == [("ARCHIVE_UNWRITABLE", store.address)]
    assert tried == [name_of(1), name_of(2), name_of(3)]


@pytest.fixture
def memory() -> Store:
    fsspec.filesystem("memory").store.clear()
    return open_store("memory://an/archive")


def test_an_object_store_holds_the_same_archive(memory: Store, make: Make, people: People, tmp_path: Path) -> None:
    folder = make("kept", 0.61)
    add(memory, [folder], people.keyring, head_key=people.maintainer)
    assert add(memory, [folder], people.keyring)[0].sequence is None
    assert check(memory, people.keyring).faults == ()
    assert verify(get(memory, "kept", tmp_path / "back"), people.keyring).card["submission"]["name"] == "kept"
    local = open_store(str(tmp_path / "local"))
    add(local, [folder], people.keyring)
    assert memory.names("cards") == local.names("cards")
    assert memory.names("predictions") == local.names("predictions")
    for name in memory.names("predictions"):
        assert memory.read(name) == local.read(name)
    memory.fs.rm_file(f"{memory.root}/{memory.names('cards')[0]}")
    assert codes(check(memory, people.keyring)) == {"ARCHIVE_MISSING"}


def test_a_store_that_overwrites_is_not_written_to(memory: Store, make: Make, people: People) -> None:
    class Careless:
        protocol = "s3"

        def pipe_file(self, path: str, data: bytes, mode: str) -> None:
            memory.fs.pipe_file(path, data)

        def __getattr__(self, name: str) -> Any:
            return getattr(memory.fs, name)

    careless = Store(memory.address, None, Careless(), memory.root)
    with pytest.raises(InvalidInput, match="overwrites"):
        add(careless, [make("lost")], people.keyring)


def test_a_store_without_conditional_writes_can_only_be_read(make: Make, people: People, memory: Store) -> None:
    add(memory, [make("kept")], people.keyring)

    class Hub:
        protocol = ("hf",)

        def __getattr__(self, name: str) -> Any:
            return getattr(memory.fs, name)

    hub = Store("hf://datasets/a/b", None, Hub(), memory.root)
    assert check(hub, people.keyring).faults == ()
    with pytest.raises(InvalidInput, match="ARCHIVE_READ_ONLY"):
        add(hub, [make("new")], people.keyring)


def test_a_file_system_without_hard_links_takes_turns(
    store: Store, make: Make, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    folder = make("kept")
    add(store, [folder], people.keyring)
    assert store.create("archive.json", b"other") is False
    assert check(store, people.keyring).faults == ()
    assert not list(Path(store.address).rglob("*.part"))


def test_a_failing_service_is_told_not_traced(memory: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **more: Any) -> Any:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(memory.fs, "cat", fail)
    with pytest.raises(BackendError, match="Forbidden"):
        memory.read("archive.json")


def test_a_full_disk_is_told_and_leaves_no_half_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OutputError, match="No space left"):
        store.create("cards/ab/new", b"data")
    assert list(Path(store.address).rglob("*.*")) == []


@pytest.mark.parametrize("address", ["nonsense://x", "memory://a::file://b", "a::b"])
def test_an_unknown_address_is_told(address: str) -> None:
    with pytest.raises(InvalidInput, match="ARCHIVE_ADDRESS"):
        open_store(address)


def test_where_there_is_no_archive_none_is_made(store: Store, people: People) -> None:
    with pytest.raises(InvalidInput, match="ARCHIVE_MISSING"):
        check(store, people.keyring)
    assert not Path(store.address).exists()


def test_an_archive_of_another_format_is_not_guessed_at(store: Store, people: People) -> None:
    store.create("archive.json", b'{"format":"moral-ambiguity-archive","version":"2"}\n')
    with pytest.raises(InvalidInput) as refused:
        check(store, people.keyring)
    assert [(fault.code, fault.file) for fault in refused.value.faults] == [
        ("ARCHIVE_FORMAT", store.address_of("archive.json"))
    ]


# --- entries -------------------------------------------------------------------------------------------------------


@given(st.integers(min_value=1, max_value=99_999_999))
def test_names_of_entries_sort_as_their_numbers_do(number: int) -> None:
    assert index.sequence_of(name_of(number)) == number
    if number < 99_999_999:
        assert name_of(number) < name_of(number + 1)


def test_ten_thousand_entries_are_no_folder_too_many() -> None:
    folders = {}
    for number in range(1, 30_001):
        folder = name_of(number).rpartition("/")[0]
        folders[folder] = folders.get(folder, 0) + 1
    assert max(folders.values()) <= 10_000


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_an_entry_with_any_one_field_changed_is_refused_or_another_entry(data: st.DataObject) -> None:
    entry: dict[str, Any] = {
        "schema_version": "1",
        "sequence": 1,
        "previous": None,
        "added_at": "2026-11-21T00:00:00Z",
        "card": "0" * 64,
        "recomputed": False,
        "files": dict.fromkeys(FILES),
        "summary": {
            "name": "a",
            "submission": "b",
            "benchmark": {"name": "c", "version": "1.0.0", "digest": "d"},
            "suite": "full",
            "comparable": True,
            "finished_at": "2026-11-21T00:00:00Z",
            "run": "e",
            "keyid": "f",
            "tasks": {"t": {"split": "dev", "metric": "m", "value": 0.5}},
        },
    }
    intact = index.parse(index.write(entry), 1)
    at: dict[str, Any] = entry
    name = data.draw(st.sampled_from(sorted(at)))
    while isinstance(at[name], dict) and data.draw(st.booleans()):
        at = at[name]
        name = data.draw(st.sampled_from(sorted(at)))
    at[name] = data.draw(_VALUES)
    try:
        changed = index.parse(index.write(entry), 1)
    except ValueError:
        return
    assert changed == intact or changed.sha256 != intact.sha256


# --- a store over the network --------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An S3 server on the loopback interface, with one bucket; its own process, as a service is."""
    pytest.importorskip("moto")
    s3fs = pytest.importorskip("s3fs")
    import socket
    import subprocess
    import sys

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, "the S3 server did not start"
                assert time.monotonic() < deadline, "the S3 server is not there after a minute"
                time.sleep(0.2)
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("cards")
        yield "s3://cards/kept"
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.slow
def test_an_archive_over_s3(bucket: str, make: Make, people: People, tmp_path: Path) -> None:
    store = open_store(bucket)
    folder = make("kept", 0.61)
    add(store, [folder], people.keyring, head_key=people.maintainer)
    assert add(store, [folder], people.keyring)[0].sequence is None
    assert store.create(name_of(1), b"overwritten?") is False
    assert store.read(name_of(1)) != b"overwritten?"

    halves = [[make(f"{who} {number}", 0.5 + number / 1000) for number in range(6)] for who in ("one", "other")]
    run_both(bucket, halves, people)
    found = check(store, people.keyring)
    assert (found.faults, found.cards, found.entries) == ((), 13, 13)
    names = [entry.summary["name"] for entry in read_index(store).entries]
    changes = sum(one.split()[0] != other.split()[0] for one, other in pairwise(names[1:]))
    assert changes > 1, "the two did not write at the same time"

    assert verify(get(store, "kept", tmp_path / "back"), people.keyring).card["submission"]["name"] == "kept"
    victim = read_index(store).entries[4]
    store.fs.rm_file(f"{store.root}/{CARD.name(victim.card)}")
    found = check(store, people.keyring)
    assert codes(found) == {"ARCHIVE_MISSING"}
    assert victim.card in str(found.faults[0])


@pytest.mark.slow
def test_an_s3_bucket_that_is_not_there_is_told(bucket: str) -> None:
    with pytest.raises((InvalidInput, BackendError)):
        index.opened(open_store("s3://no-such-bucket/archive"))
