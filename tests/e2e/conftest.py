"""Small submissions made on the spot, and the command to run them with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support import tiny_models
from support.command import Command
from support.forked import Forked

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
def command(tmp_path_factory: pytest.TempPathFactory) -> Forked:
    run = Forked(tmp_path_factory.mktemp("home"))
    run("keys", "new")
    return run


@pytest.fixture(scope="session")
def installed(command: Forked) -> Command:
    """The command as its users have it, in the home of `command`: for tests of the processes themselves."""
    return command.installed


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
def evaluate(command: Forked) -> Evaluate:
    """Run `benchmark evaluate --quiet` on the sample to its end; the run's folder, which is its last word."""
    return lambda *arguments: run_of(command, *arguments)


@pytest.fixture(scope="session")
def evaluate_installed(installed: Command) -> Evaluate:
    """The same with the installed command and the model's own process."""
    return lambda *arguments: run_of(installed, *arguments)


def run_of(command: Command, submission: Path, output: Path, *options: object) -> Path:
    done = command("evaluate", submission, "--suite", "sample", "--quiet", "--output-dir", output, *options)
    return Path(done.stdout.splitlines()[-1])
