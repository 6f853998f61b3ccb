"""From the bytes of a `submission.yaml` to a frozen `Submission`, or every fault in it."""

import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.config.scalars import shown
from runner.config.schema import in_order, nearest, schema_faults, soundness
from runner.config.service import DEFAULT_BASE_URL, base_url_fault, normal_base_url
from runner.config.source import SUBMISSION_BYTES, Document, JsonPath, fault_at, read
from runner.core import canonical
from runner.core.errors import Fault, raise_faults
from runner.core.types import AdapterRef, HeadSpec, ModelRef, Price, ServiceRef, Submission, Thinking

_LONGEST_PATH = 4096
"""A path is never cut: it is there to be copied. No system has longer ones."""
_SOURCE_KEYS = frozenset({"path", "repository", "revision", "digest"})
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "causal": ("format", "dtype"),
    "encoder": ("dtype", "head"),
    "api": ("api", "model"),
}
"""By backend: the keys that its model must have."""
_TAKEN: Mapping[str, frozenset[str]] = {
    "causal": _SOURCE_KEYS | {"format", "template_arguments", "dtype", "quantization", "thinking", "system_prompt"},
    "encoder": _SOURCE_KEYS | {"dtype", "head"},
    "api": frozenset(
        {
            *("api", "model", "base_url", "api_version", "top_logprobs", "echo", "price", "parameters"),
            *("thinking", "system_prompt"),
        }
    ),
}
"""By backend: the keys that its model may have, besides `backend` itself."""
_TEMPLATE_NAMES = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "strftime_now", "raise_exception"}
)
"""What a chat template is given by the benchmark, besides the special tokens (`…_token`)."""
_HEADS: Mapping[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "classification": (("reads",), frozenset()),
    "ranking": ((), frozenset({"reads", "labels"})),
}
"""By kind of an encoder's head: the keys that it needs, and those that it has no use for."""


def load_submission(path: Path) -> Submission:
    """The submission in the file `path`, with the folders that it names made absolute.

    Raises `InvalidInput` with every fault: of reading (FILE_…, YAML_…), of shape (SCHEMA), and of the model's or the
    adapter's source (MODEL_SOURCE, PATH_ESCAPES, FILE_MISSING, FILE_NOT_REGULAR, FILE_UNREADABLE, API_BASE_URL,
    API_ECHO). What lies in the folders is not looked at here, and no service is contacted.
    """
    document = read(path, SUBMISSION_BYTES)
    raise_faults(submission_faults(document))
    return _submission(document)


def submission_faults(document: Document) -> tuple[Fault, ...]:
    """Every fault of a document that is meant to be a submission, in the order of the file."""
    faults, bad = schema_faults(document, "submission")
    faults += document.faults
    sound = soundness(bad)
    if not isinstance(document.value, dict):
        return in_order(faults)
    backend = None
    for part in ("model", "adapter"):
        if not isinstance(section := document.value.get(part), dict):
            continue
        # The keys are looked at one by one, so that a fault in one does not hide what is wrong with another.
        usable = {key: value for key, value in section.items() if sound((part, key))}
        whole = sound((part,))
        if part == "model":
            backend = usable.get("backend")
            wrong = list(_key_faults(document, section, backend)) if backend is not None else []
            wrong += _argument_faults(document, part, usable)
            wrong += _system_faults(document, part, usable)
            if isinstance(head := section.get("head"), dict) and "kind" in head and sound(("model", "head", "kind")):
                wrong += _head_faults(document, head)
            faults += wrong
            whole = whole and not wrong
        if backend == "api":
            faults += _service_faults(document, part, usable)
        else:
            faults += _source_faults(document, part, usable, whole)
    return in_order(faults)


def _key_faults(document: Document, model: Mapping[str, Any], backend: str) -> Iterator[Fault]:
    """Keys that the model's backend needs and lacks, or that only another backend takes."""
    others = frozenset[str]().union(*_TAKEN.values()) - _TAKEN[backend]
    unknown = [key for key in model if key not in _TAKEN[backend] | others | {"backend"}]
    missing = [key for key in _NEEDED[backend] if key not in model and ("model",) not in document.spoiled]
    suggested = {nearest(key, missing) for key in unknown}
    for key in missing:
        if key not in suggested:
            hint = f"The backend {backend} needs {' and '.join(map(repr, _NEEDED[backend]))}."
            yield fault_at(document, "SCHEMA", ("model", key), f"The key {key!r} is missing.", hint)
    for key in model:
        if key in others:
            message = f"The backend {backend} has no use for the key {key!r}."
            hint = f"It takes {', '.join(sorted(_TAKEN[backend]))}."
            yield fault_at(document, "SCHEMA", ("model", key), message, hint, key=True)


def _argument_faults(document: Document, part: str, model: Mapping[str, Any]) -> Iterator[Fault]:
    """Arguments of a chat template where none is used, or in place of what the benchmark gives it."""
    arguments = model.get("template_arguments")
    if not isinstance(arguments, dict):
        return
    if model.get("format") == "plain":
        message = "In plain text no chat template is used, so it takes no 'template_arguments'."
        yield fault_at(document, "SCHEMA", (part, "template_arguments"), message, "Delete the key.", key=True)
    for name in arguments:
        if isinstance(name, str) and (name in _TEMPLATE_NAMES or name.endswith("_token")):
            message = f"The chat template is given {name!r} by the benchmark."
            hint = "Give only arguments of the template's own, such as `enable_thinking`."
            yield fault_at(document, "SCHEMA", (part, "template_arguments", name), message, hint, key=True)


def _system_faults(document: Document, part: str, model: Mapping[str, Any]) -> Iterator[Fault]:
    """A turn of the system where there are no turns."""
    if "system_prompt" in model and (model.get("format") == "plain" or model.get("api") == "completions"):
        message = "Plain text has no turns, so there is none of the system either."
        yield fault_at(document, "SCHEMA", (part, "system_prompt"), message, "Delete the key.", key=True)


def _service_faults(document: Document, part: str, usable: Mapping[str, Any]) -> Iterator[Fault]:
    if part == "adapter":
        yield fault_at(document, "MODEL_SOURCE", (part,), "A service takes no adapter.", key=True)
        return
    if "base_url" in usable and (problem := base_url_fault(usable["base_url"])) is not None:
        hint = "Give https://HOST/PATH, or http://HOST:PORT/PATH where encryption is not to be had."
        yield fault_at(document, "API_BASE_URL", (part, "base_url"), problem, hint)
    if usable.get("echo") is True and usable.get("api") == "chat":
        message = "A chat cannot echo: 'echo' goes with 'api: completions' only."
        yield fault_at(document, "API_ECHO", (part, "echo"), message)


def place_faults(document: Document, part: str, sound: Callable[[JsonPath], bool]) -> Iterator[Fault]:
    """Faults of the model's source under the key `part` of a recipe, as far as that is readable."""
    if isinstance(document.value, dict) and isinstance(section := document.value.get(part), dict):
        usable = {key: value for key, value in section.items() if sound((part, key))}
        yield from _source_faults(document, part, usable, sound((part,)))
        yield from _argument_faults(document, part, usable)


def _head_faults(document: Document, head: Mapping[str, Any]) -> Iterator[Fault]:
    """Keys that the kind of an encoder's head needs and lacks, or has no use for."""
    kind = head["kind"]
    needed, useless = _HEADS[kind]
    for key in needed:
        if key not in head:
            message = f"The key {key!r} is missing, which a {kind} head needs."
            yield fault_at(document, "SCHEMA", ("model", "head", key), message)
    for key in head:
        if key in useless:
            message = f"A {kind} head has no use for the key {key!r}."
            yield fault_at(document, "SCHEMA", ("model", "head", key), message, "Delete it.", key=True)


def _source_faults(document: Document, part: str, usable: Mapping[str, Any], whole: bool) -> Iterator[Fault]:
    section: dict[str, Any] = document.value[part]
    if "path" in section and (other := next((key for key in ("repository", "revision") if key in section), None)):
        message = f"There is both a 'path' and a {other!r}."
        hint = "Give either 'path', or 'repository' with 'revision'."
        yield fault_at(document, "MODEL_SOURCE", (part, other), message, hint, key=True)
    elif "repository" in section and "revision" not in section:
        message = "A 'repository' needs a 'revision'."
        hint = "Give the full commit id, 40 hex digits: branches and tags move."
        yield fault_at(document, "MODEL_SOURCE", (part, "repository"), message, hint, key=True)
    elif "revision" in section and "repository" not in section:
        message = "A 'revision' needs a 'repository'."
        yield fault_at(document, "MODEL_SOURCE", (part, "revision"), message, key=True)
    elif not {"path", "repository"} & set(section) and whole:
        message = f"The {part} has no place."
        hint = "Give either 'path', or 'repository' with 'revision'."
        yield fault_at(document, "MODEL_SOURCE", (part,), message, hint, key=True)
    if "path" in usable:
        yield from _folder_faults(document, (part, "path"), usable["path"])


def _folder_faults(document: Document, at: JsonPath, path: str) -> Iterator[Fault]:
    home, named = Path(document.file).parent, shown(path, _LONGEST_PATH)
    if "\0" in path:
        yield fault_at(document, "FILE_MISSING", at, f"No folder can be named {named}.")
        return
    if _parts(home, path) is None:
        message = f"The path {named} leads further than to a folder beside the submission's."
        hint = "Move the files into it or beside it, or give an absolute path."
        yield fault_at(document, "PATH_ESCAPES", at, message, hint)
        return
    folder = _absolute(home, path)
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            yield fault_at(document, "FILE_NOT_REGULAR", at, f"{named} is not a folder.")
        elif not Path(path).is_absolute() and not folder.resolve().is_relative_to(_allowed(home, path)):
            message = f"The path {named} leads out of its folder through a link."
            hint = "Put the files themselves into it, or give an absolute path."
            yield fault_at(document, "PATH_ESCAPES", at, message, hint)
    except (FileNotFoundError, NotADirectoryError):
        message = f"There is no folder {named}."
        yield fault_at(
            document, "FILE_MISSING", at, message, f"It was looked for at {shown(str(folder), _LONGEST_PATH)}."
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        yield fault_at(document, "FILE_UNREADABLE", at, f"The folder {named} cannot be read: {reason}.")


def _parts(home: Path, path: str) -> list[str] | None:
    """The parts of a path with `..` worked out, a relative one from the parent of `home`, or None where it leaves that.

    A neighbour may be named (`../base/model`), so that an adapter need not copy its base; nothing further up may.
    """
    absolute = Path(path).is_absolute()
    parts: list[str] = [] if absolute else [home.resolve().name]
    for part in Path(path).parts:
        if part != "..":
            parts.append(part)
        elif len(parts) > (1 if absolute else 0):
            parts.pop()
        elif not absolute:
            return None
    return parts or None


def _allowed(home: Path, path: str) -> Path:
    """The folder in which a relative path must end: the submission's own, or the neighbour's that it names."""
    parts = _parts(home, path) or []
    return home.resolve().parent.joinpath(*parts[:1])


def _absolute(home: Path, path: str) -> Path:
    return home.resolve().parent.joinpath(*(_parts(home, path) or ()))


def _submission(document: Document) -> Submission:
    value = document.value
    home = Path(document.file).parent
    model = value["model"]
    service = _service(model) if model["backend"] == "api" else None
    return Submission(
        name=value["name"],
        description=value.get("description", ""),
        digest=canonical.digest(value),
        source=document.data,
        model=model_ref(home, model),
        adapter=AdapterRef(**_source(home, value["adapter"])) if "adapter" in value else None,
        service=service,
    )


def _service(model: Mapping[str, Any]) -> ServiceRef:
    price = model.get("price")
    parameters = model.get("parameters", {})
    return ServiceRef(
        base_url=normal_base_url(model.get("base_url", DEFAULT_BASE_URL)),
        model=model["model"],
        api=model["api"],
        top_logprobs=int(model.get("top_logprobs", 20)),
        echo=model.get("echo", False),
        price=None if price is None else Price(price["currency"], float(price["input"]), float(price["output"])),
        api_version=model.get("api_version"),
        max_tokens_name=parameters.get("max_tokens_name"),
        thinking=_thinking(model["thinking"]) if "thinking" in model else None,
        system_prompt=model.get("system_prompt"),
        omitted=tuple(sorted(name for name, value in parameters.items() if value is None)),
        neutral=tuple(sorted((name, value) for name, value in parameters.items() if isinstance(value, int | float))),
    )


def model_ref(home: Path, model: Mapping[str, Any]) -> ModelRef:
    """The model that a file in the folder `home` describes by the value `model`."""
    quantization = model.get("quantization", "none")
    source = _source(home, model)
    return ModelRef(
        backend=model["backend"],
        format=_format(model),
        dtype=model.get("dtype", ""),
        quantization=None if quantization == "none" else quantization,
        head=_head(model["head"]) if "head" in model else None,
        template_arguments=model.get("template_arguments", {}),
        thinking=_thinking(model["thinking"]) if "thinking" in model else None,
        system_prompt=model.get("system_prompt"),
        path=source["path"],
        repository=source["repository"],
        revision=source["revision"],
        digest=source["digest"],
    )


def _format(model: Mapping[str, Any]) -> str | None:
    if model["backend"] == "encoder":
        return None
    return str(model.get("format") or ("chat" if model.get("api") == "chat" else "plain"))


def _thinking(value: Mapping[str, Any]) -> Thinking:
    return Thinking(value["open"], value["close"], int(value["max_thought_tokens"]))


def _head(value: Mapping[str, Any]) -> HeadSpec:
    return HeadSpec(
        task=value["task"],
        kind=value["kind"],
        max_tokens=int(value["max_tokens"]),
        reads=tuple(value.get("reads", ())),
        labels=tuple(value["labels"]) if "labels" in value else None,
        concentration=value.get("concentration", "fitted"),
    )


def _source(home: Path, reference: Mapping[str, str]) -> dict[str, str | None]:
    path = reference.get("path")
    return {
        "path": None if path is None else str(_absolute(home, path)),
        "repository": reference.get("repository"),
        "revision": reference.get("revision"),
        "digest": reference.get("digest"),
    }
