"""The nouns of a benchmark: datasets, tasks, prompts, scoring, suites. Frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FoldSpec:
    """Some of the seeded folds into which a file's rows are dealt."""

    number: int
    """How many folds there are."""
    take: tuple[int, ...]
    """The folds of the split, counted from 1."""
    seed: int
    """Seed of the deal."""
    rows: int
    """Rows that remain."""
    apart: tuple[str, ...]
    """Dotted paths; a row is left out that shares a value there with a row of a fold that is not taken."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One split of a dataset as a file, pinned by exactly one digest."""

    dataset: str
    """Name of the dataset."""
    split: str
    """Name of the split."""
    file: str
    """Name of the file, whose ending says its form."""
    rows: int
    """Rows of the whole file."""
    sha256: str | None
    """Hex sha256 of its bytes."""
    git_blob: str | None
    """Hex git blob id of its bytes."""
    folds: FoldSpec | None = None
    """Which rows belong to the split; None: all."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Where the bytes of a dataset are: in a folder, at a URL, in a repository of the Hub, or in the package."""

    name: str
    """Name in benchmark.yaml."""
    description: str
    """What it is."""
    synthetic: bool
    """Whether the votes were made up."""
    url: str | None
    """An archive, or one file."""
    folder: str | None
    """Folder inside the archive at `url`; None for one file."""
    embedded: str | None
    """Folder inside the package."""
    splits: Mapping[str, DataFile]
    """Split name to its file."""
    path: str | None = None
    """Absolute path of a folder."""
    hub: str | None = None
    """A data repository of the Hugging Face Hub."""
    revision: str | None = None
    """40-hex revision of `hub`."""


@dataclass(frozen=True, slots=True)
class VoteSpec:
    """How a row says how people voted."""

    kind: str
    """counts (a list in label order, or label to count, at `path`), columns (a path for each label), answers (a list,
    or person to answer, at `path`), shares (as counts, each divided by `total`) or rows (one person's answer at `path`;
    rows of one id are one item)."""
    path: str | None = None
    """Dotted path to the votes; None for columns."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Label to dotted path."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Label to what the data calls it, where that is another word."""
    missing: str = "refuse"
    """What an absent label means: zero, or refuse."""
    ignore: tuple[str | None, ...] = ()
    """Further answers that are left out; None stands for null."""
    total: str | int | None = None
    """Number of people, or the path to it."""


@dataclass(frozen=True, slots=True)
class ItemFields:
    """Dotted paths from a data row to the parts of an item (`actions.0.description`)."""

    id: str
    """Path to the id; `$line` is the row's number, `$key` its name in an object of rows."""
    fields: Mapping[str, str]
    """Name of a text field to its path."""
    votes: str | VoteSpec
    """A path to counts, or how the votes are given."""
    panel: str | VoteSpec | None
    """The same for a second group of people; None without one."""
    group: str | None
    """Path to a word by which results are also reported."""
    clusters: tuple[str, ...] = ()
    """Paths; items that share a value at any of them are not independent."""
    missing_text: str = "refuse"
    """What happens to a row without one of the `fields`: refuse or skip."""


@dataclass(frozen=True, slots=True)
class Task:
    """A question with a fixed list of labels."""

    name: str
    """Name in benchmark.yaml."""
    description: str
    """The question."""
    labels: tuple[str, ...]
    """The labels, in the order of counts and scores."""
    item: ItemFields
    """Where the parts of an item are in a row."""
    without_votes: str
    """What happens to a row without votes: refuse or skip."""
    prompts: tuple[str, ...]
    """Prompts whose options are scored by log-probability."""
    strata: tuple[str, ...]
    """How items are grouped for reporting."""
    verbalized: tuple[str, ...] = ()
    """Prompts after which the model writes the distribution."""
    sampled: tuple[str, ...] = ()
    """Prompts after which answers are drawn."""
    ordinal: bool = False
    """Whether the labels have an order, that of `labels`."""


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """How an item is put to a model."""

    name: str
    """Name in benchmark.yaml."""
    task: str
    """Name of its task."""
    elicitation: str
    """logprob, verbalized or sampled."""
    orders: tuple[tuple[str, ...], ...]
    """Permutations of the labels; under `order`, option j stands for the label `order[j]`."""
    shows: Mapping[str, str]
    """Label to a `string.Template` over the item's fields: what `$option_j` shows."""
    template: str
    """A `string.Template` over the item's fields and `option_1` … `option_K`."""
    cue_plain: str
    """Text after the prompt in a plain format."""
    cue_chat: str
    """Text that begins the model's turn in a chat format."""
    options: tuple[tuple[str, ...], ...]
    """Surface forms of each option, by position; one form each where the distribution is written."""
    max_tokens: int
    """Largest number of tokens of an item."""
    shorten: str | None
    """The one field whose end may be cut to meet `max_tokens`."""
    max_new_tokens: int | None = None
    """Largest number of tokens that a model writes; None unless verbalized or sampled."""
    zero_percent: float | None = None
    """What a written 0 counts as, in percent; None unless verbalized."""
    samples: int | None = None
    """Answers that are drawn of an item, in all orders together; None unless sampled."""
    temperature: float = 1.0
    """Divides the logits of what is drawn from."""
    top_p: float = 1.0
    """Smallest total probability of the likeliest tokens that are drawn from (top-p)."""
    few_shot: int = 0
    """Answered items of the split `train` that stand before the question."""


@dataclass(frozen=True, slots=True)
class FitSpec:
    """What temperature, concentration and prior are fitted on."""

    split: str
    """The calibration split."""
    items: int
    """Largest number of its items."""
    folds: int
    """Folds for cross-fitting where there is no calibration split."""
    seed: int
    """Seed of the draw and of the folds."""


@dataclass(frozen=True, slots=True)
class IntervalSpec:
    """The bootstrap over items."""

    method: str
    """percentile or bca."""
    draws: int
    """Resamples."""
    level: float
    """Confidence level."""
    seed: int
    """Seed of the resampling."""


@dataclass(frozen=True, slots=True)
class ScoringSpec:
    """Which metrics are reported, and with which settings."""

    primary: str
    """The metric that ranks."""
    metrics: tuple[str, ...]
    """Metrics of the results, in order."""
    ablations: tuple[str, ...]
    """Metrics that stand apart from the results."""
    fit: FitSpec
    """What is fitted, on what."""
    ceiling_draws: int
    """Draws of the human ceiling."""
    ceiling_seed: int
    """Their seed."""
    intervals: IntervalSpec
    """How intervals are made."""
    self_check_prompts: int
    """Prompts that are answered again."""
    self_check_tolerance: Mapping[str, float]
    """Largest difference that passes, in nats, by dtype."""
    self_check_changed: Mapping[str, float]
    """Share of written answers that may read differently, by dtype."""
    recompute_tolerance: float
    """Largest relative difference of a recomputed number."""
    inference: int = 1
    """Which rules intervals, ranks and verdicts follow; 1 is that of benchmark 1.0.0."""
    warnings: Mapping[str, float] = field(default_factory=dict)
    """Code of a warning to the threshold from which it is given."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A choice of datasets, one for each task."""

    name: str
    """Name in benchmark.yaml."""
    description: str
    """What it is for."""
    comparable: bool
    """Whether its cards may be ranked."""
    split: str
    """The split that is scored by default."""
    datasets: Mapping[str, str]
    """Task name to dataset name."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A parsed benchmark.yaml."""

    name: str
    """Its name."""
    version: str
    """Its version, as 1.0.0."""
    description: str
    """What it measures."""
    digest: str
    """sha256 of its canonical JSON form."""
    source: bytes
    """Its bytes as read."""
    datasets: Mapping[str, Dataset]
    """Datasets by name."""
    tasks: Mapping[str, Task]
    """Tasks by name."""
    prompts: Mapping[str, PromptSpec]
    """Prompts by name."""
    scoring: ScoringSpec
    """Metrics and settings."""
    suites: Mapping[str, Suite]
    """Suites by name."""
