"""Where the model libraries are missing, as in the image that verifies, it is said in words."""

import importlib.util
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from runner.cli import main
from runner.core.errors import BackendError
from runner.core.types import ModelRef, Submission
from runner.models.local import open


def submission(folder: Path) -> Submission:
    model = ModelRef("causal", str(folder), None, None, None, "plain", "float32", None)
    return Submission("tiny", "", "sha256:" + "0" * 64, b"", model, None)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else known(name))


@pytest.mark.parametrize(
    "action",
    [
        lambda folder: open.open_backend(submission(folder), folder, None),
        lambda folder: open.load_tokenizer(folder),
        lambda folder: list(open.show_tokens(submission(folder), [])),
    ],
)
def test_a_model_is_refused(action, tmp_path: Path) -> None:
    with pytest.raises(BackendError) as caught:
        action(tmp_path)
    (fault,) = caught.value.faults
    assert fault.code == "MODEL_LIBRARIES"
    assert "torch." in fault.message


def test_the_doctor_says_so() -> None:
    ((name, state, message, hint),) = open.examine_device(None)
    assert (name, state) == ("model libraries", "fail")
    assert "torch" in message
    assert "benchmark-verify" in hint


def test_training_is_refused(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setitem(sys.modules, "runner.training", None)  # as where an import in it fails
    done = CliRunner().invoke(main, ["finetune", str(root / "submissions" / "tiny-llama" / "recipe.yaml")])
    assert done.exit_code == 3
    assert "MODEL_LIBRARIES" in done.stderr
