"""Time steps of LoRA training beside an earlier checkout and beside peft with transformers, on the same machine.

    python tests/speed/bench_training.py MODEL --data FILE [--before CHECKOUT] [--steps 16x1 --steps 8x4] [--rounds 2]

A step is the forward and backward passes of batch size × gradient accumulation prompts of released Dilemmas, real
votes included, with LoRA of rank 8 on the attention's projections; the optimiser is not counted. The peer pads each
batch to its longest prompt and computes logits everywhere, as transformers does by default, and learns the label most
people chose. `products` are those of our step with the layers' frozen weights, alone. Each has a process with one
thread, they take turns, and what is told are medians of processor seconds, which other work on the machine disturbs
least. Tokens are all tokens of a step's prompts, however a program shares or pads them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

_RECIPE: dict[str, Any] = {
    "schema_version": "1",
    "name": "timed",
    "base": {"backend": "causal", "format": "chat", "dtype": "bfloat16"},
    "data": {"suite": "sample", "tasks": ["dilemmas"]},
    "objective": {"kind": "soft_cross_entropy"},
    "method": {"kind": "lora", "rank": 8, "alpha": 16, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]},
    "training": {"learning_rate": 2e-4, "steps": 1, "batch_size": 8, "seed": 1},
}
Examples = Sequence[Any]
Step = Callable[[Examples, int], None]


def questions(data: Path, items: int) -> list[Any]:
    """Every prompt of the first items of a file of Dilemmas, each with its item."""
    from runner.config import load_benchmark
    from runner.core.resources import benchmark_file
    from runner.core.types import Item
    from runner.tasks.prompts import all_prompts

    benchmark = load_benchmark(benchmark_file())
    task = benchmark.tasks["dilemmas"]
    specs = [benchmark.prompts[name] for name in task.prompts]
    found = []
    for number, line in enumerate(data.read_text(encoding="utf-8").splitlines()[:items]):
        row = json.loads(line)
        first, second = (action["description"] for action in row["actions"])
        item = Item(str(number), {"first": first, "second": second}, tuple(row["gold_annotations"]), None, None)
        found += [(prompt, item) for prompt in all_prompts(specs, task.labels, "train", [item])]
    return found


def our_step(trainee: Any, objective: Any) -> Step:
    """A step as `runner.training.trainer` makes it, of this checkout or of one that had no batches of its own."""
    from runner.models.local import devices
    from runner.training.objectives import losses

    unfilled = getattr(devices, "unfilled_memory", nullcontext)

    def step(examples: Examples, size: int) -> None:
        batches = in_turn(examples, size)
        if len(batches) > 1 and hasattr(trainee, "batches"):
            batches = trainee.batches(examples, size)
        with devices.deterministic_algorithms(), unfilled():
            for batch in batches:
                scores = trainee.log_scores(batch)
                found = losses(objective, scores, [example.counts for example in batch], [])
                (found.sum() / len(examples)).float().backward()

    return step


def products_step(trainee: Any) -> Step:
    """The products of our step with the layers' frozen weights alone, there and back."""
    import torch
    from torch import nn

    from runner.models.local.packed.layout import pack

    layers = [
        module.base_layer if hasattr(module, "base_layer") else module
        for layer in trainee._base.base_model.layers
        for module in (*layer.self_attn.children(), *layer.mlp.children())
    ]
    weights = [layer.weight for layer in layers if isinstance(layer, nn.Linear)]

    def step(examples: Examples, size: int) -> None:
        batches = trainee.batches(examples, size) if len(examples) > size else [examples]
        with torch.no_grad():
            for batch in batches:
                tokens = len(pack([example.encoded for example in batch], 0).ids)
                for weight in weights:
                    there = nn.functional.linear(torch.ones(tokens, weight.shape[1], dtype=weight.dtype), weight)
                    there @ weight

    return step


def peer_step(model_folder: Path) -> Step:
    """A step of peft and transformers by their defaults."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    method = _RECIPE["method"]
    config = LoraConfig(
        r=method["rank"], lora_alpha=method["alpha"], target_modules=method["target_modules"], task_type="CAUSAL_LM"
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16), config).train()

    def step(examples: Examples, size: int) -> None:
        batches = in_turn(examples, size)
        for batch in batches:
            rows = []
            for example in batch:
                encoded = example.encoded
                form = encoded.labels.index(int(example.counts.argmax()))
                rows.append((encoded.prefix.tolist(), list(encoded.tails[form])))
            width = max(len(prefix) + len(tail) for prefix, tail in rows)
            ids = torch.zeros(len(rows), width, dtype=torch.long)
            mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
            for number, (prefix, tail) in enumerate(rows):
                stop = len(prefix) + len(tail)
                ids[number, :stop] = torch.tensor(prefix + tail)
                mask[number, :stop] = 1
                labels[number, len(prefix) : stop] = torch.tensor(tail)
            (model(input_ids=ids, attention_mask=mask, labels=labels).loss / len(batches)).backward()

    return step


def in_turn(examples: Examples, size: int) -> list[Examples]:
    return [examples[start : start + size] for start in range(0, len(examples), size)]


def work(kind: str, checkout: Path, model: Path, data: Path) -> None:
    """Answer lines {"at", "size", "prompts"} with {"seconds", "tokens"} until standard input ends."""
    sys.path.insert(0, str(checkout))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import tempfile

    import torch
    import yaml

    import runner
    from runner.config.recipe import load_recipe
    from runner.training.open_trainee import open_trainable

    assert Path(runner.__path__[0]).parent == checkout.resolve()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        base = {**_RECIPE["base"], "path": str(model.resolve())}
        path.write_text(yaml.safe_dump({**_RECIPE, "base": base}), encoding="utf-8")
        recipe = load_recipe(path)
    trainee = open_trainable(recipe, model, torch.device("cpu"))
    trainee.model.train()
    examples = trainee.examples(questions(data, 100))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0)).tolist()
    match kind:
        case "peer":
            step = peer_step(model)
        case "products":
            step = products_step(trainee)
        case _:
            step = our_step(trainee, recipe.objective)
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        chosen = [examples[number] for number in order[asked["at"] : asked["at"] + asked["prompts"]]]
        started = time.process_time()
        step(chosen, asked["size"])
        tokens = sum(example.tokens for example in chosen)
        print(json.dumps({"seconds": time.process_time() - started, "tokens": tokens}), file=answers, flush=True)


def main() -> None:
    """Print a table with a row for each program and size of step."""
    here = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="file of Dilemmas, as JSON lines")
    parser.add_argument("--before", type=Path, help="another checkout of this repository")
    parser.add_argument("--steps", action="append", metavar="SIZExBATCHES")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work, given.before or here, given.model, given.data)
        return
    programs = {"ours": here, **({"before": given.before.resolve()} if given.before else {}), "peer": here}
    programs["products"] = here
    processes = {name: start(name, checkout, given.model, given.data) for name, checkout in programs.items()}
    for process in processes.values():
        ask(process, None)
    print(
        "| step | program | prompts a second | tokens a second | ours is faster by |\n| --- | --- | --- | --- | --- |"
    )
    for shape in given.steps or ["16x1", "8x4"]:
        size, batches = map(int, shape.split("x"))
        found: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
        for number in range(given.rounds + 1):  # the first warms up
            for name, process in processes.items():
                asked = {"at": number * size * batches, "prompts": size * batches, "size": size}
                found[name].append(ask(process, asked))
        for name, answers in found.items():
            seconds = [answer["seconds"] for answer in answers[1:]]
            ratio = statistics.median(
                other / own["seconds"] for other, own in zip(seconds, found["ours"][1:], strict=True)
            )
            tokens = sum(answer["tokens"] for answer in answers[1:]) / sum(seconds)
            prompts = size * batches / statistics.median(seconds)
            print(f"| {size} × {batches} | {name} | {prompts:.2f} | {tokens:.0f} | {ratio:.2f} |", flush=True)
    print("load", *(f"{load:.1f}" for load in os.getloadavg()), file=sys.stderr)
    for process in processes.values():
        process.communicate()


def start(name: str, checkout: Path, model: Path, data: Path) -> "subprocess.Popen[str]":
    """A process of one program."""
    command = [sys.executable, __file__, str(model), "--data", str(data), "--before", str(checkout), "--work", name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    return subprocess.Popen(
        command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask(process: "subprocess.Popen[str]", question: Any) -> Any:
    """What a process answers; None only waits until it is ready."""
    assert process.stdin is not None
    assert process.stdout is not None
    if question is not None:
        print(json.dumps(question), file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())


if __name__ == "__main__":
    main()
