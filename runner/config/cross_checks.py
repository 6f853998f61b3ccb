"""Do the parts of a benchmark agree with each other? Every name must lead somewhere, every prompt must work."""

import re
from collections.abc import Callable, Iterator, Mapping
from string import Template
from typing import Any

from runner.config.defaults import scoring_of
from runner.config.gaps import find_gaps
from runner.config.scalars import shown
from runner.config.schema import did_you_mean
from runner.config.source import Document, JsonPath, fault_at
from runner.core.errors import Fault
from runner.core.text import name_of

Sound = Callable[[JsonPath], bool]

_NAME = re.compile(r"[A-Za-z]+")


def disagreements(document: Document, sound: Sound) -> Iterator[Fault]:
    """The faults that no schema can see; parts of `document` that are not `sound` are passed over."""
    if not isinstance(document.value, dict):
        return
    yield from find_gaps(document, document.value, ())
    for section, check in (
        ("datasets", _dataset),
        ("tasks", _task),
        ("prompts", _prompt),
        ("suites", _suite),
    ):
        for name in _section(document, section) or ():
            if sound((section, name)):
                yield from check(document, sound, name)
    if sound(("scoring",)):
        yield from _scoring(document)


def _section(document: Document, name: str) -> Mapping[str, Any] | None:
    """A part of the benchmark by its key, or None where it is missing: then names that lead into it are not judged."""
    section = document.value.get(name)
    return section if isinstance(section, dict) else None


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
    prompts = _section(document, "prompts")
    for key, elicitation in (("prompts", "logprob"), ("verbalized", "verbalized"), ("sampled", "sampled")):
        for number, prompt in enumerate(task.get(key, ()) if prompts is not None else ()):
            at: JsonPath = (*path, key, number)
            if prompts is None or prompt not in prompts:
                yield _unknown(document, at, "prompt", prompt, prompts or {})
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
                    yield _unknown(document, (*at, key, label), "label", label, labels, key=True)
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


def _prompt(document: Document, sound: Sound, name: str) -> Iterator[Fault]:
    path: JsonPath = ("prompts", name)
    prompt = document.value["prompts"][name]
    tasks = _section(document, "tasks")
    yield from _surface_forms(document, path, prompt["options"], whole=prompt["elicitation"] == "sampled")
    yield from _elicitation(document, path, prompt)
    if tasks is None:
        return
    if prompt["task"] not in tasks:
        yield _unknown(document, (*path, "task"), "task", prompt["task"], tasks)
    elif sound(("tasks", prompt["task"])):
        task = tasks[prompt["task"]]
        yield from _labels(document, path, prompt, task["labels"])
        yield from _templates(document, path, prompt, task["labels"], list(task["item"]["fields"]))


def _surface_forms(
    document: Document, path: JsonPath, options: list[list[str]], *, whole: bool = False
) -> Iterator[Fault]:
    """No form may be given twice or begin another: what counts for one answer would also count for the other.

    Where answers are drawn a form is the `whole` line, and may begin another.
    Forms of different answers must also differ by more than blanks around them, which chat templates may strip.
    """
    forms = [(number, index, form) for number, group in enumerate(options) for index, form in enumerate(group)]
    for position, (number, index, form) in enumerate(forms):
        for other_number, _, other in forms[:position]:
            if form == other:
                message = f"The answer {shown(form)} is given twice."
            elif not whole and (form.startswith(other) or other.startswith(form)):
                message = f"Of the answers {shown(other)} and {shown(form)} one begins the other."
            elif number != other_number and form.strip() == other.strip():
                message = f"The answers {shown(other)} and {shown(form)} of two options differ only in blanks."
            else:
                continue
            yield fault_at(document, "OPTIONS", (*path, "options", number, index), message)


def _elicitation(document: Document, path: JsonPath, prompt: Mapping[str, Any]) -> Iterator[Fault]:
    """What a written answer needs, and nothing of it where none is written."""
    kind = prompt["elicitation"]
    for key, (needed, taken) in _WRITTEN_KEYS.items():
        if kind in needed and key not in prompt:
            message = f"A prompt with the elicitation {kind!r} needs {key!r}."
            yield fault_at(document, "ELICITATION", (*path, "elicitation"), message, key=True)
        elif kind not in taken and key in prompt:
            message = f"{key!r} is for prompts with the elicitation {' or '.join(map(repr, taken))}."
            yield fault_at(document, "ELICITATION", (*path, key), message, key=True)
    if kind == "sampled":
        yield from _drawn(document, path, prompt)
    if kind != "verbalized":
        return
    for number, forms in enumerate(prompt["options"]):
        if len(forms) != 1 or _NAME.fullmatch(forms[0]) is None:
            message = "In a written distribution an option has one name, of letters without blanks."
            yield fault_at(document, "OPTIONS", (*path, "options", number), message)
    for kind, cue in prompt["cue"].items():
        if cue != cue.rstrip(" "):
            message = "The cue ends with a blank, which a tokenizer would put before the answer's first word."
            yield fault_at(document, "CUE", (*path, "cue", kind), message)


_BOTH, _SAMPLED = ("verbalized", "sampled"), ("sampled",)
_WRITTEN_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "max_new_tokens": (_BOTH, _BOTH),
    "zero_percent": (("verbalized",), ("verbalized",)),
    "samples": (_SAMPLED, _SAMPLED),
    "temperature": ((), _SAMPLED),
    "top_p": ((), _SAMPLED),
}
"""Key to the elicitations that need it, and those that take it."""


def _drawn(document: Document, path: JsonPath, prompt: Mapping[str, Any]) -> Iterator[Fault]:
    """What answers that are drawn need: a sample in each order, and answers that are lines without blanks around."""
    if "samples" in prompt and prompt["samples"] % len(prompt["orders"]):
        message = f"{prompt['samples']} samples cannot be shared by {len(prompt['orders'])} orders alike."
        yield fault_at(document, "SAMPLES", (*path, "samples"), message, "Give a multiple of the number of orders.")
    for number, forms in enumerate(prompt["options"]):
        for index, form in enumerate(forms):
            if form != form.strip() or "\n" in form:
                message = f"The answer {shown(form)} is compared with a line without blanks around it."
                yield fault_at(document, "OPTIONS", (*path, "options", number, index), message, "Leave the blanks out.")


def _labels(document: Document, path: JsonPath, prompt: Mapping[str, Any], labels: list[str]) -> Iterator[Fault]:
    for number, order in enumerate(prompt["orders"]):
        if sorted(order) != sorted(labels):
            message = f"An order must list every label of the task once: {', '.join(labels)}."
            yield fault_at(document, "ORDERS", (*path, "orders", number), message)
    if len(prompt["options"]) != len(labels):
        message = f"There are {len(prompt['options'])} options for {len(labels)} labels."
        yield fault_at(document, "OPTIONS", (*path, "options"), message, key=True)
    for label in prompt.get("shows", {}):
        if label not in labels:
            yield _unknown(document, (*path, "shows", label), "label", label, labels, key=True)


def _templates(
    document: Document, path: JsonPath, prompt: Mapping[str, Any], labels: list[str], fields: list[str]
) -> Iterator[Fault]:
    shows = prompt.get("shows", {})
    options = [f"option_{position}" for position in range(1, len(labels) + 1)]
    yield from _template(document, (*path, "template"), prompt["template"], [*fields, *options])
    for label, template in shows.items():
        yield from _template(document, (*path, "shows", label), template, fields)

    used = variables(prompt["template"])
    used_options = [name for name in used if name in options]
    if used_options and (unshown := [label for label in labels if label not in shows]):
        message = f"The template uses {used_options[0]!r}, but 'shows' lacks {', '.join(map(repr, unshown))}."
        yield fault_at(document, "SHOWS", (*path, "shows" if shows else "template"), message, key=True)
    if not used_options and len(prompt["orders"]) > 1:
        message = "There are several orders, but the template shows no option, so they ask the same question."
        yield fault_at(document, "ORDERS", (*path, "orders"), message, key=True)
    shown_fields = [name for template in shows.values() for name in variables(template)] if used_options else []
    if not {*used, *shown_fields} & {*fields}:
        message = "The template uses no field of the item, so every item gets the same question."
        yield fault_at(document, "TEMPLATE", (*path, "template"), message, key=True)
    shorten = prompt.get("shorten")
    if shorten is not None and shorten not in fields:
        yield _unknown(document, (*path, "shorten"), "field", shorten, fields)
    elif shorten is not None and shorten not in used:
        message = f"The field {shorten!r} may be shortened, but the template does not use it."
        yield fault_at(document, "SHORTEN", (*path, "shorten"), message)


def variables(template: str) -> list[str]:
    """Names that `template` refers to as `$name` or `${name}`."""
    return Template(template).get_identifiers()


def _template(document: Document, path: JsonPath, template: str, known: list[str]) -> Iterator[Fault]:
    if not Template(template).is_valid():
        hint = "Write $name for a field, or $$ for a dollar sign."
        yield fault_at(document, "TEMPLATE", path, "The text has a '$' that begins no name.", hint)
    for name in variables(template):
        if name not in known:
            message = f"The text uses ${shown(name)[1:-1]}, which is not known here."
            yield fault_at(document, "TEMPLATE", path, message, did_you_mean(name, known))


def _inference_2(document: Document) -> bool:
    return _section(document, "scoring") is None or bool(scoring_of(document.value)["inference"] > 1)


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
    tasks = _section(document, "tasks") or {}
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
    tasks, datasets = _section(document, "tasks"), _section(document, "datasets")
    fit: JsonPath = ("scoring", "fit", "split")
    needed = {suite["split"]: "this suite scores"}
    if sound(fit) and sound(("scoring", "primary")) and isinstance(document.value.get("scoring"), dict):
        needed.setdefault(scoring_of(document.value)["fit"]["split"], "scoring.fit.split names")
    for task, dataset in suite["datasets"].items():
        at: JsonPath = (*path, "datasets", task)
        if tasks is not None and task not in tasks:
            yield _unknown(document, at, "task", task, tasks, key=True)
        if datasets is None:
            continue
        if dataset not in datasets:
            yield _unknown(document, at, "dataset", dataset, datasets)
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


def _unknown(
    document: Document, path: JsonPath, kind: str, name: str, known: Mapping[str, Any] | list[str], *, key: bool = False
) -> Fault:
    message = f"There is no {kind} {shown(name)}."
    return fault_at(document, f"UNKNOWN_{kind.upper()}", path, message, did_you_mean(name, known), key=key)
