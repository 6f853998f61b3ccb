"""Signed cards of every form there was still verify: a reader of ten years hence asks nothing less."""

import shutil
from pathlib import Path

import pytest
from support import factories
from support.paths import GOLDEN

from runner.core.errors import VerificationError
from runner.scorecard import filenames
from runner.scorecard.verify import verify

KEPT = GOLDEN / "cards" / "binds-submission" / filenames.SUBMISSION
CARDS = sorted((GOLDEN / "cards").iterdir())


@pytest.mark.parametrize("folder", CARDS, ids=lambda folder: folder.name)
def test_it_verifies(folder: Path) -> None:
    report = verify(folder, factories.KEYRING)
    assert report.card["submission"]["name"] == "tiny-llama-lora"


def test_the_first_cards_do_not_bind_the_submission_file_and_say_so(tmp_path: Path) -> None:
    shutil.copy(CARDS[0].parent / "first" / filenames.BUNDLE, tmp_path)
    assert filenames.SUBMISSION not in {check.name for check in verify(tmp_path, factories.KEYRING).checks}
    shutil.copy(KEPT, tmp_path)
    (found,) = (check for check in verify(tmp_path, factories.KEYRING).checks if check.name == filenames.SUBMISSION)
    assert (found.state, found.message) == ("skipped", "the card does not say which file it was made with")


@pytest.mark.slow
def test_later_cards_bind_it(tmp_path: Path) -> None:
    shutil.copy(CARDS[0].parent / "binds-submission" / filenames.BUNDLE, tmp_path)
    (found,) = (check for check in verify(tmp_path, factories.KEYRING).checks if check.name == filenames.SUBMISSION)
    assert (found.state, found.message) == ("skipped", "not beside the card")
    kept = shutil.copy(KEPT, tmp_path)
    Path(kept).write_bytes(b"# another comment\n" + Path(kept).read_bytes())
    (found,) = (check for check in verify(tmp_path, factories.KEYRING).checks if check.name == filenames.SUBMISSION)
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
            verify(tmp_path, factories.KEYRING)
        assert [(fault.code, fault.file) for fault in caught.value.faults] == [("SIG_FILES", str(kept))]
