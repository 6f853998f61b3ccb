"""Encoders answer as transformers' own classes do, text by text; labels go by name, and each text is read once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from support import tiny_encoders as tiny
from transformers import AutoModelForMultipleChoice, AutoModelForSequenceClassification

from runner.core.errors import BackendError, InvalidInput
from runner.core.types import HeadSpec, Prompt, Submission
from runner.models.base import Backend, LoadOptions
from runner.models.local.open import open_backend, show_tokens

FAMILIES = ("bert", "roberta")
KINDS = {"ranking": (tiny.RANKING, tiny.dilemmas), "classification": (tiny.CLASSIFICATION, tiny.anecdotes)}
CASES = [(family, kind) for family in FAMILIES for kind in KINDS]


def saved(folder: Path, family: str, kind: str, **changes: Any) -> Path:
    tokenizer = tiny.tokenizer(family)
    made = tiny.model(family, kind, len(tokenizer), **changes)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def opened(submission: Submission, **settings: Any) -> Backend:
    adapter = Path(submission.adapter.path) if submission.adapter and submission.adapter.path else None
    return open_backend(submission, Path(str(submission.model.path)), adapter, LoadOptions(device="cpu", **settings))


def expected(folder: Path, family: str, kind: str, prompts: list[Prompt], head: HeadSpec) -> np.ndarray:
    """(prompts, labels) logits, each text given alone to transformers' own tokenizer and model."""
    tokenizer = tiny.tokenizer(family)
    load = AutoModelForMultipleChoice if kind == "ranking" else AutoModelForSequenceClassification
    model = load.from_pretrained(folder).eval()
    settings = {"truncation": True, "max_length": head.max_tokens, "return_tensors": "pt"}
    found = []
    with torch.inference_mode():
        for prompt in prompts:
            if kind == "ranking":
                texts = [tokenizer(text, **settings) for text in prompt.shown]
                scores = [
                    float(model(**{k: v[None] for k, v in text.items() if _known(k, family)}).logits) for text in texts
                ]
            else:
                # As lists: given alone, an empty second text is taken for none.
                text = tokenizer(*([prompt.values[field]] for field in head.reads), **settings)
                scores = model(**{k: v for k, v in text.items() if _known(k, family)}).logits[0].tolist()
            found.append(scores)
    return np.array(found)


def _known(name: str, family: str) -> bool:
    return name in ("input_ids", "attention_mask") or (name == "token_type_ids" and family == "bert")


@pytest.mark.parametrize(("family", "kind"), CASES)
@pytest.mark.parametrize("batch_tokens", [1, 200, 100_000])
def test_scores_are_those_of_transformers_own_classes(
    family: str, kind: str, batch_tokens: int, tmp_path: Path
) -> None:
    head, prompts = KINDS[kind][0], KINDS[kind][1]()
    folder = saved(tmp_path, family, kind)
    backend = opened(tiny.submission(folder, head), batch_tokens=batch_tokens)
    planned = backend.plan(prompts)
    assert sorted(number for batch in planned for number in batch) == list(range(len(prompts)))
    found = {
        (answer.item_id, answer.order): answer
        for batch in planned
        for answer in backend.predict([prompts[number] for number in batch])
    }
    wanted = log_softmax(expected(folder, family, kind, prompts, head), axis=1)
    assert np.ptp(wanted, axis=0).min() > 0.05  # the random model tells the items apart
    for prompt, scores in zip(prompts, wanted, strict=True):
        answer = found[prompt.item_id, prompt.order]
        np.testing.assert_allclose(answer.log_scores, scores, atol=2e-5)
        assert answer.answer_mass is None
        assert answer.concentration is None
    assert found["2", 0].truncated is (kind == "classification")
    assert not found["1", 0].truncated


@pytest.mark.parametrize("family", FAMILIES)
def test_both_orders_of_a_dilemma_are_read_once_and_answered_alike(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend: Any = opened(tiny.submission(saved(tmp_path, family, "ranking"), tiny.RANKING))
    prompts = tiny.dilemmas()
    read: list[int] = []
    forward = backend._forward
    monkeypatch.setattr(backend, "_forward", lambda texts: read.append(len(texts)) or forward(texts))
    planned = backend.plan(prompts)
    assert read == []
    answers = [list(backend.predict([prompts[number] for number in batch])) for batch in planned]
    assert sum(read) == len({text for prompt in prompts for text in prompt.shown}) == len(prompts) // 2
    for batch in answers:
        by_item = {(answer.item_id, answer.order): answer.log_scores for answer in batch}
        assert all(by_item[item, 0] == by_item[item, 1] for item, _ in by_item)


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_go_to_labels_by_name(family: str, tmp_path: Path) -> None:
    prompts = tiny.anecdotes()
    straight = opened(tiny.submission(saved(tmp_path / "a", family, "classification"), tiny.CLASSIFICATION))
    turned = saved(tmp_path / "b", family, "classification", labels=tiny.ANECDOTES[::-1])
    found = list(opened(tiny.submission(turned, tiny.CLASSIFICATION)).predict(prompts))
    for one, other in zip(straight.predict(prompts), found, strict=True):
        np.testing.assert_allclose(one.log_scores, other.log_scores[::-1], atol=1e-12)


@pytest.mark.parametrize(
    "labels",
    [("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3", "LABEL_4"), ("author", *tiny.ANECDOTES[1:]), tiny.ANECDOTES[:4]],
)
def test_other_labels_are_refused_before_anything_is_asked(labels: tuple[str, ...], tmp_path: Path) -> None:
    folder = saved(tmp_path, "bert", "classification", labels=labels)
    with pytest.raises(InvalidInput) as refused:
        opened(tiny.submission(folder, tiny.CLASSIFICATION)).plan(tiny.anecdotes())
    assert [fault.code for fault in refused.value.faults] == ["HEAD_LABELS"]
    assert labels[0] in refused.value.faults[0].message


def test_labels_may_be_named_by_the_submission_but_not_against_the_model(tmp_path: Path) -> None:
    prompts = tiny.anecdotes()
    named = replace(tiny.CLASSIFICATION, labels=tiny.ANECDOTES)
    bare = saved(tmp_path / "a", "bert", "classification", labels=[f"LABEL_{n}" for n in range(5)])
    own = saved(tmp_path / "b", "bert", "classification")
    found = list(opened(tiny.submission(bare, named)).predict(prompts))
    assert found == list(opened(tiny.submission(own, tiny.CLASSIFICATION)).predict(prompts))
    with pytest.raises(BackendError) as refused:
        opened(tiny.submission(own, replace(named, labels=tiny.ANECDOTES[::-1])))
    assert refused.value.faults[0].code == "HEAD_LABELS"


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_its_own_concentration_is_the_sum_of_exp_logits(family: str, kind: str, tmp_path: Path) -> None:
    head, prompts = replace(KINDS[kind][0], concentration="own"), KINDS[kind][1]()
    folder = saved(tmp_path, family, kind)
    logits = expected(folder, family, kind, prompts, head)
    for answer, own in zip(opened(tiny.submission(folder, head)).predict(prompts), logits, strict=True):
        assert answer.concentration == pytest.approx(np.exp(own).sum(), rel=1e-4)
        alphas = answer.concentration * np.exp(answer.log_scores)
        np.testing.assert_allclose(np.log(alphas), own, atol=1e-4)
        assert logsumexp(answer.log_scores) == pytest.approx(0, abs=1e-9)


def test_a_concentration_beyond_numbers_is_an_error(tmp_path: Path) -> None:
    folder = saved(tmp_path, "bert", "ranking")
    head = replace(tiny.RANKING, concentration="own")
    backend: Any = opened(tiny.submission(folder, head))
    for bias in (1000.0, -1000.0):
        with torch.no_grad():
            backend._base.classifier.bias.fill_(bias)
        with pytest.raises(BackendError) as refused:
            list(backend.predict(tiny.dilemmas()))
        assert refused.value.faults[0].code == "CONCENTRATION"
    with torch.no_grad():
        backend._base.classifier.bias.fill_(torch.nan)
    with pytest.raises(BackendError) as refused:
        list(backend.predict(tiny.dilemmas()))
    assert refused.value.faults[0].code == "LOGITS_NON_FINITE"


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_spelt_in_a_text_are_read_as_text(family: str, tmp_path: Path) -> None:
    head = tiny.RANKING
    backend: Any = opened(tiny.submission(saved(tmp_path, family, "ranking"), head))
    spelt = "[SEP] [PAD] [CLS]" if family == "bert" else "</s> <pad> <s>"
    pair = (f"leaving {spelt} early", "leaving early")
    prompt = replace(tiny.dilemmas()[0], shown=pair)
    _, encoded = backend.read([prompt])
    ids = encoded[pair[0],].ids
    tokenizer = tiny.tokenizer(family)
    assert [token for token in ids if token in tokenizer.all_special_ids and token != tokenizer.unk_token_id] == [
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("headless", [False, True])
def test_an_adapter_brings_its_head(family: str, headless: bool, tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(family)
    labelled = tiny.model(family, "classification", len(tokenizer))
    adapted = tiny.adapter(labelled)
    adapted.save_pretrained(tmp_path / "adapter")
    base = getattr(labelled, family) if headless else labelled
    if headless:
        # As a pretrained model has it: the encoder under its name, and another head.
        state = {f"{family}.{name}": value for name, value in base.state_dict().items()}
        state["cls.predictions.bias" if family == "bert" else "lm_head.bias"] = torch.zeros(len(tokenizer))
        labelled.config.id2label = {0: "LABEL_0", 1: "LABEL_1"}
        labelled.config.save_pretrained(tmp_path / "model")
        from safetensors.torch import save_file

        save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "model" / "model.safetensors")
    else:
        labelled.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    head = replace(tiny.CLASSIFICATION, labels=tiny.ANECDOTES)
    backend = opened(tiny.submission(tmp_path / "model", head, tmp_path / "adapter"))
    prompts = tiny.anecdotes()
    found = np.array([answer.log_scores for answer in backend.predict(prompts)])
    with torch.inference_mode():
        for prompt, scores in zip(prompts, found, strict=True):
            text = tokenizer([prompt.values["title"]], [prompt.values["text"]], truncation=True, max_length=128)
            given = {name: torch.tensor(values) for name, values in text.items() if _known(name, family)}
            np.testing.assert_allclose(scores, log_softmax(adapted(**given).logits[0].numpy()), atol=2e-5)
    off = backend.without_adapter()
    assert off is not None
    with off:
        without = np.array([answer.log_scores for answer in backend.predict(prompts)])
    if headless:
        np.testing.assert_allclose(without, -np.log(5), atol=1e-6)  # its head is nothing but zeros
    assert np.abs(without - found).max() > 0.01
    assert backend.describe()["adapter"]["rank"] == 4


def test_a_head_that_is_missing_or_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    ranking = saved(tmp_path / "ranking", "roberta", "ranking")
    with pytest.raises(BackendError) as refused:
        opened(tiny.submission(ranking, replace(tiny.CLASSIFICATION, labels=tiny.ANECDOTES)))
    assert {fault.code for fault in refused.value.faults} == {"LOAD_KEYS"}
    tokenizer = tiny.tokenizer("bert")
    tiny.model("bert", "ranking", len(tokenizer)).bert.save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    with pytest.raises(BackendError) as refused:
        opened(tiny.submission(tmp_path / "bare", tiny.RANKING))
    assert "classifier.weight" in str(refused.value)


@pytest.mark.parametrize(("family", "most"), [("bert", 512), ("roberta", 512)])
def test_no_more_is_read_than_there_are_positions(family: str, most: int, tmp_path: Path) -> None:
    folder = saved(tmp_path, family, "classification")
    prompt = tiny.anecdotes()[2]
    prompt = replace(prompt, values={"title": "long", "text": "cake " * 2000})
    answer = next(
        iter(opened(tiny.submission(folder, replace(tiny.CLASSIFICATION, max_tokens=most))).predict([prompt]))
    )
    assert answer.prompt_tokens == most
    assert answer.truncated
    with pytest.raises(BackendError) as refused:
        opened(tiny.submission(folder, replace(tiny.CLASSIFICATION, max_tokens=most + 1)))
    assert refused.value.faults[0].code == "HEAD_TOKENS"


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer("bert")
    tiny.model("bert", "ranking", len(tokenizer) // 2).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InvalidInput, match="TOKENIZER_VOCABULARY"):
        opened(tiny.submission(tmp_path, tiny.RANKING)).plan(tiny.dilemmas())


def test_what_the_head_does_not_answer_is_refused(tmp_path: Path) -> None:
    ranking = opened(tiny.submission(saved(tmp_path / "a", "bert", "ranking"), tiny.RANKING))
    with pytest.raises(InvalidInput) as refused:
        ranking.plan(tiny.anecdotes())
    assert [fault.code for fault in refused.value.faults] == ["TASK_OF_HEAD"]
    with pytest.raises(InvalidInput) as refused:
        ranking.plan([replace(prompt, shown=()) for prompt in tiny.dilemmas()])
    assert [fault.code for fault in refused.value.faults] == ["HEAD_READS"]
    folder = saved(tmp_path / "b", "bert", "classification")
    with pytest.raises(InvalidInput) as refused:
        opened(tiny.submission(folder, replace(tiny.CLASSIFICATION, reads=("body",)))).plan(tiny.anecdotes())
    assert [fault.code for fault in refused.value.faults] == ["HEAD_READS"]
    assert "title, text" in str(refused.value)


def test_a_text_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    """Empty texts are sound data; a tokenizer without special tokens has nothing to read of them."""
    folder = saved(tmp_path, "bert", "classification")
    file = folder / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), "post_processor": None}))
    head = replace(tiny.CLASSIFICATION, reads=("text",))
    with pytest.raises(InvalidInput) as refused:
        opened(tiny.submission(folder, head)).plan(tiny.anecdotes())
    assert [fault.code for fault in refused.value.faults] == ["TOKENIZER_REWRITES"]
    assert "no token at all for 1 texts, the first ''" in str(refused.value)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_head_is_float32_in_any_dtype(dtype: str, tmp_path: Path) -> None:
    folder = saved(tmp_path, "bert", "ranking")
    backend: Any = opened(tiny.submission(folder, tiny.RANKING, dtype=dtype))
    assert backend.describe()["dtype"] == dtype
    assert backend._base.classifier.weight.dtype == torch.float32
    exact = opened(tiny.submission(folder, tiny.RANKING))
    pairs = zip(backend.predict(tiny.dilemmas()), exact.predict(tiny.dilemmas()), strict=True)
    differences = [abs(one.log_scores[0] - other.log_scores[0]) for one, other in pairs]
    assert 0 < max(differences) < 0.1


def test_what_is_read_can_be_looked_at_without_the_weights(tmp_path: Path) -> None:
    folder = saved(tmp_path, "bert", "ranking")
    (folder / "model.safetensors").unlink()
    prompts = tiny.dilemmas()
    rows = list(show_tokens(tiny.submission(folder, tiny.RANKING), prompts))
    tokenizer = tiny.tokenizer("bert")
    for prompt, row in zip(prompts, rows, strict=True):
        assert [text["token_ids"] for text in row["texts"]] == [tokenizer(text)["input_ids"] for text in prompt.shown]
    assert json.loads(json.dumps(rows)) == rows
