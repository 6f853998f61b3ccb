"""Models with random weights and the prompts that they are timed on; nothing of it is part of the repository."""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from runner.config.benchmark import load_benchmark
from runner.core.resources import benchmark_file
from runner.core.types import Item, Prompt
from runner.models.local.packed.prefix_grouping import in_order
from runner.models.tokenization import EncodedPrompt
from runner.tasks.prompts import all_prompts, text

DILEMMAS = "dev.scruples-dilemmas.jsonl"
ANECDOTES = "selected60.scruples-anecdotes.jsonl"
TOKENS = 32_000
# 85 million weights beside the embeddings.
LARGE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12}

# With the instruction in front, as few-shot prompts have it, most of a prompt is shared with all the others.
_INSTRUCTION = (
    "You will read two short descriptions of what somebody did. Many people were shown the same two descriptions and "
    "each of them said which one they find less ethical, that is, which of the two they would rather not have done. "
    "Say which one most people would choose. Answer with the letter A or B and nothing else.\n\n"
)
_WORDS = ((" the first person",), (" the second person",), (" both of them",), (" neither of them",), (" hard to say",))


@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts of one kind; `real` says whether their texts are people's."""

    name: str
    prompts: Sequence[Prompt]
    real: bool


def make_model(
    folder: Path, vocabulary: int, corpus: Sequence[str], shape: Mapping[str, int] = LARGE, architecture: str = "llama"
) -> Path:
    """A model of this shape in bfloat16, its weights random, and a tokenizer learnt from `corpus`.

    The tokenizer is the same for every vocabulary of the model, so that all read the same tokens.
    """
    target = folder / f"{architecture}-{shape['hidden_size']}-{vocabulary}"
    if (target / "tokenizer_config.json").exists():
        return target
    torch.manual_seed(0)
    sizes = {"vocab_size": vocabulary, "max_position_embeddings": 4096, "tie_word_embeddings": False, **shape}
    config = AutoConfig.for_model(architecture, **sizes)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(target)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|begin|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        min_frequency=2,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special[0], eos_token=special[1]).save_pretrained(
        target
    )
    return target


def workloads(data: Path | None, items: int | None = None) -> list[Workload]:
    """Dilemmas, stories of a page, and five answers of several tokens, each of at most `items` items."""
    dilemmas, real = _rows(data, DILEMMAS, _made_dilemmas)
    stories, real_stories = _rows(data, ANECDOTES, _made_stories)
    letters = _prompts("dilemmas-letters", dilemmas[:items])
    instructed = [replace(prompt, template=_INSTRUCTION + prompt.template) for prompt in letters]
    in_three_ways = [
        *letters,
        *_prompts("dilemmas-numbers", dilemmas[:items]),
        *_prompts("dilemmas-words", dilemmas[:items]),
    ]
    # One form an answer: the harness asks for each, and would need twice as many requests for words in two spellings.
    released = [replace(prompt, options=tuple(forms[:1] for forms in prompt.options)) for prompt in in_three_ways]
    both = _prompts("anecdotes-letters", stories[:items])
    return [
        Workload("dilemmas", instructed, real),
        Workload("dilemmas-released", released, real),
        Workload("anecdotes", [prompt for prompt in both if prompt.order == 0], real_stories),
        Workload("anecdotes-both-orders", both, real_stories),
        Workload("five-words", [replace(prompt, options=_WORDS) for prompt in instructed], real),
    ]


def useful_operations(encoded: Sequence[EncodedPrompt], config: Any, weights: int) -> tuple[int, float]:
    """Distinct tokens that must be read for these prompts, and the operations for them.

    A token is distinct by everything before it. Per token: the layers' `weights`, and attention to what it sees. Per
    place where something is scored: the output head.
    """
    order, shared = in_order([each.prefix for each in encoded])
    hidden, layers = config.hidden_size, config.num_hidden_layers
    tokens, seen, places = 0, 0, 0
    for number, common in zip(order, shared, strict=True):
        each = encoded[number]
        length = len(each.prefix)
        tokens += length - common
        seen += (length * (length + 1) - common * (common + 1)) // 2
        places += 1
        for tail in each.tails:
            tokens += len(tail) - 1
            places += len(tail) - 1
            seen += sum(length + step for step in range(1, len(tail)))
    return tokens, 2 * weights * tokens + 4 * hidden * layers * seen + 2 * hidden * config.vocab_size * places


def corpus(loads: Sequence[Workload]) -> list[str]:
    """The texts of all prompts."""
    return [text(prompt) + prompt.cue_plain for load in loads for prompt in load.prompts]


def _prompts(name: str, rows: Sequence[Any]) -> list[Prompt]:
    benchmark = load_benchmark(benchmark_file())
    spec = benchmark.prompts[name]
    task = benchmark.tasks[spec.task]
    items = (
        Item(str(number), {field: str(_at(row, path)) for field, path in task.item.fields.items()}, (), None, None)
        for number, row in enumerate(rows)
    )
    return list(all_prompts([spec], task.labels, "dev", items))


def _at(row: Any, path: str) -> Any:
    for step in path.split("."):
        row = row[int(step)] if isinstance(row, list) else row[step]
    return row


def _rows(data: Path | None, name: str, made: Any) -> tuple[list[Any], bool]:
    if data is not None and (data / name).is_file():
        return [json.loads(line) for line in (data / name).read_text(encoding="utf-8").splitlines()], True
    return list(made(random.Random(0))), False


# --- texts of our own, as long as the real ones -------------------------------------------------------------------


def make_words(generator: random.Random, number: int) -> str:
    """So many words of no language."""
    syllables = ["ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu", "an", "er", "is", "on"]
    lexicon = [one + two for one in syllables for two in syllables]
    return " ".join(generator.choices(lexicon, k=number))


def _made_dilemmas(generator: random.Random) -> Iterator[Any]:
    for _ in range(2340):
        yield {
            "id": "",
            "actions": [{"description": make_words(generator, max(2, round(generator.gauss(9, 4))))} for _ in range(2)],
        }


def _made_stories(generator: random.Random) -> Iterator[Any]:
    for _ in range(60):
        length = max(60, round(generator.gauss(360, 150)))
        yield {"id": "", "title": make_words(generator, 12), "text": make_words(generator, length)}
