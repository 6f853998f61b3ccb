"""How closely a language model's answer probabilities match the distribution of human moral judgment.

    import runner

    card = runner.evaluate("submission.yaml", suite="sample")
    card["tasks"]["dilemmas"]["metrics"]["cross_entropy"]
    card.to_frame()

Names are imported when they are first used, so that `import runner` takes no time.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.public_api import (
        Card,
        Comparison,
        compare,
        evaluate,
        load_benchmark,
        load_card,
        load_submission,
        recompute,
        score,
        verify,
    )

from runner.core.version import __version__

__all__ = [
    "Card",
    "Comparison",
    "__version__",
    "compare",
    "evaluate",
    "load_benchmark",
    "load_card",
    "load_submission",
    "recompute",
    "score",
    "verify",
]


def __getattr__(name: str) -> Any:
    """A name of `__all__`, from `runner.public_api` (PEP 562)."""
    if name in __all__:
        from runner import public_api

        return getattr(public_api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
