"""The numbers of answers. A confusion is an array (..., K, K + 1) of counts: truth by answer, in which the last answer is none at all.

Each function maps it to an array (...), NaN where nothing is defined, as the leading axes may be the replicates of a bootstrap.
"""

from __future__ import annotations

import numpy as np

from emocaliber.evaluation.tally import Floats


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
