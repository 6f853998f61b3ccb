"""What is kept of the experiment beside its cards: recipes, digests of what was trained, and the public key."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from runner.archive.get import get
from runner.archive.index import opened, read_index
from runner.archive.store import open_store


def trainings(submissions: Path) -> dict[str, Any]:
    """Name → recipe and the digests of what came of it; the weights themselves are not kept."""
    kept = {}
    for path in sorted(submissions.glob("*/training.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        recipe = yaml.safe_load((path.parent / "recipe.yaml").read_text(encoding="utf-8"))
        recipe["data"]["benchmark"] = "benchmark.yaml"
        fields = ("trained_on", "before", "files")
        kept[path.parent.name] = {
            "recipe": recipe,
            "base_digest": record["base"]["digest"],
            "steps": record["training"]["steps"],
            "training_seconds": record["training"]["seconds"],
            **{name: record[name] for name in fields},
        }
    return kept


def trust(public: Path, keyring: Path) -> None:
    """Add the public key to the keyring of the experiment, which begins with its first."""
    kinds = [f"https://moral-ambiguity.example/{kind}/v1" for kind in ("scorecard", "archive-head")]
    policy = {
        "predicate_types": kinds,
        "schema_version": {"lowest": "1", "withdrawn": []},
        "benchmark_version": {"lowest": "1.0.0", "withdrawn": []},
    }
    ring: dict[str, Any] = {"schema_version": "1", "policy": policy, "keys": []}
    if keyring.exists():
        ring = json.loads(keyring.read_text(encoding="utf-8"))
    pem = public.read_text(encoding="utf-8")
    der = base64.b64decode("".join(pem.splitlines()[1:-1]))
    key = {
        "keyid": hashlib.sha256(der).hexdigest(),
        "owner": "docs/experiment/run.py",
        "pem": pem,
        "scheme": "ed25519",
        "predicate_types": kinds,
        "role": "lab",
        "not_before": "2026-01-01T00:00:00Z",
        "not_after": None,
        "revoked": None,
    }
    if key["keyid"] not in [known["keyid"] for known in ring["keys"]]:
        ring["keys"].append(key)
        keyring.write_text(json.dumps(ring, indent=2) + "\n", encoding="utf-8")


def restore(folder: Path, out: Path) -> None:
    """Put the runs that the archive in `folder` holds back into `out`, and what they cost: they are not done again."""
    if not (folder / "archive").exists():
        return
    store = opened(open_store(str(folder / "archive")))
    for leaf in read_index(store).entries:
        runs = out / "runs" / str(leaf.summary["name"])
        if not list(runs.glob("*/scorecard.sigstore.json")):
            get(store, leaf.card, runs)
    costs = out / "costs.jsonl"
    if not costs.exists():
        rows = json.loads((folder / "costs.json").read_text(encoding="utf-8"))
        costs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
