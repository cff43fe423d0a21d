"""Calibration metrics: stated confidence against accuracy.

Every metric takes a `Tally` with counts (..., L) and returns (...), NaN where it is undefined, as without data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, erfc

from emocaliber.evaluation.metrics import Floats, Tally, ratio

BINS = 10
CLIP = 0.001  # `nll` clips confidences to [CLIP, 1 - CLIP]

_UNITS = 10**9
_NARROWEST = 0.004  # the smallest kernel width of `ece_smooth`, in units of confidence
_WIDTH_TOLERANCE = 1e-5
_MOST_WIDTHS = 40  # iterations; about five are needed, and bisection alone would converge


def bin_of(confidences: ArrayLike, bins: int = BINS) -> NDArray[np.int64]:
    """The equal-width bin `(lo, hi]` of each confidence, counted from 0, with 0.0 in the first.

    Computed on integers: confidences are rounded to billionths. Numbers with two decimals are exact, so 0.3 is the upper edge of (0.2,
    0.3]; others within half a billionth of an edge move onto it, so that 0.1 + 0.2 is in the bin of 0.3.
    """
    units = np.rint(np.asarray(confidences, dtype=float) * _UNITS).astype(np.int64)
    ceilings: NDArray[np.int64] = -(-units * bins // _UNITS)
    return np.maximum(ceilings - 1, 0)


def ece(tally: Tally, bins: int = BINS) -> Floats:
    """Expected calibration error: the mean of |accuracy - mean confidence| of each answer's equal-width bin. Guo et al. (2017), eq. 3."""
    _, right, stated = _by_width(tally, bins)
    return ratio(np.abs(right - stated).sum(axis=-1), tally.n)


def mce(tally: Tally, bins: int = BINS) -> Floats:
    """Maximum calibration error: the largest |accuracy - mean confidence| of the bins that hold answers. Guo et al. (2017), eq. 5."""
    count, right, stated = _by_width(tally, bins)
    gap = np.divide(np.abs(right - stated), count, out=np.zeros_like(count), where=count > 0)
    return np.where(tally.n > 0, gap.max(axis=-1), np.nan)


def ece_equal_mass(tally: Tally, bins: int = BINS) -> Floats:
    """ECE over bins that hold equally many answers, along the sorted confidences. Nguyen and O'Connor (2015).

    Answers of one confidence that straddle an edge are split in proportion, right and wrong alike, so that ties have no order.
    """
    before = np.concatenate([np.zeros((*tally.count.shape[:-1], 1)), np.cumsum(tally.count, axis=-1)], axis=-1)
    excess = np.concatenate([np.zeros_like(before[..., :1]), np.cumsum(_excess(tally), axis=-1)], axis=-1)
    edges = before[..., -1:] * (np.arange(1, bins) / bins)
    high = np.count_nonzero(before[..., None, :] < edges[..., :, None], axis=-1)
    low = np.maximum(high - 1, 0)
    start, end = np.take_along_axis(before, low, axis=-1), np.take_along_axis(before, high, axis=-1)
    inside = np.divide(edges - start, end - start, out=np.zeros_like(edges), where=end > start)
    at_low, at_high = np.take_along_axis(excess, low, axis=-1), np.take_along_axis(excess, high, axis=-1)
    at_edges = np.concatenate([excess[..., :1], at_low + inside * (at_high - at_low), excess[..., -1:]], axis=-1)
    return ratio(np.abs(np.diff(at_edges, axis=-1)).sum(axis=-1), tally.n)


def ece_debiased(tally: Tally, bins: int = BINS) -> Floats:
    """Root mean squared calibration error, corrected for the bias of sampling noise. Kumar, Liang and Ma (2019), section 5.

    sqrt(max(0, sum_b p_b [(acc_b - conf_b)^2 - acc_b (1 - acc_b) / (n_b - 1)])) over the equal-width bins of `ece`, which
    hold whole answers, as the correction assumes; equal-mass bins would split ties. A bin of one answer is not corrected.
    """
    count, right, stated = _by_width(tally, bins)
    squared_gap = np.divide((right - stated) ** 2, count, out=np.zeros_like(count), where=count > 0)
    noise = np.divide(right * (count - right), count * (count - 1), out=np.zeros_like(count), where=count > 1)
    return np.sqrt(np.maximum(ratio((squared_gap - noise).sum(axis=-1), tally.n), 0))


def ece_smooth(tally: Tally) -> Floats:
    """Smooth ECE: the calibration error after smoothing over a width that equals it. Blasiok and Nakkiran (2023), definition 3.

    smECE_s integrates over t in [0, 1] the absolute mean of (right - confidence) K_s(confidence, t), K_s the Gaussian kernel reflected at
    0 and 1; the result is the s at which smECE_s = s. Good to 1e-4 or better.
    """
    n = np.asarray(tally.n)
    excess = np.divide(_excess(tally), n[..., None], out=np.zeros_like(tally.right), where=n[..., None] > 0).reshape(n.size, -1)
    # smECE_s decreases in s, so the fixed point lies between any s and smECE_s.
    before = np.full(len(excess), 0.05)
    width = _Smoothing(tally.values, excess, 0.05)(before)
    low, high = np.minimum(before, width), np.maximum(before, width)
    smoothed = _Smoothing(tally.values, excess, float(low.min(initial=1.0, where=n.ravel() > 0)))
    gap_before = width - before
    found, open_ = width.copy(), np.arange(len(excess))
    for _ in range(_MOST_WIDTHS):
        gap = smoothed(width, open_) - width
        found[open_] = width
        going = np.abs(gap) >= _WIDTH_TOLERANCE
        if not going.any():
            break
        open_ = open_[going]
        gap, gap_before, width, before, low, high = (each[going] for each in (gap, gap_before, width, before, low, high))
        low, high = np.where(gap > 0, np.maximum(low, width), low), np.where(gap < 0, np.minimum(high, width), high)
        with np.errstate(invalid="ignore", divide="ignore"):
            secant = width - gap * (width - before) / (gap - gap_before)
        before, gap_before = width, gap
        width = np.where((secant > low) & (secant < high), secant, (low + high) / 2)
    return np.where(n > 0, np.minimum(found, 1).reshape(n.shape), np.nan)


def brier(tally: Tally) -> Floats:
    """The mean squared difference between confidence and correctness. Brier (1950)."""
    return ratio(tally.right @ (1 - tally.values) ** 2 + tally.wrong @ tally.values**2, tally.n)


def brier_reliability(tally: Tally) -> Floats:
    """The mean squared difference between a confidence and the accuracy of the answers that state it; 0 is best.

    The first term of brier = reliability - resolution + uncertainty, an exact identity: Murphy (1973). Answers are grouped by distinct
    confidence, so the terms mean little if hardly any two answers share one.
    """
    return _mean_square(tally, _excess(tally))


def brier_resolution(tally: Tally) -> Floats:
    """The mean squared difference between the accuracy at an answer's confidence and that of all answers; more is better."""
    return _mean_square(tally, tally.right - tally.count * ratio(tally.rights, tally.n)[..., None])


def brier_uncertainty(tally: Tally) -> Floats:
    """base (1 - base), base the accuracy: the Brier score of stating the accuracy each time."""
    base = ratio(tally.rights, tally.n)
    return base * (1 - base)


def brier_skill(tally: Tally) -> Floats:
    """1 - brier / base (1 - base): the improvement over stating the accuracy each time. NaN if all answers are right, or all wrong."""
    return 1 - ratio(brier(tally), brier_uncertainty(tally))


def nll(tally: Tally) -> Floats:
    """Negative log-likelihood per answer, in nats, of confidences clipped to [0.001, 0.999]: a wrong answer at 1.00 would be infinite."""
    stated = np.clip(tally.values, CLIP, 1 - CLIP)
    return ratio(-(tally.right @ np.log(stated) + tally.wrong @ np.log1p(-stated)), tally.n)


def spiegelhalter(tally: Tally) -> tuple[Floats, Floats]:
    """(z, p): the test that confidence is calibrated, p two-sided. Spiegelhalter (1986). NaN where all confidences are 0, 0.5 or 1.

    Answers are weighted by 1 - 2 confidence, so overconfidence above 0.5 and below it may cancel.
    """
    values = tally.values
    variance = tally.count @ ((1 - 2 * values) ** 2 * values * (1 - values))
    z = ratio(_excess(tally) @ (1 - 2 * values), np.sqrt(variance))
    return z, np.asarray(erfc(np.abs(z) / np.sqrt(2)))


@dataclass(frozen=True)
class Bin:
    """The answers with a confidence in (low, high], in the first bin from 0: their number, mean confidence, accuracy and its interval."""

    low: float
    high: float
    n: float
    confidence: float
    accuracy: float
    accuracy_ci: tuple[float, float]


def reliability_bins(tally: Tally, bins: int = BINS, level: float = 0.95) -> list[Bin]:
    """The non-empty bins of `ece`, from low to high, of a tally without leading axes.

    The interval is that of Clopper and Pearson (1934), exact for a binomial proportion.
    """
    tail = (1 - level) / 2
    table = []
    for b, (count, right, stated) in enumerate(np.stack(_by_width(tally, bins), axis=-1).tolist()):
        if count > 0:
            low = float(betaincinv(right, count - right + 1, tail)) if right > 0 else 0.0
            high = float(betaincinv(right + 1, count - right, 1 - tail)) if right < count else 1.0
            table.append(Bin(b / bins, (b + 1) / bins, count, stated / count, right / count, (low, high)))
    return table


def perfectly_calibrated(tally: Tally, replicates: int, random: np.random.Generator) -> Tally:
    """Simulated calibrated systems, (replicates, L): these confidences, with answers at confidence c right with probability c.

    The tally must have no leading axes and whole counts, else ValueError.
    """
    count = tally.count
    if count.ndim != 1 or not np.all(count == np.rint(count)):
        raise ValueError(f"simulating a calibrated system takes whole counts of shape (L,), not fractions or shape {count.shape}")
    right = random.binomial(count.astype(np.int64), tally.values, size=(replicates, count.size)).astype(float)
    return Tally(tally.values, right, count - right)


def _excess(tally: Tally) -> Floats:
    """(..., L): right answers minus their expected number at each confidence."""
    return tally.right - tally.count * tally.values


def _mean_square(tally: Tally, sums: Floats) -> Floats:
    """The mean over answers of the squared mean of their level, from the sums (..., L) of the levels."""
    count = tally.count
    count += count == 0  # where the sum is 0 too
    return ratio((sums**2 / count).sum(axis=-1), tally.n)


def _by_width(tally: Tally, bins: int) -> tuple[Floats, Floats, Floats]:
    """(..., bins) each: per equal-width bin, the number of answers, of right answers, and the sum of confidences."""
    member = (bin_of(tally.values, bins)[:, None] == np.arange(bins)).astype(float)
    count = tally.count
    return count @ member, tally.right @ member, count @ (tally.values[:, None] * member)


class _Smoothing:
    """s (m,) -> smECE_s (m,) of some `rows` of the mean excess (R, L) at each of the values (L,); for widths of `narrowest` and above.

    The cosines are the eigenfunctions of the reflected kernel: smoothing over s multiplies cos(pi k t) by exp(-(pi k s)^2 / 2), which is
    below 1e-4 at the last k kept.
    """

    def __init__(self, values: Floats, excess: Floats, narrowest: float) -> None:
        self._narrowest = max(narrowest, _NARROWEST)
        self._frequencies = np.pi * np.arange(np.ceil(1.4 / self._narrowest) + 1)
        doubled = np.where(self._frequencies > 0, 2.0, 1.0)
        self._coefficients = excess @ np.cos(np.outer(values, self._frequencies)) * doubled
        points = 2 * self._frequencies.size
        self._waves = np.cos(np.outer(self._frequencies, (np.arange(points) + 0.5) / points))

    def __call__(self, widths: Floats, rows: NDArray[np.int64] | slice = slice(None)) -> Floats:
        damping = np.exp(-0.5 * (np.maximum(widths, self._narrowest)[:, None] * self._frequencies) ** 2)
        mean: Floats = np.abs((self._coefficients[rows] * damping) @ self._waves).mean(axis=-1)
        return mean
