"""What rows say of a service that answered them: who it says answered, what it counted, and what is only a bound."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from runner.core.types import Prediction

_MOST_NAMES = 20


@dataclass(frozen=True, slots=True)
class ApiUsage:
    """Sums over rows that a service answered."""

    rows: int
    """Number of rows."""
    bounded_rows: int
    """Rows with a log-score that is only an upper bound."""
    bounded_scores: int
    """Log-scores that are only upper bounds."""
    unanswered_rows: int
    """Rows whose log-scores are all upper bounds."""
    input_tokens: int | None
    """Tokens read; None unless every row counts them."""
    output_tokens: int | None
    """Tokens written; None unless every row counts them."""
    model_versions: Mapping[str, int]
    """Version of the model to the number of its rows."""
    system_fingerprints: Mapping[str, int]
    """Fingerprint of the set-up to the number of its rows."""

    def to_json(self) -> dict[str, Any]:
        """As it stands in the card; of names, the 20 that stand on most rows."""
        return {
            "rows": self.rows,
            "bounded_rows": self.bounded_rows,
            "bounded_scores": self.bounded_scores,
            "unanswered_rows": self.unanswered_rows,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "model_versions": _most_frequent(self.model_versions),
            "system_fingerprints": _most_frequent(self.system_fingerprints),
        }


def summarize_usage(rows: Iterable[Prediction]) -> ApiUsage | None:
    """What `rows` say of their service; None where none of them was answered by one (`bounded` is None)."""
    own = [row for row in rows if row.bounded is not None]
    if not own:
        return None
    bounded = [len(row.bounded or ()) for row in own]
    usage = [row.usage for row in own if row.usage is not None]
    counted = len(usage) == len(own)
    return ApiUsage(
        rows=len(own),
        bounded_rows=sum(number > 0 for number in bounded),
        bounded_scores=sum(bounded),
        unanswered_rows=sum(0 < number == len(row.log_scores or ()) for number, row in zip(bounded, own, strict=True)),
        input_tokens=sum(tokens for tokens, _ in usage) if counted else None,
        output_tokens=sum(tokens for _, tokens in usage) if counted else None,
        model_versions=Counter(row.model_version for row in own if row.model_version is not None),
        system_fingerprints=Counter(row.system_fingerprint for row in own if row.system_fingerprint is not None),
    )


def model_name(model: Mapping[str, Any]) -> str | None:
    """A card's model by its repository, its folder, or what a service calls it; None where none is said."""
    reported_name = (model.get("facts") or {}).get("model") if model.get("backend") == "api" else None
    name = model.get("repository") or model.get("folder") or reported_name
    return name if isinstance(name, str) else None


def merged(parts: Iterable[ApiUsage | None]) -> ApiUsage | None:
    """Several splits as one; None where none of them was answered by a service."""
    usages = [part for part in parts if part is not None]
    if not usages:
        return None
    tokens_in = [part.input_tokens for part in usages if part.input_tokens is not None]
    tokens_out = [part.output_tokens for part in usages if part.output_tokens is not None]
    return ApiUsage(
        rows=sum(part.rows for part in usages),
        bounded_rows=sum(part.bounded_rows for part in usages),
        bounded_scores=sum(part.bounded_scores for part in usages),
        unanswered_rows=sum(part.unanswered_rows for part in usages),
        input_tokens=sum(tokens_in) if len(tokens_in) == len(usages) else None,
        output_tokens=sum(tokens_out) if len(tokens_out) == len(usages) else None,
        model_versions=sum((Counter(part.model_versions) for part in usages), Counter()),
        system_fingerprints=sum((Counter(part.system_fingerprints) for part in usages), Counter()),
    )


def reasons(services: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why a card over these services, as they stand in its tasks, may not be compared."""
    all_services = list(services)
    versions = sorted({name for service in all_services for name in service["model_versions"]})
    unanswered = sum(service["unanswered_rows"] for service in all_services)
    sentences = []
    if len(versions) > 1:
        sentences.append(f"the service changed the model during the run: {', '.join(versions)[:300]}")
    if unanswered:
        sentences.append(f"{unanswered:,} prompts were not answered and are scored as equal probabilities")
    return sentences


def _most_frequent(names: Mapping[str, int]) -> dict[str, int]:
    ordered = sorted(names.items(), key=lambda entry: (-entry[1], entry[0]))
    return dict(ordered[:_MOST_NAMES])
