"""What a causal language model gave for a prompt, as a prediction: a number for each label, and how it came about."""

from collections.abc import Sequence

import numpy as np

from runner.core.errors import BackendError, Fault
from runner.core.types import Prediction, Prompt
from runner.models.local.generation import Generation
from runner.models.local.sampling import Sample
from runner.models.tokenization import EncodedPrompt
from runner.tasks.predictions import MAX_TEXT
from runner.tasks.prompts import prompt_sha256
from runner.tasks.sampled import count, log_scores
from runner.tasks.thoughts import thoughts_of
from runner.tasks.verbalized import scores_or_none


def from_text(prompt: Prompt, encoded: EncodedPrompt, generation: Generation) -> Prediction:
    """From what the model wrote to one prediction; `LOGITS_NON_FINITE` where that had no probability."""
    if prompt.writing is None or not np.isfinite(generation.log_prob):
        message = f"The model gives what follows item {prompt.item_id} ({prompt.prompt_id}) no finite probability."
        raise BackendError(Fault("LOGITS_NON_FINITE", message))
    text = generation.text[:MAX_TEXT]
    return Prediction(
        **prompt.key._asdict(),
        log_scores=scores_or_none(text, prompt.writing),
        prompt_sha256=prompt_sha256(prompt),
        prompt_tokens=len(encoded.prefix),
        truncated=encoded.truncated,
        text=text,
        text_tokens=generation.tokens,
        text_log_prob=generation.log_prob,
    )


def from_samples(prompt: Prompt, encoded: EncodedPrompt, drawn: Sequence[Sample]) -> Prediction:
    """From the answers that were drawn after a prompt to one prediction: their counts by label, and the failures."""
    assert prompt.sampling is not None
    answers = [sample.answer for sample in drawn]
    samples, failures, failed = count(answers, prompt.sampling, prompt.labels)
    return Prediction(
        **prompt.key._asdict(),
        log_scores=log_scores(list(samples.values()), failures),
        prompt_sha256=prompt_sha256(prompt),
        prompt_tokens=len(encoded.prefix),
        truncated=encoded.truncated,
        text_tokens=sum(sample.tokens for sample in drawn),
        samples=samples,
        failures=failures,
        failed=failed or None,
        thoughts=thoughts_of(answers, [sample.thought for sample in drawn], prompt),
    )


def from_forms(prompt: Prompt, encoded: EncodedPrompt, forms: Sequence[float]) -> Prediction:
    """From log-probabilities of surface forms to one prediction; `LOGITS_NON_FINITE` unless all are finite."""
    if not np.isfinite(forms).all():
        message = f"The model gives the options of item {prompt.item_id} ({prompt.prompt_id}) no finite probability."
        raise BackendError(Fault("LOGITS_NON_FINITE", message))
    labels = range(len(prompt.options))
    by_label = [
        [value for value, owner in zip(forms, encoded.labels, strict=True) if owner == label] for label in labels
    ]
    lengths = [
        max(len(tail) for tail, owner in zip(encoded.tails, encoded.labels, strict=True) if owner == label)
        for label in labels
    ]
    log_scores = tuple(float(np.logaddexp.reduce(values)) for values in by_label)
    return Prediction(
        **prompt.key._asdict(),
        log_scores=log_scores,
        prompt_sha256=prompt_sha256(prompt),
        prompt_tokens=len(encoded.prefix),
        token_counts=tuple(lengths),
        truncated=encoded.truncated,
        answer_mass=None if encoded.joined else min(1.0, float(np.exp(np.logaddexp.reduce(forms)))),
    )
