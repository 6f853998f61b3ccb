"""Make the tiny Llama model and its LoRA adapter from the sample's train split: `python train.py [FOLDER]`.

It writes `tiny-llama/model`, `tiny-llama-lora/adapter` and `tiny-llama/made.json`, the digests of what went in and came
out, into FOLDER (by default the folder of the submissions). The
base model learns the benchmark's prompts as a language, with answers drawn EVENLY at random: it knows the form of an
answer and nothing of the judgement. The adapter then learns the votes. Neither sees dev or test. One thread, fixed
seeds and deterministic kernels: the same machine with the same library versions gives the same bytes.
"""

import hashlib
import json
import math
import os
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

# ruff: noqa: E402 (the two settings above must come first, and the package may not be installed)
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from runner.config import load_benchmark
from runner.core.benchmark_types import Benchmark, PromptSpec
from runner.core.resources import benchmark_file
from runner.core.types import Item, Prompt
from runner.tasks.data import find_file, load_items
from runner.tasks.prompts import prompts_of, text

SEED = 2
BOS, EOS = "<|begin_of_text|>", "<|end_of_text|>"
VOCABULARY = 2048
CONTEXT = 4096  # a story of 900 words is some 1,800 of these short tokens
PROJECTIONS = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


@dataclass(frozen=True, slots=True)
class Question:
    """An item of the train split as one prompt asks it, in one order of its options."""

    spec: PromptSpec
    labels: tuple[str, ...]
    item: Item
    order: int

    def prompt(self, item: Item) -> Prompt:
        """The prompt, with the texts of `item` in place of the question's own."""
        return list(prompts_of(self.spec, self.labels, "train", item))[self.order]


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids, and for the adapter the token of each option with the share of people who chose it."""

    ids: list[int]
    options: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()


def questions(benchmark: Benchmark) -> dict[str, list[Question]]:
    """Every prompt of the sample's train split in every order, by task."""
    found: dict[str, list[Question]] = {}
    for name, task in benchmark.tasks.items():
        dataset = benchmark.datasets[benchmark.suites["sample"].datasets[name]]
        data = dataset.splits["train"]
        items = load_items(task, data, find_file(dataset, data, None)).items
        specs = [benchmark.prompts[prompt] for prompt in task.prompts]
        found[name] = [
            Question(spec, task.labels, item, order)
            for item in items
            for spec in specs
            for order in range(len(spec.orders))
        ]
    return found


def digest_inputs(asked: dict[str, list[Question]]) -> str:
    """The sha256 of this script and of all that it learns from: prompts, cues, options and votes, in their order."""
    learnt = []
    for part in asked.values():
        for question in part:
            prompt = question.prompt(question.item)
            learnt.append([text(prompt), prompt.cue_plain, prompt.options, question.item.counts])
    digest = hashlib.sha256(Path(__file__).read_bytes())
    digest.update(json.dumps(learnt).encode())
    return digest.hexdigest()


def make_tokenizer(asked: list[Question]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that puts one BOS before a text by its post-processor, as Llama 3's does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    prompts = [question.prompt(question.item) for question in asked]
    texts = [text(prompt) + prompt.cue_plain + forms[0] for prompt in prompts for forms in prompt.options]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), begin])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, model_max_length=CONTEXT)


def thinned(item: Item, most: float, rng: random.Random) -> Item:
    """The item without a random share, up to `most`, of the words of its texts, so that no text is learnt by heart."""
    share = rng.random() * most

    def thin(value: str) -> str:
        return " ".join(word for word in value.split(" ") if rng.random() >= share) or value

    return replace(item, fields={name: thin(value) for name, value in item.fields.items()})


def language_rows(
    asked: dict[str, list[Question]], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> Iterator[Row]:
    """What the base model reads in one epoch: every prompt with an answer, which is drawn evenly among the options."""
    for question in (question for part in asked.values() for question in part):
        prompt = question.prompt(thinned(question.item, 0.3, rng))
        answer = question.spec.options[rng.randrange(len(question.labels))][0]
        yield Row([*tokenizer(text(prompt) + prompt.cue_plain + answer)["input_ids"], tokenizer.eos_token_id])


def vote_rows(asked: list[Question], tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Iterator[Row]:
    """What the adapter reads in one epoch: prompts without an answer, and the shares of the votes."""
    for question in asked:
        prompt = question.prompt(thinned(question.item, 0.45, rng))
        options = [tokenizer.encode(forms[0], add_special_tokens=False) for forms in prompt.options]
        yield Row(
            tokenizer(text(prompt) + prompt.cue_plain)["input_ids"],
            tuple(token for (token,) in options),
            tuple(count / sum(question.item.counts) for count in question.item.counts),
        )


def batches(rows: list[Row], tokens: int, rng: random.Random) -> list[list[Row]]:
    """`rows` in batches of rows of much the same length and of at most `tokens` token ids, in random order."""
    shuffled = rng.sample(rows, len(rows))
    shuffled.sort(key=lambda row: len(row.ids) // 8)
    found: list[list[Row]] = [[]]
    for row in shuffled:
        if (len(found[-1]) + 1) * len(row.ids) > tokens:
            found.append([])
        found[-1].append(row)
    return rng.sample(found, len(found))


def padded(rows: list[Row], filler: int) -> torch.Tensor:
    """Token ids `(rows, longest)`, filled on the right, where a causal model never looks back from."""
    longest = max(len(row.ids) for row in rows)
    return torch.tensor([row.ids + [filler] * (longest - len(row.ids)) for row in rows])


def fit(
    model: torch.nn.Module,
    epochs: int,
    rows: Callable[[], Iterator[Row]],
    loss_of: Callable[[list[Row]], torch.Tensor],
    optimizer: torch.optim.Optimizer,
    rate: float,
    tokens: int,
    rng: random.Random,
) -> None:
    """Train for `epochs`, each with its own rows; the rate climbs for ten steps and then falls along a cosine."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    model.train()
    step = 0
    for epoch in range(epochs):
        parts = batches(list(rows()), tokens, rng)
        total = 0.0
        for part in parts:
            progress = min(1.0, step / (len(parts) * epochs + 5))
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * progress))
            loss = loss_of(part)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
            total += loss.item()
        print(f"  epoch {epoch + 1}/{epochs}  loss {total / len(parts):.3f}", flush=True)


def make_base(
    asked: dict[str, list[Question]], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> LlamaForCausalLM:
    """The base model, trained on `language_rows`."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)

    def loss_of(part: list[Row]) -> torch.Tensor:
        output = model(padded(part, tokenizer.eos_token_id), labels=padded(part, -100))
        answers = torch.tensor([len(row.ids) - 2 for row in part])
        rows = torch.arange(len(part))
        chosen = torch.tensor([row.ids[-2] for row in part])
        # Counted once more: among two hundred tokens the answer alone would hardly move the loss.
        return output.loss + torch.nn.functional.cross_entropy(output.logits[rows, answers - 1], chosen)

    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1, betas=(0.9, 0.98))
    fit(model, 3, lambda: language_rows(asked, tokenizer, rng), loss_of, optimizer, 4e-3, 2048, rng)
    return model


def make_adapter(
    model: LlamaForCausalLM, asked: dict[str, list[Question]], tokenizer: PreTrainedTokenizerFast, rng: random.Random
) -> torch.nn.Module:
    """The model with a LoRA adapter, trained by soft cross-entropy: −Σ share · log p(option), p over the vocabulary."""
    lora = LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=PROJECTIONS, task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)

    def loss_of(part: list[Row]) -> torch.Tensor:
        last = torch.tensor([len(row.ids) - 1 for row in part])
        states = model.model(padded(part, tokenizer.eos_token_id)).last_hidden_state[torch.arange(len(part)), last]
        log_p = torch.log_softmax(model.lm_head(states), dim=-1)
        losses = [-(torch.tensor(row.shares) * log_p[i, list(row.options)]).sum() for i, row in enumerate(part)]
        return torch.stack(losses).mean()

    dilemmas, stories, binary = asked["dilemmas"], asked["anecdotes"], asked["anecdotes-binary"]
    # One order alone first: what a story says is learnt before which letter says it.
    first = [question for question in stories + binary if question.order == 0]
    for part, epochs, rate, tokens in (
        (first, 10, 3e-3, 1440),
        (stories + 2 * binary, 12, 2e-3, 1440),
        (dilemmas, 1, 1e-3, 1440),
        (stories + 2 * binary, 3, 1e-3, 1440),
    ):
        optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], weight_decay=0.05)
        fit(adapted, epochs, lambda part=part: vote_rows(part, tokenizer, rng), loss_of, optimizer, rate, tokens, rng)
    return adapted


def publish(source: Path, folder: Path, names: list[str]) -> None:
    """Copy the named files, readable by everybody: what a library saves may be for its owner alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        data = (source / name).read_bytes()
        if name.endswith(".json") and name != "tokenizer.json":
            value = json.loads(data)
            for key, part in value.items():  # saved from a set, in an order that changes from run to run
                if key == "target_modules":
                    value[key] = sorted(part)
            data = (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)


def main(folder: Path) -> None:
    """Write `tiny-llama/model` and `tiny-llama-lora/adapter` into `folder`."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    started = time.monotonic()

    asked = questions(load_benchmark(benchmark_file()))
    tokenizer = make_tokenizer([question for part in asked.values() for question in part])
    print("Base model:", flush=True)
    model = make_base(asked, tokenizer, rng)
    with tempfile.TemporaryDirectory() as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
        publish(Path(temporary), folder / "tiny-llama" / "model", names)
    print(f"Adapter, after {time.monotonic() - started:.0f} s:", flush=True)
    adapted = make_adapter(model, asked, tokenizer, rng)
    adapted.peft_config["default"].base_model_name_or_path = "tiny-llama"
    with tempfile.TemporaryDirectory() as temporary:
        adapted.save_pretrained(temporary, save_embedding_layers=False)  # "auto" asks the Hub for the base
        names = ["adapter_config.json", "adapter_model.safetensors"]
        publish(Path(temporary), folder / "tiny-llama-lora" / "adapter", names)
    files = sorted([*(folder / "tiny-llama" / "model").iterdir(), *(folder / "tiny-llama-lora" / "adapter").iterdir()])
    record = {
        "inputs_sha256": digest_inputs(asked),
        "files": {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "libraries": {name: version(name) for name in ("peft", "tokenizers", "torch", "transformers")},
    }
    (folder / "tiny-llama" / "made.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"Done in {time.monotonic() - started:.0f} s.", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent)
