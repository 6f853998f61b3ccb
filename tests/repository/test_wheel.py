"""The wheel is complete: installed away from the checkout and run from elsewhere, it does what the checkout does."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from support import tiny_models
from support.command import Command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as a packager would, with the build tools that are installed."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, root],
        check=True,
        capture_output=True,
        timeout=300,
    )
    assert len(list(folder.glob("*.tar.gz"))) == 1
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command in an environment of its own, which borrows the libraries of this one, but not its package."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home / "venv", with_pip=False, symlinks=True)
    python = home / "venv" / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel],
        check=True,
        capture_output=True,
        timeout=300,
    )
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True
    )
    # Behind the environment's own packages on the path, so that a package of the checkout would come second; and the
    # hooks of an editable install are not read from a folder that is added so.
    # All folders of libraries: an environment may itself borrow those of another by such a file.
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (Path(own.stdout.strip()) / "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")
    return Command(home, (str(home / "venv" / "bin" / "benchmark"),))


def test_the_wheel_holds_what_travels_and_nothing_else(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("runner/resources/benchmark.yaml") == (root / "benchmark.yaml").read_bytes()
        for schema in (root / "schemas").glob("*.json"):
            assert archive.read(f"runner/resources/schemas/{schema.name}") == schema.read_bytes()
        embedded = list((root / "runner" / "embedded").rglob("*.jsonl"))
        assert len(embedded) == 6
        for path in embedded:
            assert archive.read(str(path.relative_to(root))) == path.read_bytes()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"runner", "moral_ambiguity_benchmark"}
    assert not [name for name in names if name.endswith(".pyc")]
    modules = {str(path.relative_to(root)) for path in (root / "runner").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules


def test_the_package_is_the_installed_one(installed: Command) -> None:
    python = installed.home / "venv" / "bin" / "python"
    where = subprocess.run(
        [python, "-c", "import runner.core.resources as r; print(r.__file__, r.benchmark_file(), r.schema_folder())"],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
        env=installed.environment(),
    )
    for place in where.stdout.split():
        assert Path(place).is_relative_to(installed.home), place


def test_the_installed_command_does_it_all_from_elsewhere(installed: Command, root: Path, tmp_path: Path) -> None:
    tokenizer = tiny_models.byte_tokenizer()
    made = tiny_models.model("llama", len(tokenizer), max_position_embeddings=2048)
    tiny_models.save(tmp_path / "model", made, tokenizer)
    submission = tmp_path / "submission.yaml"
    submission.write_text(
        'schema_version: "1"\nname: elsewhere\nmodel: {backend: causal, path: model, format: plain, dtype: float32}\n',
        encoding="utf-8",
    )
    elsewhere = {"cwd": "/"}
    results = tmp_path / "results"
    assert "valid" in installed("validate", submission, **elsewhere).stdout
    run = installed("evaluate", submission, "--suite", "sample", "--limit", 3, "-q", "-o", results, **elsewhere)
    folder = Path(run.stdout.strip())
    assert (folder / "benchmark.yaml").read_bytes() == (root / "benchmark.yaml").read_bytes()
    installed("verify", folder, "--recompute", **elsewhere)
    assert json.loads(installed("schema", "scorecard", **elsewhere).stdout)["$schema"]
    installed("baseline", "prior", "--suite", "sample", "-o", tmp_path / "prior.jsonl", **elsewhere)
    scored = installed("score", tmp_path / "prior.jsonl", "--suite", "sample", "-q", "-o", results, **elsewhere)
    installed("verify", scored.stdout.strip(), "--recompute", **elsewhere)
    card = json.loads((Path(scored.stdout.strip()) / "scorecard.json").read_text(encoding="utf-8"))
    assert card["not_comparable"] == ["suite 'sample' is for trying things"]
    if os.getuid() == 0:
        assert not list(Path("/").glob("results*"))
