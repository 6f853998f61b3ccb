"""How the cost of scoring grows: with prompts, their length, their options, and the vocabulary.

    python tests/speed/scaling.py [--folder results/speed] [--only NAME] [--most-prompts 100000]

Texts and weights are made. For each size the least time of the processor of a few runs is kept, since others may use
the machine as well; beside each curve stands what the operations counted would take at the rate of its largest size.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["GOMP_SPINCOUNT"] = "3000"  # as the runner does; the other processes inherit it
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agreement"))

import torch
from bench import ours, useful_operations
from plots import curves
from transformers import LlamaConfig, LlamaForCausalLM
from workloads import make_model, make_words

from runner.backends.causal import Causal
from runner.backends.loading import load_tokenizer
from runner.encoding import encode_all
from runner.records import Prompt

_EXAMPLE = Prompt(
    task="made",
    split="dev",
    item_id="",
    prompt_id="made",
    order=0,
    template="$text",
    values={},
    cue_plain=" Answer:",
    cue_chat="",
    options=((" A",), (" B",)),
    max_tokens=4096,
    shorten=None,
)
SMALL = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4}
LARGE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12}


def prompts(number: int, words: int, options: int = 2, seed: int = 0) -> list[Prompt]:
    """Prompts of so many made words each, every option three words long where there are more than two."""
    generator = random.Random(seed)
    forms = tuple((f" {make_words(generator, 3)}",) for _ in range(options)) if options != 2 else _EXAMPLE.options
    return [
        replace(_EXAMPLE, item_id=str(item), values={"text": make_words(generator, words)}, options=forms)
        for item in range(number)
    ]


def backend(tokenizer: Any, shape: dict[str, int], vocabulary: int) -> Causal:
    """A model of this shape with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=4096, **shape)
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval().requires_grad_(False)
    return Causal(model, tokenizer, "plain", 2048)


def least(work: Callable[[], Any], times: int) -> float:
    """Least seconds of processor."""
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def resident_bytes() -> int:
    """Memory of this process that is in use now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(scorer: Causal, asked: Sequence[Prompt], times: int = 3) -> tuple[float, float]:
    """Seconds of processor a prompt, and operations a prompt."""
    encoded = encode_all(asked, scorer._tokenizer, "plain", 4096)
    _, operations = useful_operations(encoded, scorer._base.config)
    return least(lambda: ours(scorer, asked), times) / len(asked), operations / len(asked)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is named and write it, as numbers and as a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("results/speed"))
    parser.add_argument("--only", action="append", choices=["prompts", "length", "options", "vocabulary"])
    parser.add_argument("--most-prompts", type=int, default=100_000)
    options = parser.parse_args(arguments)
    names = options.only or ["prompts", "length", "options", "vocabulary"]
    file = options.folder / "scaling.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    made = [make_words(random.Random(number), 200) for number in range(200)]
    tokenizer = load_tokenizer(make_model(options.folder / "made", 32_000, made))

    def keep(name: str, sizes: Sequence[int], points: Sequence[tuple[float, float]], **more: Any) -> None:
        seconds, operations = zip(*points, strict=True)
        rate = operations[-1] / seconds[-1]
        found[name] = {"sizes": sizes, "seconds": seconds, "expected": [each / rate for each in operations], **more}
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        rows = zip(sizes, seconds, found[name]["expected"], strict=True)
        print(name, *(f"{size:,}: {one:.3g} s ({other:.3g})" for size, one, other in rows), flush=True)

    if "prompts" in names:
        small = backend(tokenizer, SMALL, 32_000)
        sizes = [size for size in (100, 1000, 10_000, 100_000) if size <= options.most_prompts]
        points, memory = [], []
        ours(small, prompts(100, 20))
        for size in sizes:
            points.append(measure(small, prompts(size, 20), 1 if size > 10_000 else 3))
            memory.append(resident_bytes())
        keep("prompts", sizes, points, resident_bytes=memory)
    if "length" in names:
        large = backend(tokenizer, LARGE, 32_000)
        sizes = [32, 64, 128, 256, 512, 1024]
        points = [measure(large, prompts(max(4, 2048 // size), size)) for size in sizes]
        keep("length", sizes, points)
    if "options" in names:
        large = backend(tokenizer, LARGE, 32_000)
        sizes = [2, 4, 8, 16, 32]
        keep("options", sizes, [measure(large, prompts(24, 60, size)) for size in sizes])
    if "vocabulary" in names:
        sizes = [32_000, 64_000, 128_000, 256_000]
        keep("vocabulary", sizes, [measure(backend(tokenizer, LARGE, size), prompts(160, 60)) for size in sizes])
    (options.folder / "scaling.svg").write_text(curves(found), encoding="utf-8")


if __name__ == "__main__":
    main()
