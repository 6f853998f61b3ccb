"""SmolLM2-135M-Instruct's drawn answers beside its log-probabilities, on the same questions: two tracks, one model.

    python tests/families/compare_sampled.py --data FILE.jsonl [--items 200] [--server-python PYTHON]

The question is `dilemmas-sampled` of the released benchmark in chat, in both orders, for the first rows of a file of
Dilemmas; without `--data` for those of the sample, and the output says so. 64 answers are drawn of each item. Every
answer has a generator that its question and number seed, so those of n = 4 and n = 16 are the first of these. The
table has the mean cross-entropy of both tracks with its 95 % interval, and how far shares of drawn first tokens are
from the log-probabilities in one order, beside what that many draws are expected to be. It is printed anew every 20
items, of all items so far. With `--server-python`, an interpreter with llama-cpp-python[server], that server draws the
answers in completions, one to a request, from the same weights in float32; nothing seeds them. In its chat nobody
begins the answer for the model, and nine of ten answers of this small one are then no letter. Exit code 1 if a
distance is not within a fifth of what is expected.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agreement"))

import numpy as np
import torch
from compare import read_prompts
from compare_server import NEUTRAL, serving
from numpy.typing import NDArray
from support import real_models
from transformers.utils import logging

from runner.core.resources import embedded_data
from runner.core.types import Prompt, ServiceRef
from runner.models.api import Access, open_service, service
from runner.models.local import sampling
from runner.models.local.causal import Causal, wrap
from runner.models.local.loading import load_model
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import Format
from runner.scoring import intervals
from runner.scoring.rules import cross_entropy
from runner.tasks.sampled import Unreadable, label_of, log_posterior_mean

COUNTS = (4, 16, 64)
"""Answers to an item, half of them in each order."""
_CHUNK = 20
_REDRAWS, _RESAMPLES = 20, 2000

Draw = Callable[[Sequence[Prompt]], dict[object, list[str | None]]]
"""The drawn answers to each prompt, by its key."""


@dataclass
class Found:
    """What was found of some prompts: pairs of them are the two orders of an item."""

    probabilities: list[NDArray[np.float64]] = field(default_factory=list)
    """Of each prompt's options in the order of the labels, before they are normalised."""
    answers: list[list[int | None]] = field(default_factory=list)
    """Of each prompt's draws the index of the label, None for a failure."""
    firsts: list[list[int | None]] = field(default_factory=list)
    """The same of the draws' first tokens alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; 1 if the drawn shares are not as far from the log-probabilities as draws are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a released file of Dilemmas; else the sample's are asked")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--server-python", help="an interpreter with llama-cpp-python[server], which then draws")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()
    torch.set_num_threads(1)

    folder = real_models.smollm2()
    data = options.data or embedded_data("sample") / "dev.sample-dilemmas.jsonl"
    rows = data.read_text(encoding="utf-8").splitlines()[: options.items]
    votes = np.array([json.loads(row)["gold_annotations"] for row in rows], dtype=float)
    prompts = read_prompts(data, "dilemmas-sampled", 2 * len(rows))
    form: Format = "plain" if options.server_python else "chat"
    print(f"{len(rows)} {'released' if options.data else 'synthetic'} Dilemmas, {form}, float32", flush=True)
    model = wrap(load_model(folder, "float32", torch.device("cpu")), load_tokenizer(folder), form)
    found, right = Found(), True
    with ExitStack() as stack:
        draw: Draw = partial(_draws, model)
        if options.server_python:
            url = stack.enter_context(serving(folder, options.server_python))
            ref = ServiceRef(url, "tiny", "completions", 0, False, None, neutral=NEUTRAL)
            draw = partial(_served_draws, stack.enter_context(closing(open_service(ref, None, Access(concurrency=1)))))
        for at in range(0, len(prompts), 2 * _CHUNK):
            _ask(model, draw, prompts[at : at + 2 * _CHUNK], found)
            items = len(found.answers) // 2
            print(f"\nThe first {items} items:", flush=True)
            right = _print(found, votes[:items])
    return int(not right)


def _ask(model: Causal, draw: Draw, prompts: Sequence[Prompt], found: Found) -> None:
    letters = [_letters(prompt) for prompt in prompts]
    options = [tuple((f" {letter}", letter) for letter in each) for each in letters]
    scored = [replace(prompt, sampling=None, options=each) for prompt, each in zip(prompts, options, strict=True)]
    found.probabilities += [np.exp(row.log_scores or ()) for row in model.predict(scored)]
    drawn = draw(
        [
            replace(prompt, sampling=replace(prompt.sampling, samples=max(COUNTS) // 2))
            for prompt in prompts
            if prompt.sampling is not None
        ]
    )
    for prompt, each in zip(prompts, letters, strict=True):
        found.answers.append([_label(answer, prompt) for answer in drawn[prompt.key]])
        found.firsts.append([_first(answer, each) for answer in drawn[prompt.key]])


def _letters(prompt: Prompt) -> tuple[str, ...]:
    """The letter of each label, in the order of the labels."""
    assert prompt.sampling is not None
    return tuple(forms[0] for forms in prompt.sampling.answers)


def _draws(model: Causal, prompts: Sequence[Prompt]) -> dict[object, list[str | None]]:
    """The answers to each prompt in the order of their numbers, which rows of predictions hold as counts only."""
    answers: dict[object, list[str | None]] = {}
    original = sampling.draw

    def recording(base, tokenizer, asked, *rest):  # type: ignore[no-untyped-def]
        drawn = original(base, tokenizer, asked, *rest)
        answers.update({one.key: [each.answer for each in them] for one, them in zip(asked, drawn, strict=True)})
        return drawn

    sampling.draw = recording
    try:
        list(model.predict(prompts))
    finally:
        sampling.draw = original
    return answers


def _served_draws(server: service.Service, prompts: Sequence[Prompt]) -> dict[object, list[str | None]]:
    """The same from a service, which is asked one question at a time: which answers come first says nothing of them."""
    answers: dict[object, list[str | None]] = {}
    original = service.count

    def recording(drawn, *rest):  # type: ignore[no-untyped-def]
        answers[prompt.key] += drawn
        return original(drawn, *rest)

    service.count = recording
    try:
        for prompt in prompts:
            answers[prompt.key] = []
            list(server.predict([prompt]))
    finally:
        service.count = original
    return answers


def _label(answer: str | None, prompt: Prompt) -> int | None:
    assert prompt.sampling is not None
    try:
        return label_of(answer, prompt.sampling)
    except Unreadable:
        return None


def _first(answer: str | None, letters: Sequence[str]) -> int | None:
    """The label whose letter is the first token, with a blank before it or without: no other letter follows."""
    text = (answer or "").removeprefix(" ")
    return letters.index(text[0]) if text[:1] in letters and not text[1:2].isalpha() else None


def _print(found: Found, votes: NDArray[np.float64]) -> bool:
    shares = np.array([each / each.sum() for each in found.probabilities])
    exact = shares.reshape(-1, 2, 2).mean(axis=1)
    losses = cross_entropy(np.log(exact), votes)
    low, high = _interval(intervals.bootstrap_means(losses[:, None], _RESAMPLES, 0))
    mass = np.mean([each.sum() for each in found.probabilities])
    print(f"| log-probabilities (the letters hold {mass:.3f}) | {losses.mean():.4f} ({low:.4f} … {high:.4f}) |")
    right = True
    for count in COUNTS:
        read = np.array([_counts(each[: count // 2]) for each in found.answers])
        items = read.reshape(-1, 2, 2).sum(axis=1)
        failures = 1 - items.sum() / (count * len(items))
        scored = (2 * read.reshape(-1, 2, 2).sum(axis=2) >= count // 2).all(axis=1)
        if not scored.any():
            print(f"| {count} answers | no item has a score | {failures:.1%} failures |", flush=True)
            continue
        value, low, high = _drawn(items[scored], votes[scored], count)
        first = np.array([_counts(each[: count // 2]) for each in found.firsts])
        apart, expected = _distance(first, shares)
        right &= 0.8 <= apart / expected <= 1.2
        print(
            f"| {count} answers | {value:.4f} ({low:.4f} … {high:.4f}), by log-probabilities"
            f" {losses[scored].mean():.4f} on the {scored.sum()} items that have a score | {failures:.1%} failures |"
            f" shares of first tokens {apart:.3f} from the log-probabilities, {expected:.3f} expected; of answers"
            f" {_distance(read, shares)[0]:.3f} |",
            flush=True,
        )
    return right


def _counts(labels: Sequence[int | None]) -> list[int]:
    return [labels.count(0), labels.count(1)]


def _distance(counts: NDArray[np.int64], shares: NDArray[np.float64]) -> tuple[float, float]:
    """Root mean square distance of drawn shares from the probabilities over prompts, and what is expected of them."""
    known = counts.sum(axis=1) > 0
    read, exact = counts[known], shares[known]
    drawn = read[:, 0] / read.sum(axis=1)
    expected = exact.prod(axis=1) / read.sum(axis=1)
    return float(np.sqrt(np.mean((drawn - exact[:, 0]) ** 2))), float(np.sqrt(expected.mean()))


def _drawn(counts: NDArray[np.int64], votes: NDArray[np.float64], n: int) -> tuple[float, float, float]:
    """The mean cross-entropy with its interval in two stages, as a card has it: items, then each item's answers."""
    losses = cross_entropy(log_posterior_mean(counts.astype(float)), votes)
    random = np.random.default_rng(n)
    total = counts.sum(axis=1)
    again = []
    for _ in range(_REDRAWS):
        first = random.binomial(total, counts[:, 0] / total)
        drawn = np.stack([first, total - first], axis=1).astype(float)
        again.append(cross_entropy(log_posterior_mean(drawn), votes))
    first_stage = intervals.bootstrap_means(losses[:, None], _RESAMPLES, n)
    both = first_stage + intervals.second_stage(np.stack(again)[:, :, None], _RESAMPLES, n)
    return float(losses.mean()), *_interval(both)


def _interval(draws: NDArray[np.float64]) -> tuple[float, float]:
    lower, upper = intervals.percentile_interval(draws, 0.95)
    return float(lower[0]), float(upper[0])


if __name__ == "__main__":
    sys.exit(main())
