"""Where the files that travel with the package lie: benchmark.yaml, the schemas and the sample data."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the package `runner`."""


def _travelling(name: str) -> Path:
    """`name` inside the installed package, or in the checkout that an editable install points to."""
    packaged = PACKAGE / "resources" / name
    return packaged if packaged.exists() else PACKAGE.parent / name


def benchmark_file() -> Path:
    """The released `benchmark.yaml`."""
    return _travelling("benchmark.yaml")


def released_benchmarks() -> list[Path]:
    """Every released benchmark, the present one first: cards of older versions are recomputed with theirs."""
    return [benchmark_file(), *sorted((PACKAGE / "embedded" / "benchmarks").glob("*.yaml"), reverse=True)]


def schema_folder() -> Path:
    """The folder of the JSON Schemas (`<name>.schema.json`)."""
    return _travelling("schemas")


def embedded_data(folder: str) -> Path:
    """The folder of an embedded dataset."""
    return PACKAGE / "embedded" / folder
