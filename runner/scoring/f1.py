"""Macro-averaged F1 from confusion counts, so that resampled and drawn items cost one matrix product."""

import numpy as np
from numpy.typing import ArrayLike

from runner.core.types import Array


def confusion_columns(predicted: ArrayLike, human: ArrayLike, labels: int) -> Array:
    """`(items, labels²)`: for each item a 1 at `human · labels + predicted`.

    A weighted sum over items is a confusion matrix, rows people, columns model; these columns can therefore stand
    beside per-item losses in `bootstrap_means`, which gives the share of each cell per draw.
    """
    cells = np.asarray(human) * labels + np.asarray(predicted)
    columns = np.zeros((len(cells), labels * labels))
    columns[np.arange(len(cells)), cells] = 1.0
    return columns


def macro_f1(confusion: ArrayLike) -> Array:
    """Mean over labels of 2·TP / (2·TP + FP + FN), for confusion counts or shares `(…, labels²)`; gives `(…)`.

    As scikit-learn's `f1_score(average="macro", zero_division=0)`: the mean is over the labels that occur among the
    people or the predictions; a label absent from both is left out, one that is never hit counts 0.
    """
    cells = np.asarray(confusion, dtype=np.float64)
    labels = round(cells.shape[-1] ** 0.5)
    square = cells.reshape(*cells.shape[:-1], labels, labels)
    hits = np.diagonal(square, axis1=-2, axis2=-1)
    support = square.sum(axis=-1) + square.sum(axis=-2)
    present = support > 0
    scores = 2.0 * hits / np.where(present, support, 1.0)
    return np.asarray(scores.sum(axis=-1) / present.sum(axis=-1))


def macro_f1_score(predicted: ArrayLike, human: ArrayLike, labels: int) -> float:
    """Macro F1 of the predicted labels `(items,)` against the people's labels `(items,)`."""
    return float(macro_f1(confusion_columns(predicted, human, labels).sum(axis=0)))
