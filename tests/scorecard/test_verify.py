"""The files beside a card: what was changed is refused, what is missing is said to be missing."""

import json
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support import factories

from runner.core.errors import InvalidInput, VerificationError
from runner.scorecard import filenames
from runner.scorecard.verify import verify
from runner.signing.keyring import keyring_of

BESIDE = (filenames.PREDICTIONS, filenames.ENVIRONMENT, filenames.CARD, filenames.BENCHMARK)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return factories.scored(tmp_path_factory.mktemp("runs"), factories.sample_rows())


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def states(report):
    return {check.name: check.state for check in report.checks}


@pytest.mark.slow
def test_a_whole_run(run):
    report = verify(run, factories.KEYRING)
    found = states(report)
    assert {name: found[name] for name in BESIDE} == dict.fromkeys(BESIDE, "ok")
    assert found["signature"] == "ok"
    assert found["not comparable"] == "note"
    assert report.folder == run
    assert verify(run / filenames.BUNDLE, factories.KEYRING).card == report.card
    assert json.loads(json.dumps(report.to_json()))["verified"] is True


@pytest.mark.parametrize("name", BESIDE)
def test_a_missing_file_is_said_to_be_missing(copied, name):
    (copied / name).unlink()
    found = states(verify(copied, factories.KEYRING))
    assert found[name] == "skipped"
    assert all(found[other] == "ok" for other in BESIDE if other != name)


@pytest.mark.parametrize("name", BESIDE)
def test_a_changed_file_is_refused(copied, name):
    path = copied / name
    data = path.read_bytes()
    place = data.index(b"1")
    path.write_bytes(data[:place] + b"2" + data[place + 1 :])
    with pytest.raises(VerificationError) as caught:
        verify(copied, factories.KEYRING)
    (fault,) = caught.value.faults
    assert (fault.code, fault.file) == ("SIG_FILES", str(path))


@pytest.mark.parametrize("name", BESIDE)
def test_an_emptied_file_is_refused(copied, name):
    (copied / name).write_bytes(b"")
    with pytest.raises(VerificationError):
        verify(copied, factories.KEYRING)


def test_all_changed_files_are_told_at_once(copied):
    for name in BESIDE:
        (copied / name).write_bytes(b"{}")
    with pytest.raises(VerificationError) as caught:
        verify(copied, factories.KEYRING)
    assert [fault.file for fault in caught.value.faults] == [str(copied / name) for name in BESIDE]


def test_a_reformatted_plain_card_says_the_same_but_true_is_not_one(copied):
    card = factories.read_card(copied)
    path = copied / filenames.CARD
    path.write_text(json.dumps(card, indent=None, sort_keys=True), encoding="utf-8")
    assert states(verify(copied, factories.KEYRING))[filenames.CARD] == "ok"
    assert card["comparable"] is False
    path.write_text(json.dumps({**card, "comparable": 0}), encoding="utf-8")
    with pytest.raises(VerificationError, match="plain copy"):
        verify(copied, factories.KEYRING)


def test_another_comment_in_the_benchmark_is_the_same_benchmark(copied):
    path = copied / filenames.BENCHMARK
    path.write_bytes(b"# a note\n" + path.read_bytes())
    assert states(verify(copied, factories.KEYRING))[filenames.BENCHMARK] == "ok"


def test_someone_elses_key_is_not_trusted(run):
    with pytest.raises(VerificationError) as caught:
        verify(run, keyring_of(Ed25519PrivateKey.generate().public_key()))
    assert caught.value.faults[0].code == "SIG_UNTRUSTED"


def test_expectations_are_passed_on(run):
    card = factories.read_card(run)
    right = {"expect_submission": card["submission"]["digest"], "expect_benchmark": card["benchmark"]["digest"]}
    assert "not comparable" in states(verify(run, factories.KEYRING, **right))
    for wrong in ({"expect_submission": "0" * 64}, {"expect_benchmark": "0" * 64}, {"nonce": "x"}):
        with pytest.raises(VerificationError):
            verify(run, factories.KEYRING, **wrong)


def test_a_run_that_was_stopped_has_no_card(copied):
    (copied / filenames.BUNDLE).unlink()
    with pytest.raises(InvalidInput) as caught:
        verify(copied, factories.KEYRING)
    (fault,) = caught.value.faults
    assert fault.code == "FILE_MISSING"
    assert "stopped" in fault.hint
    with pytest.raises(InvalidInput):
        verify(copied / "nowhere.json", factories.KEYRING)
