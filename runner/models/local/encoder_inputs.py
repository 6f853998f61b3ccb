"""What an encoder with a head reads for a prompt, which output stands for which label, and a batch as it takes it."""

from collections.abc import Sequence
from typing import Any

import torch

from runner.core.errors import Fault, InvalidInput
from runner.core.types import HeadSpec, Prompt
from runner.models.local.loading import first_position
from runner.models.tokenization import EncodedTexts

Texts = tuple[str, ...]
"""What is read at once: one text, or two as a pair."""


def inputs_of(prompt: Prompt, head: HeadSpec) -> list[Texts]:
    """What an encoder with this head reads for `prompt`: the item's fields, or each label's own text.

    Neither depends on the words of the prompt, nor on the order in which it shows the answers. Raises `InvalidInput`:
    `TASK_OF_HEAD`, `HEAD_READS`.
    """
    where = f"The prompt {prompt.prompt_id}"
    if prompt.task != head.task:
        message = f"{where} is for the task {prompt.task!r}, the model's head for {head.task!r}."
        raise InvalidInput(Fault("TASK_OF_HEAD", message))
    if head.kind == "ranking":
        if not prompt.shown:
            message = f"{where} has no text for each label, which a ranking head reads."
            raise InvalidInput(Fault("HEAD_READS", message, hint="Give a text for every label in its `shows`."))
        return [(text,) for text in prompt.shown]
    if unknown := [field for field in head.reads if field not in prompt.values]:
        message = f"The head reads the field {unknown[0]!r}, the item has {', '.join(prompt.values)}."
        raise InvalidInput(Fault("HEAD_READS", message))
    return [tuple(prompt.values[field] for field in head.reads)]


def outputs_of(labels: Sequence[str], head: HeadSpec, config: Any) -> list[int]:
    """Which output of a classification head stands for each of `labels`: by name, wherever it is.

    Raises `InvalidInput` (`HEAD_LABELS`) unless config.json names exactly these labels, each once.
    """
    if head.kind == "ranking":
        return [0]
    named = [str(config.id2label[index]) for index in sorted(config.id2label)]
    if sorted(named) != sorted(labels):
        message = f"The head's outputs are called {', '.join(named)}, the task's labels {', '.join(labels)}."
        hint = "Write the labels into id2label of config.json, or under `head.labels`, in the order of the outputs."
        raise InvalidInput(Fault("HEAD_LABELS", message, hint=hint))
    return [named.index(label) for label in labels]


def arranged(texts: Sequence[EncodedTexts], config: Any, kind: str, device: torch.device) -> dict[str, torch.Tensor]:
    """A batch as an encoder takes it: (texts, width) ids, mask, segments and positions, filled up at the end.

    For a ranking head each is (texts, 1, width): every text is a question of one choice. Positions are given, since
    RoBERTa would otherwise find them by what is filler, and take the filler's own letters in a text for it.
    """
    width = max(len(text.ids) for text in texts)
    first = first_position(config)
    ids = torch.full((len(texts), width), int(config.pad_token_id or 0))
    mask, segments = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)
        mask[row, : len(text.ids)] = 1
        if config.type_vocab_size > 1:
            segments[row, : len(text.ids)] = torch.tensor(text.segments)
    positions = torch.arange(first, first + width).expand(ids.shape)
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments, "position_ids": positions}
    return {name: (tensor[:, None] if kind == "ranking" else tensor).to(device) for name, tensor in tensors.items()}
