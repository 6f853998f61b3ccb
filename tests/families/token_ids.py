"""Token ids beside those of transformers 4.57, on many prompts: each true vocabulary and template, without a model.

    python tests/families/token_ids.py --data FILE.jsonl --peer-python PYTHON [--items 200] [--only NAME]

The prompts are `dilemmas-letters` of the released benchmark in both orders, with all their options. Exit code 1 if ids
differ; a BOS that we put in front where the template renders none is no difference if the tokenizer's default adds it.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agreement"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import pytest
from compare import read_prompts
from families import FAMILIES, MADE, Family, write_tokenizer
from measure import Peer

from runner.core.errors import UserError
from runner.core.types import Prompt
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import Format, encode_all

_ORDERS = 2
_LENGTH = 8192
"""Of the model's context, which no prompt here fills."""


def compare(family: Family, form: Format, prompts: Sequence[Prompt], peer: Peer) -> tuple[int, str]:
    """How many prompts are read otherwise, and a word about it; raises `pytest.skip.Exception` without the package."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer(family, folder)
        arguments = json.loads(family.arguments or "{}") if form == "chat" else {}
        try:
            encoded = encode_all(prompts, load_tokenizer(folder), form, _LENGTH, arguments)
        except UserError as problem:
            return 0, f"refused: {problem.faults[0].code}"
        own = [[[*each.prefix.tolist(), *tail] for tail in each.tails] for each in encoded]
        answer = peer.ids(folder, form, prompts, arguments)
    if answer is None or "error" in answer:
        return len(prompts), f"not compared: {answer and answer['error']}"
    differ = sum(whole != mine for (_, *whole), mine in zip(answer["ids"], own, strict=True))
    return differ, f"{differ} of {len(own)} differ" if differ else f"equal{' behind a BOS' * answer['added']}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each family and format; 1 if ids differ or could not be compared."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a released file of Dilemmas")
    parser.add_argument("--peer-python", required=True, help="the interpreter of an environment with transformers 4.57")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--only", default="", help="part of a family's name")
    options = parser.parse_args(arguments)
    prompts = read_prompts(options.data, "dilemmas-letters", options.items * _ORDERS)
    print(f"{len(prompts) // _ORDERS} Dilemmas, {len(prompts)} prompts", flush=True)
    peer = Peer(options.peer_python)
    worst = 0
    for family in FAMILIES:
        if family.vocabulary == MADE or options.only not in family.name:
            continue
        forms: tuple[Format, ...] = ("chat", "plain") if family.template else ("plain",)
        for form in forms:
            try:
                differ, found = compare(family, form, prompts, peer)
            except pytest.skip.Exception as problem:
                differ, found = 0, f"not tried: {problem.msg}"
            worst = max(worst, differ)
            print(f"{family.name} ({family.vocabulary}), {form}: {found}", flush=True)
    peer.close()
    return int(worst > 0)


if __name__ == "__main__":
    sys.exit(main())
