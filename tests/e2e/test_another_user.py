"""A checkout of root that nobody may write to, used by another user: everything works but writing into it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import Command
from support.paths import ROOT

NOBODY = 65534
AS_NOBODY = {"user": NOBODY, "group": NOBODY, "extra_groups": []}


@pytest.fixture
def checkout() -> Iterator[Path]:
    """What the command needs of this checkout, for reading only."""
    if os.getuid() != 0:
        pytest.skip("only root can run a process as another user")
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top, "checkout")
        for name in ("runner", "schemas", "submissions/tiny-llama"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "benchmark.yaml", folder)
        Path(top).chmod(0o755)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield folder


@pytest.fixture
def python(checkout: Path) -> Iterator[str]:
    """This Python where another user can start it: mounted beside the checkout if it is in a closed folder."""
    place = checkout.parent / "python"
    place.mkdir()
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", sys.base_prefix, place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"this Python cannot be put where another user may start it: {mounted.stderr.strip()}")
    yield str(place / "bin" / f"python3.{sys.version_info.minor}")
    subprocess.run(["umount", place], check=True)


@pytest.mark.slow
def test_a_checkout_of_root_serves_another_user(checkout: Path, python: str) -> None:
    before = {path: path.stat() for path in [checkout, *checkout.rglob("*")]}
    home = checkout.parent / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    benchmark = Command(home, (python, "-m", "runner"))
    modules = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    places = {"PYTHONPATH": modules, "LD_LIBRARY_PATH": str(Path(python).parents[1] / "lib")}
    submission, few = (
        "submissions/tiny-llama/submission.yaml",
        ("--suite", "sample", "--task", "dilemmas", "--limit", "4"),
    )

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        return benchmark(*arguments, code=code, cwd=checkout, env=places, **AS_NOBODY)

    run("validate", submission)
    refused = run("evaluate", submission, *few, code=3)  # its default folder is below the present one
    assert "OUTPUT_UNWRITABLE" in refused.stderr
    assert "Loading" not in refused.stderr
    done = run("evaluate", submission, *few, "--quiet", "--output-dir", home / "results")
    run("verify", done.stdout.strip(), "--recompute")
    assert (home / "config" / "moral-ambiguity-benchmark" / "signing-key.pem").stat().st_uid == NOBODY
    assert {path: path.stat() for path in [checkout, *checkout.rglob("*")]}.keys() == before.keys()
    assert all(path.stat().st_mtime_ns == status.st_mtime_ns for path, status in before.items())
