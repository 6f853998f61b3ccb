"""The self-check: some of a run's prompts asked again, alone, in another order together, and without the adapter."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from runner.core.errors import BackendError, Fault
from runner.core.types import Prediction, Prompt, ScoringSpec
from runner.models.base import Backend


def run_self_check(
    backend: Backend,
    questions: Sequence[Prompt],
    answers: Sequence[Prediction],
    scoring: ScoringSpec,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Ask a few prompts again: alone, in another order together, and with the adapter off.

    Differences are the largest over the chosen prompts and labels, in nats of log-score; of written answers that are
    the same text, in nats per token, while `changed_texts` counts those that are another text. A backend without a
    dtype is a service, whose differences are told and held against nothing. An adapter that changes nothing is refused
    (`ADAPTER_NO_EFFECT`): what was scored then was the bare base model.
    """
    count = min(scoring.self_check_prompts, len(questions))
    step = len(questions) / count
    chosen = [int(number * step) for number in range(count)]
    progress("self-check", 0, count)
    asked = [questions[number] for number in chosen]
    first = [answers[number] for number in chosen]
    alone = [next(iter(backend.predict([question]))) for question in asked]
    shuffled = list(backend.predict(asked[::-1]))[::-1]
    dtype = backend.describe()["dtype"]
    tolerance = scoring.self_check_tolerance.get(str(dtype))
    differences = {"alone": _largest_difference(first, alone), "shuffled": _largest_difference(first, shuffled)}
    changed = max(_changed_texts(first, again) for again in (alone, shuffled))
    written = any(answer.text is not None for answer in first)
    without_adapter = backend.without_adapter()
    adapter_effect = None
    if without_adapter is not None:
        with without_adapter:
            bare = list(backend.predict(asked))
        adapter_effect = _largest_difference(first, bare)
        if adapter_effect == 0 and not _changed_texts(first, bare):
            message = f"With the adapter switched off, {count} prompts score exactly the same: it has no effect."
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
    return max((abs(a - b) for one, two in pairs for a, b in _comparable(one, two)), default=0.0)


def _comparable(one: Prediction, two: Prediction) -> Iterator[tuple[float, float]]:
    """Pairs of numbers that should be equal; of two different texts there are none."""
    if one.text is None:
        yield from zip(one.log_scores or (), two.log_scores or (), strict=True)
    elif one.text == two.text and one.text_log_prob is not None and two.text_log_prob is not None:
        yield one.text_log_prob / (one.text_tokens or 1), two.text_log_prob / (two.text_tokens or 1)


def _changed_texts(first: Sequence[Prediction], second: Sequence[Prediction]) -> int:
    return sum(one.text != two.text for one, two in zip(first, second, strict=True))
