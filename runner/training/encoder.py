"""An encoder in training, with a fresh head: every text is read once, and scored as evaluation scores it."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from runner.artifacts import walk
from runner.core.canonical import digest
from runner.core.errors import Fault, InvalidInput
from runner.core.files import write_whole
from runner.core.recipe_types import Recipe
from runner.core.types import Item, Prompt
from runner.models.base import Predictor
from runner.models.local import loading
from runner.models.local.encoder import Encoder
from runner.models.local.encoder_inputs import arranged, inputs_of, outputs_of
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import EncodedTexts, encode_texts
from runner.training import lora
from runner.training.trainee import ADAPTER, MODEL, Example, in_turn

_HEAD = "classifier"
_FULL_WEIGHTS = "model.safetensors"


class TrainableEncoder:
    """Holds an encoder, trained in full or by LoRA, and its head; see `TrainableModel`.

    The log-scores are the head's logits. With the objective dirichlet_multinomial exp(logits) are the parameters of the
    Dirichlet distribution, and the submission says so.
    """

    def __init__(self, recipe: Recipe, folder: Path, device: torch.device) -> None:
        base, method = recipe.base, recipe.method
        if base.head is None:
            raise ValueError("an encoder has a head")
        full = method.kind == "full"
        if full and base.dtype != "float32":
            message = f"Weights of {base.dtype} are too coarse to be trained themselves; float32 was expected."
            raise InvalidInput(Fault("RECIPE", message, path="$.base.dtype", hint="Or use the method lora."))
        own = recipe.objective.kind == "dirichlet_multinomial"
        self.head = replace(base.head, concentration="own" if own else "fitted")
        self.subfolder = MODEL if full else ADAPTER
        self._folder = folder
        self._device = device
        self._tokenizer = load_tokenizer(folder)
        model = loading.load_encoder(folder, base.head, base.dtype, device, frozenset({_HEAD}))
        torch.manual_seed(recipe.training.seed)
        _begin_head(model)
        if full:
            self.model: Any = model.requires_grad_(True)
            self._base = model
            return
        called = base.repository or Path(base.path or folder).name
        self.model = lora.put_on(model, method, "SEQ_CLS", called, whole=[_HEAD])
        self._base = self.model.get_base_model()

    def examples(self, questions: Sequence[tuple[Prompt, Item]]) -> list[Example]:
        """What there is to train on: each item once, since its prompts and orders are read alike."""
        once = {(prompt.task, item.id): (prompt, item) for prompt, item in reversed(questions)}
        pairs = list(reversed(once.values()))
        inputs = [inputs_of(prompt, self.head) for prompt, _ in pairs]
        flat = encode_texts(
            [texts for prompt_texts in inputs for texts in prompt_texts], self._tokenizer, self.head.max_tokens
        )
        examples, start = [], 0
        for (prompt, item), prompt_texts in zip(pairs, inputs, strict=True):
            encodings = flat[start : start + len(prompt_texts)]
            start += len(prompt_texts)
            columns = outputs_of(prompt.labels, self.head, self._base.config)
            examples.append(
                Example(
                    task=prompt.task,
                    encoded=(encodings, columns),
                    identity=digest([[list(encoding.ids) for encoding in encodings], columns]),
                    tokens=max(len(encoding.ids) for encoding in encodings),
                    counts=torch.tensor(item.counts, dtype=torch.float64, device=self._device),
                    truncated=any(encoding.truncated for encoding in encodings),
                )
            )
        return examples

    def batches(self, examples: Sequence[Example], size: int) -> list[list[Example]]:
        """Batches of `size` in the order given."""
        return in_turn(examples, size)

    def log_scores(self, examples: Sequence[Example]) -> list[Tensor]:
        """(labels,) logits of each example, in label order."""
        texts: list[EncodedTexts] = [text for example in examples for text in example.encoded[0]]
        logits = self.model(**arranged(texts, self._base.config, self.head.kind, self._device)).logits
        scores, start = [], 0
        for example in examples:
            encodings, columns = example.encoded
            scores.append(logits[start : start + len(encodings), columns].flatten())
            start += len(encodings)
        return scores

    def backend(self) -> Predictor:
        """The model as `benchmark evaluate` would open it once it is saved."""
        return Encoder(self.model, self._tokenizer, self.head)

    def save(self, folder: Path) -> None:
        """The adapter, or the whole model with config.json and the tokenizer of its base."""
        if self.subfolder == ADAPTER:
            lora.save_adapter(self.model, folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: value.contiguous().cpu() for name, value in self.model.state_dict().items()}
        write_whole(folder / _FULL_WEIGHTS, save(tensors, {"format": "pt"}))
        for name in walk(self._folder, "model")[1].used():
            if name != "config.json" and ".safetensors" not in name:
                shutil.copyfile(self._folder / name, folder / name)
        self._base.config.architectures = [type(self._base).__name__]
        write_whole(folder / "config.json", self._base.config.to_json_string().encode())

    def load(self, folder: Path) -> None:
        """Take up the adapter or the weights in `folder`."""
        if self.subfolder == ADAPTER:
            lora.load_adapter(self.model, folder, self._device)
        else:
            self.model.load_state_dict(load_file(folder / _FULL_WEIGHTS, device=str(self._device)))


def _begin_head(model: Any) -> None:
    """Give a head that is nothing but zeros the random beginning that the library gives a fresh one."""
    head = getattr(model, _HEAD)
    if any(bool(value.any()) for value in head.parameters()):
        return
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=model.config.initializer_range)
            nn.init.zeros_(layer.bias)
