"""One pass for all options gives what scoring each option by itself gives."""

import copy
import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from support import tiny_models
from support.reference_scorer import label_log_scores

from runner.core.errors import BackendError, InvalidInput
from runner.core.types import Prediction, Prompt
from runner.models.local import general, lm_head
from runner.models.local.causal import Causal
from runner.models.local.packed.prefix_grouping import LEAST_SHARED
from runner.models.tokenization import EncodedPrompt
from runner.tasks.prompts import text as prompt_text

LETTERS = ((" A",), (" B",))
# Up to seven tokens and −65 nats, where the steps of float32 are .000008.
OF_WORDS = 3e-5
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@pytest.fixture(scope="module")
def byte() -> Any:
    return tiny_models.byte_tokenizer()


def answer(backend: Causal, prompts: Sequence[Prompt], *, planned: bool = True) -> list[Prediction]:
    """Predictions in the order of `prompts`, batch by batch as planned."""
    if not planned:
        return list(backend.predict(prompts))
    found: dict[int, Prediction] = {}
    for batch in backend.plan(prompts):
        found.update(zip(batch, backend.predict([prompts[number] for number in batch]), strict=True))
    return [found[number] for number in range(len(prompts))]


def scores(predictions: Sequence[Prediction]) -> list[float]:
    return [score for each in predictions for score in each.log_scores]


def furthest(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.abs(np.array(one) - np.array(other)).max())


def naive(model: Any, tokenizer: Any, prompts: Sequence[Prompt], form: str = "plain") -> list[float]:
    """By the same weights in float64, so that the only rounding is in what is tested."""
    return as_it_is(copy.deepcopy(model).double(), tokenizer, prompts, form)


def as_it_is(model: Any, tokenizer: Any, prompts: Sequence[Prompt], form: str = "plain") -> list[float]:
    return [score for prompt in prompts for score in label_log_scores(model, tokenizer, prompt, form)]


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("options", [LETTERS, tiny_models.WORDS], ids=["one token", "several tokens"])
def test_agrees_with_one_option_at_a_time(kind: str, options: Any, byte: Any) -> None:
    model = tiny_models.model(kind, len(byte))
    prompts = tiny_models.prompts(options)
    found = answer(Causal(model, byte, "plain", 400), prompts)
    assert furthest(scores(found), naive(model, byte, prompts)) <= (1e-5 if options is LETTERS else OF_WORDS)
    assert len({round(score, 3) for score in scores(found)}) > len(prompts)  # the model tells prompts apart


@pytest.mark.slow
@pytest.mark.parametrize("template", [tiny_models.BRACKETS, tiny_models.LINES], ids=["renders a BOS", "renders none"])
def test_agrees_in_chat_format_with_a_piece_tokenizer(template: str) -> None:
    tokenizer = tiny_models.piece_tokenizer(template=template)
    model = tiny_models.model("mistral", len(tokenizer))
    prompts = tiny_models.prompts(tiny_models.WORDS)
    found = answer(Causal(model, tokenizer, "chat", 600), prompts)
    assert furthest(scores(found), naive(model, tokenizer, prompts, "chat")) <= OF_WORDS


@pytest.mark.slow
@pytest.mark.parametrize(
    "targets", [("q_proj", "v_proj"), ("q_proj", "down_proj", "lm_head")], ids=["attention", "with the head"]
)
def test_agrees_with_an_adapter_on_and_off(targets: Sequence[str], byte: Any) -> None:
    base = tiny_models.model("llama", len(byte))
    adapted = tiny_models.adapter(base, targets)
    prompts = tiny_models.prompts(tiny_models.WORDS)
    backend = Causal(adapted, byte, "plain", 400)
    assert backend.describe()["head"] == ("whole" if "lm_head" in targets else "chunked")
    on = scores(answer(backend, prompts))
    assert furthest(on, naive(adapted, byte, prompts)) <= OF_WORDS
    without = backend.without_adapter()
    assert without is not None
    with without:
        off = scores(answer(backend, prompts))
    assert furthest(off, naive(base, byte, prompts)) <= OF_WORDS
    assert furthest(on, off) > 0.1
    assert scores(answer(backend, prompts)) == on  # nothing of the bare model is left in a cache


def test_no_adapter_cannot_be_switched_off(byte: Any) -> None:
    assert Causal(tiny_models.model("llama", len(byte)), byte, "plain", 400).without_adapter() is None


def test_longrope_is_asked_within_its_first_length(byte: Any) -> None:
    """Beyond it the positions of all prompts in a batch would be turned otherwise."""
    half = tiny_models.model("llama", len(byte)).config.head_dim // 2
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    factors = {"short_factor": [1.0] * half, "long_factor": [4.0] * half}
    model = tiny_models.model("llama", len(byte), rope_parameters=rope | factors, max_position_embeddings=256)
    backend = Causal(model, byte, "plain", 400)
    assert backend.describe()["context_limit"] == 64
    short = [prompt for prompt in tiny_models.prompts() if len(prompt.values["first"] + prompt.values["second"]) < 80]
    assert furthest(scores(answer(backend, short)), naive(model, byte, short)) <= 1e-5
    with pytest.raises(Exception, match="at most 64 were expected"):
        backend.plan(tiny_models.prompts())


def test_tied_head(byte: Any) -> None:
    model = tiny_models.model("llama", len(byte), tie_word_embeddings=True)
    prompts = tiny_models.prompts()
    assert furthest(scores(answer(Causal(model, byte, "plain", 400), prompts)), naive(model, byte, prompts)) <= 1e-5


@pytest.mark.slow
def test_prompts_longer_than_the_sliding_window_go_the_general_path(byte: Any) -> None:
    window = 64
    model = tiny_models.model("mistral", len(byte), sliding_window=window)
    backend = Causal(model, byte, "plain", 400)
    facts = backend.describe()
    assert (facts["attention"], facts["packed_tokens"], facts["context_limit"]) == ("packed", window, 512)
    prompts = tiny_models.prompts(tiny_models.WORDS)
    longer = {number for number, each in enumerate(backend.read(prompts)) if general.longest_row(each) > window}
    assert 0 < len(longer) < len(prompts)
    assert all(longer.issuperset(batch) or longer.isdisjoint(batch) for batch in backend.plan(prompts))
    assert furthest(scores(answer(backend, prompts)), naive(model, byte, prompts)) <= OF_WORDS


@pytest.mark.slow
def test_batches_do_not_matter(byte: Any) -> None:
    model = tiny_models.model("llama", len(byte))
    prompts = tiny_models.prompts(tiny_models.WORDS, "words") + tiny_models.prompts(LETTERS)
    alone = [next(iter(Causal(model, byte, "plain", 400).predict([prompt]))) for prompt in prompts]
    for budget in (1, 300, 10_000):
        backend = Causal(model, byte, "plain", budget)
        planned = answer(backend, prompts)
        shuffled = list(backend.predict(prompts[::-1]))[::-1]
        assert furthest(scores(planned), scores(alone)) <= 1e-5
        assert furthest(scores(shuffled), scores(alone)) <= 1e-5
        assert [each.item_id for each in planned] == [prompt.item_id for prompt in prompts]


def test_two_kinds_of_prompt_with_beginnings_of_their_own(byte: Any) -> None:
    model = tiny_models.model("llama", len(byte))
    other = "One thing, then another, that people have told: $first; $second. Which is less ethical?"
    pairs = zip(tiny_models.ACTIONS[::2], tiny_models.ACTIONS[1::2], strict=True)
    prompts = [*tiny_models.prompts(), *(tiny_models.prompt(*pair, template=other, name="other") for pair in pairs)]
    backend = Causal(model, byte, "plain", 400)
    assert furthest(scores(answer(backend, prompts)), naive(model, byte, prompts)) <= 1e-5
    mixed = prompts[::3] + prompts[1::3]
    assert furthest(scores(list(backend.predict(mixed))), naive(model, byte, mixed)) <= 1e-5


def test_kinds_with_and_without_a_shared_beginning(byte: Any) -> None:
    model = tiny_models.model("llama", len(byte))
    pairs = zip(tiny_models.ACTIONS[::2], tiny_models.ACTIONS[1::2], strict=True)
    prompts = [
        *tiny_models.prompts(),
        *(tiny_models.prompt(*pair, template="$first $second", name="bare") for pair in pairs),
    ]
    backend = Causal(model, byte, "plain", 400)
    exact = naive(model, byte, prompts)
    assert furthest(scores(answer(backend, prompts)), exact) <= 1e-5
    backwards = [each.log_scores for each in answer(backend, prompts[::-1])][::-1]
    assert furthest([score for each in backwards for score in each], exact) <= 1e-5


def test_a_prompt_under_a_known_name_is_read_anew(byte: Any) -> None:
    model = tiny_models.model("llama", len(byte))
    backend = Causal(model, byte, "plain", 400)
    backend.plan(tiny_models.prompts())
    changed = [tiny_models.prompts()[2], tiny_models.prompt("something else", item="0")]
    assert furthest(scores(list(backend.predict(changed))), naive(model, byte, changed)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "chat"])
def test_nothing_of_the_prompts_is_kept(byte: Any, form: Any) -> None:
    """Neither by a plan nor by predictions: memory is the same for any number of prompts."""
    backend = Causal(tiny_models.model("llama", len(byte)), byte, form, 400)

    def kept() -> int:
        gc.collect()
        return sum(type(each) in (EncodedPrompt, Prompt) for each in gc.get_objects())

    before = kept()
    found = [
        each.log_scores for each in answer(backend, [replace(each, split="kept") for each in tiny_models.prompts()])
    ]
    assert len(found) == len(tiny_models.ACTIONS)
    assert kept() == before


def test_two_runs_are_equal_bit_by_bit(byte: Any) -> None:
    prompts = tiny_models.prompts(tiny_models.WORDS)
    one, other = (
        scores(answer(Causal(tiny_models.model("llama", len(byte)), byte, "plain", 400), prompts)) for _ in range(2)
    )
    assert one == other


def test_the_shared_beginning_is_read_once(byte: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_models.model("llama", len(byte))
    backend = Causal(model, byte, "plain", 300)
    read: list[tuple[int, int]] = []
    forward = type(model.model).forward

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(tuple(kwargs["input_ids"].shape))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", counting)
    prompts = tiny_models.prompts()
    found = answer(backend, prompts)
    texts = [byte(prompt_text(prompt) + prompt.cue_plain)["input_ids"] for prompt in prompts]
    shared = next(at for at, tokens in enumerate(zip(*texts, strict=False)) if len(set(tokens)) > 1)
    widths = [width for rows, width in read if rows == 1]
    assert len(widths) == len(read) > 2
    assert widths[0] == shared >= LEAST_SHARED
    # Each other token once, and none for padding or for a second option.
    assert sum(widths) == shared + sum(each.prompt_tokens - shared for each in found)
    assert max(widths) <= 300


def test_what_two_prompts_share_is_read_once(byte: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts about one story in two orders, as of Anecdotes: the story is read once, and the answers are the same."""
    model = tiny_models.model("llama", len(byte))
    template = "$story What of it? $first or $second?"
    story = " ".join(tiny_models.ACTIONS[:3])
    values = [("one", "other"), ("other", "one")]
    prompts = [replace(tiny_models.prompt(*pair, template=template), order=order) for order, pair in enumerate(values)]
    prompts = [replace(each, values={**each.values, "story": story}) for each in prompts]
    alone = [next(iter(Causal(model, byte, "plain", 400).predict([prompt]))) for prompt in prompts]
    read: list[int] = []
    forward = type(model.model).forward

    def counting(self: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(kwargs["input_ids"].numel())
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", counting)
    together = list(Causal(model, byte, "plain", 400).predict(prompts))
    assert sum(read) < 1.3 * alone[0].prompt_tokens
    assert furthest(scores(together), scores(alone)) <= 1e-5


def with_room_for(most: int, model: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let memory run out above so many tokens; the sizes that are tried from now on."""
    forward = type(model.model).forward
    tried: list[int] = []

    def small(self: Any, *args: Any, **kwargs: Any) -> Any:
        tried.append(kwargs["input_ids"].numel())
        if tried[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", small)
    return tried


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved(byte: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_models.model("llama", len(byte))
    prompts = tiny_models.prompts(tiny_models.WORDS)
    whole = scores(answer(Causal(model, byte, "plain", 10_000), prompts))
    tried = with_room_for(200, model, monkeypatch)
    assert furthest(scores(answer(Causal(model, byte, "plain", 10_000), prompts)), whole) <= 1e-5
    assert max(tried) > 400


@pytest.mark.slow
def test_what_did_not_fit_is_not_tried_again_and_again(byte: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_models.model("llama", len(byte))
    actions = [f"{number}. {action}" for number, action in enumerate(tiny_models.ACTIONS * 6)]
    prompts = [tiny_models.prompt(one, one[::-1], item=one) for one in actions]
    whole = scores(answer(Causal(model, byte, "plain", 400), prompts))
    tried = with_room_for(270, model, monkeypatch)
    backend = Causal(model, byte, "plain", 400)
    described = backend.describe()
    assert furthest(scores(answer(backend, prompts)), whole) <= 1e-5
    assert sum(size > 270 for size in tried) == 1 < sum(size > 125 for size in tried)
    # What identifies a run is what was asked for.
    assert backend.describe()["batch_tokens"] == described["batch_tokens"] == 400


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_model_whose_layers_are_moved_about_is_asked_as_ever(kind: str, byte: Any, tmp_path: Any) -> None:
    # As over several devices, the library's hooks carry what one layer gives to where the next one is; here one layer
    # lies on the disk and comes when it is called.
    prompts = tiny_models.prompts(tiny_models.WORDS)
    expected = scores(answer(Causal(tiny_models.model(kind, len(byte)), byte, "plain", 400), prompts))
    model = tiny_models.model(kind, len(byte))
    places = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), "cpu")
    places |= {f"model.layers.{number}": "cpu" for number in range(model.config.num_hidden_layers)}
    places["model.layers.0"] = "disk"
    moved = dispatch_model(model, places, main_device="cpu", offload_dir=tmp_path)
    assert any(value.device.type == "meta" for value in moved.parameters())
    assert scores(answer(Causal(moved, byte, "plain", 400), prompts)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("room", "named"), [(0, "beginning of 18 tokens"), (18, "prompt of ")])
def test_what_cannot_be_halved_and_does_not_fit_is_an_error(
    room: int, named: str, byte: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_models.model("llama", len(byte))
    forward = type(model.model).forward

    def small(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs["input_ids"].numel() > room:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model.model), "forward", small)
    with pytest.raises(BackendError, match=rf"not enough memory for one {named}(?s:.*)OUT_OF_MEMORY"):
        answer(Causal(model, byte, "plain", 10_000), tiny_models.prompts())


def test_other_errors_are_not_taken_for_memory(byte: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_models.model("llama", len(byte))

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(type(model.model), "forward", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        answer(Causal(model, byte, "plain", 10_000), tiny_models.prompts())


def test_non_finite_logits_name_the_item(byte: Any) -> None:
    model = tiny_models.model("llama", len(byte))
    with torch.no_grad():
        model.lm_head.weight[byte(" A", add_special_tokens=False)["input_ids"][0], 0] = float("nan")
    with pytest.raises(BackendError, match=r"item 7 .*LOGITS_NON_FINITE"):
        answer(Causal(model, byte, "plain", 400), tiny_models.prompts()[7:])


def test_answer_mass_is_what_the_options_have_together(byte: Any) -> None:
    prompts = tiny_models.prompts(tiny_models.WORDS)
    for each in answer(Causal(tiny_models.model("llama", len(byte)), byte, "plain", 400), prompts):
        assert each.answer_mass == pytest.approx(np.exp(each.log_scores).sum(), rel=1e-9)


def test_a_model_without_preference_is_uniform(byte: Any) -> None:
    """An oracle without another model: with a head of zeros every token has the same probability."""
    letters = [(chr(code),) for code in range(33, 127)]
    model = tiny_models.model("llama", len(byte))
    with torch.no_grad():
        model.lm_head.weight.zero_()
    (found,) = answer(Causal(model, byte, "plain", 400), [tiny_models.prompt(options=letters)])
    assert found.log_scores == pytest.approx([-np.log(len(byte))] * len(letters), abs=1e-6)
    assert found.answer_mass == pytest.approx(len(letters) / len(byte), rel=1e-6)


def test_a_joined_prompt_has_no_answer_mass(byte: Any) -> None:
    joined = tiny_models.prompt(cue_plain="\nAns", options=(("wer: A",), ("wer: B",)))
    (found,) = answer(Causal(tiny_models.model("llama", len(byte)), byte, "plain", 400), [joined])
    assert found.answer_mass is None
    assert np.isfinite(found.log_scores).all()


def test_facts_of_a_prediction(byte: Any) -> None:
    prompt = tiny_models.prompt(options=tiny_models.WORDS)
    (found,) = answer(Causal(tiny_models.model("llama", len(byte)), byte, "plain", 400), [prompt])
    assert (found.task, found.split, found.item_id, found.prompt_id, found.order) == (
        "dilemmas",
        "dev",
        "1",
        "letters",
        0,
    )
    begun = (
        tiny_models.QUESTION.replace("$first", tiny_models.ACTIONS[0]).replace("$second", tiny_models.ACTIONS[1])
        + "\nAnswer:"
    )
    assert found.prompt_tokens == len(byte(begun)["input_ids"])
    longest = [
        max(len(byte(form, add_special_tokens=False)["input_ids"]) for form in forms) for forms in tiny_models.WORDS
    ]
    assert found.token_counts == tuple(longest)


def test_the_plan_is_complete_and_the_same_each_time(byte: Any) -> None:
    prompts = tiny_models.prompts(tiny_models.WORDS, "words") + tiny_models.prompts()
    model = tiny_models.model("llama", len(byte))
    one, other = (Causal(model, byte, "plain", 300).plan(prompts) for _ in range(2))
    assert one == other
    assert sorted(number for batch in one for number in batch) == list(range(len(prompts)))


def test_facts_of_the_model(byte: Any) -> None:
    model = tiny_models.model("llama", len(byte))
    backend = Causal(tiny_models.adapter(model), byte, "chat", 400)
    assert backend.describe()["first_prompt"] is None
    backend.plan(tiny_models.prompts())
    facts = backend.describe()
    assert facts["parameters"] == sum(value.numel() for value in model.parameters())
    assert facts["adapter"]["rank"] == 4
    assert facts["adapter"]["target_modules"] == ["q_proj", "v_proj"]
    assert facts["first_prompt"]["first_token_ids"][0] == byte.bos_token_id
    assert len(facts["chat_template_sha256"]) == 64
    assert backend.describe() == facts


def test_a_tokenizer_of_another_model_is_refused(byte: Any) -> None:
    backend = Causal(tiny_models.model("llama", 300), byte, "plain", 400)
    with pytest.raises(InvalidInput, match="TOKENIZER_VOCABULARY"):
        backend.plan(tiny_models.prompts())


@pytest.mark.slow
def test_bfloat16_is_as_close_as_the_model_by_itself(byte: Any) -> None:
    """Over many models, since which of two ways of rounding is nearer is chance for one."""
    ours, theirs = [], []
    prompts = tiny_models.prompts()
    for seed in range(12):
        low = tiny_models.model(FAMILIES[seed % len(FAMILIES)], len(byte), seed=seed).to(torch.bfloat16)
        # The reference has the rounded weights but computes in float32: what is left is rounding on the way.
        exact = np.array(naive(copy.deepcopy(low).to(torch.float32), byte, prompts))
        ours.append(np.abs(scores(answer(Causal(low, byte, "plain", 400), prompts)) - exact))
        theirs.append(np.abs(as_it_is(low, byte, prompts) - exact))
    assert 0 < np.max(ours) <= 0.25
    assert np.mean(ours) <= 1.05 * np.mean(theirs)
    assert np.max(ours) <= 1.1 * np.max(theirs)


@pytest.mark.parametrize("lines", [None, 7])
def test_the_head_in_float32_is_nearer_than_in_bfloat16(
    byte: Any, lines: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = tiny_models.model("llama", len(byte)).to(torch.bfloat16)
    states = torch.randn(64, low.config.hidden_size, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    output = low.get_output_embeddings()
    tokens = torch.arange(64) % len(byte)
    if lines is not None:  # the vocabulary in pieces of so many words
        monkeypatch.setattr(lm_head, "_WEIGHTS_AT_ONCE", {"cpu": lines * low.config.hidden_size})
    with torch.inference_mode():
        exact = torch.log_softmax(states.double() @ output.weight.double().T, dim=1)[torch.arange(64), tokens]
        own = torch.log_softmax(output(states).float(), dim=1)[torch.arange(64), tokens]
        found = lm_head.log_probs(output, states, torch.arange(64), tokens)
    assert (found - exact).abs().max() < 1e-5 < (own - exact).abs().mean()
