"""What is sent for a prompt, and whether the answer can tell its options apart."""

from collections.abc import Iterator
from typing import Any

from runner.config.service import DEFAULT_BASE_URL
from runner.core.errors import Fault
from runner.core.types import Prompt, ServiceRef
from runner.tasks.prompts import text


def question_text(prompt: Prompt, keep: int | None = None) -> str:
    """The text that is sent: the question with its plain cue, of the story the first `keep` characters (None: all).

    Whole, it is what `prompt_sha256` is the digest of. A chat has no way to begin the model's turn that all services
    share, so the cue stands at the end of the user's turn there.
    """
    return text(prompt, keep) + prompt.cue_plain


def questions(service: ServiceRef, prompt: Prompt, keep: int | None = None) -> list[dict[str, Any]]:
    """The parameters of each request for `prompt`: one, or with `echo` one for each surface form, in their order.

    Temperature 1 and top-p 1 leave the distribution as it is, also where a service tells the one that it draws from.
    """
    sent = question_text(prompt, keep)
    if prompt.sampling is not None:
        return [sampling_question(service, prompt, prompt.sampling.samples, keep)]
    shape = {name: 1 for name in ("temperature", "top_p") if name not in service.omitted}
    fixed: dict[str, Any] = {"model": service.model, **shape, "n": 1, _limit_name(service): 1}
    if service.api == "chat":
        messages = _messages(service, sent)
        return [{**fixed, "messages": messages, "logprobs": True, "top_logprobs": service.top_logprobs}]
    if service.echo:
        return [
            {**fixed, "prompt": sent + form, "echo": True, "logprobs": 1}
            for option in prompt.options
            for form in option
        ]
    return [{**fixed, "prompt": sent, "logprobs": service.top_logprobs}]


def sampling_question(service: ServiceRef, prompt: Prompt, answers: int, keep: int | None = None) -> dict[str, Any]:
    """The parameters of a request for some answers to `prompt`, with room for a thought before each.

    In completions an answer is one line. `system_prompt`, the names of parameters and the neutral values of those that
    the server has beyond the official interface are those of the submission.
    """
    assert prompt.sampling is not None
    form = prompt.sampling
    thought = 0 if service.thinking is None else service.thinking.max_thought_tokens
    shape: dict[str, Any] = {"temperature": form.temperature, "top_p": form.top_p}
    fixed: dict[str, Any] = {
        "model": service.model,
        **{name: value for name, value in shape.items() if name not in service.omitted},
        **dict(service.neutral),
        "n": answers,
        _limit_name(service): form.max_new_tokens + thought,
    }
    if service.api == "chat":
        return {**fixed, "messages": _messages(service, question_text(prompt, keep))}
    # A thought has lines of its own.
    stop = {} if service.thinking is not None else {"stop": ["\n"]}
    return {**fixed, "prompt": question_text(prompt, keep), **stop}


def _limit_name(service: ServiceRef) -> str:
    """What the service calls the limit of written tokens.

    The official service has renamed it for all its models; the servers that follow it know the old name.
    """
    renamed = service.api == "chat" and service.base_url == DEFAULT_BASE_URL
    return service.max_tokens_name or ("max_completion_tokens" if renamed else "max_tokens")


def _messages(service: ServiceRef, text: str) -> list[dict[str, str]]:
    system = [] if service.system_prompt is None else [{"role": "system", "content": service.system_prompt}]
    return [*system, {"role": "user", "content": text}]


def option_faults(service: ServiceRef, prompt: Prompt) -> Iterator[Fault]:
    """`API_OPTIONS` where the first token cannot tell an option, `JOIN_AMBIGUOUS` where one begins another."""
    if prompt.sampling is not None:
        return
    if not prompt.options:
        message = (
            f"The prompt {prompt.prompt_id} has no options: services are asked for log-probabilities of options only."
        )
        yield Fault("API_OPTIONS", message)
    forms = [
        (label, form if service.echo else form.strip())
        for label, option in enumerate(prompt.options)
        for form in option
    ]
    if not service.echo:
        for _, form in forms:
            if not form or any(letter.isspace() for letter in form):
                message = f"The option {form!r} of prompt {prompt.prompt_id} has more than one token."
                hint = (
                    "A service that tells first tokens only cannot score it; one that echoes can ('echo: true'). "
                    "Or choose prompts whose options are one token (--prompt, not comparable)."
                )
                yield Fault("API_OPTIONS", message, hint=hint)
    for label, form in forms:
        for other, longer in forms:
            if label != other and longer.startswith(form):
                message = f"The option {form!r} of prompt {prompt.prompt_id} begins the option {longer!r}."
                yield Fault("JOIN_AMBIGUOUS", message, hint="Their probabilities would overlap.")
