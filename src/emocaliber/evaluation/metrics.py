"""The numbers of answers. A confusion is an array (..., K, K + 1) of counts: truth by answer, in which the last answer is none at all.

Each function maps it to an array (...), NaN where nothing is defined, as the leading axes may be the replicates of a bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emocaliber.core.scoring import Outcome
from emocaliber.core.tasks import taxonomy_of
from emocaliber.emotions.taxonomy import Taxonomy, taxonomy


def accuracy(confusion: Floats) -> Floats:
    """The share of right answers; no answer is not right."""
    return ratio(_right(confusion), confusion.sum(axis=(-2, -1)))


def f1_macro(confusion: Floats) -> Floats:
    """The mean F1 over the labels that occur as a truth or an answer. A missing answer costs its truth recall and is no label."""
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
    """How many answers are wrong, leaving out the missing ones."""
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


# The sufficient statistics of confidence: how many answers were right and wrong at each stated confidence.
#
# Every number about confidence is a function of these counts alone, so one function serves a file of answers, a thousand bootstrap
# replicates of it and a simulated perfect model: the counts may have any leading axes, and so has the result.

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """`values` (L,): the different confidences, ascending. `right`, `wrong` (..., L): how many answers were so at each of them.

    Counts may be fractions: a label known as a posterior is right with a weight and wrong with the rest.
    """

    values: Floats
    right: Floats
    wrong: Floats

    @classmethod
    def of(cls, confidences: ArrayLike, correct: ArrayLike) -> Tally:
        """The tally of answers with their confidences in [0, 1] and whether each was right; both (n,). Raises ValueError for others."""
        stated, hits = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
        if stated.shape != hits.shape or stated.ndim != 1:
            raise ValueError(f"confidences and correct must be two lists of one length, not of shapes {stated.shape} and {hits.shape}")
        if not np.all((stated >= 0) & (stated <= 1)):  # NaN compares false
            raise ValueError("every confidence must be a number in [0, 1]; leave out the missing ones and report their coverage")
        values, level = np.unique(stated, return_inverse=True)
        right = np.bincount(level, hits, minlength=values.size).astype(float)
        return cls(values, right, np.bincount(level, minlength=values.size) - right)

    @property
    def count(self) -> Floats:
        """(..., L): the answers at each confidence."""
        return self.right + self.wrong

    @property
    def n(self) -> Floats:
        """(...): the answers in all."""
        total: Floats = self.count.sum(axis=-1)
        return total

    @property
    def rights(self) -> Floats:
        """(...): the right answers in all."""
        total: Floats = self.right.sum(axis=-1)
        return total


def tally_of(outcomes: Iterable[Outcome], source: str) -> Tally:
    """The tally of the outcomes that have a confidence of this source."""
    stated = [(confidence, outcome.correct) for outcome in outcomes if (confidence := outcome.confidence.get(source)) is not None]
    return Tally.of([confidence for confidence, _ in stated], [correct for _, correct in stated])


# What is particular to emotions: how far off the errors are, and whether people would agree with the answers.

_POLES = ("positive", "negative")


@dataclass(frozen=True)
class AnswerCost:
    """What each answer to each truth counts, (K, K + 1), and whether the mean is over the wrong answers or over all samples."""

    weight: Floats
    among_errors: bool = False

    def parts(self, confusion: Floats) -> tuple[Floats, Floats]:
        """The sum over a confusion (..., K, K + 1), and the number it is to be divided by. Those of several tasks may be added up."""
        total = wrong_answers(confusion) if self.among_errors else confusion.sum(axis=(-2, -1))
        return (confusion * self.weight).sum(axis=(-2, -1)), total


def costs(task: str, labels: Sequence[str], distances: Mapping[tuple[str, str], float]) -> dict[str, AnswerCost]:
    """The costs that are known for a task.

    - `loop_distance`: the mean distance of the wrong answers from the truth on the emotion loop, in [0, 0.5];
    - `polarity_flips`: the share of samples whose answer is of the other polarity than the truth;
    - `accuracy_at_7`, `accuracy_at_2`: for WebEmo-25, whether the answer is of the right family, and of the right polarity.
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
    name: str | None = label
    for families in (known.parents, taxonomy("webemo-7").parents):
        if name in _POLES:
            break
        name = families.get(name) if name is not None else None
    if name in _POLES:
        return name
    vad = known.vad.get(label)
    return None if vad is None else _POLES[vad.valence < 0]


def annotator_shares(outcome: Outcome) -> Mapping[str, float] | None:
    """The share of viewers behind each label: the posterior where it is known, else the votes; None where there is neither."""
    if outcome.posterior is not None:
        return outcome.posterior
    if outcome.votes is None:
        return None
    total = sum(outcome.votes.values())
    return {label: count / total for label, count in outcome.votes.items()}


def annotator_agreement(outcome: Outcome) -> float | None:
    """The share of viewers who would give the same answer; 0 for no answer."""
    shares = annotator_shares(outcome)
    if shares is None:
        return None
    return shares.get(outcome.answer, 0.0) if outcome.answer is not None else 0.0


def rank_correlation(joint: Floats) -> Floats:
    """Spearman's correlation (...) of two ordered variables, from their joint counts (..., A, B), ties sharing their mean rank."""
    first, second = joint.sum(axis=-1), joint.sum(axis=-2)
    n = first.sum(axis=-1)
    centred = [np.cumsum(count, axis=-1) - count / 2 - n[..., None] / 2 for count in (first, second)]
    spreads = [(count * rank**2).sum(axis=-1) for count, rank in zip((first, second), centred, strict=True)]
    together = np.einsum("...ab,...a,...b->...", joint, *centred)
    return ratio(together, np.sqrt(spreads[0] * spreads[1]))


def _table(labels: Sequence[str], values: Mapping[tuple[str, str], float]) -> Floats:
    rows = [[values.get((truth, answer), 0.0) for answer in labels] + [0.0] for truth in labels]
    return np.array(rows, dtype=float)
