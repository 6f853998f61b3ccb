"""Installed without the libraries of models, as the README says, the commands that need none do their work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import sys

MISSING = set(sys.argv[1].split(","))


class Missing:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing)  # as where they are not installed

from click.testing import CliRunner
from runner.cli import main

for line in sys.argv[2:]:
    done = CliRunner().invoke(main, line.split())
    assert done.exit_code == 0, (line, done.output, done.exception)
"""

LINES = (
    "--help",
    "validate {root}/submissions/tiny-llama/submission.yaml --no-probe",
    "validate {root}/benchmark.yaml",
    "data check --dataset sample-dilemmas",
    "baseline uniform --suite sample --output uniform.jsonl",
    "baseline prior --suite sample --output prior.jsonl",
    "score uniform.jsonl --suite sample",
    "score prior.jsonl --suite sample",
    "verify results/prior --recompute",
    "compare results/uniform results/prior",
    "report results/prior",
    "export --to latex results/prior --force",
    "archive add cards results/uniform results/prior",
    "leaderboard cards",
)


def test_the_readme_says_how(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    assert "pip install --require-hashes --no-deps -r requirements/verify.lock" in text
    assert "pip install --no-deps ." in text


def test_what_needs_no_model_runs_without_the_libraries_of_models(root: Path, tmp_path: Path) -> None:
    listed = (root / "requirements" / "without-models.txt").read_text(encoding="utf-8")
    missing = re.findall(r"^[a-z][\w-]*$", listed, re.MULTILINE)
    locked = set(re.findall(r"^([\w.-]+)==", (root / "requirements" / "verify.lock").read_text(), re.MULTILINE))
    assert {"torch", "transformers", "peft", "huggingface_hub"} <= set(missing)
    assert not set(missing) & locked
    lines = [line.format(root=root) for line in LINES]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(missing), *lines],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]
