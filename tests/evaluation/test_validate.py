"""`validate` finds what `evaluate` would refuse as it reads the prompts."""

import shutil
from pathlib import Path

from support.paths import ROOT

from runner.evaluation.validate import check

SUBMISSION = """\
schema_version: "1"
name: thoughtful
model: {backend: causal, path: model, format: chat, dtype: float32}
"""


def test_the_tokenizer_is_asked_to_read_prompts(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "submissions" / "tiny-llama" / "model", tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}<think>", encoding="utf-8")
    path = tmp_path / "submission.yaml"
    path.write_text(SUBMISSION, encoding="utf-8")
    assert check(path, probe=False) == ()
    (fault,) = check(path)
    assert (fault.code, fault.file) == ("TEMPLATE_OPEN_THOUGHT", str(path))
    assert "more prompts" in fault.message


def test_what_is_not_here_is_not_asked() -> None:
    assert check(ROOT / "submissions" / "zephyr-7b-beta" / "submission.yaml") == ()
