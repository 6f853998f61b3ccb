"""What a card says of who was measured: names, pins, digests of every file, and what a service said of itself."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner.core.canonical import manifest_digest
from runner.core.types import AdapterRef, ModelRef, Prediction, Submission
from runner.tasks.api_usage import summarize_usage


def part_of(files: Sequence[Mapping[str, Any]], folder: str) -> list[dict[str, Any]]:
    """The manifest of one folder, with names as they are in it."""
    return [
        {**entry, "name": entry["name"].removeprefix(f"{folder}/")}
        for entry in files
        if entry["name"].startswith(f"{folder}/")
    ]


def describe(
    submission: Submission,
    files: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    answers: Sequence[Prediction],
) -> dict[str, Any]:
    """The `submission` block of a card: `files` by their manifest, and what the model or the service says of itself."""

    def part(ref: ModelRef | AdapterRef, folder: str) -> dict[str, Any]:
        return {
            "repository": ref.repository,
            "revision": ref.revision,
            "folder": Path(ref.path).name if ref.path else None,
            "digest": manifest_digest(part_of(files, folder)),
        }

    model = submission.model
    return {
        "name": submission.name,
        "digest": manifest_digest(files),
        "yaml_digest": submission.digest,
        "files": list(files),
        "model": {
            **part(model, "model"),
            **({} if submission.service is None else {"digest": manifest_digest(files)}),
            "backend": model.backend,
            "format": model.format,
            **({"template_arguments": dict(model.template_arguments)} if model.template_arguments else {}),
            **({} if model.thinking is None else {"thinking": asdict(model.thinking)}),
            **({} if model.system_prompt is None else {"system_prompt": model.system_prompt}),
            "dtype": model.dtype or None,
            "quantization": model.quantization,
            "facts": {**facts, **_said(submission, answers)},
        },
        "adapter": part(submission.adapter, "adapter") if submission.adapter else None,
    }


def _said(submission: Submission, answers: Sequence[Prediction]) -> dict[str, Any]:
    """What a service said of itself in its answers, and what they cost; nothing for a model that was loaded here."""
    usage = summarize_usage(answers)
    if submission.service is None or usage is None:
        return {}
    price = submission.service.price
    if price is None or usage.input_tokens is None or usage.output_tokens is None:
        reason = "the submission gives no price" if price is None else "the service did not count all tokens"
        return {"answered": usage.to_json(), "cost": None, "cost_reason": reason}
    amount = (usage.input_tokens * price.input + usage.output_tokens * price.output) / 1e6
    return {"answered": usage.to_json(), "cost": {"currency": price.currency, "amount": amount}}
