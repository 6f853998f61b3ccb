"""Which families of models are run right, and which are refused for what reason: docs/families.md, by measurement.

    python tests/families/table.py [--write] [--peer-python PYTHON] [--only NAME]

Without `--write` it prints the page. Vocabularies and templates come from packages (`make real-models`); where one is
missing, the row says so. `--peer-python` names an environment with transformers 4.57, whose token ids are compared.
"""

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agreement"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from compare import read_prompts
from families import FAMILIES, MADE, Family
from measure import SCORED, Peer, Row, measure
from support import architectures
from support.paths import ROOT
from transformers.utils import logging

from runner.artifacts import FAMILIES as ARCHITECTURES
from runner.core.resources import embedded_data
from runner.models.local.loading import PACKED

PAGE = ROOT / "docs" / "families.md"
PROMPTS = 40
COLUMNS = (
    "family",
    "architecture, path",
    "vocabulary",
    "template",
    "validates as downloaded",
    "chat",
    "plain",
    "token ids: chat, plain",
    "log-probabilities: chat, plain",
    "adapter",
)


def rows(only: str, peer_python: str | None) -> list[Row]:
    """Measure the families whose names have `only` in them, one after the other."""
    dilemmas = embedded_data("sample") / "dev.sample-dilemmas.jsonl"
    prompts = read_prompts(dilemmas, "dilemmas-letters", PROMPTS)
    peer = Peer(peer_python)
    measured = []
    for family in FAMILIES:
        if only in family.name:
            with tempfile.TemporaryDirectory() as folder:
                measured.append(measure(family, Path(folder), prompts, peer))
            print(family.name, measured[-1].cells, file=sys.stderr, flush=True)
    peer.close()
    return measured


def line_of(row: Row) -> str:
    """A row of the table in Markdown."""
    family, cells = row.family, row.cells
    kind = architectures.FORMS[family.form][0] if family.form in architectures.FORMS else family.form
    path = "encoder" if family.is_encoder else "packed" if kind in PACKED else "general"

    def both(what: str) -> str:
        return ", ".join(cells[f"{what}, {form}"] for form in ("chat", "plain") if f"{what}, {form}" in cells)

    values = (
        family.name,
        f"`{kind}`, {path}",
        family.vocabulary,
        _template(family),
        cells["validates"],
        cells.get("chat", "—"),
        cells.get("plain", "—"),
        both("ids") or "—",
        cells.get("log-probabilities") or both("log-probabilities") or "—",
        cells.get("adapter", "—"),
    )
    return f"| {' | '.join(values)} |"


def page(measured: Sequence[Row]) -> str:
    """docs/families.md."""
    reasons = {
        fault.code: f"- `{fault.code}`, {row.family.name}: {fault.message} {fault.hint or ''}".rstrip()
        for row in reversed(measured)
        for fault in reversed(row.faults)
    }
    general = sorted(kind for kind, family in ARCHITECTURES.items() if family == "causal" and kind not in PACKED)
    parts = [
        _HEAD.format(prompts=PROMPTS, scored=SCORED, count=len(measured)),
        f"| {' | '.join(COLUMNS)} |\n| {' | '.join(['---'] * len(COLUMNS))} |",
        *map(line_of, measured),
        _REFUSALS,
        *([reasons[code] for code in sorted(reasons)] or ["None."]),
        _ARCHITECTURES.format(packed=_listed(PACKED), general=_listed(general), others=len(general)),
    ]
    return "\n".join(parts)


def _template(family: Family) -> str:
    if family.template is None:
        return "—"
    return MADE if "{" in family.template else "its own"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


_HEAD = """# Families of models

`make families` writes this page by measurement; do not edit it. Each of the {count} families is a folder with the file
names that its repository has on the Hub (the contents of what lies beside the model are small), small random weights of
the true architecture, and, where a package has them, its true vocabulary and chat template. What is *made here* is in
the family's manner, and not its own.

- **validates as downloaded**: `benchmark validate` finds no fault in the folder as it is.
- **token ids**: those of transformers 4.57 for {prompts} prompts with all their options. *Behind a BOS*: equal, with
  the BOS that we put in front where the template renders none and the tokenizer's default adds one
  ([scoring](scoring.md)).
- **log-probabilities**: of {scored} prompts with all their options, within 1e-4 nats of the model's own logits for each
  text alone, in float32. Of an encoder: of a ranking head.
- **adapter**: LoRA of peft on the attention's layers, with a trainer's files beside it; the same comparison with peft.
"""
_REFUSALS = """
## Refusals

The first fault of each code:
"""
_ARCHITECTURES = """
## Architectures

| path | architectures (`model_type`) |
| --- | --- |
| packed (`"attention": "packed"` on the card) | {packed} |
| general (`"attention": "general"`) | {general} |

Packed prompts share what they begin with, and are faster. The general path reads rows filled up on the right, by the
library's own attention. It serves the {others} architectures above, and prompts that are longer than the sliding window
of a packed one. Each agrees with plain transformers in `tests/models/local/test_architectures.py`, in what it scores
and in what it writes, with windows shorter than the prompts, capped scores, ALiBi, partial rotary embeddings, parallel
blocks and experts where it has them. When a model is opened, its own logits for one text are held against the head's
products.

An architecture that transformers itself does not know (InternLM2, Baichuan, ChatGLM 1 to 3) needs code from its
repository, which is never run: `MODEL_TYPE`. The same is said of one that is not in the table; it may be scored right,
but no test says so. Models with images or sound (Gemma 3 from 4B on, Mistral Small 3) are refused as such; their text
model alone, saved as `gemma3_text` or `mistral`, is not.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write the page; 1 if something differs from plain transformers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--peer-python", help="the interpreter of an environment with transformers 4.57")
    parser.add_argument("--only", default="", help="part of a family's name")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    measured = rows(options.only, options.peer_python)
    if options.write:
        PAGE.write_text(page(measured), encoding="utf-8")
    else:
        print(page(measured))
    return int(any(cell.endswith((" apart", " differ")) for row in measured for cell in row.cells.values()))


if __name__ == "__main__":
    sys.exit(main())
