"""A benchmark that says as little as one can, around what a test says of its data."""

from collections.abc import Mapping, Sequence
from typing import Any


def own_benchmark(
    labels: Sequence[str], item: Mapping[str, Any], source: Mapping[str, Any], splits: Mapping[str, Any], **task: Any
) -> dict[str, Any]:
    """The value of a benchmark.yaml with one task `question`, whose field is `text`, and one dataset `rows`."""
    names = list(labels)
    prompt = {
        "task": "question",
        "elicitation": "logprob",
        "orders": [names],
        "shows": {name: name for name in names},
        "template": "$text " + " ".join(f"$option_{place}" for place in range(1, len(names) + 1)),
        "cue": {"plain": "\nAnswer:", "chat": ""},
        "options": [[f" {letter}"] for letter in "ABCDE"[: len(names)]],
        "max_tokens": 100,
    }
    return {
        "schema_version": "1",
        "name": "shapes",
        "version": "1.0.0",
        "description": "Rows of our own in somebody's shape.",
        "datasets": {
            "rows": {"description": "Rows.", "synthetic": False, "source": dict(source), "splits": dict(splits)}
        },
        "tasks": {
            "question": {
                "description": "A question.",
                "labels": names,
                "item": {"id": "id", "fields": {"text": "text"}, **item},
                "without_votes": "refuse",
                "prompts": ["letters"],
                **task,
            }
        },
        "prompts": {"letters": prompt},
        "scoring": {"primary": "cross_entropy"},
        "suites": {
            "all": {"description": "All.", "comparable": True, "split": "test", "datasets": {"question": "rows"}}
        },
    }
