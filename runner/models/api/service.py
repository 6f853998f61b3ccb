"""A model behind a service as a backend: prompts go out as they are, log-probabilities of the options come back."""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from runner.config.service import travels_in_clear
from runner.core.errors import MOST_FAULTS, BackendError, Fault, InvalidInput
from runner.core.types import Prediction, Prompt, ServiceRef
from runner.models.api.access import Access
from runner.models.api.answers import (
    Drawn,
    Scored,
    Unusable,
    drawn_of,
    echoed,
    log_sum,
    name_of,
    parse_top_logprobs,
    score,
    usage_of,
)
from runner.models.api.client import Client, Stopped
from runner.models.api.questions import option_faults, question_text, questions, sampling_question
from runner.tasks.prompts import prompt_sha256, text
from runner.tasks.sampled import answered, count, log_scores
from runner.tasks.thoughts import thoughts_of

_MOST_CUTS = 6
_SAYS_NOTHING = frozenset(
    {"API_NO_OPTION", "API_REFUSAL", "API_EMPTY", "API_THOUGHT", "API_NO_LOGPROBS", "API_MALFORMED"}
)
"""Faults of one answer that says nothing of the options, however often it is requested."""


@dataclass(slots=True)
class _ReplyMetadata:
    """What a service says beside the scores."""

    prompt_tokens: int | None = None
    """Tokens of the prompt."""
    usage: tuple[int, int] | None = None
    """Tokens in and out so far."""
    model: str | None = None
    """Version of the model that answered."""
    fingerprint: str | None = None
    """Fingerprint of the service's set-up."""


class _Partly(Exception):
    """Some of a prompt's answers were drawn before the service failed, or the run was stopped."""

    def __init__(self, rows: Sequence[Prediction], error: BackendError) -> None:
        super().__init__(str(error))
        self.rows = rows
        self.error = error


class Service:
    """Asks a service, several questions at once; see `runner.models.base.Backend`.

    `isolation` says what there is instead of the protections of a model's process.
    """

    def __init__(self, service: ServiceRef, client: Client, access: Access) -> None:
        self._service = service
        self._client = client
        self._access = access
        self._places = threading.BoundedSemaphore(access.concurrency)
        self._counting = threading.Lock()
        self._usage = (0, 0)
        self._unanswered = 0
        # Whether the service gave fewer answers than a request wanted.
        self._single = False
        in_clear = "; prompts and answers travelled unencrypted" if travels_in_clear(service.base_url) else ""
        self.isolation: Mapping[str, str] = {
            "submitted_code": "none to isolate: a service runs the model, and no file of the submission is loaded here",
            "process": "none of its own: the runner asks the service, and gives it prompts only",
            "network": f"one service, at base_url in submission.model.facts; no redirect is followed{in_clear}",
        }

    def plan(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """As many prompts to a batch as requests run at once: a killed run loses no more than those.

        Raises `InvalidInput` with the faults of `option_faults`.
        """
        prompt_faults = [fault for prompt in prompts for fault in option_faults(self._service, prompt)]
        if faults := list({fault.message: fault for fault in prompt_faults}.values()):
            raise InvalidInput(*faults[:MOST_FAULTS])
        size = self._access.concurrency
        return [list(range(start, min(start + size, len(prompts)))) for start in range(0, len(prompts), size)]

    def predict(self, prompts: Sequence[Prompt]) -> Iterator[Prediction]:
        """One prediction per prompt, in order, as they come in.

        A prompt without a usable answer keeps back none of the others: they are given first, then `BackendError` is
        raised with the faults of all that failed. Where `Access.unanswered` allows it, an answer that says nothing of
        the options is given as equal scores of which all are bounds.
        """
        waiting = [self._start(prompt) for prompt in prompts if prompt.sampling is None]
        waiting += [self._start(prompt, part) for prompt in prompts for part in self._parts(prompt)]
        faults: list[Fault] = []
        for future in waiting:
            try:
                yield from future.result()
            except _Partly as part:
                yield from part.rows
                faults += [fault for fault in part.error.faults if fault not in faults]
            except BackendError as problem:
                faults += [fault for fault in problem.faults if fault not in faults]
        if faults:
            raise BackendError(*faults[:MOST_FAULTS])

    def _parts(self, prompt: Prompt) -> list[int]:
        """How many answers each request for a prompt's drawn answers asks for: all, or one where `n` is refused."""
        if prompt.sampling is None:
            return []
        alone = "n" in self._client.adjusted or self._single
        return [1] * prompt.sampling.samples if alone else [prompt.sampling.samples]

    def _start(self, prompt: Prompt, answers: int = 0) -> Future[list[Prediction]]:
        """Ask in a thread that does not outlive the run: an executor's would keep a stopped one until all answered."""
        future: Future[list[Prediction]] = Future()

        def ask() -> None:
            with self._places:
                try:
                    future.set_result(self._draw(prompt, answers) if answers else [self._predict(prompt)])
                except BaseException as problem:  # handed to the thread that waits for it
                    future.set_exception(problem)

        threading.Thread(target=ask, daemon=True, name="question").start()
        return future

    def _draw(self, prompt: Prompt, answers: int) -> list[Prediction]:
        """Rows that together hold `answers` drawn answers, one row for each request that was answered.

        Raises `_Partly` with the rows of what was answered before a failure: it is paid for.
        """
        assert prompt.sampling is not None
        rows: list[Prediction] = []
        metadata = _ReplyMetadata()
        keep: int | None = None
        line = self._service.api == "completions"
        try:
            while (missing := answers - sum(map(answered, rows))) > 0:
                # A service that gives answers one at a time gets one request for each from now on.
                metadata.usage, metadata.prompt_tokens = None, None
                wanted = 1 if self._single else missing
                question = sampling_question(self._service, prompt, wanted, keep)
                drawn = self._client.ask(
                    question,
                    lambda reply, wanted=wanted: drawn_of(  # type: ignore[misc]
                        self._noted(reply, metadata), wanted, self._service.thinking, line=line
                    ),
                )
                self._single = self._single or len(drawn) < wanted
                tokens = metadata.prompt_tokens
                shorter = self._shorter(prompt, keep, tokens)
                if shorter is not None and not rows:
                    keep = shorter
                    self._count(metadata)
                    continue
                rows.append(
                    self._row(prompt, drawn, metadata, truncated=keep is not None),
                )
        except Stopped:
            raise _Partly(rows, BackendError(Fault("API_STOPPED", "The run was stopped."))) from None
        except Unusable as problem:
            raise _Partly(rows, self._named(prompt, problem)) from None
        except BackendError as problem:
            raise _Partly(rows, problem) from None
        return rows

    def _row(self, prompt: Prompt, drawn: Sequence[Drawn], metadata: _ReplyMetadata, *, truncated: bool) -> Prediction:
        assert prompt.sampling is not None
        answers = [sample.answer for sample in drawn]
        samples, failures, failed = count(answers, prompt.sampling, prompt.labels)
        self._count(metadata)
        return Prediction(
            **prompt.key._asdict(),
            prompt_sha256=prompt_sha256(prompt),
            log_scores=log_scores(list(samples.values()), failures),
            prompt_tokens=metadata.prompt_tokens,
            truncated=truncated,
            text_tokens=metadata.usage[1] if metadata.usage else None,
            bounded=(),
            usage=metadata.usage,
            model_version=metadata.model,
            system_fingerprint=metadata.fingerprint,
            samples=samples,
            failures=failures,
            failed=tuple(self._client.without_key(text) or "nothing" for text in failed) or None,
            thoughts=thoughts_of(answers, [self._client.mask_key(sample.thought) for sample in drawn], prompt),
        )

    def _count(self, metadata: _ReplyMetadata) -> None:
        with self._counting:
            tokens = metadata.usage or (0, 0)
            self._usage = (self._usage[0] + tokens[0], self._usage[1] + tokens[1])

    def _shorter(self, prompt: Prompt, keep: int | None, tokens: int | None) -> int | None:
        """How much of the story to keep next where the prompt was too long; None where it fits or cannot be cut."""
        if tokens is None or tokens <= prompt.max_tokens or prompt.shorten is None or keep == 0:
            return None
        length = len(prompt.values[prompt.shorten]) if keep is None else keep
        # By the prompt's own characters per token, and a little more.
        return max(0, length - math.ceil((tokens - prompt.max_tokens) * len(text(prompt, keep)) / tokens * 1.05) - 8)

    def _predict(self, prompt: Prompt) -> Prediction:
        metadata = _ReplyMetadata()
        keep: int | None = None
        counts: tuple[int, ...] | None = None
        try:
            scored, counts, keep = self._fitting(prompt, metadata)
        except Stopped:
            raise BackendError(Fault("API_STOPPED", "The run was stopped.")) from None
        except Unusable as problem:
            scored = self._unanswerable(prompt, problem)
        finally:
            self._count(metadata)
        return Prediction(
            **prompt.key._asdict(),
            prompt_sha256=prompt_sha256(prompt),
            log_scores=scored.log_scores,
            prompt_tokens=None if self._service.echo else metadata.prompt_tokens,
            token_counts=counts,
            truncated=keep is not None,
            answer_mass=scored.answer_mass,
            bounded=scored.bounded,
            usage=metadata.usage,
            model_version=metadata.model,
            system_fingerprint=metadata.fingerprint,
        )

    def _fitting(self, prompt: Prompt, metadata: _ReplyMetadata) -> tuple[Scored, tuple[int, ...] | None, int | None]:
        """Scores, tokens of the options, and how much of the story was kept (None: all) to meet `max_tokens`.

        There is no tokenizer at hand. A story that turns out to be too long, as the service counts, is sent again
        with its end cut off.
        """
        keep: int | None = None
        for _ in range(_MOST_CUTS):
            metadata.prompt_tokens = None
            scored, counts = self._ask(prompt, keep, metadata)
            tokens = metadata.prompt_tokens
            if tokens is None or tokens <= prompt.max_tokens:
                return scored, counts, keep
            shorter = self._shorter(prompt, keep, tokens)
            if shorter is None:
                break
            keep = shorter
        message = f"the prompt has {metadata.prompt_tokens:,} tokens, at most {prompt.max_tokens:,} were expected"
        raise Unusable("PROMPT_TOO_LONG", message, again=False)

    def _ask(self, prompt: Prompt, keep: int | None, metadata: _ReplyMetadata) -> tuple[Scored, tuple[int, ...] | None]:
        """Scores, and how many tokens the options have where that is known."""
        requests = questions(self._service, prompt, keep)
        if not self._service.echo:
            first = self._client.ask(requests[0], lambda reply: parse_top_logprobs(self._noted(reply, metadata)))
            return score(first, prompt.options, any_spacing=self._service.api == "chat"), None
        sent = question_text(prompt, keep)
        forms = [form for option in prompt.options for form in option]

        def tail(form: str) -> Callable[[Any], tuple[float, int]]:
            return lambda reply: echoed(self._noted(reply, metadata), sent, form)

        form_scores = [self._client.ask(request, tail(form)) for request, form in zip(requests, forms, strict=True)]
        remaining = iter(form_scores)
        by_label = [[next(remaining) for _ in option] for option in prompt.options]
        scores = tuple(log_sum([value for value, _ in parts]) for parts in by_label)
        counts = tuple(max(number for _, number in parts) for parts in by_label)
        return Scored(scores, (), min(1.0, math.fsum(map(math.exp, scores)))), counts

    def _noted(self, reply: Any, metadata: _ReplyMetadata) -> Any:
        """`reply`, after adding up what it cost, whether it is usable or not, and noting who gave it."""
        if (usage := usage_of(reply)) is not None:
            before = metadata.usage or (0, 0)
            metadata.usage = (before[0] + usage[0], before[1] + usage[1])
            metadata.prompt_tokens = max(metadata.prompt_tokens or 0, usage[0])
        metadata.model = self._name(reply, "model") or metadata.model
        metadata.fingerprint = self._name(reply, "system_fingerprint") or metadata.fingerprint
        return reply

    def _name(self, reply: Any, field: str) -> str:
        """What the service calls the model or its configuration, as a row may hold it; empty where it says nothing."""
        name = self._client.without_key(name_of(reply, field) or "")
        return name.encode("ascii", "backslashreplace").decode("ascii")[:200]

    def _unanswerable(self, prompt: Prompt, problem: Unusable) -> Scored:
        """Equal scores that say nothing, where that is allowed; otherwise `BackendError`."""
        if problem.code in _SAYS_NOTHING:
            with self._counting:
                self._unanswered += 1
                if self._unanswered <= self._access.unanswered:
                    labels = len(prompt.options)
                    return Scored((0.0,) * labels, tuple(range(labels)), 0.0)
        raise self._named(prompt, problem) from None

    def _named(self, prompt: Prompt, problem: Unusable) -> BackendError:
        """What is wrong with one prompt's answer, with the prompt's name."""
        message = (
            f"Item {prompt.item_id} ({prompt.split}, {prompt.prompt_id}, order {prompt.order}): {problem.message}."
        )
        hint = "Nothing is guessed for it; what was answered is kept, and the same command goes on from there."
        if problem.code in _SAYS_NOTHING:
            hint += " --api-unanswered N lets so many prompts stay unanswered; the card is then not comparable."
        if problem.code == "API_THOUGHT":
            hint += " Models that think first are measured with --elicitation sampled."
        return BackendError(Fault(problem.code, message, hint=hint))

    # --- the rest --------------------------------------------------------------------------------------------------

    def without_adapter(self) -> AbstractContextManager[None] | None:
        """None: a service takes no adapter."""
        return None

    def describe(self) -> Mapping[str, Any]:
        """JSON facts: address, model and parameters; no key, and nothing that the service said."""
        service = self._service
        return {
            "backend": "api",
            "base_url": service.base_url,
            "model": service.model,
            "api": service.api,
            "format": "chat" if service.api == "chat" else "plain",
            "scored_by": "echo" if service.echo else "first token",
            **({} if service.system_prompt is None else {"system_prompt": service.system_prompt}),
            **({} if service.thinking is None else {"thinking": asdict(service.thinking)}),
            "top_logprobs": None if service.echo else service.top_logprobs,
            **({"encrypted": False} if travels_in_clear(service.base_url) else {}),
            **({"adjusted_parameters": dict(self._client.adjusted)} if self._client.adjusted else {}),
            "dtype": None,
            "adapter": None,
            "versions": {"httpx2": version("httpx2")},
        }

    def share(self, steps: Iterable[Sequence[Prompt]]) -> Iterator[tuple[Sequence[Prompt], Iterator[Prediction]]]:
        """Each step with its predictions, in order."""
        for step in steps:
            yield step, self.predict(step)

    def spent(self) -> dict[str, int]:
        """This process's requests to the service, self-checks and failed attempts included."""
        return {
            "requests": self._client.requests,
            "asked_again": self._client.waits,
            "input_tokens": self._usage[0],
            "output_tokens": self._usage[1],
        }

    def peak_memory_bytes(self) -> int | None:
        """None: the service's memory is its own."""
        return None

    def close(self) -> None:
        """End what is under way."""
        self._client.close()
