"""Signed cards of every form there was still verify: a reader of ten years hence asks nothing less."""

import shutil
from pathlib import Path

import made
import pytest

from runner import run_names
from runner.errors import VerificationError
from runner.verify import verify

KEPT = Path(__file__).parent / "golden" / "cards" / "binds-submission" / run_names.SUBMISSION
CARDS = sorted((Path(__file__).parent / "golden" / "cards").iterdir())


@pytest.mark.parametrize("folder", CARDS, ids=lambda folder: folder.name)
def test_it_verifies(folder: Path) -> None:
    report = verify(folder, made.KEYRING)
    assert report.card["submission"]["name"] == "tiny-llama-lora"


def test_the_first_cards_do_not_bind_the_submission_file_and_say_so(tmp_path: Path) -> None:
    shutil.copy(CARDS[0].parent / "first" / run_names.BUNDLE, tmp_path)
    assert run_names.SUBMISSION not in {check.name for check in verify(tmp_path, made.KEYRING).checks}
    shutil.copy(KEPT, tmp_path)
    (found,) = (check for check in verify(tmp_path, made.KEYRING).checks if check.name == run_names.SUBMISSION)
    assert (found.state, found.message) == ("skipped", "the card does not say which file it was made with")


def test_later_cards_bind_it(tmp_path: Path) -> None:
    shutil.copy(CARDS[0].parent / "binds-submission" / run_names.BUNDLE, tmp_path)
    (found,) = (check for check in verify(tmp_path, made.KEYRING).checks if check.name == run_names.SUBMISSION)
    assert (found.state, found.message) == ("skipped", "not beside the card")
    kept = shutil.copy(KEPT, tmp_path)
    Path(kept).write_bytes(b"# another comment\n" + Path(kept).read_bytes())
    (found,) = (check for check in verify(tmp_path, made.KEYRING).checks if check.name == run_names.SUBMISSION)
    assert found.state == "ok"
    sound = Path(kept).read_text(encoding="utf-8")
    for spoilt in (
        sound.replace("name: tiny-llama-lora", "name: tiny-llama-laro"),
        sound.replace("name: ", "name: &a "),
        sound + "more: 1e999\n",
        sound + "more: 9007199254740993\n",
        "",
        "[" * 1000,
    ):
        Path(kept).write_text(spoilt, encoding="utf-8")
        with pytest.raises(VerificationError) as caught:
            verify(tmp_path, made.KEYRING)
        assert [(fault.code, fault.file) for fault in caught.value.faults] == [("SIG_FILES", str(kept))]
