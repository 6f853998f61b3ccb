"""Compare our log-probabilities with those of the plainest scoring and of lm-evaluation-harness, on real prompts.

    python tests/agreement/compare.py --model DIR --data FILE.jsonl --prompts 200 [--peer-python PYTHON]

The harness has its own dependencies, so it lives in an environment of its own:

    python3.11 -m venv /tmp/lmeval-venv
    /tmp/lmeval-venv/bin/pip install torch==2.13.0
    /tmp/lmeval-venv/bin/pip install transformers==5.23.0 "lm-eval[hf]==0.4.13"

and `--peer-python /tmp/lmeval-venv/bin/python` names it. It works with transformers 5.23.0. Everything is float32 on
the CPU. Exit code 1 if a difference is larger than `--tolerance` where all read the same tokens.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from support.reference_scorer import form_log_probs

from runner.config.benchmark import load_benchmark
from runner.core.resources import benchmark_file
from runner.core.types import Item, Prompt
from runner.models.local.causal import Causal
from runner.models.local.loading import apply_adapter, limit_of, load_model
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import EncodedPrompt, Format, encode_all
from runner.tasks.prompts import all_prompts, text


@dataclass(frozen=True, slots=True)
class Differences:
    """Largest and mean absolute difference per surface form, in nats, and how many forms were compared."""

    largest: float
    mean: float
    forms: int

    def __str__(self) -> str:
        return f"largest {self.largest:.2e}, mean {self.mean:.2e} nats over {self.forms:,} options"


def differences(one: Sequence[float], other: Sequence[float]) -> Differences:
    """Compare two lists of log-probabilities of the same forms."""
    apart = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return Differences(max(apart), sum(apart) / len(apart), len(apart))


def read_prompts(data: Path, prompt_name: str, count: int) -> list[Prompt]:
    """The first `count` prompts that the released benchmark's `prompt_name` puts for the rows of `data`."""
    benchmark = load_benchmark(benchmark_file())
    spec = benchmark.prompts[prompt_name]
    task = benchmark.tasks[spec.task]

    def items() -> Iterator[Item]:
        for line in data.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            fields = {name: str(_at(row, path)) for name, path in task.item.fields.items()}
            yield Item(str(_at(row, task.item.id)), fields, (), None, None)

    return [prompt for prompt, _ in zip(all_prompts([spec], task.labels, "dev", items()), range(count), strict=False)]


def _at(row: Any, path: str) -> Any:
    for step in path.split("."):
        row = row[int(step)] if isinstance(row, list) else row[step]
    return row


def ours(backend: Causal, prompts: Sequence[Prompt]) -> tuple[list[list[float]], float]:
    """Log-probability of each form of each prompt, every form as a label of its own, and the seconds it took."""
    started = time.monotonic()
    split = [_one_form_per_label(prompt) for prompt in prompts]
    found: list[list[float]] = [[] for _ in prompts]
    for batch in backend.plan(split):
        for number, answer in zip(batch, backend.predict([split[number] for number in batch]), strict=True):
            found[number] = list(answer.log_scores)
    return found, time.monotonic() - started


def _one_form_per_label(prompt: Prompt) -> Prompt:
    return replace(prompt, options=tuple((form,) for forms in prompt.options for form in forms))


def peer_request(prompts: Sequence[Prompt], tokenizer: Any, form: Format) -> tuple[list[list[str]], bool]:
    """The texts the harness is asked about, and whether it is to put a BOS before them."""
    pairs = []
    for prompt in prompts:
        question = text(prompt)
        if form == "chat":
            chat = [{"role": "user", "content": question}]
            begun = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) + prompt.cue_chat
        else:
            begun = question + prompt.cue_plain
        pairs += [[begun, surface] for forms in prompt.options for surface in forms]
    adds = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return pairs, adds


def ask_peer(python: str, request: dict[str, Any]) -> dict[str, Any]:
    """What the harness answers; raises `CalledProcessError` if it fails."""
    script = Path(__file__).with_name("peer_lm_eval.py")
    found = subprocess.run(
        [python, str(script)], input=json.dumps(request), stdout=subprocess.PIPE, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def same_ids(prompts: Sequence[EncodedPrompt], encodings: Sequence[Sequence[Sequence[int]]]) -> list[bool]:
    """For each form whether the harness read the tokens that we do, wherever it splits them."""
    own = [[*each.prefix.tolist(), *tail] for each in prompts for tail in each.tails]
    return [ids == [*context, *rest] for ids, (context, rest) in zip(own, encodings, strict=True)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the differences; 1 if one of them is larger than the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prompt", default="dilemmas-letters", help="a prompt of benchmark.yaml")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--format", choices=["plain", "chat"], default="plain")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--peer-python", help="the interpreter of an environment that holds lm-eval")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="nats")
    options = parser.parse_args(arguments)

    tokenizer = load_tokenizer(options.model)
    model = load_model(options.model, "float32", torch.device("cpu"))
    limit = limit_of(model.config)
    if options.adapter:
        model = apply_adapter(model, options.adapter)
    prompts = read_prompts(options.data, options.prompt, options.prompts)
    encoded = encode_all(prompts, tokenizer, options.format, limit)
    whole = [number for number, each in enumerate(encoded) if not (each.truncated or each.joined)]
    if len(whole) < len(prompts):
        print(f"{len(prompts) - len(whole)} prompts are cut or joined, which the others do otherwise; left out")
    prompts, encoded = [prompts[number] for number in whole], [encoded[number] for number in whole]
    tokens = sum(len(each.prefix) for each in encoded)

    scores, seconds = ours(Causal(model, tokenizer, options.format, options.batch_tokens), prompts)
    flat = [score for each in scores for score in each]
    print(f"ours: {len(prompts)} prompts, {tokens:,} tokens, {seconds:.1f} s ({len(prompts) / seconds:.1f} prompts/s)")

    started = time.monotonic()
    plain = [score for prompt in prompts for score in form_log_probs(model, tokenizer, prompt, options.format)]
    took = time.monotonic() - started
    found = differences(flat, plain)
    print(f"one option at a time, transformers ({took:.1f} s): {found}")
    worst = found.largest

    if options.peer_python:
        pairs, add_bos = peer_request(prompts, tokenizer, options.format)
        adapter = str(options.adapter) if options.adapter else None
        started = time.monotonic()
        answer = ask_peer(
            options.peer_python, {"model": str(options.model), "adapter": adapter, "add_bos": add_bos, "pairs": pairs}
        )
        took = time.monotonic() - started
        alike = same_ids(encoded, answer["encodings"])
        print(f"lm-evaluation-harness {answer['versions']} ({took:.1f} s with its start)")
        both = [(a, b) for a, b, same in zip(flat, answer["log_likelihoods"], alike, strict=True) if same]
        if both:
            found = differences(*zip(*both, strict=True))
            print(f"  where it reads the same tokens: {found}")
            worst = max(worst, found.largest)
        if len(both) < len(alike):
            print(f"  it reads other tokens for {len(alike) - len(both):,} options; not compared. The first of them:")
            first = alike.index(False)
            print(f"    theirs {answer['encodings'][first][0][:6]} … {answer['encodings'][first][1]}")
            own = [(each.prefix.tolist(), tail) for each in encoded for tail in each.tails][first]
            print(f"    ours   {own[0][:6]} … {list(own[1])}")
    else:
        print("lm-evaluation-harness: not asked (no --peer-python)")
    return 0 if worst <= options.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
