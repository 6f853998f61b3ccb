"""The systems of the seed paper in small, and one of the general path, through the command."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import architectures, tiny_models
from support.command import Command
from support.reference_scorer import label_log_scores
from tokenizers import pre_tokenizers

from runner.core import resources
from runner.tasks.prompts import text
from runner.tasks.selection import RunConfig, prompts, select

pytestmark = pytest.mark.slow

ONLY = ("--suite", "sample", "--task", "dilemmas", "--limit", 3, "--prompt", "dilemmas-letters")
POSITIONS = {"max_position_embeddings": 2048}


@dataclass(frozen=True)
class Family:
    """A system: its model, its tokenizer, and what its tokens for an option and its chat format look like."""

    model: Any
    tokenizer: Any
    option: str
    begins: str
    asks: str
    facts: dict[str, Any]


def llama() -> Family:
    """Llama 3.1: shared keys and values, rotary positions scaled by frequency; byte-level BPE, a BOS before."""
    tokenizer = tiny_models.byte_tokenizer(template=tiny_models.HEADERS)
    model = tiny_models.model("llama", len(tokenizer), **POSITIONS)
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert model.config.rope_parameters["rope_type"] == "llama3"
    begins = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
    asks = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nAnswer:"
    return Family(model, tokenizer, "ĠA", begins, asks, {"model_type": "llama", "context_limit": 2048})


def mistral() -> Family:
    """Mistral 7B v0.3: no sliding window; pieces with bytes for what is unknown, ▁ before the first word only."""
    tokenizer = tiny_models.piece_tokenizer(template=tiny_models.BRACKETS, letters=True)
    backend = tokenizer.backend_tokenizer
    backend.normalizer = None
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    model = tiny_models.model("mistral", len(tokenizer), sliding_window=None, **POSITIONS)
    facts = {"model_type": "mistral", "context_limit": 2048}
    return Family(model, tokenizer, "▁A", "<s>[INST] ", "[/INST]Answer:", facts)


def zephyr() -> Family:
    """Zephyr: Mistral 7B v0.1, with its sliding window and its ▁ before every text, and a chat format without BOS."""
    tokenizer = tiny_models.piece_tokenizer(template=tiny_models.LINES, letters=True)
    model = tiny_models.model("mistral", len(tokenizer), sliding_window=1024, **POSITIONS)
    facts = {"model_type": "mistral", "context_limit": 2048, "attention": "packed", "packed_tokens": 1024}
    return Family(model, tokenizer, "▁A", "<s><|user|>\n", "</s>\n<|assistant|>\nAnswer:", facts)


def gemma() -> Family:
    """Gemma 2, by the general path: capped scores, windows shorter than the prompts, scaled embeddings."""
    tokenizer = tiny_models.byte_tokenizer(template=tiny_models.HEADERS)
    model = architectures.model("gemma2", len(tokenizer), **POSITIONS)
    begins = "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"
    asks = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nAnswer:"
    facts = {"model_type": "gemma2", "context_limit": 2048, "attention": "general", "packed_tokens": None}
    return Family(model, tokenizer, "ĠA", begins, asks, facts)


FAMILIES = {"llama": llama, "mistral": mistral, "zephyr": zephyr, "gemma": gemma}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]()


@pytest.fixture(scope="module", params=["plain", "chat"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def submission(family: Family, form: str, submissions: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    tiny_models.save(folder / "model", family.model, family.tokenizer)
    document = submissions.base.read_text(encoding="utf-8").replace("format: plain", f"format: {form}")
    (folder / "submission.yaml").write_text(document, encoding="utf-8")
    return folder / "submission.yaml"


@pytest.fixture(scope="module")
def asked() -> list[Any]:
    return prompts(
        select(RunConfig(resources.benchmark_file(), "sample", ("dilemmas",), limit=3, prompts=("dilemmas-letters",)))
    )


def test_what_is_read(family: Family, form: str, submission: Path, asked: list[Any], command: Command) -> None:
    rows = [json.loads(line) for line in command("prompts", *ONLY, "--submission", submission).stdout.splitlines()]
    assert len(rows) == len(asked) == 12
    tokenizer = family.tokenizer
    for row, prompt in zip(rows, asked, strict=True):
        ids = row["token_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
        read = tokenizer.decode(ids)
        for item in (prompt.values["first"], prompt.values["second"]):
            assert read.count(item) == 1, "the item's text, verbatim and once"
        question = text(prompt)
        if form == "chat":
            # A decoder may put a blank where a piece begins a word; what is written is the template's.
            assert "".join(read.split()) == "".join((family.begins + question + family.asks).split())
        else:
            assert read.removeprefix(tokenizer.bos_token).lstrip(" ") == question + "\nAnswer:"
        assert not row["joined"]
        assert not row["truncated"]
        letters = [tokenizer.convert_ids_to_tokens(tail["token_ids"]) for tail in row["tails"]]
        other = family.option.replace("A", "B")
        assert letters == ([[family.option], [other]] if row["order"] == 0 else [[other], [family.option]])
        for tail, letter in zip(row["tails"], ("A", "B") if row["order"] == 0 else ("B", "A"), strict=True):
            assert tokenizer.decode([*ids, *tail["token_ids"]]).endswith(f"Answer: {letter}")


def test_scores_are_those_of_reading_each_answer_by_itself(
    family: Family, form: str, submission: Path, asked: list[Any], command: Command, tmp_path: Path
) -> None:
    done = command("evaluate", submission, *ONLY, "--quiet", "--output-dir", tmp_path)
    run = Path(done.stdout.splitlines()[-1])
    rows = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    for row, prompt in zip(rows, asked, strict=True):
        assert (row["item_id"], row["order"]) == (prompt.item_id, prompt.order)
        expected = label_log_scores(family.model, family.tokenizer, prompt, form)
        assert row["log_scores"] == pytest.approx(expected, abs=1e-4)
        assert row["token_counts"] == [1, 1]
    assert len({tuple(row["log_scores"]) for row in rows}) == len(rows), "the model tells prompts apart"
    card = json.loads((run / "scorecard.json").read_text(encoding="utf-8"))
    facts = card["submission"]["model"]["facts"]
    assert {name: facts[name] for name in family.facts} == family.facts
    assert facts["format"] == form
    assert (facts["chat_template_sha256"] is None) == (form == "plain")
    assert card["run"]["self_check"]["passed"] is True
