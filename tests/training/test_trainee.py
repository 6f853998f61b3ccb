"""What a model in training scores is what evaluation scores, and what it learns can be taken up again."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support import architectures, tiny_models
from support.recipe_factory import Workshop

from runner.config.recipe import load_recipe
from runner.core.errors import InvalidInput
from runner.core.recipe_types import Objective
from runner.core.types import Item, Prompt, VerbalizedFormat
from runner.models.local.causal import wrap
from runner.models.local.packed.layout import pack
from runner.models.local.packed.prefix_grouping import LEAST_SHARED
from runner.models.local.tokenizer import load_tokenizer
from runner.tasks import verbalized
from runner.tasks.prompts import text
from runner.training.objectives import losses
from runner.training.trainee import Example, TrainableCausal

CPU = torch.device("cpu")


def asked(prompts: Sequence[Prompt]) -> list[tuple[Prompt, Item]]:
    return [(prompt, Item(prompt.item_id, {}, (2,) * len(prompt.options), None, None)) for prompt in prompts]


def stirred(trainee: TrainableCausal) -> TrainableCausal:
    """With an adapter that has an effect."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, value in trainee.model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.1)
    return trainee


def made(folder: Path, workshop: Workshop, form: str = "plain", **changes: Any) -> TrainableCausal:
    recipe = load_recipe(workshop.recipe(**changes))
    return stirred(TrainableCausal(replace(recipe, base=replace(recipe.base, format=form)), folder, CPU))


@pytest.mark.parametrize(
    "options", [((" A",), (" B",)), tiny_models.WORDS], ids=["one token", "several tokens and forms"]
)
@pytest.mark.parametrize("form", ["plain", "chat"])
@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["lm_head", "down_proj"]], ids=["layers", "head"])
def test_log_scores_are_those_of_evaluation(
    model_folder: Path, workshop: Workshop, options: Any, form: str, targets: list[str]
) -> None:
    trainee = made(model_folder, workshop, form, method={"target_modules": targets})
    prompts = tiny_models.prompts(options)
    trainee.model.train()  # without dropout it changes nothing
    found = trainee.log_scores(trainee.examples(asked(prompts)))
    trainee.model.eval()
    backend = trainee.backend()
    expected = [row.log_scores for row in backend.predict(prompts)]
    np.testing.assert_allclose([one.detach().numpy() for one in found], expected, atol=2e-5)


@pytest.mark.parametrize(("kind", "targets"), [("gemma2", ["q_proj"]), ("gpt_neox", ["query_key_value"])])
def test_architectures_of_the_general_path_are_trained_by_what_evaluation_scores(
    kind: str, targets: list[str], workshop: Workshop, tmp_path: Path
) -> None:
    tokenizer = tiny_models.byte_tokenizer()
    folder = tiny_models.save(tmp_path / "general", architectures.model(kind, len(tokenizer)), tokenizer)
    trainee = made(folder, workshop, method={"target_modules": targets})
    prompts = tiny_models.prompts(tiny_models.WORDS)[:4]
    found = trainee.log_scores(trainee.examples(asked(prompts)))
    torch.stack(found).sum().backward()
    touched = [value.grad for name, value in trainee.model.named_parameters() if "lora_" in name]
    assert touched
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in touched)
    expected = [row.log_scores for row in trainee.backend().predict(prompts)]
    np.testing.assert_allclose([one.detach().numpy() for one in found], expected, atol=2e-5)


def test_an_example_is_known_by_a_digest_of_what_is_read(model_folder: Path, workshop: Workshop) -> None:
    trainee = made(model_folder, workshop)
    one, other = tiny_models.prompts()[:2]
    found = [each.identity for each in trainee.examples(asked([one, other, one]))]
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", identity) for identity in found)
    assert found[0] == found[2] != found[1]


def test_gradients_reach_the_adapter_alone(model_folder: Path, workshop: Workshop) -> None:
    trainee = made(model_folder, workshop, method={"target_modules": ["q_proj", "lm_head"]})
    scores = trainee.log_scores(trainee.examples(asked(tiny_models.prompts())))
    torch.stack(scores).sum().backward()
    touched = {name for name, value in trainee.model.named_parameters() if value.grad is not None}
    assert touched == {name for name, _ in trainee.model.named_parameters() if "lora_" in name}
    assert all(bool(value.grad.abs().sum() > 0) for value in trainee.model.parameters() if value.grad is not None)


def test_what_is_saved_is_taken_up_again_and_is_what_evaluation_loads(
    model_folder: Path, workshop: Workshop, tmp_path: Path
) -> None:
    from runner.models.local import loading

    trainee = made(model_folder, workshop)
    trainee.save(tmp_path / "adapter")
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    prompts = tiny_models.prompts()
    expected = [row.log_scores for row in trainee.backend().predict(prompts)]
    other = TrainableCausal(load_recipe(workshop.recipe()), model_folder, CPU)
    other.load(tmp_path / "adapter")
    assert [row.log_scores for row in other.backend().predict(prompts)] == expected
    base = loading.load_model(model_folder, "float32", CPU)
    loaded = loading.apply_adapter(base, tmp_path / "adapter")
    backend = wrap(loaded, load_tokenizer(model_folder), "plain")
    assert [row.log_scores for row in backend.predict(prompts)] == expected


def test_the_seed_decides_the_first_weights(model_folder: Path, workshop: Workshop, tmp_path: Path) -> None:
    folders = []
    for number, seed in enumerate((1, 1, 2)):
        trainee = TrainableCausal(load_recipe(workshop.recipe(training={"seed": seed})), model_folder, CPU)
        trainee.save(tmp_path / str(number))
        folders.append(load_file(tmp_path / str(number) / "adapter_model.safetensors"))
    name = next(name for name in folders[0] if "lora_A" in name)
    assert torch.equal(folders[0][name], folders[1][name])
    assert not torch.equal(folders[0][name], folders[2][name])


def test_layers_that_the_model_does_not_have_are_named(model_folder: Path, workshop: Workshop) -> None:
    with pytest.raises(InvalidInput, match=r"no linear layer called c_attn .*|no linear layer called c_attn\."):
        TrainableCausal(load_recipe(workshop.recipe(method={"target_modules": ["c_attn"]})), model_folder, CPU)


def test_a_text_is_trained_as_it_is_read(model_folder: Path, workshop: Workshop) -> None:
    """The log-score is the log-probability of the line, token by token, which the verbalized track would parse."""
    trainee = made(model_folder, workshop)
    tokenizer = tiny_models.byte_tokenizer()
    prompt = replace(tiny_models.prompt(), options=(), writing=VerbalizedFormat(("A", "B"), (1, 0), 0.5, 64))
    item = Item("1", {}, (2, 1), None, None)
    [example] = trainee.examples([(prompt, item)])
    [scores] = trainee.log_scores([example])
    line = " A: 33%, B: 67%\n"
    assert verbalized.parse(line.strip("\n"), ("A", "B")) == (33, 67)
    before = tokenizer(text(prompt) + prompt.cue_plain)["input_ids"]
    whole = tokenizer(text(prompt) + prompt.cue_plain + line)["input_ids"]
    assert whole[: len(before)] == before
    trainee.model.config._attn_implementation = "eager"  # the library's own way of reading one text
    logits = torch.log_softmax(trainee.model(torch.tensor([whole])).logits[0], dim=-1).detach()
    expected = sum(float(logits[at - 1, whole[at]]) for at in range(len(before), len(whole)))
    assert scores.tolist() == pytest.approx([expected], abs=1e-4)


@pytest.mark.slow
def test_prompts_are_shortened_as_the_recipe_says(model_folder: Path, workshop: Workshop) -> None:
    trainee = made(model_folder, workshop, training={"max_tokens": 60})
    long = tiny_models.prompt("a word " * 100, template="Said $first or $second?", shorten="first")
    [example] = trainee.examples(asked([long]))
    assert example.truncated
    assert example.tokens <= 60
    with pytest.raises(InvalidInput, match="at most 60 were expected"):
        trainee.examples(asked([replace(long, shorten=None)]))


def step_gradients(trainee: TrainableCausal, batches: Sequence[Sequence[Example]]) -> dict[str, torch.Tensor]:
    """The adapter's gradients of the mean loss over all prompts of `batches`, read batch by batch."""
    objective = Objective("soft_cross_entropy", 1.0, None)
    prompts = sum(map(len, batches))
    for batch in batches:
        scores = trainee.log_scores(batch)
        (losses(objective, scores, [example.counts for example in batch], []).sum() / prompts).backward()
    found = {name: value.grad for name, value in trainee.model.named_parameters() if value.grad is not None}
    trainee.model.zero_grad()
    return found


def plain_gradients(trainee: TrainableCausal, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """The same by the library alone: each prompt with each option as a text of its own, logits at every position."""
    config = trainee.model.config
    before, config._attn_implementation = config._attn_implementation, "eager"
    total = torch.zeros((), dtype=torch.float64)
    for example in examples:
        encoded, forms = example.encoded, []
        for tail in encoded.tails:
            ids = torch.tensor([[*encoded.prefix.tolist(), *tail]])
            log_probs = torch.log_softmax(trainee.model(ids).logits[0].double(), dim=-1)
            first = len(encoded.prefix)
            forms.append(torch.stack([log_probs[first + step - 1, token] for step, token in enumerate(tail)]).sum())
        labels = torch.tensor(encoded.labels)
        of_forms = torch.stack(forms)
        scores = torch.stack([of_forms[labels == label].logsumexp(0) for label in range(int(labels.max()) + 1)])
        mass = scores.logsumexp(0)
        # Cross-entropy of the shares, and minus the log of the answers' mass: −Σ h log q − log M.
        total = total - (example.counts / example.counts.sum() * (scores - mass)).sum() - mass
    (total / len(examples)).backward()
    found = {name: value.grad for name, value in trainee.model.named_parameters() if value.grad is not None}
    trainee.model.zero_grad()
    config._attn_implementation = before
    return found


@pytest.mark.parametrize("options", [((" A",), (" B",)), tiny_models.WORDS], ids=["one token", "several"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_plain_computation_however_a_step_is_divided(
    options: Any, checkpointing: bool, model_folder: Path, workshop: Workshop
) -> None:
    """Packed with shared beginnings, the last layer where it is scored; in one batch, in unequal ones, in our own."""
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    training = {"gradient_checkpointing": checkpointing}
    trainee = made(model_folder, workshop, method={"target_modules": targets}, training=training)
    prompts = tiny_models.prompts(options)[:7]
    votes = [
        tuple(map(int, row)) for row in np.random.default_rng(1).multinomial(5, [1 / len(options)] * len(options), 7)
    ]
    items = [Item(prompt.item_id, {}, counts, None, None) for prompt, counts in zip(prompts, votes, strict=True)]
    examples = trainee.examples(list(zip(prompts, items, strict=True)))
    expected = plain_gradients(trainee, examples)
    scale = max(float(grad.abs().max()) for grad in expected.values())
    own = trainee.batches(examples, 2)
    assert len(own) > 1
    for batches in ([examples], [examples[:1], examples[1:4], examples[4:]], own):
        found = step_gradients(trainee, batches)
        assert found.keys() == expected.keys()
        for name, grad in expected.items():
            torch.testing.assert_close(found[name], grad, atol=2e-5 * scale, rtol=1e-4)


def test_batches_hold_every_prompt_once_and_are_not_more_than_asked_for(model_folder: Path, workshop: Workshop) -> None:
    trainee = made(model_folder, workshop)
    long = [tiny_models.prompt("a word " * number, item=str(number)) for number in (1, 40, 2, 30, 3, 50)]
    examples = trainee.examples(asked([*tiny_models.prompts(), *long]))
    assert max(map(len, trainee.batches(examples[:7], 2))) > 2  # what is shared makes room
    for size in range(1, len(examples) + 1):
        batches = trainee.batches(examples, size)
        assert sorted(id(example) for batch in batches for example in batch) == sorted(map(id, examples))
        assert len(batches) <= -(-len(examples) // size)
        most = size * max(example.tokens for example in examples)
        for batch in batches:  # less than the least beginning that is shared may be read again with each prompt
            tokens = len(pack([example.encoded for example in batch], 0).ids)
            assert tokens <= most + LEAST_SHARED * len(batch)
