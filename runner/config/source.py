"""Read YAML that a stranger wrote: JSON values only, each with the line and column it stands at."""

import codecs
import errno
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from runner.config.scalars import ScalarFault, plain, shown
from runner.core.errors import Fault, InvalidInput
from runner.core.files import read_regular

SUBMISSION_BYTES = 64 << 10
BENCHMARK_BYTES = 1 << 20
MAX_DEPTH = 16

JsonPath = tuple[str | int, ...]
Position = tuple[int, int]

_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
# Not printable, or a line break to YAML 1.1 and not to YAML 1.2 (U+0085, U+2028, U+2029), or invisible (U+FEFF).
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]",
)
_LINE_BREAK = re.compile("\r\n|\r|\n")
_IDENTIFIER = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_UNUSABLE = "?"


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file as a JSON value, with the line and column (from 1) of everything in it."""

    file: str
    """Name of the file."""
    data: bytes
    """Bytes of the file."""
    value: Any
    """The JSON value."""
    positions: Mapping[JsonPath, Position]
    """JSON path to the line and column of the value there."""
    key_positions: Mapping[JsonPath, Position]
    """JSON path of a value to the line and column of the key that leads to it."""
    faults: tuple[Fault, ...]
    """Faults that leave the rest of the document readable."""
    spoiled: frozenset[JsonPath]
    """JSON paths whose values are unreliable because of a fault."""


@dataclass(slots=True)
class _Notes:
    """What accumulates while a document is read."""

    file: str
    """Name of the file."""
    positions: dict[JsonPath, Position] = field(default_factory=dict)
    """JSON path to the line and column of the value there."""
    key_positions: dict[JsonPath, Position] = field(default_factory=dict)
    """JSON path of a value to the line and column of its key."""
    faults: list[Fault] = field(default_factory=list)
    """Faults so far."""
    spoiled: set[JsonPath] = field(default_factory=set)
    """JSON paths whose values are unreliable."""

    def add(
        self, code: str, position: Position, message: str, hint: str | None = None, path: JsonPath | None = None
    ) -> None:
        written = None if path is None else json_path(path)
        self.faults.append(Fault(code, message, self.file, *position, path=written, hint=hint))

    def stop(self, code: str, position: Position, message: str, hint: str | None = None) -> NoReturn:
        self.add(code, position, message, hint)
        raise InvalidInput(*self.faults)


def read(path: Path, max_bytes: int) -> Document:
    """The document in the file `path`; raises `InvalidInput` as `parse` does, and when the file cannot be read."""
    return parse(read_bytes(path, max_bytes), str(path), max_bytes)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """At most `max_bytes + 1` bytes of a regular file; raises `InvalidInput` for anything else."""
    file = str(path)
    try:
        return read_regular(path, max_bytes)
    except IsADirectoryError:
        message, inside = "This is a folder, a file was expected.", "Name the YAML file inside it."
        raise InvalidInput(Fault("FILE_NOT_REGULAR", message, file, hint=inside)) from None
    except FileNotFoundError:
        recipe = path.with_name("recipe.yaml")
        trained = path.name == "submission.yaml" and recipe.is_file()
        hint = f"It is written by `benchmark finetune {recipe}`." if trained else None
        raise InvalidInput(Fault("FILE_MISSING", "There is no such file.", file, hint=hint)) from None
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENXIO, errno.EAGAIN):
            message = "This is not a regular file, a file was expected."
            raise InvalidInput(Fault("FILE_NOT_REGULAR", message, file)) from None
        reason = error.strerror or type(error).__name__
        raise InvalidInput(Fault("FILE_UNREADABLE", f"This cannot be read: {reason}.", file)) from None
    except ValueError:  # a null character in the name
        raise InvalidInput(Fault("FILE_MISSING", "No file can have this name.", ascii(file))) from None


def parse(data: bytes, file: str, max_bytes: int) -> Document:
    """The JSON value of a YAML document, or `InvalidInput` where the document cannot be read to its end.

    That is so for: too many bytes, anything but plain UTF-8, a syntax error, a second document, nesting beyond 16
    (found on the event stream, so that depth cannot exhaust the parser). Tags, anchors, aliases, merge keys, duplicate
    keys, keys that are not text and scalars of more than one meaning are gathered in `Document.faults`.
    """
    notes = _Notes(file)
    if len(data) > max_bytes:
        notes.stop("YAML_TOO_LARGE", (1, 1), f"This is larger than {max_bytes:,} bytes, the most that is read.")
    events = _events(_text(data, notes), notes)
    next(events)  # the start of the stream
    if isinstance(next(events), yaml.StreamEndEvent):
        notes.stop("YAML_SYNTAX", (1, 1), "There is nothing in this file.")
    value = _value(events, next(events), (), 1, notes)
    next(events)  # the end of the document
    if not isinstance(event := next(events), yaml.StreamEndEvent):
        notes.stop("YAML_MULTI_DOC", _position(event), "A second document begins here, one was expected.")
    return Document(
        file, data, value, notes.positions, notes.key_positions, tuple(notes.faults), frozenset(notes.spoiled)
    )


def json_path(path: JsonPath) -> str:
    """`path` as RFC 9535 writes it: `$.tasks.dilemmas.labels[1]`, `$['a-b']`."""
    return "$" + "".join(_step(part) for part in path)


def fault_at(
    document: Document, code: str, path: JsonPath, message: str, hint: str | None = None, *, key: bool = False
) -> Fault:
    """A fault at the value that `path` leads to, or at its key; where there is none, at the nearest parent's key."""
    line, column = _nearest(document, path, key)
    return Fault(code, message, document.file, line, column, json_path(path), hint)


def _nearest(document: Document, path: JsonPath, key: bool) -> Position:
    if key and path in document.key_positions:
        return document.key_positions[path]
    if path in document.positions:
        return document.positions[path]
    return _nearest(document, path[:-1], key=True) if path else (1, 1)


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    if _IDENTIFIER.fullmatch(part):
        return f".{part}"
    return f"[{shown(part)}]"


def _text(data: bytes, notes: _Notes) -> str:
    if data.startswith(_BYTE_ORDER_MARKS):
        notes.stop("YAML_ENCODING", (1, 1), "It begins with a byte-order mark, plain UTF-8 was expected.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        position = _position_after(data[: error.start].decode("utf-8"))
        notes.stop("YAML_ENCODING", position, f"This is not UTF-8: {error.reason}.")
    if match := _FORBIDDEN.search(text):
        notes.stop(
            "YAML_ENCODING",
            _position_after(text[: match.start()]),
            f"The character U+{ord(match[0]):04X} may not stand in YAML as it is.",
            f'Write it as "{_escape(match[0])}" in double quotes, or leave it out.',
        )
    return text


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1] if character < "\x20" else f"\\u{ord(character):04x}"


def _position_after(before: str) -> Position:
    lines = _LINE_BREAK.split(before)
    return len(lines), len(lines[-1]) + 1


def _events(text: str, notes: _Notes) -> Iterator[yaml.Event]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_event():
            yield loader.get_event()  # type: ignore[no-untyped-call]
    except yaml.MarkedYAMLError as error:
        position = _mark(error.problem_mark or error.context_mark)
        context = f", {error.context}" if error.context else ""
        message = f"This is not YAML: {error.problem}{context}.".replace("\n", " ")
        hint = "Indent with spaces, not with tabs." if "'\\t'" in message else None
        notes.stop("YAML_SYNTAX", position, message, hint)
    except (ValueError, OverflowError):
        # PyYAML passes "\UFFFFFFFF" to chr() and the digits of %YAML to int() without looking at them.
        notes.stop("YAML_SYNTAX", _mark(loader.get_mark()), "This is not YAML: a number here is out of range.")
    finally:
        loader.dispose()


def _mark(mark: Any) -> Position:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _position(event: yaml.Event) -> Position:
    return _mark(event.start_mark)


def _value(events: Iterator[yaml.Event], event: yaml.Event, path: JsonPath, depth: int, notes: _Notes) -> Any:
    notes.positions.setdefault(path, _position(event))
    if isinstance(event, yaml.AliasEvent):
        _refuse_alias(event, path, notes)
        notes.spoiled.add(path)
        return None
    _refuse_properties(event, path, notes)
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, path, notes)
    if depth > MAX_DEPTH:
        notes.stop("YAML_TOO_DEEP", _position(event), f"Nested more than {MAX_DEPTH} levels deep.")
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_value(events, event, (*path, len(items)), depth + 1, notes))
        return items
    return _mapping(events, path, depth, notes)


def _mapping(events: Iterator[yaml.Event], path: JsonPath, depth: int, notes: _Notes) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _key(events, event, path, depth, notes)
        if key is None:
            notes.spoiled.add(path)
            _value(events, next(events), (*path, _UNUSABLE), depth + 1, notes)
            continue
        to = (*path, key)
        if key in mapping:
            first, _ = notes.key_positions[to]
            notes.add(
                "YAML_DUPLICATE_KEY",
                _position(event),
                f"The key {shown(key)} is given twice, first on line {first}.",
                path=to,
            )
            notes.spoiled.add(to)
        notes.key_positions.setdefault(to, _position(event))
        mapping.setdefault(key, _value(events, next(events), to, depth + 1, notes))
    return mapping


def _key(events: Iterator[yaml.Event], event: yaml.Event, path: JsonPath, depth: int, notes: _Notes) -> str | None:
    """The text of a key, or None with a fault noted where it has none."""
    if isinstance(event, yaml.AliasEvent):
        _refuse_alias(event, path, notes)
        return None
    if not isinstance(event, yaml.ScalarEvent):
        notes.add("YAML_KEY", _position(event), "A key is a list or a mapping, text was expected.", path=path)
        _value(events, event, (*path, _UNUSABLE), depth + 1, notes)
        return None
    _refuse_properties(event, path, notes)
    if event.style is None and event.value == "<<":
        notes.add("YAML_ALIAS", _position(event), "Merge keys (<<) are not read.", "Write the keys out.", path)
        return None
    try:
        key = plain(event.value) if event.style is None else event.value
    except ScalarFault as fault:
        notes.add(
            "YAML_KEY", _position(event), f"A key is not plainly text: {fault.message}", "Put the key in quotes.", path
        )
        return None
    if not isinstance(key, str):
        notes.add("YAML_KEY", _position(event), f"The key {event.value} is not text.", "Put the key in quotes.", path)
        return None
    return None if _refuse_surrogates(event, key, path, notes) else key


def _scalar(event: yaml.ScalarEvent, path: JsonPath, notes: _Notes) -> str | int | float | bool | None:
    if event.style is None and event.tag is None:
        try:
            return plain(event.value)
        except ScalarFault as fault:
            notes.add("YAML_SCALAR", _position(event), fault.message, fault.hint, path)
            notes.spoiled.add(path)
            return None
    if _refuse_surrogates(event, event.value, path, notes):
        notes.spoiled.add(path)
        return None
    return str(event.value)


def _refuse_surrogates(event: yaml.Event, text: str, path: JsonPath, notes: _Notes) -> bool:
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return False
    hint = "Write the character itself, or \\U and eight hex digits."
    notes.add("YAML_SCALAR", _position(event), "Half a character (\\ud800 to \\udfff) is not text.", hint, path)
    return True


def _refuse_alias(event: yaml.AliasEvent, path: JsonPath, notes: _Notes) -> None:
    notes.add(
        "YAML_ALIAS", _position(event), f"The alias *{shown(event.anchor)[1:-1]} is not read.", "Write it out.", path
    )


def _refuse_properties(event: yaml.Event, path: JsonPath, notes: _Notes) -> None:
    """Note a tag or an anchor before a scalar, a list or a mapping."""
    tag, anchor = getattr(event, "tag", None), getattr(event, "anchor", None)
    if tag is not None:
        notes.add("YAML_TAG", _position(event), f"The tag {shown(tag)} is not read.", "Leave the tag out.", path)
        notes.spoiled.add(path)
    if anchor is not None:
        message = f"The anchor &{shown(anchor)[1:-1]} is not read."
        notes.add("YAML_ALIAS", _position(event), message, "Leave it out, and write out what it stands for.", path)
