"""Ranking metrics: how well confidence separates right answers from wrong ones, whatever its scale.

Every metric takes a `Tally` with counts (..., L) and returns (...), NaN where it is undefined. Answers of one confidence are unordered, so
each metric is its mean over all orders of the ties.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma

from emocaliber.evaluation.metrics import Floats, Tally, ratio

_ROUNDING = 1e-9  # in answers: 0.55 * 100 counts as 55


def auroc(tally: Tally) -> Floats:
    """The probability that a right answer is stated with more confidence than a wrong one, ties counting half. NaN without either."""
    return ratio(_pairs_won(tally), tally.rights * (tally.n - tally.rights))


def aurc(tally: Tally) -> Floats:
    """Area under risk against coverage: the mean, over j = 1..n, of the error rate among the j most confident. Geifman and El-Yaniv (2017).

    Averaged over the orders of ties: j answers into a group of m with e errors, after N answers with E errors, there are E + j e/m errors
    to expect, and sum_j (E + j e/m) / (N + j) = e + (E - N e/m) (H(N + m) - H(N)), H the harmonic numbers.
    """
    answers, errors = _most_confident_first(tally)
    group = tally.count[..., ::-1]
    rate = tally.wrong[..., ::-1] / (group + (group == 0))
    earlier = errors[..., :-1] - answers[..., :-1] * rate
    return ratio(tally.wrong.sum(axis=-1) + (earlier * np.diff(_harmonic(answers), axis=-1)).sum(axis=-1), tally.n)


def augrc(tally: Tally) -> Floats:
    """Area under generalised risk (the share of all answers that are kept and wrong) against coverage. Traub et al. (2024), eq. 7.

    The curve is straight across a tie, which is its mean over orders. Computed as (1 - acc)^2 / 2 + acc (1 - acc) (1 - AUROC).
    """
    wrongs = tally.n - tally.rights
    return ratio(wrongs**2 / 2 + tally.rights * wrongs - _pairs_won(tally), tally.n**2)


def coverage_at(tally: Tally, accuracy: float) -> Floats:
    """The largest share of answers that a threshold on confidence keeps with at least this accuracy among them; 0 if none does.

    A description of these answers, without a guarantee for others.
    """
    surplus = np.cumsum((tally.right - accuracy * tally.count)[..., ::-1], axis=-1)[..., ::-1]
    kept = np.maximum.accumulate(surplus >= -_ROUNDING, axis=-1)  # all answers from the lowest sufficient threshold
    return ratio((tally.count * kept).sum(axis=-1), tally.n)


def risk_coverage(tally: Tally) -> tuple[Floats, Floats]:
    """(coverage, risk) at each threshold, from the strictest to none, of a tally without leading axes; both empty for an empty tally."""
    answers, errors = _most_confident_first(tally)
    kept, wrong = answers[1:][np.diff(answers) > 0], errors[1:][np.diff(answers) > 0]
    return kept / tally.n, wrong / kept


def _pairs_won(tally: Tally) -> Floats:
    """(...): the pairs of a right and a wrong answer in which the right one is stated with more confidence, ties counting half."""
    won: Floats = (tally.right * (np.cumsum(tally.wrong, axis=-1) - tally.wrong / 2)).sum(axis=-1)
    return won


def _harmonic(counts: Floats) -> Floats:
    """The harmonic numbers 1 + 1/2 + .. + 1/count, up to a constant; of fractions too, by the digamma function."""
    whole = counts.astype(np.int64)
    if not np.array_equal(whole, counts):
        return np.asarray(digamma(counts + 1))
    table = np.cumsum(1 / np.arange(1, whole.max() + 1))  # several times faster
    return np.concatenate([[0.0], table])[whole]


def _most_confident_first(tally: Tally) -> tuple[Floats, Floats]:
    """(..., L + 1) each: the numbers of answers and of errors above each threshold, from none to all."""
    none = np.zeros((*tally.right.shape[:-1], 1))
    answers, errors = (np.cumsum(counts[..., ::-1], axis=-1) for counts in (tally.count, tally.wrong))
    return np.concatenate([none, answers], axis=-1), np.concatenate([none, errors], axis=-1)
