"""The prompts of a model, in full."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner.config.submission import load_submission
from runner.core.errors import raise_faults
from runner.core.types import Prompt
from runner.models.api.questions import option_faults, questions
from runner.tasks import verbalized
from runner.tasks.prompts import prompt_sha256, text
from runner.tasks.selection import RunConfig, prompts, select, select_for


def rows(choice: RunConfig, submission_path: Path | None) -> Iterator[dict[str, Any]]:
    """One row per prompt: its text, cues and options by label; with a submission also the token ids its model reads.

    Of a submission that names a service, instead, the parameters of each request; none is sent.
    """
    submission = load_submission(submission_path) if submission_path is not None else None
    selection = select(choice) if submission is None else select_for(submission, choice)
    selected_prompts = prompts(selection)
    encoded: Iterator[dict[str, Any]] | None = None
    if submission is not None:
        from runner.artifacts import check_submission_files
        from runner.models.hub import resolve_model
        from runner.models.worker import show_tokens_isolated

        if submission.service is not None:
            service = submission.service
            raise_faults(fault for prompt in selected_prompts[:1] for fault in option_faults(service, prompt))
            encoded = ({"requests": questions(service, prompt)} for prompt in selected_prompts)
        else:
            raise_faults(check_submission_files(submission))
            encoded = show_tokens_isolated(submission, resolve_model(submission.model, weights=False), selected_prompts)
    for prompt in selected_prompts:
        row = {
            "task": prompt.task,
            "split": prompt.split,
            "item_id": prompt.item_id,
            "prompt_id": prompt.prompt_id,
            "order": prompt.order,
            "prompt_sha256": prompt_sha256(prompt),
            "text": text(prompt),
            "cue": {"plain": prompt.cue_plain, "chat": prompt.cue_chat},
            **_answer(prompt),
        }
        yield row if encoded is None else {**row, **next(encoded)}


def _answer(prompt: Prompt) -> dict[str, Any]:
    """The texts that count for each label, or how the distribution is to be written."""
    if prompt.sampling is not None:
        sampling = prompt.sampling
        answers = dict(zip(prompt.labels, map(list, sampling.answers), strict=True))
        settings = {"samples": sampling.samples, "temperature": sampling.temperature, "top_p": sampling.top_p}
        return {"drawn": {"answers": answers, **settings, "max_new_tokens": sampling.max_new_tokens}}
    if prompt.writing is None:
        return {"options": dict(zip(prompt.labels, map(list, prompt.options), strict=True))}
    names = {
        prompt.labels[label]: name for name, label in zip(prompt.writing.names, prompt.writing.labels, strict=True)
    }
    return {"written": {"form": verbalized.form(prompt.writing.names), "names": names}}
