"""Metrics of answers, as functions of confusion matrices, and the sufficient statistics of confidence metrics.

A confusion matrix is an array (..., K, K + 1) of counts, truth by answer, the last column for no answer. Leading axes, such as bootstrap
replicates, carry over to the results (...), which are NaN where undefined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emocaliber.core.scoring import Outcome
from emocaliber.core.tasks import taxonomy_of
from emocaliber.emotions.taxonomy import POLARITIES, Taxonomy, polarity_by_family

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def accuracy(confusion: Floats) -> Floats:
    """The share of right answers among all samples; a missing answer is not right."""
    return ratio(_right(confusion), confusion.sum(axis=(-2, -1)))


def f1_macro(confusion: Floats) -> Floats:
    """The mean F1 over the labels that occur as a truth or an answer. A missing answer lowers its truth's recall and is not a label."""
    f1, _ = _f1(confusion)
    occurs = ~np.isnan(f1)
    return ratio(np.where(occurs, f1, 0).sum(axis=-1), occurs.sum(axis=-1))


def f1_weighted(confusion: Floats) -> Floats:
    """The mean F1 weighted by how often each label is the truth: what the paper's tables print under "F1"."""
    f1, support = _f1(confusion)
    return ratio(np.where(support > 0, f1 * support, 0).sum(axis=-1), support.sum(axis=-1))


def malformed_share(confusion: Floats) -> Floats:
    """The share of samples without an answer."""
    return ratio(confusion[..., -1].sum(axis=-1), confusion.sum(axis=(-2, -1)))


def wrong_answers(confusion: Floats) -> Floats:
    """The number of wrong answers, without the missing ones."""
    given: Floats = confusion[..., :-1].sum(axis=(-2, -1))
    return given - _right(confusion)


def ratio(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: Floats = np.where(whole > 0, part / whole, np.nan)
    return quotient


def _right(confusion: Floats) -> Floats:
    right: Floats = np.trace(confusion, axis1=-2, axis2=-1)
    return right


def _f1(confusion: Floats) -> tuple[Floats, Floats]:
    """The F1 (..., K) of each label, NaN for one that does not occur, and its support (..., K)."""
    support, given = confusion.sum(axis=-1), confusion[..., :-1].sum(axis=-2)
    return ratio(2 * np.diagonal(confusion, axis1=-2, axis2=-1), support + given), support


# Sufficient statistics of confidence metrics


@dataclass(frozen=True)
class Tally:
    """The numbers of right and wrong answers at each stated confidence, the sufficient statistics of every confidence metric.

    `values` (L,) are the distinct confidences, ascending; `right` and `wrong` (..., L) the counts at each. Leading axes may be bootstrap
    replicates or simulated systems. Counts may be fractions, as with posterior labels.
    """

    values: Floats
    right: Floats
    wrong: Floats

    @classmethod
    def of(cls, confidences: ArrayLike, correct: ArrayLike) -> Tally:
        """The tally of n answers, from their confidences in [0, 1] and whether each was right, (n,) both. Raises ValueError otherwise."""
        stated, hits = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
        if stated.shape != hits.shape or stated.ndim != 1:
            raise ValueError(f"confidences and correct must be two lists of one length, not of shapes {stated.shape} and {hits.shape}")
        return cls.of_levels(*np.unique(stated, return_inverse=True), hits)

    @classmethod
    def of_levels(cls, values: Floats, level: Ints, correct: ArrayLike) -> Tally:
        """`of`, for the confidences `values[level]`; `values` (L,) are ascending, `level` and `correct` (n,). Raises as it does."""
        if values.size and not (values[0] >= 0 and values[-1] <= 1):  # NaN, which is sorted to the end, compares false
            raise ValueError("every confidence must be a number in [0, 1]; leave out the missing ones and report their coverage")
        count = np.bincount(level, minlength=values.size)
        right = np.bincount(level, correct, minlength=values.size).astype(float)
        there = count > 0
        return cls(values[there], right[there], (count - right)[there])

    @property
    def count(self) -> Floats:
        """(..., L): the number of answers at each confidence."""
        return self.right + self.wrong

    @property
    def n(self) -> Floats:
        """(...): the number of answers."""
        total: Floats = self.count.sum(axis=-1)
        return total

    @property
    def rights(self) -> Floats:
        """(...): the number of right answers."""
        total: Floats = self.right.sum(axis=-1)
        return total


def tally_of(outcomes: Iterable[Outcome], source: str) -> Tally:
    """The tally of the outcomes that have a confidence of this source."""
    stated = [(confidence, outcome.correct) for outcome in outcomes if (confidence := outcome.confidence.get(source)) is not None]
    return Tally.of([confidence for confidence, _ in stated], [correct for _, correct in stated])


# Emotion-specific metrics: severity of errors, and agreement with annotators


@dataclass(frozen=True)
class AnswerCost:
    """The cost of each answer to each truth, `weight` (K, K + 1), averaged over all samples, or over wrong answers if `among_errors`."""

    weight: Floats
    among_errors: bool = False

    def parts(self, confusion: Floats) -> tuple[Floats, Floats]:
        """The total cost of a confusion matrix (..., K, K + 1), and its denominator. Both may be summed over tasks."""
        total = wrong_answers(confusion) if self.among_errors else confusion.sum(axis=(-2, -1))
        return (confusion * self.weight).sum(axis=(-2, -1)), total


def costs(task: str, labels: Sequence[str], distances: Mapping[tuple[str, str], float]) -> dict[str, AnswerCost]:
    """The costs defined for a task, by metric name.

    - `loop_distance`: the mean distance of the wrong answers from the truth on the emotion loop, in [0, 0.5];
    - `polarity_flips`: the share of samples whose answer has the opposite polarity;
    - `accuracy_at_7`, `accuracy_at_2`: for WebEmo-25, whether the answer's family, or polarity, is right.
    """
    found: dict[str, AnswerCost] = {}
    wrong_pairs = [(truth, answer) for truth in labels for answer in labels if truth != answer]
    if distances and all(pair in distances for pair in wrong_pairs):
        found["loop_distance"] = AnswerCost(_table(labels, distances), among_errors=True)
    if (known := taxonomy_of(task)) is None:
        return found
    poles = {label: pole for label in labels if (pole := polarity(known, label)) is not None}
    if len(poles) == len(labels):
        same = {(a, b): float(poles[a] == poles[b]) for a in labels for b in labels}
        found["polarity_flips"] = AnswerCost(_table(labels, {pair: 1 - value for pair, value in same.items()}))
        if task == "WebEmo-25":
            family = {(a, b): float(known.parents[a] == known.parents[b]) for a in labels for b in labels}
            found |= {"accuracy_at_7": AnswerCost(_table(labels, family)), "accuracy_at_2": AnswerCost(_table(labels, same))}
    return found


def polarity(known: Taxonomy, label: str) -> str | None:
    """ "positive" or "negative": by the label's families where they lead there, else by the sign of its valence; None without either."""
    if family := polarity_by_family(label, known):
        return family
    vad = known.vad.get(label)
    return None if vad is None else POLARITIES[vad.valence < 0]


def rank_correlation(joint: Floats) -> Floats:
    """Spearman's correlation (...) of two ordered variables from their joint counts (..., A, B); ties share their mean rank."""
    first, second = joint.sum(axis=-1), joint.sum(axis=-2)
    n = first.sum(axis=-1)
    centred = [np.cumsum(count, axis=-1) - count / 2 - n[..., None] / 2 for count in (first, second)]
    spreads = [(count * rank**2).sum(axis=-1) for count, rank in zip((first, second), centred, strict=True)]
    together = np.einsum("...ab,...a,...b->...", joint, *centred)
    return ratio(together, np.sqrt(spreads[0] * spreads[1]))


def _table(labels: Sequence[str], values: Mapping[tuple[str, str], float]) -> Floats:
    rows = [[values.get((truth, answer), 0.0) for answer in labels] + [0.0] for truth in labels]
    return np.array(rows, dtype=float)
