"""The nouns of a run: a check, a submission, an item, a prompt and a prediction. Frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
else:

    def __getattr__(name: str) -> Any:
        """`Array` only when it is used: `benchmark validate` starts without numpy."""
        if name == "Array":
            import numpy as np
            from numpy.typing import NDArray

            return NDArray[np.float64]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, on a machine or of a card."""

    name: str
    """What was looked at."""
    state: str
    """ok, warn or fail on a machine; ok, skipped or note of a card."""
    message: str
    """What was seen, or why it was skipped."""
    hint: str | None = None
    """What to do; None where there is nothing."""


# --- the submission ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """What an encoder with a trained head answers."""

    task: str
    """The one task."""
    kind: str
    """ranking: each answer's own text gets one score; classification: every label gets one from the fields in
    `reads`."""
    max_tokens: int
    """Tokens of a text that are read, special ones included; the rest is cut off."""
    reads: tuple[str, ...]
    """Fields that a classification head reads: one, or two as a pair."""
    labels: tuple[str, ...] | None
    """Outputs of a classification head by name; None where config.json says them."""
    concentration: str
    """own where exp(logits) are the parameters of a Dirichlet distribution, else fitted."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a model thinks before it answers, where answers are drawn."""

    open: str
    """What a thought begins with."""
    close: str
    """What a thought ends with."""
    max_thought_tokens: int
    """Tokens that a thought may have beside those of the answer."""


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model, and how it is prompted."""

    backend: str
    """causal, encoder or api."""
    path: str | None
    """Absolute path of a folder; None for a repository or a service."""
    repository: str | None
    """A repository of the Hugging Face Hub."""
    revision: str | None
    """40-hex revision of `repository`."""
    digest: str | None
    """`sha256:…` of the manifest of its files, or None."""
    format: str | None
    """plain or chat; None for an encoder."""
    dtype: str
    """float32, bfloat16 or float16; empty where a service computes in a format of its own."""
    quantization: str | None
    """How weights are reduced while they are loaded, or None."""
    head: HeadSpec | None = None
    """What an encoder answers; None for others."""
    template_arguments: Mapping[str, str | bool | float] = field(default_factory=dict)
    """Arguments of the chat template."""
    thinking: Thinking | None = None
    """How the model thinks before it answers; None where the submission does not say that it does."""
    system_prompt: str | None = None
    """The system prompt before the question; None by default."""


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """A PEFT adapter."""

    path: str | None
    """Absolute path of a folder; None for a repository."""
    repository: str | None
    """A repository of the Hugging Face Hub."""
    revision: str | None
    """40-hex revision of `repository`."""
    digest: str | None
    """`sha256:…` of the manifest of its files, or None."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost."""

    currency: str
    """Three letters, as USD."""
    input: float
    """For tokens that are read."""
    output: float
    """For tokens that are written."""


@dataclass(frozen=True, slots=True)
class ServiceRef:
    """A model behind an OpenAI-compatible service."""

    base_url: str
    """Address, without a slash at the end."""
    model: str
    """What the service calls it."""
    api: str
    """chat or completions."""
    top_logprobs: int
    """Number of likeliest first tokens that is requested."""
    echo: bool
    """Whether the service tells the log-probabilities of an option's own tokens."""
    price: Price | None
    """What tokens cost, where the submission says it."""
    api_version: str | None = None
    """Azure's version of the interface, which also takes the key in a header of its own; None for others."""
    max_tokens_name: str | None = None
    """What the service calls the limit of written tokens; None: as its address tells."""
    omitted: tuple[str, ...] = ()
    """Parameters that are not sent, since the service refuses them: temperature, top_p."""
    neutral: tuple[tuple[str, float], ...] = ()
    """Parameters of the server's own, each at the value that changes nothing, which are sent with drawn answers."""
    thinking: Thinking | None = None
    """How the model thinks before answers that are drawn; None where the submission does not say that it does."""
    system_prompt: str | None = None
    """The system prompt before the question; None by default."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A parsed submission.yaml."""

    name: str
    """Its name."""
    description: str
    """What it is."""
    digest: str
    """sha256 of its canonical JSON form."""
    source: bytes
    """Its bytes as read."""
    model: ModelRef
    """The model."""
    adapter: AdapterRef | None
    """The adapter, or None."""
    service: ServiceRef | None = None
    """The service; None unless the model's backend is api."""


# --- items, prompts, predictions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One row of data."""

    id: str
    """Its id, unique in a split."""
    fields: Mapping[str, str]
    """Field name to text."""
    counts: tuple[int, ...]
    """How many people chose each label, in label order."""
    panel: tuple[int, ...] | None
    """The same of a second group of people; None without one."""
    group: str | None
    """The word by which results are also reported."""
    clusters: tuple[str, ...] = ()
    """Values, as JSON texts, that it shares with items it is not independent of."""


@dataclass(frozen=True, slots=True)
class VerbalizedFormat:
    """How a model writes a distribution: percentages for names."""

    names: tuple[str, ...]
    """Names of the options, as presented."""
    labels: tuple[int, ...]
    """Index of the label that each name stands for."""
    zero_percent: float
    """What a written 0 counts as, in percent."""
    max_new_tokens: int
    """Largest number of written tokens."""


@dataclass(frozen=True, slots=True)
class SamplingFormat:
    """How answers are drawn from a model, and which texts count for which label."""

    answers: tuple[tuple[str, ...], ...]
    """Texts that count for each label, in label order."""
    samples: int
    """How many answers are drawn in this order of presentation."""
    temperature: float
    """Divides the logits."""
    top_p: float
    """Smallest total probability of the likeliest tokens that are drawn from (top-p); 1 for all."""
    max_new_tokens: int
    """Largest number of tokens of an answer, its thought aside."""
    keep_thoughts: bool = False
    """Whether the thoughts are handed over beside the answers; no answer depends on it."""


@dataclass(frozen=True, slots=True)
class Thought:
    """What a model thought before one drawn answer."""

    label: str | None
    """Name of the label that the answer counted for; None where it could not be read."""
    text: str
    """The thought from its beginning, cut where it is very long; empty where there was none."""
    characters: int
    """Length of the whole thought."""


class PromptKey(NamedTuple):
    """What tells one prompt of a run from another, and which answer is its own."""

    task: str
    """Name of the task."""
    split: str | None
    """Name of the split; None in rows that do not say it."""
    item_id: str
    """Id of the item."""
    prompt_id: str | None
    """Name of the prompt; None in rows that do not say it."""
    order: int
    """Index of the order of presentation."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to a model, with ALL its labels, and nothing about the human answer."""

    task: str
    """Name of the task."""
    split: str
    """Name of the split."""
    item_id: str
    """Id of the item."""
    prompt_id: str
    """Name of the prompt's specification."""
    order: int
    """Index of the order of presentation within it."""
    template: str
    """A `string.Template`."""
    values: Mapping[str, str]
    """What fills the template."""
    cue_plain: str
    """Text after the prompt in a plain format."""
    cue_chat: str
    """Text that begins the model's turn in a chat format."""
    options: tuple[tuple[str, ...], ...]
    """Surface forms that count for each label, in label order; empty where the distribution is written."""
    max_tokens: int
    """Largest number of tokens of the item."""
    shorten: str | None
    """The one field whose end may be cut."""
    labels: tuple[str, ...] = ()
    """Names of the labels."""
    shown: tuple[str, ...] = ()
    """Text that stands for each label in the prompt; empty where none does."""
    writing: VerbalizedFormat | None = None
    """How the distribution is written; None unless it is."""
    sampling: SamplingFormat | None = None
    """How answers are drawn; None unless they are."""

    @property
    def scored(self) -> bool:
        """Whether options are scored: nothing is written."""
        return self.writing is None and self.sampling is None

    @property
    def key(self) -> PromptKey:
        """Which prompt of a run this is."""
        return PromptKey(self.task, self.split, self.item_id, self.prompt_id, self.order)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer to one prompt."""

    task: str
    """Name of the task."""
    item_id: str
    """Id of the item."""
    log_scores: tuple[float, ...] | None
    """One unnormalised natural-log score per label, in label order; None only where a written answer cannot be
    parsed, or more drawn answers failed than could be read."""
    split: str | None = None
    """Name of the split."""
    prompt_id: str | None = None
    """Name of the prompt."""
    order: int = 0
    """Index of the order of presentation."""
    prompt_sha256: str | None = None
    """Hex sha256 of the uncut question with its plain cue."""
    prompt_tokens: int | None = None
    """Tokens of the prompt."""
    token_counts: tuple[int, ...] | None = None
    """Tokens read for each label's longest surface form."""
    truncated: bool = False
    """Whether a field was cut."""
    answer_mass: float | None = None
    """Probability of all options before normalising; None where it has no meaning (an encoder) or could not be had."""
    concentration: float | None = None
    """Dirichlet concentration of a model that supplies its own."""
    text: str | None = None
    """What the model wrote, where it was to write the distribution."""
    text_tokens: int | None = None
    """Tokens of `text`."""
    text_log_prob: float | None = None
    """Natural log-probability of `text`."""
    bounded: tuple[int, ...] | None = None
    """Labels (by index) of which only the largest possible score is known; services only."""
    usage: tuple[int, int] | None = None
    """Tokens in and out that a service counted."""
    model_version: str | None = None
    """What a service says answered."""
    system_fingerprint: str | None = None
    """What a service says of its set-up."""
    samples: Mapping[str, int] | None = None
    """How often each label was drawn, by name in label order; None unless answers were drawn."""
    failures: int | None = None
    """Drawn answers that could not be read; None unless answers were drawn."""
    failed: tuple[str, ...] | None = None
    """Last lines of the first of these."""
    thoughts: tuple[Thought, ...] | None = None
    """What was thought before each drawn answer, in the order in which they were drawn; None unless thoughts are to be
    kept. No part of a row of predictions."""

    @property
    def key(self) -> PromptKey:
        """Which prompt of a run this answers."""
        return PromptKey(self.task, self.split, self.item_id, self.prompt_id, self.order)
