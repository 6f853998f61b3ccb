"""Small submissions made on the spot, and the installed command to run them with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support import tiny_models
from support.command import Command

DOCUMENT = """\
schema_version: "1"
name: {name}
model:
  backend: causal
  path: model
  format: plain
  dtype: float32
"""
ADAPTER = """\
adapter:
  path: adapter
"""


@dataclass(frozen=True)
class Submissions:
    """Paths of submission files: a bare model, the same with an adapter, another one of the same name, a broken one."""

    base: Path
    lora: Path
    other: Path
    broken: Path


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    home = tmp_path_factory.mktemp("home")
    run = Command(home)
    run("keys", "new")
    return run


@pytest.fixture(scope="session")
def submissions(tmp_path_factory: pytest.TempPathFactory) -> Submissions:
    top = tmp_path_factory.mktemp("submissions")
    tokenizer = tiny_models.byte_tokenizer()

    def make(folder: str, seed: int) -> Path:
        made = tiny_models.model("llama", len(tokenizer), seed, max_position_embeddings=2048)
        tiny_models.save(top / folder / "model", made, tokenizer)
        (top / folder / "base.yaml").write_text(DOCUMENT.format(name="tiny-base"), encoding="utf-8")
        tiny_models.save(top / folder / "adapter", tiny_models.adapter(made))
        (top / folder / "lora.yaml").write_text(DOCUMENT.format(name="tiny-lora") + ADAPTER, encoding="utf-8")
        return top / folder

    one, two = make("one", 0), make("two", 1)
    broken = tiny_models.model("llama", len(tokenizer), 2, max_position_embeddings=2048)
    with torch.no_grad():
        broken.model.layers[1].mlp.down_proj.weight[3, 5] = torch.nan
    tiny_models.save(top / "broken" / "model", broken, tokenizer)
    (top / "broken" / "base.yaml").write_text(DOCUMENT.format(name="tiny-broken"), encoding="utf-8")
    return Submissions(one / "base.yaml", one / "lora.yaml", two / "base.yaml", top / "broken" / "base.yaml")


Evaluate = Callable[..., Path]


@pytest.fixture(scope="session")
def evaluate(command: Command) -> Evaluate:
    """Run `benchmark evaluate --quiet` on the sample to its end; the run's folder, which is its last word."""

    def run(submission: Path, output: Path, *options: object) -> Path:
        done = command("evaluate", submission, "--suite", "sample", "--quiet", "--output-dir", output, *options)
        return Path(done.stdout.splitlines()[-1])

    return run
