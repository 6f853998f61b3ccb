"""Predictions put beside the items they answer: one array for a task, in item order."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp

from runner.core.errors import Fault, InvalidInput
from runner.core.types import Array, Item, Prediction
from runner.tasks.api_usage import ApiUsage, summarize_usage
from runner.tasks.sampled import counts_by_label, log_posterior_mean

_MAX_FAULTS = 20

View = tuple[str | None, int]
"""A way of asking: prompt id and order."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A model's answers to some items of one task, in item order."""

    views: tuple[View, ...]
    """Prompt and order of every view."""
    log_probs: Array
    """(items, views, labels) natural-log probabilities, normalised per view; NaN where a text could not be parsed."""
    answer_mass: Array
    """(items, views) probability of all options; NaN where not measured."""
    concentration: Array | None
    """(items,) Dirichlet concentrations; None where the model supplies none."""
    truncated: tuple[str, ...]
    """Ids of the items with a cut field, in item order."""
    served: ApiUsage | None = None
    """Sums over the answers of a service; None without one."""
    unread: tuple[Prediction, ...] = ()
    """Rows, in item order, whose text could not be parsed, or of which more samples failed than could be read."""
    samples: Array | None = None
    """(items, views, labels) how often each label was drawn; None unless answers were drawn."""
    failures: Array | None = None
    """(items, views) drawn answers that could not be read; None unless answers were drawn."""
    failed: tuple[Prediction, ...] = ()
    """Rows, in item order, with a drawn answer that could not be read."""

    def read(self) -> NDArray[np.bool_]:
        """(items,) whether every view of an item has an answer that could be read."""
        return np.logical_not(np.isnan(self.log_probs).any(axis=(1, 2)))

    def only(self, where: NDArray[np.bool_]) -> "Answers":
        """The answers to the items of `where` (items,)."""
        own = None if self.concentration is None else self.concentration[where]
        return replace(
            self,
            log_probs=self.log_probs[where],
            answer_mass=self.answer_mass[where],
            concentration=own,
            unread=(),
            samples=None if self.samples is None else self.samples[where],
            failures=None if self.failures is None else self.failures[where],
        )

    def averaged(self) -> Array:
        """(items, labels) log-probabilities: the views averaged as probabilities; of drawn answers their counts added.

        The score of drawn answers is the posterior mean of all of them under one Dirichlet(½): an average of the
        views' own posterior means would count the prior once for each view.
        """
        if self.samples is not None:
            pooled: Array = log_posterior_mean(self.samples.sum(axis=1))
            return pooled
        mean: Array = logsumexp(self.log_probs, axis=1) - math.log(len(self.views))
        return mean


def align(items: Sequence[Item], labels: Sequence[str], rows: Iterable[Prediction], file: str | None = None) -> Answers:
    """Rows of one task put in the order of `items`, or `InvalidInput` when they do not answer each item exactly once.

    Every item must be answered in the same views (prompt and order), once each, with one score per label; a row for
    an item that is not among `items` is a fault, as is an item without rows. Rows that name a prompt do not go with
    rows that name none, nor rows with a concentration of their own with rows without, nor rows with a text with rows
    without.
    """
    item_index = {item.id: number for number, item in enumerate(items)}
    rows = list(rows)
    views = tuple(dict.fromkeys((row.prompt_id, row.order) for row in rows)) or ((None, 0),)
    view_place = {view: number for number, view in enumerate(views)}
    shape = (len(items), len(views))
    scores = np.full((*shape, len(labels)), np.nan)
    mass = np.full(shape, np.nan)
    concentration = np.full(shape, np.nan)
    answered = np.zeros(shape, dtype=bool)
    cut: set[str] = set()
    drawn = np.zeros((*shape, len(labels)))
    failures = np.zeros(shape)
    unread: list[tuple[tuple[int, int], Prediction]] = []
    failed: list[tuple[tuple[int, int], Prediction]] = []
    problems: list[str] = []
    for row in rows:
        where = f"item {row.item_id!r}"
        if row.item_id not in item_index:
            problems.append(f"{where} is not an item of the task's split")
            continue
        if row.log_scores is not None and len(row.log_scores) != len(labels):
            problems.append(f"{where} has {len(row.log_scores)} scores, the task has {len(labels)} labels")
            continue
        if row.bounded and max(row.bounded) >= len(labels):
            problems.append(f"{where} bounds label {max(row.bounded)}, the task has {len(labels)} labels")
            continue
        at = (item_index[row.item_id], view_place[row.prompt_id, row.order])
        if answered[at]:
            problems.append(f"{where} is answered twice for prompt {row.prompt_id!r}, order {row.order}")
            continue
        answered[at] = True
        if row.log_scores is None:
            unread.append((at, row))
        else:
            scores[at] = row.log_scores
        if row.samples is not None:
            drawn[at] = counts_by_label(row, labels)
            failures[at] = row.failures or 0
            if row.failures:
                failed.append((at, row))
        mass[at] = np.nan if row.answer_mass is None else row.answer_mass
        concentration[at] = np.nan if row.concentration is None else row.concentration
        if row.truncated:
            cut.add(row.item_id)
    prompts = {prompt_id for prompt_id, _ in views}
    if None in prompts and len(prompts) > 1:
        problems.append(f"some rows name a prompt ({min(filter(None, prompts))!r}), others none")
    if 0 < (written := sum(row.text is not None for row in rows)) < len(rows):
        problems.append(f"{written:,} of {len(rows):,} rows have a text, all or none were expected")
    if 0 < (with_samples := sum(row.samples is not None for row in rows)) < len(rows):
        problems.append(f"{with_samples:,} of {len(rows):,} rows have samples, all or none were expected")
    present = ~np.isnan(concentration[answered])
    if present.any() and not present.all():
        problems.append(f"{present.sum():,} of {present.size:,} rows have a concentration, all or none were expected")
    for number, view in zip(*np.nonzero(~answered), strict=True):
        prompt_id, order = views[view]
        view_text = "" if prompt_id is None else f" for prompt {prompt_id!r}, order {order}"
        problems.append(f"item {items[number].id!r} has no answer{view_text}")
    if problems:
        reported = [Fault("RUN_INCONSISTENT", f"{problem[0].upper()}{problem[1:]}.", file) for problem in problems[:20]]
        if len(problems) > len(reported):
            reported.append(Fault("RUN_INCONSISTENT", f"… and {len(problems) - len(reported):,} more.", file))
        raise InvalidInput(*reported)
    own = concentration.mean(axis=1)
    return Answers(
        views=views,
        log_probs=log_softmax(scores, axis=2),
        answer_mass=mass,
        concentration=None if np.isnan(own).any() else own,
        truncated=tuple(item.id for item in items if item.id in cut),
        served=summarize_usage(rows),
        unread=tuple(row for _, row in sorted(unread, key=lambda entry: entry[0])),
        samples=drawn if with_samples else None,
        failures=failures if with_samples else None,
        failed=tuple(row for _, row in sorted(failed, key=lambda entry: entry[0])),
    )


def by_task_and_split(
    rows: Iterable[Prediction],
    items: Mapping[tuple[str, str], Sequence[Item]],
    file: str | None = None,
) -> dict[tuple[str, str], list[Prediction]]:
    """Rows sorted by (task, split); a row without a split belongs to the one split of its task that has its item."""
    homes = {(task, item.id): split for (task, split), members in reversed(list(items.items())) for item in members}
    sorted_rows: dict[tuple[str, str], list[Prediction]] = {}
    faults: list[Fault] = []
    for number, row in enumerate(rows, start=1):
        split = row.split or homes.get((row.task, row.item_id))
        if split is None or (row.task, split) not in items:
            known = ", ".join(sorted({f"{task} ({name})" for task, name in items}))
            message = f"Task {row.task!r}, item {row.item_id!r} is not among what is scored: {known}."
            faults.append(Fault("RUN_INCONSISTENT", message, file, number))
            if len(faults) >= _MAX_FAULTS:
                break
            continue
        sorted_rows.setdefault((row.task, split), []).append(row)
    if faults:
        raise InvalidInput(*faults)
    return sorted_rows
