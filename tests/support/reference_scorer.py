"""The plainest possible scoring: one option at a time, each text from its start, nothing shared, cached or masked."""

from typing import Any

import torch

from runner.core.types import Prompt
from runner.tasks.prompts import text


def form_log_probs(model: Any, tokenizer: Any, prompt: Prompt, form: str = "plain") -> list[float]:
    """Log-probability of each surface form after the prompt, by the tokenizer's own encoding and the model's logits.

    The log-softmax is float64; the logits are in the model's dtype.
    """
    question = text(prompt)
    if form == "chat":
        chat = [{"role": "user", "content": question}]
        begun = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) + prompt.cue_chat
        bos = tokenizer.bos_token
        # A tokenizer that begins every text with a BOS begins a chat with one too, unless the template wrote it.
        special = bos is not None and not begun.startswith(bos)
    else:
        begun, special = question + prompt.cue_plain, True
    alone = tokenizer(begun, add_special_tokens=special)["input_ids"]
    found = []
    for surface in (surface for forms in prompt.options for surface in forms):
        ids = tokenizer(begun + surface, add_special_tokens=special)["input_ids"]
        assert ids[: len(alone)] == alone, "the option changes how the prompt is encoded"
        with torch.inference_mode():
            logits = model(torch.tensor([ids], device=model.device)).logits[0].double()
        log_probs = torch.log_softmax(logits, dim=-1)
        steps = range(len(alone), len(ids))
        found.append(sum(float(log_probs[step - 1, ids[step]]) for step in steps))
    return found


def label_log_scores(model: Any, tokenizer: Any, prompt: Prompt, form: str = "plain") -> list[float]:
    """One log-score per label: the log of the summed probabilities of its surface forms."""
    values = iter(form_log_probs(model, tokenizer, prompt, form))
    return [float(torch.logsumexp(torch.tensor([next(values) for _ in forms]).double(), 0)) for forms in prompt.options]
