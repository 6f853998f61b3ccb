"""Written answers that could not be read: how many, the first of them, and what a card says where none could."""

from collections.abc import Mapping
from typing import Any

from runner.core.benchmark_types import Benchmark, ScoringSpec, Task
from runner.core.types import Array
from runner.scoring.metrics import METRICS
from runner.tasks import verbalized
from runner.tasks.answers import Answers
from runner.tasks.prompts import writing_of

Json = dict[str, Any]

_EXAMPLES = 5
_SHOWN = 120
_REASON = "no item has answers that could all be read"


def elicitation(benchmark: Benchmark, task: Task, answers: Answers) -> str | None:
    """How the answers were had: `logprob`, `verbalized` or `sampled`.

    None where their rows name no prompt of the benchmark.
    """
    specs = [benchmark.prompts.get(prompt_id or "") for prompt_id, _ in answers.views]
    kinds = {None if spec is None or spec.task != task.name else spec.elicitation for spec in specs}
    return kinds.pop() if len(kinds) == 1 else None


def failures(benchmark: Benchmark, task: Task, answers: Answers) -> Json:
    """Of answers that the model wrote: how many were requested, how many could not be read, and the first of those.

    `items` have at least one such row, and are left out of the metrics; `rate` is by rows.
    """
    if answers.samples is not None and answers.failures is not None:
        return _drawn(answers, answers.samples, answers.failures)
    total = answers.log_probs.shape[0] * len(answers.views)
    return {
        "asked": total,
        "rows": len(answers.unread),
        "rate": len(answers.unread) / total,
        "items": int((~answers.read()).sum()),
        "examples": [
            {
                "item_id": row.item_id,
                "prompt_id": row.prompt_id,
                "order": row.order,
                "text": (row.text or "")[:_SHOWN],
                "reason": _reason(benchmark, task, row.prompt_id, row.order, row.text or ""),
            }
            for row in answers.unread[:_EXAMPLES]
        ],
    }


def _drawn(answers: Answers, samples: Array, failures: Array) -> Json:
    """The same of answers that were drawn, each counted singly.

    `items` are those of which, in some view, more answers failed than could be read.
    """
    total = int(samples.sum() + failures.sum())
    texts = [(row, text) for row in answers.failed for text in row.failed or ("",)]
    return {
        "asked": total,
        "rows": int(failures.sum()),
        "rate": float(failures.sum()) / total,
        "items": int((~answers.read()).sum()),
        "examples": [
            {
                "item_id": row.item_id,
                "prompt_id": row.prompt_id,
                "order": row.order,
                "text": text[:_SHOWN],
                "reason": "The last line is none of the answers.",
            }
            for row, text in texts[:_EXAMPLES]
        ],
    }


def _reason(benchmark: Benchmark, task: Task, prompt_id: str | None, order: int, text: str) -> str:
    writing = writing_of(benchmark.prompts[prompt_id or ""], task.labels, order)
    try:
        verbalized.log_scores(text, writing) if writing else None
    except verbalized.Unreadable as problem:
        return f"{str(problem)[0].upper()}{str(problem)[1:]}."
    raise ValueError(f"{text!r} can be read")


def reasons(tasks: Mapping[str, Any]) -> list[str]:
    """Why a card with such answers is not comparable: its numbers are over other items than those of other cards.

    A drawn answer that could not be read leaves no item out as long as most of the item's answers could be.
    """
    return [
        f"{name}: {task['failures']['rows']:,} of {task['failures']['asked']:,} written answers could not be read"
        for name, task in sorted(tasks.items())
        if left_out(task)
    ]


def left_out(task: Mapping[str, Any]) -> bool:
    """Whether items of a card's task are left out since answers to them could not be read."""
    failures = task.get("failures")
    if not failures:
        return False
    return bool(failures["items" if task.get("elicitation") == "sampled" else "rows"])


def nothing_measured(scoring: ScoringSpec) -> Json:
    """The part of a task's block that follows from predictions, where no item has answers that could be read."""

    def missing(names: tuple[str, ...]) -> Json:
        nothing = {"value": None, "standard_error": None, "confidence_interval": None, "reason": _REASON}
        return {name: {**nothing, "lower_is_better": METRICS[name].lower_is_better} for name in names}

    return {
        "metrics": missing(scoring.metrics),
        "ablations": missing(scoring.ablations),
        "strata": {},
        "fitted": {
            "method": None,
            "split": None,
            "items": 0,
            "temperature": None,
            "concentration": None,
            "concentration_calibrated": None,
            "by_fit": [],
            "reasons": dict.fromkeys(("temperature", "concentration", "concentration_calibrated"), _REASON),
        },
        "reliability": {},
        "answer_mass": {"mean": None, "minimum": None, "share_below_half": None, "rows": 0, "reason": _REASON},
        "order": {"gap": None, "consistency": None, "primary_by_order": None, **_places(scoring), "reason": _REASON},
        "prompt_spread": {"range": None, "primary_by_prompt": None, "reason": _REASON},
    }


def _places(scoring: ScoringSpec) -> Json:
    names = ("single_order", "gain_by_averaging", "position_bias") if scoring.inference > 1 else ()
    return dict.fromkeys(names)
