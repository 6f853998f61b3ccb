"""SmolLM2-135M-Instruct behind a server that is not ours, beside the causal backend with the same weights.

    python tests/families/compare_server.py --data FILE.jsonl [--server-python PYTHON] [--prompts 200] [--draws 64]

The model's weights are written as a float32 GGUF file and run by llama.cpp: by the server of llama-cpp-python in the
environment of `--server-python`, or else by llama.cpp's own, which the package xllamacpp carries. The prompts are
`dilemmas-letters` of the released benchmark for the first rows of a file of Dilemmas; without `--data` those of the
sample, and the output says so. First both score the options, in completions and in chat; then the server draws first
tokens, which are compared with its own log-probabilities. Exit code 1 if scores differ by more than 1e-3 nats (5e-3 in
chat), if the two read different numbers of tokens, or if draws are further from the log-probabilities than four
standard errors.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "agreement"))

import torch
from compare import read_prompts
from support import real_models
from support.gguf_model import write_gguf
from support.llama_server import served, served_by_llama_cpp_python
from transformers.utils import logging

from runner.core.resources import embedded_data
from runner.core.types import Prediction, Prompt, SamplingFormat, ServiceRef
from runner.models.api import Access, open_service
from runner.models.api.service import Service
from runner.models.local.causal import Causal, wrap
from runner.models.local.loading import load_model
from runner.models.local.tokenizer import load_tokenizer
from runner.models.tokenization import Format
from runner.tasks.sampled import united

TOLERANCE = {"completions": 1e-3, "chat": 5e-3}
"""Nats. Two engines add and multiply in another order, over thirty layers; and a chat tells 20 tokens, so the form of
an option that is not among them (` A` beside `A`) is left out."""
_FORMS: dict[str, Format] = {"completions": "plain", "chat": "chat"}
NEUTRAL = (("min_p", 0), ("repeat_penalty", 1), ("top_k", 0))
"""Without these llama.cpp's servers leave out unlikely tokens, and one of them penalises words of the prompt."""
_TOLD = {"completions": 100, "chat": 20}
"""Tokens of which the server is asked to give the log-probability."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what differs; 1 if it is more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a released file of Dilemmas; else the sample's are asked")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--server-python", help="an interpreter with llama-cpp-python[server]; else xllamacpp serves")
    parser.add_argument("--api", choices=list(_FORMS), action="append", help="by default both")
    parser.add_argument("--draws", type=int, default=64, help="first tokens drawn of each of four prompts; 0: none")
    options = parser.parse_args(arguments)
    logging.set_verbosity_error()
    torch.set_num_threads(1)

    folder = real_models.smollm2()
    data = options.data or embedded_data("sample") / "dev.sample-dilemmas.jsonl"
    prompts = read_prompts(data, "dilemmas-letters", options.prompts)
    name = "llama-cpp-python" if options.server_python else "xllamacpp"
    print(f"{len(prompts)} prompts of {'released' if options.data else 'synthetic'} Dilemmas, {name}", flush=True)
    model, tokenizer = load_model(folder, "float32", torch.device("cpu")), load_tokenizer(folder)
    right = True
    with serving(folder, options.server_python) as url:
        for api in options.api or _FORMS:
            ref = ServiceRef(url, "tiny", api, _TOLD[api], False, None, neutral=NEUTRAL)
            with closing(open_service(ref, None, Access())) as service:
                right &= _compare(service, wrap(model, tokenizer, _FORMS[api]), api, prompts)
                if options.draws:
                    right &= _draw(service, api, prompts[:4], options.draws)
    return int(not right)


@contextmanager
def serving(folder: Path, python: str | None) -> Iterator[str]:
    """The address of a server that runs a folder's weights in float32, in the environment of `python` or this one."""
    with tempfile.TemporaryDirectory() as place:
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
        model = write_gguf(folder, Path(place) / "model.gguf", chat_template=template, pre="smollm", bos=False)
        with served_by_llama_cpp_python(python, model) if python else served(model) as url:
            yield url


def _compare(service: Service, causal: Causal, api: str, prompts: Sequence[Prompt]) -> bool:
    started = time.monotonic()
    answers = list(service.predict(prompts))
    seconds = time.monotonic() - started
    asked = [_as_the_service_asks(prompt) for prompt in prompts] if api == "chat" else list(prompts)
    computed: list[Prediction] = list(causal.predict(asked))
    scores = [(a.log_scores, b.log_scores) for a, b in zip(answers, computed, strict=True)]
    apart = [abs(x - y) for told, own in scores for x, y in zip(told or (), own or (), strict=True)]
    shares = [abs(_share(told or ()) - _share(own or ())) for told, own in scores]
    masses = [abs((a.answer_mass or 0) - (b.answer_mass or 0)) for a, b in zip(answers, computed, strict=True)]
    lengths = sum(a.prompt_tokens != b.prompt_tokens for a, b in zip(answers, computed, strict=True))
    bounded = sum(len(a.bounded or ()) for a in answers)
    print(
        f"{api}: scores differ by at most {max(apart):.1e}, median {statistics.median(apart):.1e} nats; the probability"
        f" of A by {max(shares):.1e}; the answer mass by {max(masses):.1e}; {bounded} scores are bounds; {lengths}"
        f" prompts of another length ({seconds:.0f} s)",
        flush=True,
    )
    return max(apart) <= TOLERANCE[api] and not lengths and not bounded


def _as_the_service_asks(prompt: Prompt) -> Prompt:
    """The cue stands in the user's turn, and an option may have a blank in front."""
    spaced = tuple(tuple(form.strip() for form in forms) + tuple(forms) for forms in prompt.options)
    return replace(prompt, template=prompt.template + prompt.cue_plain, cue_chat="", options=spaced)


def _share(log_scores: Sequence[float]) -> float:
    first, second = map(math.exp, log_scores)
    return first / (first + second)


def _draw(service: Service, api: str, prompts: Sequence[Prompt], draws: int) -> bool:
    """Each prompt's first tokens: the share of A and that of B beside their probabilities."""
    right, apart, failures = True, [], 0
    for prompt in prompts:
        [scored] = service.predict([prompt])
        forms = tuple(tuple(form.strip() for form in forms) for forms in prompt.options)
        drawn = replace(
            prompt, options=(), labels=("first", "second"), sampling=SamplingFormat(forms, draws, 1.0, 1.0, 1)
        )
        found = united(list(service.predict([drawn])))
        failures += found.failures or 0
        for log_score, number in zip(scored.log_scores or (), (found.samples or {}).values(), strict=True):
            probability = math.exp(log_score)
            apart.append(abs(number / draws - probability))
            right &= apart[-1] <= 4 * math.sqrt(probability * (1 - probability) / draws) + 1 / draws
    print(
        f"{api}: {draws} first tokens of each of {len(prompts)} prompts: shares {statistics.mean(apart):.3f} from the"
        f" probabilities on average, at most {max(apart):.3f}; {failures} are no option",
        flush=True,
    )
    return right


if __name__ == "__main__":
    sys.exit(main())
