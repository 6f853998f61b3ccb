"""How a site is made, what it holds, and what is known of the cards that it shows in detail."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.core.benchmark_types import Benchmark
from runner.scorecard.disagreements import ItemShares
from runner.scorecard.load import OpenCard


@dataclass(frozen=True, slots=True)
class Settings:
    """How a site is made."""

    data_dir: Path | None = None
    """Folder of the data; without it no text of an item is on any page."""
    benchmark: Benchmark | None = None
    """The benchmark whose cards are ranked; None for the released ones."""
    include_trial: bool = False
    """Whether trials are ranked, apart."""
    top: int = 10
    """How many submissions of each section of a board have items and comparisons."""
    url: str | None = None
    """Where the site will be, for the feed; None for relative addresses."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a site holds."""

    cards: int
    """Cards with a page."""
    refused: int
    """Cards that do not verify: they are listed with the reason and have no page."""
    damage: tuple[str, ...]
    """What is wrong with the archive."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A card whose items and comparisons are shown."""

    opened: OpenCard
    """The card and its files."""
    shares: Mapping[str, ItemShares]
    """Task → what people and the model say; empty where it is not known."""
    without: str | None
    """Why it is not known."""
