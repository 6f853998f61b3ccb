"""Time our scorer beside lm-evaluation-harness and one option at a time: same model, prompts, dtype and machine.

    python tests/speed/bench.py --data-dir DIR --peer-python PYTHON [--only NAME] [--vocabulary N | --model FOLDER]

In every round each takes its turn, and the machine's matrix products are timed before and after ours; what is told are
medians over the rounds with the least and the greatest. Rounds are added to those in the JSON file, so that each
workload can be run when nothing else runs; the table at the end has all that are in it. Nothing is asserted.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "true"  # as it is by default; the harness inherits it as well
os.environ["GOMP_SPINCOUNT"] = "3000"  # as the runner does; the other processes inherit it
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agreement"))

import numpy as np
import torch
from compare import peer_request
from plots import ratios
from support.reference_scorer import form_log_probs
from workloads import TOKENS, Workload, corpus, make_model, useful_operations, workloads

from runner.core.types import ModelRef, Prompt, Submission
from runner.models.base import LoadOptions
from runner.models.local.open import open_backend
from runner.models.tokenization import encode_all

# 64 is what the harness's `auto` arrives at where memory allows; its search for that is not counted.
BATCHES = (1, 8, 32, 64)
# Bytes that the harness takes for each token of a batch and of the vocabulary: logits in bfloat16, then in float32
# with their log-softmax. A batch that needs more than the limit is not tried.
PEER_BYTES = 10
MOST_PEER_BYTES = 6 << 30
# A run has thousands of prompts. These are several steps of ours, so that what a step costs but once weighs as it does
# in a run, and keep a round below two minutes here.
ITEMS = {"dilemmas": 120, "dilemmas-released": 120, "anecdotes": 48, "anecdotes-both-orders": 24, "five-words": 20}
ALONE = 8


class Peer:
    """lm-evaluation-harness with one model in a process of its own."""

    def __init__(self, python: str, model: Path) -> None:
        command = [python, str(Path(__file__).with_name("peer.py")), str(model)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.versions = self._answer()

    def ask(self, pairs: Sequence[Sequence[str]], batch: int) -> dict[str, Any]:
        """Seconds and log-likelihoods of `pairs`."""
        assert self._process.stdin is not None
        print(json.dumps({"pairs": pairs, "batch": batch}), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def product_rate(config: Any) -> float:
    """Floating-point operations in a second of this machine's products of the model's shapes, each at its best size."""
    hidden, inner = config.hidden_size, config.intermediate_size
    operations, seconds = 0.0, 0.0
    for rows, columns, times in ((hidden, hidden, 4), (inner, hidden, 2), (hidden, inner, 1)):
        weight = torch.randn(rows, columns, dtype=torch.bfloat16)
        best = 0.0
        for tokens in (256, 512, 1024, 2048):
            states = torch.randn(tokens, columns, dtype=torch.bfloat16)
            for _ in range(4):
                took, _found = timed(lambda: torch.nn.functional.linear(states, weight))  # noqa: B023
                best = max(best, 2 * tokens * rows * columns / took)
        operations += times * 2 * rows * columns
        seconds += times * 2 * rows * columns / best
    return operations / seconds


def ours(backend: Any, prompts: Sequence[Prompt]) -> list[float]:
    """Log-scores of every prompt and option, encoding included."""
    found: dict[int, Any] = {}
    for batch in backend.plan(prompts):
        found.update(zip(batch, backend.predict([prompts[number] for number in batch]), strict=True))
    return [score for number in range(len(prompts)) for score in found[number].log_scores]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and the result."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def measure(load: Workload, backend: Any, peer: Peer | None, rounds: int, earlier: Any) -> Iterator[dict[str, Any]]:
    """After each round in which each has its turn, all that is known, `earlier` rounds included."""
    prompts = load.prompts
    tokenizer, model = backend._tokenizer, backend._base
    config = model.config
    encoded = encode_all(prompts, tokenizer, "plain", config.max_position_embeddings)
    weights = sum(part.numel() for name, part in model.named_parameters() if ".layers." in name and part.dim() == 2)
    tokens, operations = useful_operations(encoded, config, weights)
    pairs, _ = peer_request(prompts, tokenizer, "plain")
    longest = max(len(each.prefix) + max(map(len, each.tails)) for each in encoded)
    ours(backend, prompts[: len(prompts) // 4])
    tried: dict[str, float] = earlier["peer"]["tried"] if earlier and earlier["peer"] else {}
    if peer is not None:
        peer.ask(pairs[:8], 1)
        most = max(1, MOST_PEER_BYTES // (PEER_BYTES * longest * config.vocab_size))
        some = pairs[: max(64, len(pairs) // 2)]  # on few it is luck which is best
        for size in BATCHES if not tried else ():
            if size <= most:
                tried[str(size)] = len(some) / peer.ask(some, size)["seconds"]
        print("  the harness by batch, requests/s:", tried, flush=True)
    batch = int(max(tried, key=tried.__getitem__, default="1"))
    rows: list[dict[str, float]] = list(earlier["rounds"]) if earlier else []
    for number in range(len(rows), len(rows) + rounds):
        before = product_rate(config)
        seconds, scores = timed(lambda: ours(backend, prompts))
        rate = max(before, product_rate(config))
        row = {
            "ours": len(prompts) / seconds,
            "rate": rate,
            "utilisation": operations / seconds / rate,
        }
        if peer is not None:
            answer = peer.ask(pairs, batch)
            row["peer"] = len(prompts) / answer["seconds"]
            row["difference"] = max(abs(a - b) for a, b in zip(scores, answer["log_likelihoods"], strict=True))
        some = prompts[number * ALONE % len(prompts) :][:ALONE]
        seconds, _ = timed(lambda: [form_log_probs(model, tokenizer, one) for one in some])  # noqa: B023
        row["alone"] = len(some) / seconds
        for name in ("peer", "alone"):
            if name in row:
                row[f"ours/{name}"] = row["ours"] / row[name]
        rows.append(row)
        print(f"  round {number + 1}: " + " ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
        values = {name: [each[name] for each in rows if name in each] for name in row}
        yield {
            "workload": load.name,
            "real_texts": load.real,
            "vocabulary": config.vocab_size,
            "prompts": len(prompts),
            "options": len(encoded[0].tails),
            "tokens_per_prompt": sum(len(each.prefix) for each in encoded) / len(prompts),
            "distinct_tokens": tokens,
            "useful_operations": operations,
            "batch_tokens": backend.describe()["batch_tokens"],
            "peer": {**peer.versions, "batch": batch, "tried": tried} if peer is not None else None,
            "threads": torch.get_num_threads(),
            "measured": {
                name: {"median": float(np.median(found)), "least": min(found), "most": max(found)}
                for name, found in values.items()
            },
            "rounds": rows,
        }


def table(results: Sequence[Any]) -> str:
    """What was measured as a table in Markdown."""

    def spread(row: Any, name: str, digits: int) -> str:
        found = row["measured"].get(name)
        if found is None:
            return "not asked"
        return f"{found['median']:.{digits}f} ({found['least']:.{digits}f}–{found['most']:.{digits}f})"

    head = "workload | vocabulary | tokens a prompt | ours, prompts/s | harness, prompts/s | its batch"
    head += " | times the harness | times one by one | useful share of the product rate"
    lines = [f"| {head} |", "|" + " --- |" * 9]
    for row in results:
        cells = [row["workload"], f"{row['vocabulary']:,}", f"{row['tokens_per_prompt']:.0f}", spread(row, "ours", 1)]
        cells += [spread(row, "peer", 1), str(row["peer"]["batch"]) if row["peer"] else ""]
        for name, digits in (("ours/peer", 2), ("ours/alone", 1), ("utilisation", 2)):
            cells.append(spread(row, name, digits))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is named, add it to the file, and print the table of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, help="holds the released files; else texts are made")
    parser.add_argument("--peer-python", default=os.environ.get("BENCHMARK_PEER_PYTHON"))
    parser.add_argument("--folder", type=Path, default=Path("results/speed"), help="for models and results")
    parser.add_argument("--only", action="append", help="name of a workload")
    parser.add_argument("--vocabulary", type=int, action="append")
    parser.add_argument("--architecture", default="llama", help="another, such as gpt_neox, goes the general path")
    parser.add_argument("--model", type=Path, help="folder of a real model, in bfloat16, instead of the made ones")
    parser.add_argument("--items", type=int, help="of each workload, instead of several steps' worth")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-tokens", type=int)
    parser.add_argument("--output", default="speed.json")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / options.output
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    texts = corpus(workloads(options.data_dir))
    folders = (
        [options.model]
        if options.model
        else [
            make_model(options.folder, vocabulary, texts, architecture=options.architecture)
            for vocabulary in options.vocabulary or (TOKENS, 128_000)
        ]
    )
    for folder in (path.resolve() for path in folders):
        vocabulary = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vocab_size"]
        reference = ModelRef("causal", str(folder), None, None, None, "plain", "bfloat16", None)
        backend = open_backend(
            Submission("", "", "", b"", reference, None),
            folder,
            None,
            LoadOptions(device="cpu", batch_tokens=options.batch_tokens),
        )
        peer = Peer(options.peer_python, folder) if options.peer_python else None
        for name in options.only or ITEMS:
            load = next(each for each in workloads(options.data_dir, options.items or ITEMS[name]) if each.name == name)
            print(f"{name}, vocabulary {vocabulary:,}", flush=True)
            key = name, vocabulary
            earlier = next((row for row in results if (row["workload"], row["vocabulary"]) == key), None)
            for found in measure(load, backend, peer, options.rounds, earlier):
                results = [row for row in results if (row["workload"], row["vocabulary"]) != key] + [found]
                file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        if peer is not None:
            peer.close()
        backend.close()
    file.with_suffix(".svg").write_text(ratios(results), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
