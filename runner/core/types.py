"""The nouns: what a benchmark, a submission, an item, a prompt and a prediction are. Frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
else:

    def __getattr__(name: str) -> Any:
        """`Array` only when it is asked for: `benchmark validate` starts without numpy."""
        if name == "Array":
            import numpy as np
            from numpy.typing import NDArray

            return NDArray[np.float64]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# --- the benchmark -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, on a machine or of a card.

    `state` is ok, warn or fail on a machine; ok, skipped (not looked at, and why) or note of a card. `hint` says what
    to do.
    """

    name: str
    state: str
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class FoldSpec:
    """Some of the folds into which a file's rows are dealt: the folds `take` of `number`, counted from 1, by `seed`.

    Left out are rows that share the value of one of the dotted paths `apart` with a row of a fold that is not taken.
    What remains has `rows` rows.
    """

    number: int
    take: tuple[int, ...]
    seed: int
    rows: int
    apart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataFile:
    """One split of a dataset as a file, pinned by `sha256` or by `git_blob` (exactly one is set).

    The name of `file` says its form. `rows` are those of the file; `folds` says which of them belong to the split,
    None that all do.
    """

    dataset: str
    split: str
    file: str
    rows: int
    sha256: str | None
    git_blob: str | None
    folds: FoldSpec | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Where the bytes of a dataset are.

    In a folder `path` (absolute); at `url`, an archive holding `folder/`, or one file (then `folder` is None); in the
    data repository `hub` of the Hugging Face Hub at a 40-hex `revision`; or `embedded` in the package.
    """

    name: str
    description: str
    synthetic: bool
    url: str | None
    folder: str | None
    embedded: str | None
    splits: Mapping[str, DataFile]
    path: str | None = None
    hub: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class VoteSpec:
    """How a row says how people voted.

    `kind` is `counts` (a list in label order, or a mapping from label to count, at `path`), `columns` (a path for each
    label in `columns`), `answers` (a list of answers, or a mapping from person to answer, at `path`), `shares` (as
    counts, each divided by `total`, a number of people or the path to it) or `rows` (one person's answer at `path`;
    rows of one id are one item). `keys` says what the data calls a label, where that is not its own name. With
    `missing` `zero` a label that is not there was chosen by nobody, with `refuse` that is a fault. `ignore` are further
    answers that are left out, None for null.
    """

    kind: str
    path: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    missing: str = "refuse"
    ignore: tuple[str | None, ...] = ()
    total: str | int | None = None


@dataclass(frozen=True, slots=True)
class ItemFields:
    """Dotted paths from a data row to the parts of an item (`actions.0.description`).

    `id` may be `$line` (the row's number) or `$key` (its name in an object of rows). `votes` is a path to an array of
    counts in label order, or to an object from label to count, or says its kind; `panel` likewise, for the votes of a
    second group of people; `group` leads to a word by which results are also reported. Items that share the value at
    one of the paths `clusters` (any of them with any) are not independent. A row without one of the `fields` is refused
    or left out: `missing_text` is `refuse` or `skip`.
    """

    id: str
    fields: Mapping[str, str]
    votes: str | VoteSpec
    panel: str | VoteSpec | None
    group: str | None
    clusters: tuple[str, ...] = ()
    missing_text: str = "refuse"


@dataclass(frozen=True, slots=True)
class Task:
    """A question with a fixed list of labels. `without_votes` is `refuse` or `skip`.

    `prompts` are asked by default, `verbalized` where the model is to write the distribution. `ordinal` says that the
    labels have an order, that of `labels`.
    """

    name: str
    description: str
    labels: tuple[str, ...]
    item: ItemFields
    without_votes: str
    prompts: tuple[str, ...]
    strata: tuple[str, ...]
    verbalized: tuple[str, ...] = ()
    ordinal: bool = False


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """How an item is put to a model.

    `template` is a `string.Template` over the item's fields and `option_1` … `option_K`. An order is a permutation of
    the task's labels: under it `option_j` shows `shows[order[j]]` (itself a template over the item's fields), and an
    answer in one of the surface forms `options[j]` counts for the label `order[j]`. `cue` is appended to the prompt
    (plain) or begins the model's turn (chat). `shorten` names the one field whose end may be cut to meet `max_tokens`.

    With the elicitation `verbalized` the model writes a line with a percentage for each option (`options[j]` is then
    its one name) in at most `max_new_tokens` tokens; a written 0 counts as `zero_percent`. Else both are None.
    """

    name: str
    task: str
    elicitation: str
    orders: tuple[tuple[str, ...], ...]
    shows: Mapping[str, str]
    template: str
    cue_plain: str
    cue_chat: str
    options: tuple[tuple[str, ...], ...]
    max_tokens: int
    shorten: str | None
    max_new_tokens: int | None = None
    zero_percent: float | None = None


@dataclass(frozen=True, slots=True)
class FitSpec:
    """On which split temperature, concentration and prior are fitted, on how many items, and how it is folded."""

    split: str
    items: int
    folds: int
    seed: int


@dataclass(frozen=True, slots=True)
class IntervalSpec:
    """Bootstrap over items: `method`, number of `draws`, confidence `level`, `seed`."""

    method: str
    draws: int
    level: float
    seed: int


@dataclass(frozen=True, slots=True)
class ScoringSpec:
    """Which metrics are reported and with which settings.

    `inference` is the version of the statistics (docs/scoring.md): 1 as the first cards have them, 2 the present ones.
    `warnings` maps what a card warns of to its threshold. `ablations` are metrics that stand apart from the results;
    `self_check_tolerance` is in nats, by dtype, and `self_check_changed` the share of written answers that may read
    differently the second time, by dtype.
    """

    primary: str
    metrics: tuple[str, ...]
    ablations: tuple[str, ...]
    fit: FitSpec
    ceiling_draws: int
    ceiling_seed: int
    intervals: IntervalSpec
    self_check_prompts: int
    self_check_tolerance: Mapping[str, float]
    self_check_changed: Mapping[str, float]
    recompute_tolerance: float
    inference: int = 1
    warnings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suite:
    """Which dataset stands behind each task, and which split is scored by default."""

    name: str
    description: str
    comparable: bool
    split: str
    datasets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A parsed `benchmark.yaml`; `digest` is the sha256 of its canonical JSON form, `source` its bytes as read."""

    name: str
    version: str
    description: str
    digest: str
    source: bytes
    datasets: Mapping[str, Dataset]
    tasks: Mapping[str, Task]
    prompts: Mapping[str, PromptSpec]
    scoring: ScoringSpec
    suites: Mapping[str, Suite]


# --- the submission ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """What an encoder answers: one `task`, with a head of the `kind` `classification` or `ranking`.

    A ranking head gives each answer's own text one score; a classification head reads the fields named in `reads` (one,
    or two as a pair) and gives every label one. `max_tokens` of a text are read, special ones included, and the rest is
    cut off. `labels` are the outputs of a classification head by name, or None where config.json says them.
    `concentration` is `own` where exp(logits) are the parameters of a Dirichlet distribution, else `fitted`.
    """

    task: str
    kind: str
    max_tokens: int
    reads: tuple[str, ...]
    labels: tuple[str, ...] | None
    concentration: str


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model: a folder `path` (absolute), or a Hub `repository` at a 40-hex `revision`; neither where it is a service.

    `format` is `plain` or `chat` (None for an encoder, which is not asked in words), `dtype` one of float32, bfloat16,
    float16, or empty where a service computes in a format of its own; `digest` (`sha256:…`) pins the manifest of its
    files, or is None. Encoders alone have a `head`. `template_arguments` are given to the chat template.
    """

    backend: str
    path: str | None
    repository: str | None
    revision: str | None
    digest: str | None
    format: str | None
    dtype: str
    quantization: str | None
    head: HeadSpec | None = None
    template_arguments: Mapping[str, str | bool | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """A PEFT adapter: a folder `path` (absolute), or a Hub `repository` at a 40-hex `revision`."""

    path: str | None
    repository: str | None
    revision: str | None
    digest: str | None


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost that are read (`input`) and written (`output`), in a three-letter `currency`."""

    currency: str
    input: float
    output: float


@dataclass(frozen=True, slots=True)
class ServiceRef:
    """A model behind an OpenAI-compatible service at `base_url` (no slash at the end), which calls it `model`.

    `api` is `chat` or `completions`. With `echo` the service tells the log-probabilities of an option's own tokens,
    otherwise those of the `top_logprobs` likeliest first tokens.
    """

    base_url: str
    model: str
    api: str
    top_logprobs: int
    echo: bool
    price: Price | None


@dataclass(frozen=True, slots=True)
class Submission:
    """A parsed `submission.yaml`; `digest` is the sha256 of its canonical JSON form, `source` its bytes as read.

    `service` is None unless the model's backend is `api`.
    """

    name: str
    description: str
    digest: str
    source: bytes
    model: ModelRef
    adapter: AdapterRef | None
    service: ServiceRef | None = None


# --- items, prompts, predictions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One row of data: its text fields and how many people chose each label (`counts`, in label order).

    `clusters` are the values, as JSON texts, by which items that are not independent know each other: two items that
    share one of them. `panel` are the votes of a second group of people.
    """

    id: str
    fields: Mapping[str, str]
    counts: tuple[int, ...]
    panel: tuple[int, ...] | None
    group: str | None
    clusters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VerbalizedFormat:
    """How a model writes a distribution: percentages for `names`, as presented; `labels[j]` is name j's label."""

    names: tuple[str, ...]
    labels: tuple[int, ...]
    zero_percent: float
    max_new_tokens: int


class PromptKey(NamedTuple):
    """What tells one prompt of a run from another, and which answer is its own."""

    task: str
    split: str | None
    item_id: str
    prompt_id: str | None
    order: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question to a model, with ALL its labels, and nothing about the human answer.

    `values` fill `template`; `options[k]` are the surface forms that count for label k of the task, whatever the order
    of presentation. `order` is the index of the presentation order within the prompt's specification. `labels[k]` is
    the name of label k and `shown[k]` the text that stands for it in the prompt (`shown` is empty where none does).
    Where the model is to write the distribution instead, `writing` says how, and `options` is empty.
    """

    task: str
    split: str
    item_id: str
    prompt_id: str
    order: int
    template: str
    values: Mapping[str, str]
    cue_plain: str
    cue_chat: str
    options: tuple[tuple[str, ...], ...]
    max_tokens: int
    shorten: str | None
    labels: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    writing: VerbalizedFormat | None = None

    @property
    def key(self) -> PromptKey:
        """Which prompt of a run this is."""
        return PromptKey(self.task, self.split, self.item_id, self.prompt_id, self.order)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer to one prompt: one unnormalised natural-log score per label, in label order.

    `answer_mass` is the probability that the options had before normalising, or None where it has no meaning (an
    encoder head) or could not be had; `token_counts` are the tokens read for each label's longest surface form;
    `concentration` is the Dirichlet concentration of a model that supplies its own. `text` is what a model wrote that
    was asked to write the distribution, in `text_tokens` tokens of `text_log_prob` (natural log, all together); where
    it cannot be read, and only there, `log_scores` is None.

    The rest is said by services only. `bounded` are the labels (by index) whose score is not known, only the largest
    that it can be; `usage` are the tokens in and out that the service counted for this answer; `model_version` and
    `system_fingerprint` are what it says answered.
    """

    task: str
    item_id: str
    log_scores: tuple[float, ...] | None
    split: str | None = None
    prompt_id: str | None = None
    order: int = 0
    prompt_sha256: str | None = None
    prompt_tokens: int | None = None
    token_counts: tuple[int, ...] | None = None
    truncated: bool = False
    answer_mass: float | None = None
    concentration: float | None = None
    text: str | None = None
    text_tokens: int | None = None
    text_log_prob: float | None = None
    bounded: tuple[int, ...] | None = None
    usage: tuple[int, int] | None = None
    model_version: str | None = None
    system_fingerprint: str | None = None

    @property
    def key(self) -> PromptKey:
        """Which prompt of a run this answers."""
        return PromptKey(self.task, self.split, self.item_id, self.prompt_id, self.order)
