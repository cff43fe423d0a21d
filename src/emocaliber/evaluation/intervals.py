"""Numbers with their intervals, by methods that hold for small samples too.

A plain bootstrap cannot see what it has not drawn: where no answer is wrong, none is wrong in any replicate, and its interval has no width.
So shares have exact intervals, AUROC has one that inverts a test, and to every replicate of another metric one image that was not seen is
added, at its best and at its worst.
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
    """A number, NaN where it is not defined, its replicates (R,) and its interval, or why there is none."""

    value: float
    replicates: Floats
    interval: Interval | None = None
    why: str | None = None


def proportion(value: float, replicates: Floats, n: int, images: int, level: float = LEVEL) -> IntervalEstimate:
    """A share of n samples, which are about so many images.

    The interval is that of Clopper and Pearson (1934), exact where every sample has an image of its own. Otherwise it is that of as many
    samples as would have the variance of the replicates if they were independent, at most n: Korn and Graubard (1998).
    """
    if images == n:
        effective = float(n)
    elif 0 < value < 1:
        effective = min(n, value * (1 - value) / max(float(np.var(replicates, ddof=1)), 1e-12))
    else:
        effective = float(images)
    return IntervalEstimate(value, replicates, clopper_pearson(value * effective, effective, level))


def clopper_pearson(successes: float, n: float, level: float = LEVEL) -> Interval:
    """The exact interval of a binomial proportion; the numbers may be fractions."""
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return min(low, successes / n), max(high, successes / n)


def mean_of_proportions(shares: Sequence[IntervalEstimate]) -> IntervalEstimate:
    """The mean of the shares of several tasks, each counting alike.

    The interval combines theirs, lower and upper ends apart, as if they were independent (MOVER; Zou and Donner 2008), and is wider by as
    much as the replicates of the mean scatter more than that, where tasks share images.
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


def auroc(value: float, replicates: Floats, right: float, wrong: float, *, clustered: bool, level: float = LEVEL) -> IntervalEstimate:
    """The AUROC of so many right and wrong answers, NaN without either.

    The interval holds every true value t from which this one is no further than chance allows, by the variance at t of Hanley and McNeil
    (1982) as Newcombe (2006, method 5) has it: so it has a width also where right and wrong answers are completely separated. Where several
    answers are about one image, the variance is larger by as much as that of the replicates.
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
    """A number whose interval is by the bootstrap, of at least 10 images.

    `unseen`: the least and the most that an image not seen may add to the sum over images of which the number is the mean; it has a random
    weight, exponential with mean 1. For the mean of zeros and ones that gives nearly the interval of Clopper and Pearson.
    Replicates have the bias of the number a second time. The interval holds the percentiles both of the replicates less their bias, which
    lie about the number, and of the replicates less twice the bias, which lie about what it estimates; it is cut off to `within`.
    `floor`: a number no greater than that could be 0, and its interval begins there.
    """
    if np.isnan(value):
        return IntervalEstimate(value, replicates)
    defined = ~np.isnan(replicates)
    if images < FEWEST:
        return IntervalEstimate(value, replicates, None, f"fewer than {FEWEST} images")
    if 2 * np.count_nonzero(defined) < replicates.size:
        return IntervalEstimate(value, replicates, None, "most replicates have no value")
    drawn = replicates[defined]
    bias = float(drawn.mean()) - value
    weight = np.random.default_rng(0).exponential(size=drawn.size)
    least, most = ((images * drawn + weight * end) / (images + weight) for end in unseen)
    tail = (1 - level) / 2
    low = float(np.quantile(least, tail)) - bias - max(bias, 0.0)
    high = float(np.quantile(most, 1 - tail)) - bias - min(bias, 0.0)
    if floor is not None and value <= floor:
        low = within[0]
    return IntervalEstimate(value, replicates, (min(max(low, within[0]), value), max(min(high, within[1]), value)))


def mean_bootstrap_estimate(estimates: Sequence[IntervalEstimate], images: int) -> IntervalEstimate:
    """The mean of numbers of several tasks, each counting alike; `images` is how many the smallest has. None without an interval in one."""
    value, replicates = _mean(estimates)
    if (why := next((each.why for each in estimates if each.interval is None), None)) is not None:
        return IntervalEstimate(value, replicates, None, why if len(estimates) == 1 else f"in a task: {why}")
    return bootstrap_estimate(value, replicates, images * len(estimates))


def _mean(estimates: Sequence[IntervalEstimate]) -> tuple[float, Floats]:
    return float(np.average([each.value for each in estimates])), np.average([each.replicates for each in estimates], axis=0)
