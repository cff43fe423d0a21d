"""Confidence intervals that hold for small samples too.

A plain bootstrap interval is too narrow there: if no answer is wrong, none is wrong in any replicate, and the interval has no width.
Proportions therefore have exact intervals, AUROC has one by test inversion, and for other metrics one unseen image, at its best and at its
worst, is added to every replicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, ndtri

from emocaliber.evaluation.metrics import Floats

LEVEL = 0.95
FEWEST = 10  # images, for an interval by the bootstrap

Interval = tuple[float, float]


@dataclass(frozen=True)
class IntervalEstimate:
    """A number (NaN if undefined), its replicates (R,), and its interval or the reason there is none."""

    value: float
    replicates: Floats
    interval: Interval | None = None
    why: str | None = None


def proportion(value: float, replicates: Floats, n: int, images: int, level: float = LEVEL) -> IntervalEstimate:
    """A proportion of n samples with `images` distinct images.

    The interval is Clopper and Pearson's (1934), exact if every sample has its own image. Otherwise n is replaced by the effective sample
    size, that of independent samples with the replicates' variance, at most n: Korn and Graubard (1998).
    """
    if images == n:
        effective = float(n)
    elif 0 < value < 1:
        effective = min(n, value * (1 - value) / max(float(np.var(replicates, ddof=1)), 1e-12))
    else:
        effective = float(images)
    return IntervalEstimate(value, replicates, clopper_pearson(value * effective, effective, level))


def clopper_pearson(successes: float, n: float, level: float = LEVEL) -> Interval:
    """The exact interval of a binomial proportion: Clopper and Pearson (1934). The counts may be fractions."""
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return min(low, successes / n), max(high, successes / n)


def mean_of_proportions(shares: Sequence[IntervalEstimate]) -> IntervalEstimate:
    """The unweighted mean of several tasks' proportions.

    The interval combines the tasks' intervals, lower and upper ends separately, as if they were independent (MOVER; Zou and Donner 2008).
    If tasks share images, it is widened by the ratio of the replicates' variance to the independent one.
    """
    weight = 1 / len(shares)
    value, replicates = _mean(shares)
    intervals = [each.interval for each in shares]
    if len(shares) == 1 or any(interval is None for interval in intervals):
        return IntervalEstimate(value, replicates, intervals[0])
    ends = np.array(intervals, dtype=float) - np.array([[each.value] for each in shares])
    apart = weight**2 * sum(float(np.var(each.replicates)) for each in shares)
    wider = max(1.0, float(np.var(replicates)) / apart) if apart > 0 else 1.0
    low, high = value - np.sqrt(wider * (ends[:, 0] ** 2).sum()) * weight, value + np.sqrt(wider * (ends[:, 1] ** 2).sum()) * weight
    return IntervalEstimate(value, replicates, (max(float(low), 0.0), min(float(high), 1.0)))


def auroc_estimate(
    value: float, replicates: Floats, right: float, wrong: float, *, clustered: bool, level: float = LEVEL
) -> IntervalEstimate:
    """The AUROC of the given numbers of right and wrong answers, NaN without either.

    The interval inverts the score test with the variance of Hanley and McNeil (1982) at the true value: Newcombe (2006, method 5). It has a
    width also if right and wrong answers are completely separated. If answers share images (`clustered`), the variance is inflated to the
    replicates'.
    """
    if np.isnan(value):
        return IntervalEstimate(value, replicates)
    pairs, middle = right * wrong, (right + wrong) / 2 - 1

    def variance(t: float) -> float:
        return t * (1 - t) * (1 + middle * (1 - t) / (2 - t) + middle * t / (1 + t)) / pairs

    wider = 1.0
    if clustered and variance(value) > 0 and not np.all(np.isnan(replicates)):
        wider = max(1.0, float(np.nanvar(replicates)) / variance(value))
    z2 = float(ndtri((1 + level) / 2)) ** 2 * wider

    def end(outer: float) -> float:
        inner = value
        for _ in range(50):
            t = (inner + outer) / 2
            inner, outer = (t, outer) if (t - value) ** 2 <= z2 * variance(t) else (inner, t)
        return outer

    return IntervalEstimate(value, replicates, (end(0.0), end(1.0)))


def bootstrap_estimate(
    value: float,
    replicates: Floats,
    images: int,
    *,
    unseen: Interval = (-1.0, 1.0),
    within: Interval = (0.0, 1.0),
    floor: float | None = None,
    level: float = LEVEL,
) -> IntervalEstimate:
    """A number with its bootstrap interval, if there are at least 10 images.

    `unseen`: the least and the most that one unseen image may add to the sum over images whose mean the number is; it is added to each
    replicate with a random weight, exponential with mean 1. For a mean of zeros and ones this gives nearly Clopper and Pearson's interval.
    The replicates' bias repeats the number's own. The interval covers the percentiles of the replicates minus the bias, which lie around
    the number, and minus twice the bias, which lie around the estimated quantity; it is clipped to `within`. If the number is at most
    `floor`, it may truly be 0, and the interval starts at the lower end of `within`.
    """
    if np.isnan(value):
        return IntervalEstimate(value, replicates)
    defined = ~np.isnan(replicates)
    if images < FEWEST:
        return IntervalEstimate(value, replicates, None, f"fewer than {FEWEST} images")
    if 2 * np.count_nonzero(defined) < replicates.size:
        return IntervalEstimate(value, replicates, None, "most replicates have no value")
    known = replicates[defined]
    bias = float(known.mean()) - value
    weight = np.random.default_rng(0).exponential(size=known.size)
    least, most = ((images * known + weight * end) / (images + weight) for end in unseen)
    tail = (1 - level) / 2
    low = float(np.quantile(least, tail)) - bias - max(bias, 0.0)
    high = float(np.quantile(most, 1 - tail)) - bias - min(bias, 0.0)
    if floor is not None and value <= floor:
        low = within[0]
    return IntervalEstimate(value, replicates, (min(max(low, within[0]), value), max(min(high, within[1]), value)))


def mean_bootstrap_estimate(estimates: Sequence[IntervalEstimate], images: int) -> IntervalEstimate:
    """The unweighted mean of several tasks' numbers; `images` is the smallest task's count. No interval if one of the tasks has none."""
    value, replicates = _mean(estimates)
    if (why := next((each.why for each in estimates if each.interval is None), None)) is not None:
        return IntervalEstimate(value, replicates, None, why if len(estimates) == 1 else f"in a task: {why}")
    return bootstrap_estimate(value, replicates, images * len(estimates))


def _mean(estimates: Sequence[IntervalEstimate]) -> tuple[float, Floats]:
    return float(np.average([each.value for each in estimates])), np.average([each.replicates for each in estimates], axis=0)
