"""One row of the table of families: what a folder like a download gives here, beside plain transformers and peft."""

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from families import Family, write_folder, write_submission
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForMultipleChoice, AutoTokenizer

from runner.config.submission import load_submission
from runner.core.errors import Fault, UserError
from runner.core.types import Prompt
from runner.evaluation import validate
from runner.models.local import general, loading
from runner.models.local.causal import wrap
from runner.models.local.open import open_backend
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization.chat_template import DATE
from runner.tasks.prompts import text

SCORED = 4
"""Prompts of which log-probabilities are compared."""
TOLERANCE = 1e-4
"""Nats."""
_BESIDE_ADAPTER = (
    "README.md",
    ".gitattributes",
    "training_args.bin",
    "trainer_state.json",
    "checkpoint-8/optimizer.pt",
)
_ATTENTION = ("q_proj", "v_proj", "qkv_proj", "c_attn", "query_key_value", "q_a_proj")


@dataclass
class Row:
    """What was seen of a family."""

    family: Family
    cells: dict[str, str] = field(default_factory=dict)
    """By what was tried: `yes`, `equal`, or what went wrong."""
    faults: list[Fault] = field(default_factory=list)
    """Those of everything that was refused."""

    def refuse(self, cell: str, faults: Sequence[Fault]) -> None:
        """Note that `cell` was refused."""
        self.cells[cell] = "refused: " + ", ".join(
            f"`{code}`" for code in dict.fromkeys(fault.code for fault in faults)
        )
        self.faults += faults


class Peer:
    """A process with transformers 4.57, or none."""

    def __init__(self, python: str | None) -> None:
        script = str(Path(__file__).with_name("by_transformers_4.py"))
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = None if python is None else subprocess.Popen([python, script], text=True, **pipes)

    def ids(
        self, folder: Path, form: str, prompts: Sequence[Prompt], arguments: dict[str, Any]
    ) -> dict[str, Any] | None:
        """For each prompt the ids of itself and with each option; None without the process."""
        if self._process is None or self._process.stdin is None or self._process.stdout is None:
            return None
        asked = [
            {
                "text": text(prompt),
                "cue": prompt.cue_chat if form == "chat" else prompt.cue_plain,
                "options": [option for forms in prompt.options for option in forms],
            }
            for prompt in prompts
        ]
        request = {"folder": str(folder), "form": form, "date": DATE.isoformat(), "arguments": arguments}
        self._process.stdin.write(json.dumps({**request, "prompts": asked}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@cache
def _clean_process() -> ProcessPoolExecutor:
    """A process that has loaded no model, in which `validate` works as it does from the command line."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def check(submission: Path) -> tuple[Fault, ...]:
    """The faults that `benchmark validate` finds."""
    return _clean_process().submit(validate.check, submission).result()


def measure(family: Family, folder: Path, prompts: Sequence[Prompt], peer: Peer) -> Row:
    """Everything about one family, whose folder is made in `folder`."""
    row = Row(family)
    try:
        submission = write_folder(family, folder)
    except pytest.skip.Exception as problem:
        row.cells["validates"] = f"not tried: {problem.msg}"
        return row
    faults = check(submission)
    if faults:
        row.refuse("validates", faults)
        if check(write_folder(family, folder / "bare", beside=False)):
            return row
        folder /= "bare"  # so that the rest of the row is known
    else:
        row.cells["validates"] = "yes"
    if family.is_encoder:
        _measure_encoder(folder, prompts[:SCORED], row)
        return row
    try:
        tokenizer = load_tokenizer(folder / "model")
        model = loading.load_model(folder / "model", "float32", torch.device("cpu"))
        general.check_head(model)
    except UserError as problem:
        row.refuse("plain", problem.faults)
        return row
    plain = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, trust_remote_code=False).eval()
    for form in ("chat", "plain") if family.template else ("plain",):
        _measure_form(folder, form, prompts, peer, (tokenizer, model, plain), row)
    row.cells.setdefault("chat", "no template")
    form = "chat" if row.cells["chat"] == "yes" else "plain"
    if row.cells[form] == "yes":
        _measure_adapter(folder, form, prompts[:SCORED], (tokenizer, model, plain), row)
    return row


def _measure_form(
    folder: Path, form: Any, prompts: Sequence[Prompt], peer: Peer, opened: tuple[Any, Any, Any], row: Row
) -> None:
    """Token ids beside those of transformers 4.57, log-probabilities beside the library's model, for one format."""
    tokenizer, model, plain = opened
    arguments = json.loads(row.family.arguments or "{}") if form == "chat" else {}
    if faults := check(write_submission(row.family, folder, form)):
        row.refuse(form, faults)
        return
    try:
        backend = wrap(model, tokenizer, form, arguments=arguments)
        encoded = backend.read(prompts)
        answers = list(backend.predict(prompts[:SCORED]))
    except UserError as problem:
        row.refuse(form, problem.faults)
        return
    row.cells[form] = "yes"
    own = [[[*each.prefix.tolist(), *tail] for tail in each.tails] for each in encoded]
    answer = peer.ids(folder / "model", form, prompts, arguments)
    if answer is None or "error" in answer:
        row.cells[f"ids, {form}"] = "not compared" if answer is None else f"not compared: {answer['error']}"
        theirs = [[each.prefix.tolist(), *whole] for each, whole in zip(encoded, own, strict=True)]
    else:
        theirs = answer["ids"]
        differ = sum(whole != mine for (_, *whole), mine in zip(theirs, own, strict=True))
        row.cells[f"ids, {form}"] = f"{differ} of {len(own)} differ" if differ else "equal"
        if answer["added"] and not differ:
            row.cells[f"ids, {form}"] = "equal behind a BOS"
    expected = [_log_prob(plain, whole, len(_shared(ids))) for ids in theirs[:SCORED] for whole in ids[1:]]
    scores = [score for each in answers for score in each.log_scores]
    row.cells[f"log-probabilities, {form}"] = _distance(expected, scores)


def _measure_adapter(
    folder: Path, form: Any, prompts: Sequence[Prompt], opened: tuple[Any, Any, Any], row: Row
) -> None:
    """An adapter as peft saves it, with the files that a trainer leaves beside it."""
    tokenizer, model, plain = opened
    names = {name.split(".")[-1] for name, _ in plain.base_model.named_modules()}
    targets = [name for name in _ATTENTION if name in names]
    torch.manual_seed(1)
    settings = LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM", fan_in_fan_out=row.family.form == "gpt2")
    adapted = get_peft_model(plain, settings).eval()
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=0.1)
    adapted.save_pretrained(folder / "adapter")
    for name in _BESIDE_ADAPTER:
        (folder / "adapter" / name).parent.mkdir(exist_ok=True)
        (folder / "adapter" / name).write_bytes(b"\x80\x02some bytes")
    faults = check(write_submission(row.family, folder, form, adapter=True))
    if faults:
        row.refuse("adapter", faults)
        return
    try:
        loaded = loading.apply_adapter(model, folder / "adapter")
        arguments = json.loads(row.family.arguments or "{}") if form == "chat" else {}
        backend = wrap(loaded, tokenizer, form, arguments=arguments)
        encoded = backend.read(prompts)
        answers = list(backend.predict(prompts))
    except UserError as problem:
        row.refuse("adapter", problem.faults)
        return
    expected = [
        _log_prob(adapted, [*each.prefix.tolist(), *tail], len(each.prefix)) for each in encoded for tail in each.tails
    ]
    row.cells["adapter"] = _distance(expected, [score for each in answers for score in each.log_scores])


def _measure_encoder(folder: Path, prompts: Sequence[Prompt], row: Row) -> None:
    """A ranking head, each text alone by the library's own tokenizer and model."""
    backend = open_backend(load_submission(folder / "submission.yaml"), folder / "model", None)
    model = AutoModelForMultipleChoice.from_pretrained(folder / "model", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    expected, scores = [], []
    for prompt, answer in zip(prompts, backend.predict(prompts), strict=True):
        with torch.inference_mode():
            texts = [tokenizer(shown, truncation=True, max_length=92, return_tensors="pt") for shown in prompt.shown]
            logits = [float(model(**{name: value[None] for name, value in each.items()}).logits) for each in texts]
        expected += torch.log_softmax(torch.tensor(logits, dtype=torch.float64), 0).tolist()
        scores += torch.log_softmax(torch.tensor(answer.log_scores, dtype=torch.float64), 0).tolist()
    row.cells["log-probabilities"] = _distance(expected, scores)


def _shared(ids: Sequence[Sequence[int]]) -> Sequence[int]:
    """What all begin with."""
    first, last = min(ids), max(ids)
    parted = next((at for at, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[:parted]


def _log_prob(model: Any, ids: Sequence[int], split: int) -> float:
    """Log-probability of the ids from the split on, by the model's own logits for this text alone, in float64."""
    with torch.inference_mode():
        logits = model(torch.tensor([list(ids)])).logits[0, split - 1 : -1].double()
    return float(torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(ids[split:])[:, None]).sum())


def _distance(expected: Sequence[float], found: Sequence[float]) -> str:
    worst = max(abs(one - other) for one, other in zip(expected, found, strict=True))
    return "equal" if worst <= TOLERANCE else f"{worst:.1e} apart"
