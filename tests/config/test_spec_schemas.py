"""The schemas: closed, documented, with examples that hold, and in step with the words that check has for them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from runner.config.cross_checks import disagreements
from runner.config.schema import schema_faults
from runner.config.source import parse
from runner.config.submission import submission_faults
from runner.core import resources

NAMES = ["benchmark", "recipe", "submission", "sweep", "sweep-state"]
ANNOTATIONS = {"$schema", "$id", "$ref", "$defs", "title", "description", "examples", "default"}
WORDED = {
    "type", "const", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength",
    "maxLength", "minItems", "maxItems", "minProperties", "uniqueItems", "required", "additionalProperties",
    "propertyNames", "properties", "items",
}  # fmt: skip


def schema(name: str) -> dict[str, Any]:
    text = (resources.schema_folder() / f"{name}.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def subschemas(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield part
    for key in ("properties", "$defs"):
        for inner in part.get(key, {}).values():
            yield from subschemas(inner)
    for key in ("items", "propertyNames", "additionalProperties"):
        if isinstance(part.get(key), dict):
            yield from subschemas(part[key])


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_a_schema_with_a_name_that_nobody_can_take(name: str) -> None:
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["$id"] == f"https://moral-ambiguity.example/schemas/{name}/v1"


@pytest.mark.parametrize("name", NAMES)
def test_every_object_is_closed_and_says_so(name: str) -> None:
    for part in subschemas(schema(name)):
        if part.get("type") == "object":
            assert "additionalProperties" in part, part
            assert part["additionalProperties"] is False or "properties" not in part
        assert not {"oneOf", "anyOf", "allOf", "not", "if"} & set(part), part
        assert set(part) <= ANNOTATIONS | WORDED, part


@pytest.mark.parametrize("name", NAMES)
def test_every_property_has_a_title_a_description_and_examples_that_hold(name: str) -> None:
    root = schema(name)
    seen = 0
    for part in subschemas(root):
        for key, inner in part.get("properties", {}).items():
            target = root["$defs"][inner["$ref"].removeprefix("#/$defs/")] if "$ref" in inner else {}
            documented = {**target, **inner}
            assert {"title", "description", "examples"} <= set(documented), key
            for example in documented["examples"]:
                validator = Draft202012Validator({**inner, "$defs": root["$defs"]})
                assert validator.is_valid(example), (key, example)
                seen += 1
    assert seen > 10


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("type", {"name": []}), ("const", {"schema_version": "2"}), ("pattern", {"name": "A"}),
        ("maxLength", {"description": "x" * 2001}), ("enum", {"model": {"dtype": "x"}}),
        ("minLength", {"model": {"path": ""}}), ("required", {}), ("additionalProperties", {"zebra": 1}),
    ],
)  # fmt: skip
def test_submission_keywords_have_words(keyword: str, value: dict[str, Any]) -> None:
    assert keyword in json.dumps(schema("submission"))
    document = parse(json.dumps(value).encode(), "s.yaml", 1 << 20)
    faults, bad = schema_faults(document, "submission")
    assert faults
    assert bad
    for fault in faults:
        assert fault.code == "SCHEMA"
        assert fault.message.endswith(".")
        assert len(fault.message) < 200


@pytest.mark.parametrize(
    "value",
    [
        {"datasets": {}}, {"datasets": {"a": {"splits": {"test": {"rows": 0}}}}}, {"datasets": {"A": 1}},
        {"scoring": {"fit": {"seed": 2**53 - 1, "folds": 1001}}}, {"scoring": {"intervals": {"level": 0}}},
        {"scoring": {"intervals": {"level": 1}}}, {"scoring": {"metrics": []}}, {"scoring": {"metrics": ["kl", "kl"]}},
        {"tasks": {"a": {"labels": [f"a{number}" for number in range(65)]}}},
    ],
)  # fmt: skip
def test_benchmark_keywords_have_words_and_cross_checks_keep_off_broken_parts(value: dict[str, Any]) -> None:
    document = parse(json.dumps(value).encode(), "b.yaml", 1 << 20)
    faults, bad = schema_faults(document, "benchmark")
    assert faults
    assert all(fault.message.endswith(".") for fault in faults)
    assert list(disagreements(document, lambda path: not bad)) == []


def test_an_unknown_key_that_is_nearly_a_missing_one_is_told_once() -> None:
    document = parse(b"schema_version: '1'\nnam: x\nmodel: {}\n", "s.yaml", 1 << 20)
    faults, bad = schema_faults(document, "submission")
    told = [(fault.path, fault.hint) for fault in faults if fault.path in ("$.nam", "$.name")]
    assert told == [("$.nam", "Did you mean 'name'?")]
    assert {("nam",), ("name",), ("model", "backend")} <= bad


def test_a_missing_key_stands_at_the_key_of_its_parent() -> None:
    document = parse(b"schema_version: '1'\nname: x\nmodel:\n  backend: causal\n  format: plain\n", "s.yaml", 1 << 20)
    places = [(fault.path, fault.line, fault.column) for fault in submission_faults(document)]
    assert ("$.model.dtype", 3, 1) in places


def test_a_recipe_describes_its_base_as_a_submission_its_model() -> None:
    def bare(part: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in part.items() if key not in ("title", "description", "enum", "examples")}

    recipe, submission = schema("recipe"), schema("submission")
    for key, value in recipe["properties"]["base"]["properties"].items():
        assert bare(submission["properties"]["model"]["properties"][key]) == bare(value)
        assert set(value.get("enum", ())) <= set(submission["properties"]["model"]["properties"][key].get("enum", ()))
    for key, value in recipe["$defs"].items():
        assert key == "seed" or submission["$defs"][key] == value
