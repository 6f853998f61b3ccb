"""Every version has one source: the locks agree with each other, with the constraints and with pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest
from support.paths import ROOT

REQUIREMENTS = ROOT / "requirements"
LOCKS = ("cuda", "cpu", "verify", "build")
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)", re.MULTILINE)
NAME = re.compile(r"[\w.-]+")


def normal(name: str) -> str:
    """A distribution's name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(lines: list[str]) -> set[str]:
    return {normal(match[0]) for line in lines if not line.startswith("#") and (match := NAME.match(line))}


def pins(file: str) -> dict[str, str]:
    found = PIN.findall((REQUIREMENTS / file).read_text(encoding="utf-8"))
    pinned = {normal(name): version for name, version in found}
    assert len(pinned) == len(found) > 10, f"{file} pins something twice, or nothing"
    return pinned


@pytest.fixture(scope="module")
def project(root: Path) -> dict:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


CONSTRAINTS = pins("constraints.txt")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_pins_what_the_constraints_pin(name: str) -> None:
    locked = pins(f"{name}.lock")
    shared = locked.keys() & CONSTRAINTS.keys()
    assert len(shared) > 10
    assert {one: locked[one] for one in shared} == {one: CONSTRAINTS[one] for one in shared}, "run `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_every_file_in_a_lock_has_its_hash(name: str) -> None:
    text = (REQUIREMENTS / f"{name}.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(entries) == len(pins(f"{name}.lock"))
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}$", entry, re.MULTILINE), entry[:80]


def test_every_dependency_is_locked(project: dict) -> None:
    required = names(project["project"]["dependencies"])
    extras = {name: names(lines) for name, lines in project["project"]["optional-dependencies"].items()}
    missing = (required | set().union(*extras.values())) - CONSTRAINTS.keys()
    assert not missing, "run `make lock`"
    in_image = required.union(
        *(lines for name, lines in extras.items() if name not in {"dev", "fuzz", "families", "mutants", "ray"})
    )
    assert in_image <= pins("cuda.lock").keys(), "run `make lock`"
    assert in_image - {"torch"} <= pins("cpu.lock").keys(), "run `make lock`"
    without = names((REQUIREMENTS / "without-models.txt").read_text(encoding="utf-8").splitlines())
    assert without < required
    assert required - without <= pins("verify.lock").keys(), "run `make lock`"
    assert names(project["build-system"]["requires"]) <= pins("build.lock").keys()


def test_what_belongs_to_a_gpu_is_in_its_lock_alone() -> None:
    for file in ("constraints.txt", "cpu.lock", "verify.lock"):
        assert not [name for name in pins(file) if re.match(r"nvidia|cuda|triton", name)], file
    assert "torch" not in pins("cpu.lock")
    cuda, cpu = pins("cuda.lock"), pins("cpu.lock")
    more = cuda.keys() - cpu.keys()
    assert "torch" in more
    assert "triton" in more
    assert {name for name in more if not re.match(r"nvidia|cuda", name)} == {"torch", "triton"}
    assert cpu.items() <= cuda.items()


def test_nothing_that_loads_kernels_from_the_hub_is_installed() -> None:
    # The package `kernels` lets a model's configuration name programs that transformers would download and run.
    for name in LOCKS:
        assert "kernels" not in pins(f"{name}.lock")
    assert "kernels" not in CONSTRAINTS
