"""Which families of models are run right, and which are refused for what reason: docs/families.md, by measurement.

    python tests/families/table.py [--write] [--peer-python PYTHON] [--only NAME]

Without `--write` it prints the page. Vocabularies and templates come from packages (`make real-models`); where one is
missing, the row says so. `--peer-python` names an environment with transformers 4.57, whose token ids are compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent), str(ROOT / "tests" / "agreement")]

import pytest
import torch
from compare import read_prompts
from families import FAMILIES, MADE, Family, write_folder, write_submission
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForMultipleChoice, AutoTokenizer
from transformers.utils import logging

from runner.artifacts import FAMILIES as ARCHITECTURES
from runner.config.submission import load_submission
from runner.core.errors import Fault, UserError
from runner.core.resources import embedded_data
from runner.core.types import Prompt
from runner.evaluation.validate import check
from runner.models.local.loading import PACKED
from runner.models.local.open import open_backend
from runner.models.tokenization.chat_template import DATE
from runner.tasks.prompts import text

PAGE = ROOT / "docs" / "families.md"
_PROMPTS = 40
_SCORED = 4
_TOLERANCE = 1e-4


@dataclass
class Row:
    """What was seen of a family; a cell is `yes`, `equal`, `—` where it does not apply, or what went wrong."""

    family: Family
    cells: dict[str, str] = field(default_factory=dict)
    reasons: list[Fault] = field(default_factory=list)

    def refused(self, name: str, faults: Sequence[Fault]) -> None:
        """Note in the cell `name` that there were faults."""
        self.cells[name] = "refused: " + ", ".join(
            f"`{code}`" for code in dict.fromkeys(fault.code for fault in faults)
        )
        self.reasons += faults


class Peer:
    """A process with transformers 4.57, or none."""

    def __init__(self, python: str | None) -> None:
        script = str(Path(__file__).with_name("by_transformers_4.py"))
        self._process = None
        if python is not None:
            self._process = subprocess.Popen(
                [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )

    def ids(
        self, folder: Path, form: str, prompts: Sequence[Prompt], arguments: dict[str, Any]
    ) -> dict[str, Any] | None:
        """For each prompt the ids of itself and with each option."""
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            return None
        request = {
            "folder": str(folder),
            "form": form,
            "date": DATE.isoformat(),
            "arguments": arguments,
            "prompts": [
                {
                    "text": text(prompt),
                    "cue": _cue(prompt, form),
                    "options": [form for forms in prompt.options for form in forms],
                }
                for prompt in prompts
            ],
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _cue(prompt: Prompt, form: str) -> str:
    return prompt.cue_chat if form == "chat" else prompt.cue_plain


def measure(family: Family, folder: Path, prompts: Sequence[Prompt], peer: Peer) -> Row:
    """Every cell of one family."""
    row = Row(family)
    try:
        submission = write_folder(family, folder)
    except pytest.skip.Exception as problem:
        row.cells["validates"] = f"not tried: {problem.msg}"
        return row
    faults = check(submission)
    if faults:
        row.refused("validates", faults)
        return row
    row.cells["validates"] = "yes"
    if family.is_encoder:
        _measure_encoder(family, folder, prompts, row)
        return row
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, trust_remote_code=False).eval()
    for form in ("chat", "plain") if family.template else ("plain",):
        _measure_form(family, folder, form, prompts, peer, model, row)
    row.cells.setdefault("chat", "no template")
    _measure_adapter(family, folder, prompts, model, row)
    return row


def _measure_form(
    family: Family, folder: Path, form: str, prompts: Sequence[Prompt], peer: Peer, model: Any, row: Row
) -> None:
    try:
        submission = load_submission(write_submission(family, folder, form))
        backend = open_backend(submission, folder / "model", None, device="cpu", dtype="float32")
        encoded = backend.read(prompts)  # type: ignore[attr-defined]
        answers = list(backend.predict(prompts[:_SCORED]))
    except UserError as problem:
        row.refused(form, problem.faults)
        return
    row.cells[form] = "yes"
    own = [[[*each.prefix.tolist(), *tail] for tail in each.tails] for each in encoded]
    arguments = json.loads(family.arguments or "{}")
    found = peer.ids(folder / "model", form, prompts, arguments)
    if found is None or "error" in found:
        ids, cell = None, "not compared" if found is None else found["error"]
    else:
        ids = found["ids"]
        alike = [whole == mine for (_, *whole), mine in zip(ids, own, strict=True)]
        cell = "equal" if all(alike) else f"{alike.count(False)} of {len(alike)} differ"
        cell += " (BOS put in front)" if found["added"] and form == "chat" and all(alike) else ""
    row.cells[f"ids, {form}"] = cell
    reference = [
        [
            by_model(model, whole)
            for whole in _with_split(ids[n] if ids else [own[n][0][: len(encoded[n].prefix)], *own[n]])
        ]
        for n in range(_SCORED)
    ]
    worst = max(
        abs(a - b)
        for one, each in zip(reference, answers, strict=True)
        for a, b in zip(one, each.log_scores, strict=True)
    )
    row.cells[f"log-probabilities, {form}"] = "equal" if worst <= _TOLERANCE else f"{worst:.1e} apart"


def _with_split(ids: Sequence[Sequence[int]]) -> list[tuple[Sequence[int], int]]:
    """The ids of a prompt with each option, and where they part."""
    shared = 0
    while all(len(each) > shared and each[shared] == ids[0][shared] for each in ids):
        shared += 1
    return [(whole, shared) for whole in ids[1:]]


def by_model(model: Any, whole: tuple[Sequence[int], int]) -> float:
    """Log-probability of the ids from the split on, by the model's own logits for this text alone."""
    ids, split = whole
    with torch.inference_mode():
        log_probs = torch.log_softmax(model(torch.tensor([list(ids)])).logits[0].double(), dim=-1)
    return sum(float(log_probs[at - 1, ids[at]]) for at in range(split, len(ids)))


def _measure_adapter(family: Family, folder: Path, prompts: Sequence[Prompt], model: Any, row: Row) -> None:
    """An adapter as peft saves it, with the files that a trainer leaves beside it."""
    form = "chat" if row.cells.get("chat") == "yes" else "plain"
    if row.cells.get(form) != "yes":
        return
    linear = sorted({name.split(".")[-1] for name, layer in model.base_model.named_modules() if _takes_lora(layer)})
    targets = [
        name for name in linear if name in ("q_proj", "v_proj", "qkv_proj", "c_attn", "query_key_value", "q_a_proj")
    ]
    torch.manual_seed(1)
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM", fan_in_fan_out=family.form == "gpt2")
    ).eval()
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    adapted.save_pretrained(folder / "adapter")
    for name in (
        "training_args.bin",
        "trainer_state.json",
        "checkpoint-8/adapter_config.json",
        "tokenizer_config.json",
    ):
        file = folder / "adapter" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}", encoding="utf-8")
    submission = write_submission(family, folder, form, adapter=True)
    faults = check(submission)
    if faults:
        row.refused("adapter", faults)
        return
    try:
        backend = open_backend(load_submission(submission), folder / "model", folder / "adapter", device="cpu")
        encoded = backend.read(prompts[:_SCORED])  # type: ignore[attr-defined]
        answers = list(backend.predict(prompts[:_SCORED]))
    except UserError as problem:
        row.refused("adapter", problem.faults)
        return
    loaded = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32), folder / "adapter"
    ).eval()
    worst = max(
        abs(by_model(loaded, ([*each.prefix.tolist(), *tail], len(each.prefix))) - score)
        for each, answer in zip(encoded, answers, strict=True)
        for tail, score in zip(each.tails, answer.log_scores, strict=True)
    )
    row.cells["adapter"] = "equal" if worst <= _TOLERANCE else f"{worst:.1e} apart"


def _takes_lora(layer: Any) -> bool:
    return isinstance(layer, torch.nn.Linear) or type(layer).__name__ == "Conv1D"


def _measure_encoder(family: Family, folder: Path, prompts: Sequence[Prompt], row: Row) -> None:
    """Each text alone by the library's own tokenizer and head."""
    backend = open_backend(load_submission(folder / "submission.yaml"), folder / "model", None, device="cpu")
    answers = list(backend.predict(prompts[:_SCORED]))
    model = AutoModelForMultipleChoice.from_pretrained(folder / "model", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    worst = 0.0
    for prompt, answer in zip(prompts, answers, strict=False):
        with torch.inference_mode():
            given = [tokenizer(one, truncation=True, max_length=92, return_tensors="pt") for one in prompt.shown]
            logits = [float(model(**{name: value[None] for name, value in each.items()}).logits) for each in given]
        expected = torch.log_softmax(torch.tensor(logits, dtype=torch.float64), 0).tolist()
        own = torch.log_softmax(torch.tensor(answer.log_scores, dtype=torch.float64), 0).tolist()
        worst = max(worst, *(abs(a - b) for a, b in zip(expected, own, strict=True)))
    row.cells["chat"] = row.cells["plain"] = "—"
    row.cells["log-probabilities, plain"] = "equal" if worst <= _TOLERANCE else f"{worst:.1e} apart"


def page(rows: Sequence[Row]) -> str:
    """docs/families.md."""
    lines = [_HEAD.format(prompts=_PROMPTS, scored=_SCORED, count=len(rows))]
    lines.append(
        "| family | architecture | path | vocabulary | template | validates as downloaded | chat | plain | token ids: chat · plain | log-probabilities: chat · plain | adapter |"
    )
    lines.append("| " + "--- | " * 11)
    for row in rows:
        family = row.family
        kind = _kind(family)
        both = [
            " · ".join(row.cells.get(f"{what}, {form}", "—") for form in ("chat", "plain"))
            for what in ("ids", "log-probabilities")
        ]
        cells = [
            family.name,
            kind,
            "encoder" if family.is_encoder else "packed" if kind in PACKED else "general",
            family.vocabulary,
            _source(family),
        ]
        cells += [
            row.cells.get("validates", "—"),
            row.cells.get("chat", "—"),
            row.cells.get("plain", "—"),
            *both,
            row.cells.get("adapter", "—"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    reasons = {
        fault.code: f"- `{fault.code}` ({row.family.name}): {fault.message} {fault.hint or ''}".rstrip()
        for row in reversed(rows)
        for fault in reversed(row.reasons)
    }
    lines += ["", "## Refusals", "", *(sorted(reasons.values()) or ["None."])]
    general = [f"`{kind}`" for kind, family in ARCHITECTURES.items() if family == "causal" and kind not in PACKED]
    lines += [
        "",
        _ARCHITECTURES.format(packed=", ".join(f"`{kind}`" for kind in PACKED), general=", ".join(sorted(general))),
    ]
    return "\n".join(lines)


def _kind(family: Family) -> str:
    from support import architectures

    return architectures.FORMS[family.form][0] if family.form in architectures.FORMS else family.form


def _source(family: Family) -> str:
    if family.template is None:
        return "—"
    return MADE if "{" in family.template else "its own"


_HEAD = """# Families of models

Written by `make families`; do not edit. {count} families, each as a folder with the file names that its repository has
on the Hub (the contents of the other files are small), a vocabulary and a chat template of its own where a package
has them, and small random weights of the true architecture. A vocabulary or a template that is *made here* is one in
the family's manner; the repository's own is not at hand.

- **validates as downloaded**: `benchmark validate` finds no fault in the folder as it is.
- **token ids**: those of transformers 4.57 for {prompts} prompts with all their options, chat and plain.
- **log-probabilities**: of {scored} prompts with all their options, within 1e-4 nats of the model's own logits for each
  text alone, in float32.
- **adapter**: LoRA made by peft on the attention's layers, with a trainer's files beside it; the same comparison.
"""
_ARCHITECTURES = """## Architectures

Packed (`"attention": "packed"` on the card): {packed}. The general path (`"attention": "general"`): {general}. Each agrees
with plain transformers in `tests/models/local/test_architectures.py`, in what it scores and in what it writes, with
windows shorter than the prompts, capped scores, ALiBi, partial rotary embeddings, parallel blocks and experts where the
architecture has them. Architectures that transformers itself does not know (InternLM2, Baichuan, ChatGLM 1 to 3) need
code from their repository, and are refused: `MODEL_TYPE`.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or write the page; 1 if a cell says that something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(ROOT)}")
    parser.add_argument("--peer-python", help="the interpreter of an environment with transformers 4.57")
    parser.add_argument("--only", help="part of a family's name")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    prompts = read_prompts(embedded_data("sample") / "dev.sample-dilemmas.jsonl", "dilemmas-letters", _PROMPTS)
    peer, rows = Peer(options.peer_python), []
    for family in FAMILIES:
        if options.only and options.only not in family.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(family, Path(folder), prompts, peer))
        print(family.name, rows[-1].cells, *[f"\n    {fault}" for fault in rows[-1].reasons], file=sys.stderr)
    peer.close()
    written = page(rows)
    if options.write:
        PAGE.write_text(written, encoding="utf-8")
    else:
        print(written)
    return 1 if " apart" in written or " differ" in written else 0


if __name__ == "__main__":
    sys.exit(main())
