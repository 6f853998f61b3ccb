"""What a GPU computes and how fast, in one table: `python tests/gpu/check.py`, eight minutes at most.

Everything is made on the spot: random weights of Llama-3.1-8B's shape, texts of the lengths of Dilemmas and Anecdotes.
No network, no file but this checkout. What cannot be measured is in the table with the reason. The exit code is 1 where
numbers are wrong; a speed below its goal is marked, and is none of that. `--device cpu --small` takes the same way with
a small shape, where there is no GPU.
"""

import argparse
import importlib.util
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS.parent), str(_TESTS), str(_TESTS / "speed")]
_NEEDED = (
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "numpy",
    "scipy",
    "yaml",
    "jsonschema",
    "rfc8785",
    "safetensors",
)
if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
    sys.exit(f"Python packages are missing here: {', '.join(missing)}.")

import torch
from support.reference_scorer import form_log_probs
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers import __version__ as transformers_version
from workloads import corpus, useful_operations, workloads

from runner.config.benchmark import load_benchmark
from runner.core.recipe_types import Method, Objective
from runner.core.resources import benchmark_file
from runner.models.local import causal, devices, quantization
from runner.models.tokenization import EncodedPrompt, encode_all
from runner.tasks.predictions import to_line
from runner.training import lora, objectives
from runner.training.trainee import Example, TrainableCausal

LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
    "max_position_embeddings": 8192,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    "tie_word_embeddings": False,
}
SMALL = {
    **LLAMA_8B,
    "hidden_size": 128,
    "intermediate_size": 448,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 4000,
    # Far wider than is usual, so that answers differ from prompt to prompt as those of a large model do.
    "initializer_range": 0.08,
}
# Of the true shape cut to this many layers: what is compared with float32 has to fit beside it.
CUT_LAYERS = 4
# Nats. Sums in another order in float32; one rounding to bfloat16 in every product.
MOST_FLOAT32, MOST_BFLOAT16 = 1e-3, 0.25
GOAL_SHARE, GOAL_HARNESS = 0.60, 3.0
PEER_BATCH = 64
LORA_BATCH = 16


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    what: str
    """The quantity and its unit."""
    value: str
    """What was measured, or that it was not."""
    note: str = ""
    """The goal or the limit and whether it is met, or why nothing was measured."""
    wrong: bool = False
    """Whether a number is wrong."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured, and on what."""

    device: torch.device
    """The device."""
    shape: dict[str, Any]
    """Arguments of the configuration."""
    items: dict[str, int]
    """Items of each workload."""
    seconds: float
    """The longest that any one speed is measured."""
    deadline: float
    """When the last measurement may begin, on the monotonic clock."""


# --- what is measured ----------------------------------------------------------------------------------------------


def make_model(setting: Setting, dtype: torch.dtype, layers: int | None = None, seed: int = 0) -> Any:
    """A model with random weights, made on the device."""
    torch.manual_seed(seed)
    shape = {**setting.shape, **({"num_hidden_layers": layers} if layers else {})}
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with setting.device:
            made = LlamaForCausalLM(LlamaConfig(bos_token_id=0, eos_token_id=1, **shape))
    finally:
        torch.set_default_dtype(before)
    return made.eval().requires_grad_(False)


def make_tokenizer(texts: Sequence[str], vocabulary: int) -> Any:
    """Byte-level BPE learnt from the texts, with at most `vocabulary` tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocabulary, 8000),
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>")


def synchronise(device: torch.device) -> None:
    """Wait for what the device was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_rate(setting: Setting, dtype: torch.dtype) -> float:
    """Operations a second of the device's products, at the best of some sizes of the model's shapes."""
    hidden, inner = setting.shape["hidden_size"], setting.shape["intermediate_size"]
    best = 0.0
    for tokens in (1024, 4096, 16384) if setting.device.type == "cuda" else (256, 1024):
        states = torch.randn(tokens, hidden, dtype=dtype, device=setting.device)
        weight = torch.randn(inner, hidden, dtype=dtype, device=setting.device)
        for _ in range(8):
            synchronise(setting.device)
            started = time.perf_counter()
            torch.nn.functional.linear(states, weight)
            synchronise(setting.device)
            best = max(best, 2 * tokens * hidden * inner / (time.perf_counter() - started))
    return best


def layer_weights(config: Any) -> int:
    """Weights of all layers; of a quantized model the parameters themselves do not say it."""
    hidden, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    heads = 2 * hidden * hidden + 2 * hidden * size * config.num_key_value_heads
    return int(config.num_hidden_layers * (heads + 3 * hidden * config.intermediate_size))


def answers(backend: Any, prompts: Sequence[Any]) -> list[Any]:
    """The predictions, in order, by the backend's own plan."""
    found: dict[int, Any] = {}
    for step in backend.plan(prompts):
        found.update(zip(step, backend.predict([prompts[number] for number in step]), strict=True))
    return [found[number] for number in range(len(prompts))]


def ours(backend: Any, prompts: Sequence[Any], seconds: float) -> tuple[float, list[int]]:
    """Seconds, and which prompts were answered in them: whole steps, until the time is over."""
    steps = backend.plan(prompts)
    list(backend.predict([prompts[number] for number in steps[0]]))  # kernels are chosen at their first use
    done: list[int] = []
    started = time.perf_counter()
    for step in steps:
        list(backend.predict([prompts[number] for number in step]))
        done += step
        if time.perf_counter() - started > seconds:
            break
    return time.perf_counter() - started, done


def harness(model: Any, encoded: Sequence[EncodedPrompt], seconds: float) -> tuple[float, float, int]:
    """Seconds, prompts answered in them, and the batch: a request for each choice, longest first, padded batches, a
    log-softmax of every place's logits; written plainly with transformers, as lm-evaluation-harness does it."""
    requests = sorted(
        ((each.prefix.tolist(), list(tail)) for each in encoded for tail in each.tails),
        key=lambda request: -len(request[0]) - len(request[1]),
    )
    size, done = PEER_BATCH, 0
    while True:
        try:
            _ask_padded(model, requests[:size])  # the longest: what fits now fits later
            break
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
    # Batches from all lengths alike, so that a share of them stands for all.
    batches = [requests[start : start + size] for start in range(0, len(requests), size)]
    started = time.perf_counter()
    for batch in itertools.chain.from_iterable(batches[first::7] for first in range(7)):
        _ask_padded(model, batch)
        done += len(batch)
        if time.perf_counter() - started > seconds:
            break
    return time.perf_counter() - started, done * len(encoded) / len(requests), size


@torch.inference_mode()
def _ask_padded(model: Any, requests: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    rows = [(context + choice)[:-1] for context, choice in requests]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=model.device)
    log_probs = torch.log_softmax(model(input_ids=ids, attention_mask=mask).logits.float(), dim=-1)
    sums = []
    for number, ((_, choice), row) in enumerate(zip(requests, rows, strict=True)):
        places = log_probs[number, len(row) - len(choice) : len(row)]
        sums.append(places.gather(1, torch.tensor(choice, device=model.device)[:, None]).sum())
    return torch.stack(sums).tolist()


# --- the rows ------------------------------------------------------------------------------------------------------


def exactness(setting: Setting, tokenizer: Any, prompts: Sequence[Any]) -> Iterator[Row]:
    """Packed attention on the device against transformers' own, one option at a time, in eager float32."""
    exact = make_model(setting, torch.bfloat16, CUT_LAYERS).float()
    exact.set_attn_implementation("eager")
    expected = [value for prompt in prompts for value in form_log_probs(exact, tokenizer, prompt)]
    exact.set_attn_implementation("sdpa")
    for dtype, most in ((torch.float32, MOST_FLOAT32), (torch.bfloat16, MOST_BFLOAT16)):
        backend = causal.wrap(exact.to(dtype), tokenizer, "plain", 2048)
        scores = [value for answer in answers(backend, prompts) for value in answer.log_scores]
        difference = max(abs(one - other) for one, other in zip(scores, expected, strict=True))
        name = str(dtype).removeprefix("torch.")
        yield limited(f"packed {name} against eager float32, nats at most", difference, most)


def invariance(setting: Setting, tokenizer: Any, prompts: Sequence[Any]) -> Iterator[Row]:
    """The same prompts alone and in batches; and two replicas, to the byte."""
    tolerances = load_benchmark(benchmark_file()).scoring.self_check_tolerance
    first = causal.wrap(make_model(setting, torch.bfloat16, CUT_LAYERS), tokenizer, "plain")
    together = answers(first, prompts)
    alone = [next(iter(first.predict([prompt]))) for prompt in prompts]
    difference = max(
        abs(one - other)
        for pair in zip(together, alone, strict=True)
        for one, other in zip(pair[0].log_scores, pair[1].log_scores, strict=True)
    )
    yield limited("bfloat16 alone against in a batch, nats at most", difference, tolerances["bfloat16"])
    several = setting.device.type == "cuda" and torch.cuda.device_count() > 1
    place = torch.device("cuda:1") if several else setting.device
    second = causal.wrap(make_model(setting, torch.bfloat16, CUT_LAYERS).to(place), tokenizer, "plain")
    lines = [[to_line(answer) for answer in answers(backend, prompts)] for backend in (first, second)]
    different = sum(one != other for one, other in zip(*lines, strict=True))
    where = "on two devices" if several else f"one after the other on {setting.device}: there is no second device"
    wrong = different > 0
    yield Row("rows that two replicas answer differently", f"{different} of {len(prompts)}", where, wrong)


def speed(
    setting: Setting, model: Any, tokenizer: Any, form: str, rate: float, name: str, prompts: Sequence[Any]
) -> Iterator[Row]:
    """Speed, share of the rate of products and memory of one workload; then the harness's way with the same model."""
    backend = causal.wrap(model, tokenizer, "plain")
    encoded = encode_all(prompts, tokenizer, "plain", model.config.max_position_embeddings)
    if setting.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(setting.device)
    seconds, done = ours(backend, prompts, setting.seconds)
    tokens, operations = useful_operations(
        [encoded[number] for number in done], model.config, layer_weights(model.config)
    )
    what = f"{name}, {form}"
    length = sum(len(each.prefix) for each in encoded) / len(encoded)
    yield Row(f"{what}: prompts/s", f"{len(done) / seconds:.1f}", f"{len(done):,} prompts of {length:.0f} tokens")
    yield Row(f"{what}: tokens/s", f"{tokens / seconds:,.0f}", "distinct ones: each beginning once")
    yield aimed(f"{what}: share of the rate of products", operations / seconds / rate, GOAL_SHARE)
    if setting.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(setting.device) / 2**30
        yield Row(f"{what}: peak memory, GiB", f"{peak:.1f}", "weights included")
    else:
        yield Row(f"{what}: peak memory, GiB", "not measured", "counted on CUDA devices only")
    peer_seconds, peer_prompts, batch = harness(model, encoded, setting.seconds)
    peer = peer_prompts / peer_seconds
    note = f"a request a choice, batches of {batch}, {peer_prompts:.0f} prompts"
    yield Row(f"{what}: the harness's way, prompts/s", f"{peer:.1f}", note)
    yield aimed(f"{what}: times the harness's way", len(done) / seconds / peer, GOAL_HARNESS)


def training(setting: Setting, model: Any, tokenizer: Any, prompts: Sequence[Any]) -> Iterator[Row]:
    """Steps of LoRA on the queries and values, optimiser included, by the code that `finetune` runs."""
    trainee = object.__new__(TrainableCausal)  # its own constructor would read the weights from files
    method = Method("lora", rank=16, alpha=32.0, dropout=0.0, target_modules=("q_proj", "v_proj"))
    trainee._tokenizer, trainee._form, trainee._arguments = tokenizer, "plain", {}
    trainee._limit, trainee._device = model.config.max_position_embeddings, setting.device
    trainee.model = lora.put_on(model, method, "CAUSAL_LM", "random")
    trainee._base = trainee.model.get_base_model()
    trainee._attention = trainee._base.config._attn_implementation
    trainee._reads_again = False
    encoded = encode_all(prompts[:LORA_BATCH], tokenizer, "plain", trainee._limit)
    votes = torch.ones(len(encoded[0].tails), dtype=torch.float64, device=setting.device)
    batch = [Example("task", each, "", len(each.prefix), votes, False) for each in encoded]
    optimiser = torch.optim.AdamW([value for value in trainee.model.parameters() if value.requires_grad], lr=1e-4)
    objective = Objective("soft_cross_entropy", answer_mass=0.0, concentration=None)

    def step() -> None:
        scores = trainee.log_scores(batch)
        objectives.losses(objective, scores, [each.counts for each in batch], []).mean().backward()
        optimiser.step()
        optimiser.zero_grad()

    trainee.model.train()
    step()
    synchronise(setting.device)
    count, started = 0, time.perf_counter()
    while count < 2 or (time.perf_counter() - started < setting.seconds / 2 and count < 50):
        step()
        synchronise(setting.device)
        count += 1
    note = f"{len(batch)} Dilemmas a step, rank 16 on q and v, {count} steps"
    yield Row("LoRA, bfloat16: steps/s", f"{count / (time.perf_counter() - started):.2f}", note)
    trainee._base.config._attn_implementation = trainee._attention
    trainee.model.unload()
    trainee._base.requires_grad_(False).eval()


def reduce_to_nf4(model: Any, device: torch.device) -> None:
    """Put bitsandbytes' layers in the place of all linear layers but the head, as loading with `nf4` does."""
    settings = quantization.loading_settings("nf4", torch.bfloat16)
    from bitsandbytes.nn import Linear4bit, Params4bit

    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is torch.nn.Linear and layer is not model.get_output_embeddings():
                reduced = Linear4bit(
                    layer.in_features, layer.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4"
                )
                reduced.weight = Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
                setattr(parent, name, reduced.to(device))
    model.config.quantization_config = settings
    quantization.check(model, "nf4", torch.bfloat16, Path("random weights"))
    quantization.keep_arithmetic(model)


# --- the table -----------------------------------------------------------------------------------------------------


def limited(what: str, value: float, most: float) -> Row:
    """A number that is wrong beyond `most`."""
    wrong = not value <= most
    return Row(what, f"{value:.2g}", f"at most {most:g}: {'WRONG' if wrong else 'holds'}", wrong)


def aimed(what: str, value: float, goal: float) -> Row:
    """A number that should reach `goal`."""
    return Row(what, f"{value:.2f}", f"goal {goal:g}: {'met' if value >= goal else 'missed'}")


def tried(setting: Setting, what: str, measure: Callable[[], Iterator[Row]], rows: list[Row]) -> None:
    """The rows that `measure` gives; what it cannot measure is one row with the reason."""
    if time.monotonic() > setting.deadline:
        rows.append(Row(what, "not measured", "the time was over"))
        return
    try:
        for row in measure():
            rows.append(row)
            print(f"  {row.what}: {row.value} {row.note}", file=sys.stderr, flush=True)
    except Exception as problem:  # whatever a library, a driver or this code does with a device that nobody tried
        reason = " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
        # Memory that ran out and libraries that are not there are circumstances; anything else is wrong.
        wrong = not isinstance(problem, torch.OutOfMemoryError) and "bitsandbytes" not in reason
        rows.append(Row(what, "not measured", reason, wrong))
        print(f"  {what}: not measured: {reason}", file=sys.stderr, flush=True)


def measure_all(setting: Setting) -> list[Row]:
    """Every row, in order."""
    loads = {load.name: load.prompts for load in workloads(None, max(setting.items.values()))}
    some = {"Dilemmas": loads["dilemmas-released"], "Anecdotes": loads["anecdotes-both-orders"]}
    some = {name: prompts[: 2 * setting.items[name]] for name, prompts in some.items()}
    tokenizer = make_tokenizer(corpus(workloads(None, 200)), setting.shape["vocab_size"])
    rows: list[Row] = []
    few = [*some["Dilemmas"][:8], *some["Anecdotes"][:4]]
    tried(setting, "exactness", lambda: exactness(setting, tokenizer, few), rows)
    tried(
        setting, "invariance and replicas", lambda: invariance(setting, tokenizer, [*some["Dilemmas"][:64], *few]), rows
    )
    try:
        rate = matmul_rate(setting, torch.bfloat16)
        rows.append(Row("bfloat16 products, 10^12 operations/s", f"{rate / 1e12:.3g}", "the best of some sizes"))
        model = make_model(setting, torch.bfloat16)
    except torch.OutOfMemoryError as problem:
        rows.append(Row("speeds: all of them", "not measured", " ".join(str(problem).split())[:200]))
        return rows
    for name, prompts in some.items():
        tried(setting, name, partial(speed, setting, model, tokenizer, "bfloat16", rate, name, prompts), rows)
    tried(setting, "LoRA", lambda: training(setting, model, tokenizer, some["Dilemmas"]), rows)
    try:
        reduce_to_nf4(model, setting.device)
    except Exception as problem:  # bitsandbytes is not there, or not for this device
        rows.append(Row("nf4: all of it", "not measured", " ".join(str(problem).split())[:200]))
        return rows
    for name, prompts in some.items():
        tried(setting, f"{name}, nf4", partial(speed, setting, model, tokenizer, "nf4", rate, name, prompts), rows)
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| what | measured | |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {row.what} | {row.value} | {row.note} |" for row in rows)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and say whether any number is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default=None, help="cpu, cuda or cuda:N [default: the first CUDA device]")
    parser.add_argument("--small", action="store_true", help="a small shape and few prompts")
    parser.add_argument("--minutes", type=float, default=8.0, help="no measurement begins after three quarters of it")
    options = parser.parse_args(arguments)
    if options.device is None and not torch.cuda.is_available():
        print("No CUDA device can be used here. --device cpu --small takes the same way on the processor.")
        return 2
    device = devices.choose(options.device)
    items = {"Dilemmas": 12, "Anecdotes": 2} if options.small else {"Dilemmas": 1500, "Anecdotes": 60}
    setting = Setting(
        device=device,
        shape=SMALL if options.small else LLAMA_8B,
        items=items,
        seconds=2.0 if options.small else 20.0,
        deadline=time.monotonic() + 45 * options.minutes,
    )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the processor"
    rows = measure_all(setting)
    shape = "a small shape, whose speeds say nothing of a GPU" if options.small else "the shape of Llama-3.1-8B"
    print(f"On {name}, torch {torch.__version__}, transformers {transformers_version}; random weights, {shape}:\n")
    print(table(rows))
    return int(any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
