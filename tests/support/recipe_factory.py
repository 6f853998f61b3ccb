"""Recipes over small models, written and run in a folder."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from runner.training import Settings, finetune

RECIPE: dict[str, Any] = {
    "schema_version": "1",
    "name": "made",
    "base": {"backend": "causal", "path": "model", "format": "plain", "dtype": "float32"},
    "data": {"suite": "sample", "tasks": ["dilemmas"], "items": 24},
    "objective": {"kind": "soft_cross_entropy"},
    "method": {"kind": "lora", "rank": 4, "alpha": 8, "target_modules": ["q_proj", "v_proj"]},
    "training": {"learning_rate": 0.003, "steps": 6, "batch_size": 4, "seed": 3},
    "evaluation": {"every": 3, "items": 10},
}


def changed(value: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with some keys replaced; None takes a key away, a mapping changes what is below."""
    made = copy.deepcopy(dict(value))
    for key, change in changes.items():
        if change is None:
            made.pop(key, None)
        elif isinstance(change, Mapping) and isinstance(made.get(key), Mapping):
            made[key] = changed(made[key], change)
        else:
            made[key] = change
    return made


@dataclass(frozen=True)
class Workshop:
    """A folder with a model, in which recipes are written and run."""

    home: Path

    def recipe(self, **changes: Any) -> Path:
        path = self.home / "recipe.yaml"
        path.write_text(yaml.safe_dump(changed(RECIPE, changes)), encoding="utf-8")
        return path

    def train(self, out: str = "out", observe: Any = None, **changes: Any) -> tuple[Path, dict[str, Any]]:
        settings = Settings(self.home / out, self.home / "data")
        return finetune(self.recipe(**changes), settings, observe or (lambda *_: None), lambda rows: b"<svg/>")


def dilemma(item: str, first: str, second: str, votes: tuple[int, int] = (3, 2)) -> dict[str, Any]:
    """A row of Dilemmas."""
    actions = [{"id": f"{item}-{number}", "description": text} for number, text in enumerate((first, second))]
    return {"id": item, "actions": actions, "gold_annotations": votes, "human_perf_annotations": votes}
