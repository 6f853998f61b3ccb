"""`make gpu-check` on a processor: the way that a GPU would take, with a small shape."""

import importlib.util
import sys
from pathlib import Path

import pytest
from support.command import Command
from support.forked_script import run_script

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).with_name("check.py")


def run(home: Path, *options: str) -> tuple[int, list[list[str]], str]:
    """Exit code, the table's cells, and all that was printed."""
    done = run_script(SCRIPT, *options, env=Command(home).environment(), cwd=home)
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    return done.returncode, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines], done.stdout


def test_every_quantity_is_measured_or_says_why_not(tmp_path: Path) -> None:
    code, rows, said = run(tmp_path, "--device", "cpu", "--small")
    assert code == 0, said
    names = [name for name, _, _ in rows]
    for part in ("packed float32", "packed bfloat16", "alone against in a batch", "two replicas", "products", "LoRA"):
        assert any(part in name for name in names), part
    for load in ("Dilemmas", "Anecdotes"):
        for quantity in ("prompts/s", "tokens/s", "share of the rate", "peak memory", "times the harness's way"):
            assert any(name.startswith(f"{load}, bfloat16") and quantity in name for name in names), (load, quantity)
    unmeasured = [(name, why) for name, value, why in rows if value == "not measured"]
    assert all(why for _, why in unmeasured)
    assert all("peak memory" in name or name.startswith("nf4") for name, _ in unmeasured)
    limits = [why for _, _, why in rows if why.startswith("at most")]
    assert len(limits) == 3
    assert all(why.endswith("holds") for why in limits)


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script puts its own folders there
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_check", script)
    spec.loader.exec_module(script)
    assert script.main([]) == 2
    said = capsys.readouterr().out
    assert "No CUDA device" in said
    assert "|" not in said
