"""Keys, a keyring, and signed cards made in milliseconds from one real run."""

import copy
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from runner.archive.heads import HEAD_TYPE
from runner.config.benchmark import load_benchmark
from runner.core import resources
from runner.core.canonical import manifest_digest, sha256_bytes
from runner.evaluation.run_dir import write_card
from runner.scorecard import filenames
from runner.signing import keys, sign
from runner.signing.keyring import Keyring, parse_keyring

Json = dict[str, Any]


def key_entry(key: Ed25519PrivateKey, role: str, owner: str, **more: Any) -> Json:
    return {
        "keyid": keys.keyid(key),
        "owner": owner,
        "pem": keys.public_pem(key),
        "scheme": "ed25519",
        "predicate_types": [sign.PREDICATE_TYPE],
        "role": role,
        "not_before": None,
        "not_after": None,
        "revoked": None,
        **more,
    }


def keyring_document(*entries: Json) -> Json:
    versions = {"lowest": "1", "withdrawn": []}
    return {
        "schema_version": "1",
        "policy": {
            "predicate_types": [sign.PREDICATE_TYPE, HEAD_TYPE],
            "schema_version": versions,
            "benchmark_version": {"lowest": "1.0.0", "withdrawn": []},
        },
        "keys": list(entries),
    }


def keyring_of(*entries: Json) -> Keyring:
    return parse_keyring(json.dumps(keyring_document(*entries)).encode())


class People:
    """A lab, a verifier, a maintainer who signs heads, and a stranger whom the keyring does not know."""

    def __init__(self) -> None:
        self.lab, self.verifier, self.maintainer, self.stranger = (Ed25519PrivateKey.generate() for _ in range(4))
        self.entries = [
            key_entry(self.lab, "lab", "A lab"),
            key_entry(self.verifier, "verifier", "The organisers"),
            key_entry(self.maintainer, "verifier", "The maintainer", predicate_types=[HEAD_TYPE]),
        ]
        self.keyring = keyring_of(*self.entries)


def maker(card: Json, place: Path, parent: Path, default_key: Ed25519PrivateKey) -> Callable[..., Path]:
    """Cards as if of a model on the released test split: the real card with another name and other values."""
    pinned = load_benchmark(resources.benchmark_file()).datasets["scruples-dilemmas"].splits["test"]
    environment = (place / filenames.ENVIRONMENT).read_bytes()
    benchmark = (place / filenames.BENCHMARK).read_bytes()

    def make(
        name: str,
        value: float = 0.6,
        *,
        key: Ed25519PrivateKey = default_key,
        half_width: float = 0.01,
        model: str | None = "someone/model",
        prompts: tuple[str, ...] | None = ("dilemmas-letters", "dilemmas-numbers", "dilemmas-words"),
        edit: Callable[[Json], None] = lambda card: None,
        predictions: bytes | None = b'{"task":"dilemmas","item_id":"1","log_scores":[-1.0,-2.0]}\n',
        again: int = 0,
    ) -> Path:
        made = copy.deepcopy(card)
        files = [{"name": "model/config.json", "size": 2, "sha256": sha256_bytes(name.encode())}]
        made["submission"] = {
            "name": name,
            "digest": manifest_digest(files),
            "files": files,
            "adapter": None,
            "model": model
            and {
                "repository": model,
                "revision": None,
                "folder": None,
                "digest": manifest_digest(files),
                "backend": "causal",
                "format": "plain",
                "dtype": "float32",
                "quantization": None,
                "facts": {},
            },
        }
        made.update(suite="full", comparable=True, not_comparable=[], missing_tasks=[])
        made["data"] = {"scruples-dilemmas/test": {"sha256": pinned.sha256, "rows": pinned.rows}}
        made["run"]["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {again}"))
        task = made["tasks"]["dilemmas"]
        task.update(dataset="scruples-dilemmas", synthetic=False)
        task["prompts"] = prompts and {prompt: f"sha256:{sha256_bytes(prompt.encode())}" for prompt in prompts}
        task["views"] = [
            {"prompt_id": prompt, "order": order}
            for prompt in prompts or (None,)
            for order in range(2 if prompt else 1)
        ]
        interval = {"lower": value - half_width, "upper": value + half_width, "level": 0.95}
        task["metrics"]["cross_entropy"].update(
            value=value, standard_error=half_width / 2, confidence_interval=interval
        )
        made["predictions"] = {"sha256": sha256_bytes(predictions or b""), "rows": 1}
        edit(made)
        folder = parent / f"{abs(hash((name, again)))}-{keys.keyid(key)[:8]}"
        folder.mkdir(parents=True)
        (folder / filenames.ENVIRONMENT).write_bytes(environment)
        (folder / filenames.BENCHMARK).write_bytes(benchmark)
        if predictions is not None:
            (folder / filenames.PREDICTIONS).write_bytes(predictions)
        write_card(folder, made, key)
        return folder

    return make
