"""What a command imports: a light one must not wait for the model libraries, and imports point one way."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import Command
from support.forked import Forked

MODEL_LIBRARIES = {"torch", "transformers", "peft", "tokenizers", "ray"}
NUMBERS = {"numpy", "scipy"}


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Forked(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def card(command: Command, root: Path) -> Path:
    """The folder of a signed card, made without a model."""
    text = (root / "benchmark.yaml").read_text(encoding="utf-8")
    quick = command.home / "benchmark.yaml"
    quick.write_text(text.replace("draws: 1000", "draws: 20"), encoding="utf-8")
    chosen = ("--suite", "sample", "--task", "dilemmas", "--benchmark", quick)
    command("keys", "new")
    command("baseline", "uniform", *chosen, "-o", "uniform.jsonl")
    return Path(command("score", "uniform.jsonl", *chosen, "-q", "-o", "results").stdout.strip())


@pytest.fixture(scope="module")
def keyring(command: Command, root: Path) -> Path:
    """A keyring with one key in it, which did not sign the card."""
    path = command.home / "keyring.json"
    shutil.copy(root / "tests" / "conformance" / "keyring.json", path)
    return path


def imported(command: Command, *arguments: object, code: int = 0) -> set[str]:
    """Names of all modules that were imported while the command ran, as `-X importtime` tells them."""
    traced = Command(command.home, (sys.executable, "-X", "importtime", "-m", "runner"))
    lines = traced(*arguments, code=code).stderr.splitlines()
    names = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "runner.cli" in names
    return {name.partition(".")[0] for name in names} | names


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["evaluate", "--help"],
        ["schema"],
        ["schema", "scorecard"],
        ["completion", "bash"],
        ["keys", "show"],
    ],
    ids=" ".join,
)
def test_what_says_little_imports_little(command: Command, card: Path, arguments: list[str]) -> None:
    assert not imported(command, *arguments) & (MODEL_LIBRARIES | NUMBERS)


@pytest.mark.slow
def test_validate_imports_no_model_library(command: Command, card: Path, root: Path) -> None:
    folder = root / "tests" / "examples"
    assert not imported(command, "validate", root / "benchmark.yaml") & MODEL_LIBRARIES
    assert not imported(command, "validate", folder / "invalid" / "submission" / "several.yaml", code=1) & (
        MODEL_LIBRARIES | NUMBERS
    )


@pytest.mark.slow
def test_verify_imports_no_model_library(command: Command, card: Path, keyring: Path) -> None:
    assert not imported(command, "verify", card) & (MODEL_LIBRARIES | NUMBERS)
    assert not imported(command, "verify", card, "--keyring", keyring, code=4) & (MODEL_LIBRARIES | NUMBERS)
    assert not imported(command, "verify", card, "--recompute", "--benchmark", "benchmark.yaml") & MODEL_LIBRARIES


@pytest.mark.slow
def test_what_needs_no_model_imports_none(command: Command, card: Path) -> None:
    for arguments in (
        ["compare", card, card, "--benchmark", "benchmark.yaml"],
        ["prompts", "--suite", "sample", "--limit", "1"],
        ["data", "check", "--dataset", "sample-dilemmas"],
        ["data", "stats", "--suite", "sample"],
    ):
        assert not imported(command, *arguments) & MODEL_LIBRARIES, arguments


def test_the_commands_themselves_import_nothing_heavy() -> None:
    """Not even a shell that completes a word should wait."""
    code = "import sys, runner.cli; print(*sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout
    tops = {name.partition(".")[0] for name in found.split()}
    assert not tops & (MODEL_LIBRARIES | NUMBERS | {"rich", "cryptography", "jsonschema", "yaml", "huggingface_hub"})


@pytest.mark.slow
def test_imports_point_one_way(root: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=root, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
