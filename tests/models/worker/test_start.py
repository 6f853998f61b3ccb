"""What a model's process imports before it can answer: seconds that everybody waits for."""

from contextlib import closing
from pathlib import Path

import pytest

from runner.config.submission import load_submission
from runner.models.base import LoadOptions
from runner.models.worker import open_isolated, process


@pytest.mark.slow
def test_a_model_without_an_adapter_does_without_peft(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "ENTRY", "support.import_probe:main")
    submission = load_submission(root / "submissions" / "tiny-llama" / "submission.yaml")
    folder = Path(submission.model.path or "")
    with closing(open_isolated(submission, folder, None, LoadOptions(device="cpu", threads=1))) as worker:
        imported = set(worker.describe()["imported"])
    assert {"torch", "transformers"} <= imported
    assert not imported & {"peft", "bitsandbytes", "sklearn", "torchvision", "pandas"}
