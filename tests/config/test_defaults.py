"""What the schema says that is taken where a benchmark is silent, and what is taken."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.own_benchmark import own_benchmark
from support.paths import ROOT

from runner.config import load_benchmark
from runner.config.defaults import SCORING, WARNINGS, scoring_of
from runner.core.benchmark_types import Benchmark, VoteSpec
from runner.core.resources import benchmark_file

SCHEMA = json.loads((ROOT / "schemas" / "benchmark.schema.json").read_bytes())
PROPERTIES: dict[str, Any] = SCHEMA["$defs"]["scoring"]["properties"]


def own(votes: Any = "n", **task: Any) -> dict[str, Any]:
    pin = {"file": "data.jsonl", "rows": 10, "sha256": "0" * 64}
    return own_benchmark(["yes", "no"], {"votes": votes}, {"path": "."}, {"test": pin}, **task)


def load(value: dict[str, Any], folder: Path) -> Benchmark:
    (folder / "benchmark.yaml").write_text(json.dumps(value), encoding="utf-8")
    return load_benchmark(folder / "benchmark.yaml")


def test_the_defaults_of_the_schema_are_those_of_the_code() -> None:
    said = {name: part["default"] for name, part in PROPERTIES.items() if "default" in part}
    assert said == {**SCORING, "warnings": WARNINGS}


def test_every_other_key_of_scoring_says_in_words_what_is_taken() -> None:
    silent = {name for name, part in PROPERTIES.items() if "default" not in part}
    assert silent == {"primary", "metrics", "inference"}
    words = PROPERTIES["metrics"]["description"]
    assert f"Left out: {', '.join(scoring_of(own())['metrics'])}, wasserstein where" in words
    assert "Default: 2, but 1 where 'metrics' are listed" in PROPERTIES["inference"]["description"]
    assert SCHEMA["$defs"]["scoring"]["required"] == ["primary"]


def test_what_is_left_out_is_as_if_the_schemas_defaults_were_written(tmp_path: Path) -> None:
    silent = own()
    written = own()
    written["scoring"] |= {name: part["default"] for name, part in PROPERTIES.items() if "default" in part}
    written["scoring"] |= {"metrics": scoring_of(silent)["metrics"], "inference": 2}
    written["scoring"]["fit"] = {**written["scoring"]["fit"], "split": "test"}
    assert load(silent, tmp_path).scoring == load(written, tmp_path).scoring


@pytest.mark.parametrize("name", ["fit", "ceiling", "intervals", "self_check"])
def test_a_part_that_is_written_in_part_keeps_the_rest(name: str, tmp_path: Path) -> None:
    for key, default in PROPERTIES[name]["default"].items():
        value = own()
        value["scoring"][name] = {key: default}
        assert scoring_of(value)[name][key] == default
        known = {other: said for other, said in PROPERTIES[name]["default"].items() if other != "changed_texts"}
        assert {other: scoring_of(value)[name][other] for other in known} == known


def test_the_default_warnings_are_those_of_the_released_benchmark() -> None:
    assert dict(load_benchmark(benchmark_file()).scoring.warnings) == WARNINGS
    assert set(PROPERTIES["warnings"]["properties"]) == set(WARNINGS)
    examples = {name: part["examples"] for name, part in PROPERTIES["warnings"]["properties"].items()}
    assert examples == {name: [limit] for name, limit in WARNINGS.items()}


def test_the_defaults_of_a_task(tmp_path: Path) -> None:
    parts = SCHEMA["$defs"]["task"]["properties"]
    votes = SCHEMA["$defs"]["votes"]["properties"]
    task = load(own({"counts": "n"}), tmp_path).tasks["question"]
    assert isinstance(task.item.votes, VoteSpec)
    assert task.item.missing_text == parts["item"]["properties"]["missing_text"]["default"]
    assert task.ordinal is parts["ordinal"]["default"]
    assert task.item.votes.missing == votes["missing"]["default"]
