"""A tiny model that was taught to write one distribution, whatever it is asked."""

import random
from typing import Any

import torch
from support import tiny_models

from runner.core import resources
from runner.tasks.prompts import text
from runner.tasks.selection import RunConfig, prompts, select
from runner.tasks.verbalized import write

SHARES = (70, 30)


def writer(tokenizer: Any, steps: int = 60) -> Any:
    """A Llama that answers ` A: 70%, B: 30%` to the sample's written Dilemmas; a few seconds of training."""
    chosen = RunConfig(
        resources.benchmark_file(), "sample", ("dilemmas",), "train", limit=200, elicitation="verbalized"
    )
    asked = [prompt for prompt in prompts(select(chosen)) if prompt.split == "train"]
    line = tokenizer(f" {write(SHARES, ('A', 'B'))}\n", add_special_tokens=False)["input_ids"]
    generator = random.Random(0)
    made = tiny_models.model("llama", len(tokenizer), 0, max_position_embeddings=2048, initializer_range=0.05).train()
    optimizer = torch.optim.AdamW(made.parameters(), lr=5e-3)
    for _ in range(steps):
        # Ends of prompts of several lengths at several positions, so that it minds neither.
        ends = [tokenizer(text(prompt) + prompt.cue_plain)["input_ids"] for prompt in generator.sample(asked, 8)]
        rows = [ids[-generator.choice([20, 60, 180]) :] + line for ids in ends]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        targets = torch.full_like(ids, -100)
        for number, row in enumerate(rows):
            targets[number, len(row) - len(line) : len(row)] = torch.tensor(line)
        positions = torch.arange(width)[None] + generator.randrange(150)
        logits = made(ids, position_ids=positions).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return made.eval()
