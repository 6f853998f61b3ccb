"""How the cost of scoring grows: with prompts, their length, their options, and the vocabulary; and its memory.

    python tests/speed/scaling.py [--folder results/speed] [--only NAME] [--most-prompts 100000]

Texts and weights are made. For each size the least time of a few runs is kept, since others may use the machine as
well; beside each curve stands what the operations counted would take at the rate of its largest size. Memory is what
the model's process held once it was loaded, and the most that it ever held.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "true"
os.environ["GOMP_SPINCOUNT"] = "3000"  # as the runner does; the other processes inherit it
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agreement"))

import torch
from bench import ours, useful_operations
from plots import curves
from transformers import LlamaConfig, LlamaForCausalLM
from workloads import LARGE, make_model, make_words

from runner.core.types import ModelRef, Prompt, Submission
from runner.evaluation.batching import plan_steps
from runner.models.base import LoadOptions
from runner.models.local.causal import Causal, wrap
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import encode_all
from runner.models.worker import open_isolated

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
SHAPES = {"small": SMALL, "large": LARGE}
NAMES = ["prompts", "length", "options", "vocabulary", "memory"]


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
    return wrap(model, tokenizer, "plain")


def least(work: Callable[[], Any], times: int) -> float:
    """Least seconds."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def memory(folder: Path, number: int) -> tuple[int, int]:
    """Bytes that the process of the model in `folder` holds once it is loaded, and the most it ever holds."""
    reference = ModelRef("causal", str(folder), None, None, None, "plain", "bfloat16", None)
    with closing(
        open_isolated(Submission("", "", "", b"", reference, None), folder, None, LoadOptions(device="cpu"))
    ) as worker:
        status = Path(f"/proc/{worker._process._child.pid}/status")

        def held(name: str) -> int:
            return int(status.read_text(encoding="ascii").partition(f"{name}:")[2].split()[0]) << 10

        loaded = held("VmRSS")
        asked = prompts(number, 20)
        for _ in worker.share([asked[place] for place in step] for step in plan_steps(worker, asked)):
            pass
        return loaded, held("VmHWM")


def measure(scorer: Causal, asked: Sequence[Prompt], times: int = 3) -> tuple[float, float]:
    """Seconds a prompt, and operations a prompt."""
    encoded = encode_all(asked, scorer._tokenizer, "plain", 4096)
    _, operations = useful_operations(encoded, scorer._base.config)
    return least(lambda: ours(scorer, asked), times) / len(asked), operations / len(asked)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is named and write it, as numbers and as a picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("results/speed"))
    parser.add_argument("--only", action="append", choices=NAMES)
    parser.add_argument("--most-prompts", type=int, default=100_000)
    options = parser.parse_args(arguments)
    names = options.only or NAMES
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
        ours(small, prompts(100, 20))
        points = [measure(small, prompts(size, 20), 1 if size > 10_000 else 3) for size in sizes]
        keep("prompts", sizes, points)
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
    if "memory" in names:
        # Both orders of the items of Dilemmas dev, and of many more for a model that reads them in minutes.
        cases = [("large", 32_000, 4_680), ("large", 128_000, 4_680), ("small", 32_000, 4_680)]
        cases += [("small", 32_000, 2 * size) for size in (100_000,) if size <= options.most_prompts]
        found["memory"] = []
        for shape, vocabulary, number in cases:
            model = make_model(options.folder / "made", vocabulary, made, SHAPES[shape]).resolve()
            found["memory"].append([shape, vocabulary, number, *memory(model, number)])
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        for shape, vocabulary, number, loaded, most in found["memory"]:
            case = f"{shape}, vocabulary {vocabulary:,}, {number:,} prompts"
            print(f"memory, {case}: {loaded / 1e6:.0f} MB loaded, {most / 1e6:.0f} MB at most", flush=True)
    (options.folder / "scaling.svg").write_text(curves(found), encoding="utf-8")


if __name__ == "__main__":
    main()
