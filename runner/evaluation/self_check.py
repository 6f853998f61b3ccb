"""The self-check: some of a run's prompts predicted again: alone, together in another order, without the adapter."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runner.core.benchmark_types import ScoringSpec
from runner.core.errors import BackendError, Fault
from runner.core.types import Prediction, Prompt
from runner.models.base import Predictor


def run_self_check(
    backend: Predictor,
    questions: Sequence[Prompt],
    answers: Sequence[Prediction],
    scoring: ScoringSpec,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Ask a few prompts again: alone, in another order together, and with the adapter off.

    Differences are the largest over the chosen prompts and labels, in nats of log-score; of written answers that are
    the same text, in nats per token, while `changed_texts` counts those that are another text, or whose drawn answers
    are others. A backend without a
    dtype is a service, whose differences are reported without a limit. An adapter that changes nothing is refused
    (`ADAPTER_NO_EFFECT`): what was scored then was the bare base model.
    """
    dtype = backend.describe()["dtype"]
    drawn = any(question.sampling is not None for question in questions)
    if drawn and dtype is None:
        return {
            "prompts": 0,
            "largest_difference": {"alone": 0.0, "shuffled": 0.0},
            "tolerance": None,
            "passed": None,
            "adapter_effect": None,
            "reason": "a service draws other answers each time",
        }
    count = min(scoring.self_check_prompts, len(questions))
    step = len(questions) / count
    numbers = [int(number * step) for number in range(count)]
    progress("self-check", 0, count)
    sample = [questions[number] for number in numbers]
    first = [answers[number] for number in numbers]
    alone = [next(iter(backend.predict([question]))) for question in sample]
    shuffled = list(backend.predict(sample[::-1]))[::-1]
    tolerance = scoring.self_check_tolerance.get(str(dtype))
    differences = {"alone": _largest_difference(first, alone), "shuffled": _largest_difference(first, shuffled)}
    changed = max(_changed_texts(first, again) for again in (alone, shuffled))
    written = drawn or any(answer.text is not None for answer in first)
    without_adapter = backend.without_adapter()
    adapter_effect = None
    if without_adapter is not None:
        again = list(backend.predict(sample[::-1]))[::-1]
        with without_adapter:
            bare = list(backend.predict(sample[::-1]))[::-1]
        # In one and the same batch, which rounds alike: what differs beyond that is the adapter's doing.
        adapter_effect = _largest_difference(again, bare)
        noise = _largest_difference(again, shuffled)
        if adapter_effect <= noise and _changed_texts(again, bare) <= _changed_texts(again, shuffled):
            message = f"With the adapter switched off, {count} prompts score the same: it has no effect."
            raise BackendError(Fault("ADAPTER_NO_EFFECT", message, hint="Check that it was trained for this model."))
    return {
        "prompts": count,
        "largest_difference": differences,
        "tolerance": tolerance,
        "passed": None
        if dtype is None
        else tolerance is not None
        and max(differences.values()) <= tolerance
        and changed <= scoring.self_check_changed.get(dtype, 0.0) * count,
        "adapter_effect": adapter_effect,
        **({"changed_texts": changed} if written else {}),
        **({"reason": "a service promises no repeatable numbers"} if dtype is None else {}),
    }


def _largest_difference(first: Sequence[Prediction], second: Sequence[Prediction]) -> float:
    pairs = list(zip(first, second, strict=True))
    return max((abs(a - b) for first, second in pairs for a, b in _comparable(first, second)), default=0.0)


def _comparable(first: Prediction, second: Prediction) -> Iterator[tuple[float, float]]:
    """Pairs of numbers that should be equal; of two different texts there are none."""
    if first.samples is not None:
        return
    if first.text is None:
        yield from zip(first.log_scores or (), second.log_scores or (), strict=True)
    elif first.text == second.text and first.text_log_prob is not None and second.text_log_prob is not None:
        yield first.text_log_prob / (first.text_tokens or 1), second.text_log_prob / (second.text_tokens or 1)


def _changed_texts(first: Sequence[Prediction], second: Sequence[Prediction]) -> int:
    """Prompts with another text, or other drawn answers, the second time."""
    pairs = zip(first, second, strict=True)
    return sum((before.text, before.samples) != (after.text, after.samples) for before, after in pairs)
