"""From the bytes of a `recipe.yaml` to a frozen `Recipe`, or every fault in it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.config.benchmark import load_benchmark
from runner.config.scalars import shown
from runner.config.schema import did_you_mean, in_order, schema_faults, soundness
from runner.config.source import SUBMISSION_BYTES, Document, JsonPath, fault_at, read
from runner.config.submission import model_ref, place_faults
from runner.core import canonical, resources
from runner.core.benchmark_types import Benchmark
from runner.core.errors import Fault, InvalidInput, raise_faults
from runner.core.recipe_types import DataSpec, EvaluationSpec, Method, Objective, Recipe, TrainingSpec
from runner.core.types import Submission

_Sound = Callable[[JsonPath], bool]

_LORA = ("rank", "alpha", "target_modules")


def load_recipe(path: Path) -> Recipe:
    """The recipe in the file `path`, with the paths in it made absolute.

    Raises `InvalidInput` with every fault: of reading (FILE_…, YAML_…), of shape (SCHEMA), of the base model's source
    as in a submission, of parts that do not agree (RECIPE), and of names that the benchmark does not have (UNKNOWN_…).
    """
    document = read(path, SUBMISSION_BYTES)
    raise_faults(recipe_faults(document))
    return _recipe(document)


def base_of(recipe: Recipe) -> Submission:
    """The base model of a recipe as a submission of its own, without an adapter."""
    return Submission(recipe.name, recipe.description, recipe.digest, recipe.source, recipe.base, None)


def recipe_faults(document: Document) -> tuple[Fault, ...]:
    """Every fault of a document that is meant to be a recipe, in the order of the file."""
    faults, bad = schema_faults(document, "recipe")
    faults += document.faults
    sound = soundness(bad)
    faults += place_faults(document, "base", sound)
    if isinstance(document.value, dict):
        faults += _disagreements(document, sound)
        faults += _unknown_names(document, sound)
    return in_order(faults)


def _disagreements(document: Document, sound: _Sound) -> Iterator[Fault]:
    """Keys that need one another, and keys that have no meaning beside another."""

    def part(name: str) -> dict[str, Any]:
        section = document.value.get(name)
        return section if sound((name,)) and isinstance(section, dict) else {}

    def fault(message: str, *path: str, hint: str | None = None) -> Fault:
        return fault_at(document, "RECIPE", path, message, hint, key=True)

    names = ("base", "training", "method", "objective", "data", "evaluation")
    base, training, method, objective, data, evaluation = map(part, names)
    if "backend" in base:
        yield from (fault(message, *path) for message, *path in _wrong_for_backend(base, training, objective, data))
    if training and ("epochs" in training) == ("steps" in training):
        which = "both 'epochs' and 'steps'" if "steps" in training else "neither 'epochs' nor 'steps'"
        yield fault(f"There is {which}, exactly one was expected.", "training")
    if "epochs" not in training and evaluation.get("every", 0) > training.get("steps", float("inf")):
        message = f"Every {evaluation['every']} steps is never: the training has {training['steps']}."
        hint = "Write a number up to `training.steps`, or leave it out to evaluate at the end only."
        yield fault(message, "evaluation", "every", hint=hint)
    if method.get("kind") == "lora":
        for key in (key for key in _LORA if key not in method):
            yield fault(f"The method lora needs {key!r}.", "method", "kind")
    if method.get("kind") == "full":
        for key in sorted(set(method) - {"kind"}):
            yield fault(f"The method full has no {key!r}.", "method", key)
        if base.get("backend") == "causal":
            hint = "Use the method lora: a submission of a language model is a base and an adapter."
            yield fault("A causal model is not trained in full.", "method", "kind", hint=hint)
    kind = objective.get("kind")
    if kind is not None and kind != "dirichlet_multinomial" and "concentration" in objective:
        yield fault(f"The objective {kind} has no concentration.", "objective", "concentration")
    if kind == "text" and "answer_mass" in objective:
        yield fault("The objective text has no answer mass: the whole text is the answer.", "objective", "answer_mass")
    if data and data.get("train", "train") == data.get("evaluate", "dev"):
        yield fault("The training split cannot be the one that is evaluated on.", "data", hint="Name another one.")


def _wrong_for_backend(base: Any, training: Any, objective: Any, data: Any) -> Iterator[tuple[str, ...]]:
    """Messages and paths of keys that the base's backend needs and lacks, or has no use for."""
    if base["backend"] == "causal":
        if "format" not in base:
            yield "A causal model needs a 'format'.", "base"
        if "head" in base:
            yield "A causal model has no 'head'.", "base", "head"
        return
    for key in sorted({"format", "quantization", "template_arguments"} & set(base)):
        yield f"An encoder has no {key!r}.", "base", key
    if objective.get("kind") == "text":
        yield "An encoder writes no text.", "objective", "kind"
    else:
        for key in sorted({"answer_mass", "concentration"} & set(objective)):
            yield f"An encoder has no {key!r}: its scores are over the labels alone.", "objective", key
    if "max_tokens" in training:
        yield "An encoder's 'max_tokens' are a part of its head.", "training", "max_tokens"
    if (head := base.get("head")) is None:
        yield "An encoder needs a 'head'.", "base"
        return
    for key in ("reads", "labels"):
        if (key in head) != (head["kind"] == "classification"):
            verb = "has no" if key in head else "needs"
            yield f"A {head['kind']} head {verb} {key!r}.", "base", "head", *([key] if key in head else [])
    if "concentration" in head:
        yield "Whose the concentration is follows from the objective.", "base", "head", "concentration"
    if data.get("tasks", [head["task"]]) != [head["task"]]:
        yield f"The head is for the task {head['task']!r} alone.", "data", "tasks"


def _unknown_names(document: Document, sound: _Sound) -> Iterator[Fault]:
    """Names of the benchmark that it does not have, where the benchmark itself can be read."""
    data = document.value.get("data")
    if not isinstance(data, dict) or not sound(("data",)):
        return
    try:
        benchmark = load_benchmark(_benchmark_path(document) or resources.benchmark_file())
    except InvalidInput as error:
        if "benchmark" in data:
            count = len(error.faults)
            message = f"The benchmark {shown(data['benchmark'])} cannot be used: {error.faults[0].message}"
            hint = f"See its {count} faults with `benchmark validate`." if count > 1 else None
            yield fault_at(document, "RECIPE_BENCHMARK", ("data", "benchmark"), message, hint)
            return
        raise
    if data["suite"] not in benchmark.suites:
        message = f"There is no suite {shown(data['suite'])}."
        hint = did_you_mean(data["suite"], benchmark.suites)
        yield fault_at(document, "UNKNOWN_SUITE", ("data", "suite"), message, hint)
        return
    datasets = benchmark.suites[data["suite"]].datasets
    for number, name in enumerate(data.get("tasks", ())):
        if name not in datasets:
            message = f"The suite {data['suite']} has no task {shown(name)}."
            yield fault_at(document, "UNKNOWN_TASK", ("data", "tasks", number), message, did_you_mean(name, datasets))
    yield from _unknown_splits(document, benchmark, datasets)


def _unknown_splits(document: Document, benchmark: Benchmark, datasets: Mapping[str, str]) -> Iterator[Fault]:
    data = document.value["data"]
    used = [datasets[name] for name in data.get("tasks", datasets) if name in datasets]
    for key, default in (("train", "train"), ("evaluate", "dev")):
        split = data.get(key, default)
        lacking = next((name for name in used if split not in benchmark.datasets[name].splits), None)
        if lacking is not None:
            message = f"The dataset {lacking} has no split {shown(split)}."
            hint = did_you_mean(split, benchmark.datasets[lacking].splits)
            yield fault_at(document, "UNKNOWN_SPLIT", ("data", key), message, hint, key=key not in data)
    if data.get("train", "train") == benchmark.suites[data["suite"]].split:
        message = f"The suite {data['suite']} scores the split {shown(data['train'])}, which is never trained on."
        yield fault_at(document, "LEAK_SPLIT", ("data", "train"), message)


def _benchmark_path(document: Document) -> Path | None:
    benchmark = document.value["data"].get("benchmark")
    return None if benchmark is None else (Path(document.file).parent / benchmark).absolute()


def _recipe(document: Document) -> Recipe:
    value = document.value
    return Recipe(
        name=value["name"],
        description=value.get("description", ""),
        digest=canonical.digest(value),
        source=document.data,
        base=model_ref(Path(document.file).parent, value["base"]),
        data=_data(document),
        objective=_objective(value["objective"], value["base"]["backend"]),
        method=_method(value["method"]),
        training=_training(value["training"]),
        evaluation=_evaluation(value.get("evaluation", {})),
    )


def _data(document: Document) -> DataSpec:
    value = document.value["data"]
    head = document.value["base"].get("head")
    return DataSpec(
        benchmark=_benchmark_path(document),
        suite=value["suite"],
        tasks=tuple(value.get("tasks", ())) or ((head["task"],) if head else ()),
        train=value.get("train", "train"),
        evaluate=value.get("evaluate", "dev"),
        items=_whole(value.get("items")),
        leaks=value.get("leaks", "refuse"),
    )


def _objective(value: Mapping[str, Any], backend: str) -> Objective:
    mass = value.get("answer_mass", 1.0 if backend == "causal" else 0.0)
    return Objective(value["kind"], float(mass), value.get("concentration"))


def _method(value: Mapping[str, Any]) -> Method:
    return Method(
        kind=value["kind"],
        rank=int(value.get("rank", 0)),
        alpha=float(value.get("alpha", 0)),
        dropout=float(value.get("dropout", 0)),
        target_modules=tuple(value.get("target_modules", ())),
    )


def _training(value: Mapping[str, Any]) -> TrainingSpec:
    return TrainingSpec(
        learning_rate=float(value["learning_rate"]),
        schedule=value.get("schedule", "linear"),
        warmup=float(value.get("warmup", 0)),
        weight_decay=float(value.get("weight_decay", 0)),
        max_gradient_norm=float(value.get("max_gradient_norm", 1)),
        epochs=value.get("epochs"),
        steps=_whole(value.get("steps")),
        batch_size=int(value["batch_size"]),
        gradient_accumulation=int(value.get("gradient_accumulation", 1)),
        gradient_checkpointing=value.get("gradient_checkpointing", False),
        max_tokens=_whole(value.get("max_tokens")),
        memory_gib=value.get("memory_gib"),
        seed=int(value["seed"]),
    )


def _evaluation(value: Mapping[str, Any]) -> EvaluationSpec:
    return EvaluationSpec(
        every=_whole(value.get("every")),
        items=_whole(value.get("items")),
        patience=_whole(value.get("patience")),
        least_gain=float(value.get("least_gain", 0)),
        keep=value.get("keep", "best"),
    )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
