"""Which protections the process that held a model had to do without, as the card of the run says."""

from collections.abc import Mapping
from typing import Any

MISSING = "unavailable"


def missing(card: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the protections that the machine did not have, in order; none where no model was run.

    What does not apply, such as a memory limit beside CUDA, is not missing. Takes whatever a stranger's card holds.
    """
    run = card.get("run")
    states = run.get("isolation") if isinstance(run, Mapping) else None
    if not isinstance(states, Mapping):
        return ()
    return tuple(sorted(str(name) for name, state in states.items() if str(state).startswith(MISSING)))


def sentence(names: tuple[str, ...]) -> str:
    """What to tell a reader of a card that lacks these."""
    return f"The model's process ran without these protections: {', '.join(names)}."
