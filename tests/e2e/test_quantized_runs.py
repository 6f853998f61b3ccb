"""Reduced weights through the installed command, in the process that can reach nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from support import tiny_models
from support.command import Command

pytestmark = pytest.mark.slow

ONLY = ("--task", "dilemmas", "--limit", 4)


@pytest.fixture(scope="module")
def reduced(submissions: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same tiny model as it is, in 4 and in 8 bits."""
    pytest.importorskip("bitsandbytes", reason="the extra `quantized` is not installed")
    top = tmp_path_factory.mktemp("reduced")
    tokenizer = tiny_models.byte_tokenizer()
    made = tiny_models.model(
        "llama", len(tokenizer), hidden_size=64, intermediate_size=128, max_position_embeddings=2048
    )
    tiny_models.save(top / "model", made, tokenizer)
    document = submissions.base.read_text(encoding="utf-8")
    found = {}
    for form in ("none", "nf4", "int8"):
        found[form] = top / f"{form}.yaml"
        text = document.replace("tiny-base", f"tiny-{form}") + f"  quantization: {form}\n"
        found[form].write_text(text, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def plain(reduced: dict[str, Path], evaluate: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run: Path = evaluate(reduced["none"], tmp_path_factory.mktemp("plain"), *ONLY)
    return run


@pytest.mark.parametrize("form", ["nf4", "int8"])
def test_a_card_says_how_the_weights_were_reduced(
    form: str, reduced: dict[str, Path], plain: Path, evaluate_installed: Any, tmp_path: Path, command: Command
) -> None:
    runs = {"none": plain, form: evaluate_installed(reduced[form], tmp_path, *ONLY)}
    cards = {name: json.loads((run / "scorecard.json").read_text(encoding="utf-8")) for name, run in runs.items()}
    assert cards["none"]["submission"]["model"]["quantization"] is None
    model = cards[form]["submission"]["model"]
    assert model["quantization"] == form
    assert model["facts"]["quantization"]["form"] == form
    assert model["facts"]["quantization"]["library"].startswith("bitsandbytes ")
    assert cards[form]["run"]["self_check"]["passed"] is True
    states = cards[form]["run"]["isolation"]
    assert states == cards["none"]["run"]["isolation"], "the library loads within the same walls"
    values = [card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]["value"] for card in cards.values()]
    assert values[0] != values[1]
    command("verify", runs[form] / "scorecard.sigstore.json", "--recompute")
