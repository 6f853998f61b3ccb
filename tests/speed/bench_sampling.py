"""Drawn answers of a real model beside the library's `generate`.

`python tests/speed/bench_sampling.py FOLDER` prints what 16 answers to each of 4 prompts take here and by `generate`,
alternating, on one thread.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from runner.core import resources
from runner.core.types import Prompt
from runner.models.local import loading
from runner.models.local.causal import Causal, wrap
from runner.models.local.tokenizer import load_tokenizer
from runner.tasks.selection import RunConfig, prompts, select

ITEMS, ROUNDS = 2, 3


def ask() -> list[Prompt]:
    prompt = "dilemmas-sampled"
    chosen = RunConfig(
        resources.benchmark_file(), "sample", ("dilemmas",), "test", None, ITEMS, (prompt,), elicitation="sampled"
    )
    return [one for one in prompts(select(chosen)) if one.split == "test"]


def drawn(asked: list[Prompt], samples: int, most: int) -> list[Prompt]:
    return [
        replace(one, sampling=replace(one.sampling, samples=samples, max_new_tokens=most))
        for one in asked
        if one.sampling is not None
    ]


def throughput(backend: Causal, model: Any, tokenizer: Any) -> None:
    asked = drawn(ask(), 16, 8)[:4]
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
