"""Do the parts of a benchmark agree with each other? Every name must lead somewhere."""

from collections.abc import Iterator, Mapping
from typing import Any

from runner.config.defaults import scoring_of
from runner.config.gaps import find_gaps
from runner.config.lookup import Sound, section_of, unknown_name
from runner.config.prompt_checks import check_prompt
from runner.config.scalars import shown
from runner.config.schema import did_you_mean
from runner.config.source import Document, JsonPath, fault_at
from runner.core.errors import Fault
from runner.core.text import name_of


def disagreements(document: Document, sound: Sound) -> Iterator[Fault]:
    """The faults that no schema can see; parts of `document` that are not `sound` are passed over."""
    if not isinstance(document.value, dict):
        return
    yield from find_gaps(document, document.value, ())
    for section, check in (
        ("datasets", _dataset),
        ("tasks", _task),
        ("prompts", check_prompt),
        ("suites", _suite),
    ):
        for name in section_of(document, section) or ():
            if sound((section, name)):
                yield from check(document, sound, name)
    if sound(("scoring",)):
        yield from _scoring(document)


def _dataset(document: Document, _: Sound, name: str) -> Iterator[Fault]:
    path: JsonPath = ("datasets", name)
    dataset = document.value["datasets"][name]
    yield from _source(document, (*path, "source"), dataset["source"], dataset["splits"])
    for split, pinned in dataset["splits"].items():
        if ("sha256" in pinned) == ("git_blob" in pinned):
            message = "A file must have exactly one of 'sha256' and 'git_blob'."
            yield fault_at(document, "DATA_DIGEST", (*path, "splits", split), message, key=True)
    yield from _shared_files(document, path, dataset["splits"])


_SOURCES = ({"path"}, {"url"}, {"url", "folder"}, {"hub", "revision"}, {"embedded"})
_ROWS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


def is_archive(url: str) -> bool:
    """Whether an address is of an archive rather than of one file of rows."""
    name = url.partition("?")[0].partition("#")[0].lower()
    return not name.removesuffix(".gz").endswith(_ROWS)


def _source(
    document: Document, path: JsonPath, source: Mapping[str, Any], splits: Mapping[str, Any]
) -> Iterator[Fault]:
    """A source has one of the forms that there are, and one file has splits of that file only."""
    if set(source) not in _SOURCES:
        message = (
            "The source must have 'path' alone, 'url' with or without 'folder', 'hub' and 'revision', "
            "or 'embedded' alone."
        )
        yield fault_at(document, "DATA_SOURCE", path, message, key=True)
        return
    if "url" not in source:
        return
    url = source["url"].partition("?")[0].partition("#")[0]
    if is_archive(url):
        if "folder" not in source:
            message = "The address of an archive needs the 'folder' in it that holds the files."
            hint = f"'.' is the archive itself. The address of one file ends in {', '.join(_ROWS)}, or that and .gz."
            yield fault_at(document, "DATA_SOURCE", path, message, hint, key=True)
        return
    if "folder" in source:
        message = "The address is of one file, which has no 'folder'."
        yield fault_at(document, "DATA_SOURCE", (*path, "folder"), message, key=True)
    name = url.rpartition("/")[2]
    for split, pinned in splits.items():
        if pinned["file"] not in (name, name.removesuffix(".gz")):
            message = f"The address is of the file {name!r}, the split {split!r} names {pinned['file']!r}."
            hint = "Splits of one file name it alike, and take `folds` of it."
            yield fault_at(document, "DATA_SOURCE", (*path[:-1], "splits", split, "file"), message, hint)


def _shared_files(document: Document, path: JsonPath, splits: Mapping[str, Any]) -> Iterator[Fault]:
    """Splits of one file must pin it alike, and the folds that each takes must be there."""
    first: dict[str, str] = {}
    for split, pinned in splits.items():
        other = first.setdefault(pinned["file"], split)
        for key in ("rows", "sha256", "git_blob"):
            if pinned.get(key) != splits[other].get(key):
                message = f"The split {other!r} is of the same file, but has another {key!r}."
                yield fault_at(document, "DATA_DIGEST", (*path, "splits", split, key), message)
        if (folds := pinned.get("folds")) is None:
            continue
        at: JsonPath = (*path, "splits", split, "folds")
        for index, fold in enumerate(folds["take"]):
            if fold > folds["number"]:
                message = f"There is no fold {fold} of {folds['number']}."
                yield fault_at(document, "DATA_FOLDS", (*at, "take", index), message)
        if folds["number"] > pinned["rows"]:
            message = f"{pinned['rows']:,} rows cannot be dealt into {folds['number']:,} folds."
            yield fault_at(document, "DATA_FOLDS", (*at, "number"), message)
        if folds["rows"] > pinned["rows"]:
            message = f"{folds['rows']:,} rows are more than the {pinned['rows']:,} of the file."
            yield fault_at(document, "DATA_FOLDS", (*at, "rows"), message)


def _task(document: Document, sound: Sound, name: str) -> Iterator[Fault]:
    path: JsonPath = ("tasks", name)
    task = document.value["tasks"][name]
    prompts = section_of(document, "prompts")
    for key, elicitation in (("prompts", "logprob"), ("verbalized", "verbalized"), ("sampled", "sampled")):
        for number, prompt in enumerate(task.get(key, ()) if prompts is not None else ()):
            at: JsonPath = (*path, key, number)
            if prompts is None or prompt not in prompts:
                yield unknown_name(document, at, "prompt", prompt, prompts or {})
                continue
            if sound(("prompts", prompt, "task")) and prompts[prompt]["task"] != name:
                message = f"The prompt {prompt!r} belongs to the task {prompts[prompt]['task']!r}, not to {name!r}."
                yield fault_at(document, "PROMPT_TASK", at, message)
            if sound(("prompts", prompt, "elicitation")) and prompts[prompt]["elicitation"] != elicitation:
                other = prompts[prompt]["elicitation"]
                message = f"The prompt {prompt!r} asks by {other}, {key!r} is for those that ask by {elicitation}."
                yield fault_at(document, "ELICITATION", at, message)
    yield from _item(document, (*path, "item"), task["item"], task["labels"])
    for field in task["item"]["fields"]:
        if field.startswith("option_"):
            message = f"The field {field!r} would hide an option of the template."
            at = (*path, "item", "fields", field)
            yield fault_at(document, "FIELD_NAME", at, message, "Choose a name without 'option_'.", key=True)
    for stratum, key in (("group", "group"), ("panel_unanimity", "panel")):
        if stratum in task.get("strata", ()) and key not in task["item"]:
            at = (*path, "strata", task["strata"].index(stratum))
            message = f"The stratum {stratum!r} needs the path 'item.{key}', which this task does not have."
            yield fault_at(document, "STRATUM", at, message)
    if "clusters" in task["item"] and sound(("scoring",)) and not _inference_2(document):
        message = "Clusters are for the statistics of 'scoring.inference' 2, and this benchmark asks for 1."
        at = (*path, "item", "clusters")
        yield fault_at(document, "INFERENCE", at, message, "Leave 'scoring.inference' out, or set it to 2.", key=True)


VOTE_KINDS = ("counts", "columns", "answers", "shares", "rows")
_OF_KIND = {
    "keys": ("counts", "answers", "shares", "rows"),
    "missing": ("counts", "columns", "shares"),
    "total": ("shares",),
}


def _item(document: Document, path: JsonPath, item: Mapping[str, Any], labels: list[str]) -> Iterator[Fault]:
    """What is said of votes must be of one kind, name the task's labels, and leave no two of them one name."""
    for part in ("votes", "panel"):
        votes, at = item.get(part), (*path, part)
        if not isinstance(votes, Mapping):
            continue
        kinds = [kind for kind in VOTE_KINDS if kind in votes]
        if len(kinds) != 1:
            message = f"Exactly one of {', '.join(VOTE_KINDS)} is needed, {len(kinds)} were found."
            yield fault_at(document, "VOTES", at, message, key=True)
            continue
        for key, needed in _OF_KIND.items():
            if key in votes and kinds[0] not in needed:
                message = f"{key!r} has no meaning beside {kinds[0]!r}."
                yield fault_at(document, "VOTES", (*at, key), message, f"It is for {', '.join(needed)}.", key=True)
        if "ignore" in votes and kinds[0] == "columns":
            message = "'ignore' has no meaning beside 'columns': other columns are not looked at."
            yield fault_at(document, "VOTES", (*at, "ignore"), message, key=True)
        if kinds[0] == "shares" and "total" not in votes:
            message = "Shares need 'total', the path to the number of people who answered, or that number."
            yield fault_at(document, "VOTES", (*at, "total"), message)
        if kinds[0] == "columns":
            for label in labels:
                if label not in votes["columns"]:
                    yield fault_at(
                        document, "VOTES", (*at, "columns"), f"There is no column for the label {label!r}.", key=True
                    )
        for key in ("keys", "columns"):
            for label in votes.get(key, ()):
                if label not in labels:
                    yield unknown_name(document, (*at, key, label), "label", label, labels, key=True)
        yield from _names(document, at, votes, labels)
    if "panel" in item and isinstance(item["panel"], Mapping) and "rows" in item["panel"]:
        message = "A panel cannot have rows of its own: each row holds one person's answer."
        yield fault_at(document, "VOTES", (*path, "panel", "rows"), message, key=True)
    if isinstance(item["votes"], Mapping) and "rows" in item["votes"] and item["id"] in ("$line", "$key"):
        message = f"Rows of one id are one item, and with {item['id']!r} each row has another."
        yield fault_at(document, "VOTES", (*path, "id"), message, "Give the path to what the rows of an item share.")


def _names(document: Document, at: JsonPath, votes: Mapping[str, Any], labels: list[str]) -> Iterator[Fault]:
    """Two labels may not have one name in the data, and what is ignored may not be a label."""
    keys = votes.get("keys", {})
    first: dict[str | None, str] = {}
    for label in labels if "columns" not in votes else ():
        name = name_of(keys.get(label, label))
        other = first.setdefault(name, label)
        if other != label:
            message = f"The labels {other!r} and {label!r} are both called {name!r} in the data."
            yield fault_at(document, "VOTES", (*at, "keys", label), message)
    for number, name in enumerate(votes.get("ignore", ())):
        if name is not None and name_of(name) in first:
            message = f"{shown(name)} stands for the label {first[name_of(name)]!r}, so it cannot be ignored."
            yield fault_at(document, "VOTES", (*at, "ignore", number), message)


def _inference_2(document: Document) -> bool:
    return section_of(document, "scoring") is None or bool(scoring_of(document.value)["inference"] > 1)


def _scoring(document: Document) -> Iterator[Fault]:
    scoring = scoring_of(document.value)
    if scoring["warnings"] and scoring["inference"] < 2:
        message = "Warnings come with the statistics of 'inference' 2, which this benchmark does not ask for."
        at: JsonPath = ("scoring", "inference")
        yield fault_at(document, "INFERENCE", at, message, "Leave 'inference' out, or set it to 2.", key=True)
    if scoring["primary"] not in scoring["metrics"]:
        message = f"The primary metric {scoring['primary']!r} is not among the metrics."
        hint = did_you_mean(scoring["primary"], scoring["metrics"])
        yield fault_at(document, "PRIMARY_METRIC", ("scoring", "primary"), message, hint)
    tasks = section_of(document, "tasks") or {}
    unordered = [name for name, task in tasks.items() if isinstance(task, dict) and task.get("ordinal") is not True]
    if scoring["primary"] == "wasserstein" and unordered:
        message = f"The primary metric 'wasserstein' has no meaning for the task {unordered[0]!r}."
        hint = f"Say `ordinal: true` in tasks.{unordered[0]} if its labels have an order, or choose another metric."
        yield fault_at(document, "PRIMARY_METRIC", ("scoring", "primary"), message, hint)
    if scoring["fit"]["items"] < scoring["fit"]["folds"]:
        message = f"{scoring['fit']['items']} items cannot be divided into {scoring['fit']['folds']} folds."
        yield fault_at(document, "FIT_FOLDS", ("scoring", "fit", "folds"), message)


def _suite(document: Document, sound: Sound, name: str) -> Iterator[Fault]:
    path: JsonPath = ("suites", name)
    suite = document.value["suites"][name]
    tasks, datasets = section_of(document, "tasks"), section_of(document, "datasets")
    fit: JsonPath = ("scoring", "fit", "split")
    needed = {suite["split"]: "this suite scores"}
    if sound(fit) and sound(("scoring", "primary")) and isinstance(document.value.get("scoring"), dict):
        needed.setdefault(scoring_of(document.value)["fit"]["split"], "scoring.fit.split names")
    for task, dataset in suite["datasets"].items():
        at: JsonPath = (*path, "datasets", task)
        if tasks is not None and task not in tasks:
            yield unknown_name(document, at, "task", task, tasks, key=True)
        if datasets is None:
            continue
        if dataset not in datasets:
            yield unknown_name(document, at, "dataset", dataset, datasets)
            continue
        if not sound(("datasets", dataset)):
            continue
        for split, purpose in needed.items():
            if split not in (splits := datasets[dataset]["splits"]):
                message = f"The dataset {dataset!r} has no split {split!r}, which {purpose}."
                yield fault_at(document, "UNKNOWN_SPLIT", at, message, did_you_mean(split, splits))
        if suite["comparable"] and datasets[dataset]["synthetic"]:
            message = f"The dataset {dataset!r} is synthetic, so results on it are not comparable."
            yield fault_at(document, "SYNTHETIC", at, message, f"Set suites.{name}.comparable to false.")
