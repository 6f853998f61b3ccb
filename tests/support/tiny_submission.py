"""A submission that names a folder, without the libraries that could load it."""

from pathlib import Path

from runner.core.types import AdapterRef, ModelRef, Submission


def of(model: Path, adapter: Path | None = None, form: str = "plain") -> Submission:
    return Submission(
        name="tiny",
        description="",
        digest="sha256:" + "0" * 64,
        source=b"",
        model=ModelRef("causal", str(model), None, None, None, form, "float32", None),
        adapter=AdapterRef(str(adapter), None, None, None) if adapter else None,
    )
