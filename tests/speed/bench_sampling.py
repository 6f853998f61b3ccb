"""Drawn answers of a real model beside its log-probabilities, and beside the library's `generate`.

`python tests/speed/bench_sampling.py FOLDER` prints how far shares of n drawn first tokens are from the
log-probabilities of 20 dilemmas of the sample in both orders, and what 16 answers to each of 4 prompts take here and by
`generate`, alternating, on one thread.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from runner.core import resources
from runner.core.types import Prompt
from runner.models.local import loading
from runner.models.local.causal import Causal, wrap
from runner.models.local.tokenizer import load_tokenizer
from runner.tasks.selection import RunConfig, prompts, select

ITEMS, ROUNDS = 20, 3


def ask(elicitation: str, prompt: str) -> list[Prompt]:
    chosen = RunConfig(
        resources.benchmark_file(), "sample", ("dilemmas",), "test", None, ITEMS, (prompt,), elicitation=elicitation
    )
    return [one for one in prompts(select(chosen)) if one.split == "test"]


def drawn(asked: list[Prompt], samples: int, most: int) -> list[Prompt]:
    return [
        replace(one, sampling=replace(one.sampling, samples=samples, max_new_tokens=most))
        for one in asked
        if one.sampling is not None
    ]


def distances(backend: Causal) -> None:
    """First tokens alone: an answer of one token is one of the options' forms, with a blank before it or without."""
    asked = [
        replace(one, options=tuple((form, form.strip()) for (form,) in one.options))
        for one in ask("logprob", "dilemmas-letters")
    ]
    shares = np.array([np.exp(one.log_scores or ()) for one in backend.predict(asked)])
    shares /= shares.sum(axis=1, keepdims=True)
    for samples in (2, 8, 32):
        found = backend.predict(drawn(ask("sampled", "dilemmas-sampled"), samples, 1))
        counts = np.array([list((one.samples or {}).values()) for one in found], dtype=float)
        read = counts.sum(axis=1)
        known = read > 0
        distance = np.abs(counts[known, 0] / read[known] - shares[known, 0])
        expected = np.sqrt(2 / np.pi * shares[known].prod(axis=1) / read[known])
        print(f"n = {2 * samples}: {distance.mean():.3f} by order, {expected.mean():.3f} expected")


def throughput(backend: Causal, model: Any, tokenizer: Any) -> None:
    asked = drawn(ask("sampled", "dilemmas-sampled"), 16, 8)[:4]
    encoded = backend.read(asked)
    width = max(len(one.prefix) for one in encoded)
    ids = torch.zeros((len(encoded), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(encoded):
        ids[row, width - len(one.prefix) :] = torch.from_numpy(one.prefix)
        mask[row, width - len(one.prefix) :] = 1
    settings = GenerationConfig(
        do_sample=True, top_k=0, max_new_tokens=8, num_return_sequences=16, pad_token_id=0,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    for _ in range(ROUNDS):
        started = time.perf_counter()
        list(backend.predict(asked))
        ours = time.perf_counter() - started
        started = time.perf_counter()
        with torch.inference_mode():
            model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
        theirs = time.perf_counter() - started
        print(f"64 answers: {ours:.1f} s here, {theirs:.1f} s by generate, ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    own = load_tokenizer(folder)
    loaded = loading.load_model(folder, "float32", torch.device("cpu"))
    wrapped = wrap(loaded, own, "chat")
    throughput(wrapped, loaded, own)
    distances(wrapped)
