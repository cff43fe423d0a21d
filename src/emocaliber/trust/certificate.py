"""The mathematics of certificates: the lowest threshold on a confidence above which answers are right in at least a given share.

For a threshold t, let A(t) = P(right | confidence >= t). A certified threshold has A(t) >= `accuracy`, and is wrong about that in at most a
share `delta` of calibrations, whatever the relation of confidence and accuracy. Answers must be independent of each other.

Each threshold is tested by an exact binomial test: of k answers accepted, the number of right ones is Binomial(k, A(t)). Testing many
thresholds and taking the best one needs a rule that keeps all tests together wrong in at most `delta`. The default, "fallback", is the
fallback procedure (Wiens 2003; Wiens and Dmitrienko 2005) on the thresholds from strict to lenient: testing begins at four places, with
delta/4 each; it goes down from each for as long as it rejects "A(t) < accuracy", and takes its level along to the next place if it arrives
there. So a strict beginning with too few answers costs a quarter of delta, and not everything, as it does in fixed-sequence testing.

The places must not depend on the answers that are tested: they are quantiles of the confidence of a twentieth of all answers, the pilot,
which is left out of the tests. They are ordered by a rule that sees no truth. Between the places every observed confidence is a threshold,
and no grid is needed, as A is continuous from the left: testing goes down to the first threshold with A(t) <= accuracy, which is fixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincinv, ndtri

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

Method = Literal["fallback", "fixed_sequence", "holm", "bonferroni"]
METHODS: tuple[str, ...] = get_args(Method)
STARTS = (0.08, 0.2, 0.4, 0.7)  # the coverages at which testing begins; few and far between, as each costs an equal part of delta
PILOT = 0.05  # the share of answers that place them
GRID = np.arange(100) / 100  # the thresholds of the other methods
POWER = 0.8  # how surely `answers_needed` would do
FEWEST_ACCEPTED = 20  # answers above a threshold, for a guess of the accuracy there


class Accepted(NamedTuple):
    """At each threshold, from strict to lenient: the answers accepted, and the right ones among them; (m,) each."""

    threshold: Floats
    accepted: Ints
    right: Ints


class CurvePoint(NamedTuple):
    """At a threshold: the share of all answers accepted, their accuracy, and its lower confidence bound, which holds for this one alone."""

    threshold: float
    coverage: float
    accuracy: float
    low: float


def accepted_by_threshold(confidence: Floats, right: Bools) -> Accepted:
    """What each distinct confidence accepts as a threshold. Raises ValueError for NaN, which no threshold accepts."""
    if np.isnan(confidence).any():
        raise ValueError("a confidence is NaN; leave answers without a confidence out, and count them in the coverage")
    order = np.argsort(-confidence, kind="stable")
    values = confidence[order]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if values.size else np.zeros(0, np.int64)
    return Accepted(values[last], last + 1, np.cumsum(right[order], dtype=np.int64)[last])


def p_value(right: npt.ArrayLike, accepted: npt.ArrayLike, accuracy: float) -> Floats:
    """P(at least so many right | Binomial(accepted, accuracy)): small where the accuracy is surely above; 1 where none is right."""
    right, accepted = np.asarray(right, float), np.asarray(accepted, float)
    return np.where(right > 0, betainc(np.maximum(right, 1), accepted - right + 1, accuracy), 1.0)


def certified_threshold(
    confidence: npt.ArrayLike,
    right: npt.ArrayLike,
    accuracy: float,
    delta: float,
    method: Method = "fallback",
    *,
    pilot: npt.ArrayLike | None = None,
    grid: npt.ArrayLike = GRID,
    starts: int = 1,
) -> float | None:
    """The lowest threshold t for which P(right | confidence >= t) >= `accuracy`; wrong in at most `delta` of calibrations. None: no such.

    `confidence` (n,) and `right` (n,) are of answers that have a confidence. `pilot` (n,) says which of them only place the starts of
    "fallback"; by default every twentieth, so shuffle ordered answers. The other methods test the thresholds of a `grid` that was chosen
    without seeing the answers: "bonferroni", "holm", and "fixed_sequence" from the strictest down (Bauer 1991), or from `starts` equally
    spaced places with delta/`starts` each, as Learn then Test has them (Angelopoulos et al. 2021). Raises ValueError for NaN, numbers
    outside (0, 1) and an unknown method.
    """
    check_terms(accuracy, delta)
    confidence, right = np.asarray(confidence, float), np.asarray(right, bool)
    if method != "fallback":
        strict_first = np.sort(np.asarray(grid, float))[::-1]
        return _on_grid(accepted_by_threshold(confidence, right), accuracy, delta, method, strict_first, starts)
    first = np.asarray(pilot, bool) if pilot is not None else pilot_of(confidence.size)
    tested = accepted_by_threshold(confidence[~first], right[~first])
    return _fallback(tested, p_value(tested.right, tested.accepted, accuracy), delta, confidence[first])


def check_terms(accuracy: float, delta: float) -> None:
    """Raises ValueError, in a sentence, for numbers outside (0, 1); TypeError for what is no number."""
    for name, value in (("accuracy", accuracy), ("delta", delta)):
        if isinstance(value, str | bool) or value is None:
            raise TypeError(f"{name} must be a number between 0 and 1, not {value!r}")
        if not 0 < value < 1:
            meant = f"; for {value:g} percent write {value / 100:g}" if 1 < value < 100 else ""
            raise ValueError(f"{name} must lie between 0 and 1, and is {value:g}{meant}")


def pilot_of(n: int) -> Bools:
    """(n,): every twentieth answer, the first one included."""
    return np.asarray(np.arange(n) % round(1 / PILOT) == 0)


def _fallback(tested: Accepted, p: Floats, delta: float, pilot: Floats) -> float | None:
    """The lowest rejected threshold by the fallback procedure, beginning at quantiles of the pilot's confidences."""
    if not pilot.size or not p.size:
        return None
    places = np.quantile(pilot, [1 - coverage for coverage in STARTS], method="inverted_cdf")
    starts, shares = np.unique(-places, return_counts=True)  # equal places are one hypothesis, with their levels together
    first = np.searchsorted(-tested.threshold, starts, side="right") - 1  # the last observed threshold that is at least the start
    best, level = None, 0.0
    for number, (place, share) in enumerate(zip(first, shares, strict=True)):
        level += delta * share / len(STARTS)
        if place < 0:  # nothing is accepted there, so nothing can be rejected
            level = 0.0
            continue
        end = p.size
        if number + 1 < first.size:  # thresholds between the last observed one and the next place accept the same, and are tested too
            end = first[number + 1] + (tested.threshold[first[number + 1]] > -starts[number + 1])
        segment = p[place : max(end, place + 1)]
        passed = int(np.argmax(segment > level)) if (segment > level).any() else segment.size
        best = place + passed - 1 if passed else best
        level = level if passed == segment.size else 0.0
    return None if best is None else float(tested.threshold[best])


def _on_grid(found: Accepted, accuracy: float, delta: float, method: str, grid: Floats, starts: int) -> float | None:
    """The lowest threshold of the grid, which is given from strict to lenient, that a method rejects."""
    place = np.searchsorted(-found.threshold, -grid, side="right") - 1
    p = np.ones(grid.size)
    p[place >= 0] = p_value(found.right[place[place >= 0]], found.accepted[place[place >= 0]], accuracy)
    if method == "bonferroni":
        rejected = p <= delta / grid.size
    elif method == "holm":
        order = np.argsort(p, kind="stable")
        fails = p[order] > delta / np.arange(grid.size, 0, -1)
        rejected = np.zeros(grid.size, bool)
        rejected[order[: int(np.argmax(fails)) if fails.any() else grid.size]] = True
    elif method == "fixed_sequence":
        rejected = np.zeros(grid.size, bool)
        for start in range(0, grid.size - grid.size % starts, grid.size // starts):
            rejected[start:] |= np.logical_and.accumulate(p[start:] <= delta / starts)
    else:
        raise ValueError(f"there is no method {method!r}; the methods are {', '.join(METHODS)}")
    return float(grid[np.flatnonzero(rejected)[-1]]) if rejected.any() else None


def answers_needed(confidence: npt.ArrayLike, right: npt.ArrayLike, accuracy: float, delta: float, n: int) -> int | None:
    """About how many answers would do, in four of five calibrations, if they were like these `n`, of which some may lack a confidence.

    For each threshold with at least 20 accepted answers whose accuracy is above the target, the answers by which a binomial test at the
    level of one start has a power of .8 (normal approximation); the least of these numbers. The accuracies are those seen, of which the
    best are partly luck, so this is a guess. None if no accuracy seen is above the target.
    """
    found = accepted_by_threshold(np.asarray(confidence, float), np.asarray(right, bool))
    seen = found.right / found.accepted
    able = (found.accepted >= min(FEWEST_ACCEPTED, n)) & (seen > accuracy)
    if not able.any():
        return None
    seen, share = seen[able], found.accepted[able] / n
    z = -ndtri(delta / len(STARTS)) * math.sqrt(accuracy * (1 - accuracy)) + ndtri(POWER) * np.sqrt(seen * (1 - seen))
    accepted = np.maximum((z / (seen - accuracy)) ** 2, math.log(delta / len(STARTS)) / math.log(accuracy))
    return math.ceil(float((accepted / share).min()) / (1 - PILOT))


def fewest_answers(accuracy: float, delta: float) -> int:
    """The answers, all right and all tested at once, with which a test can reject: the least k with accuracy^k <= delta."""
    return math.ceil(math.log(delta) / math.log(accuracy))


def curve(confidence: npt.ArrayLike, right: npt.ArrayLike, delta: float, n: int, most: int = 100) -> list[CurvePoint]:
    """Accuracy against coverage at up to `most` thresholds, evenly spread over the `n` answers, from strict to lenient.

    `low` is Clopper and Pearson's (1934) one-sided bound of level 1 - `delta`. It holds for one threshold fixed in advance: the best of
    many such points is certified by `certified_threshold`, and not by this band.
    """
    found = accepted_by_threshold(np.asarray(confidence, float), np.asarray(right, bool))
    if not found.threshold.size:
        return []
    wanted = np.linspace(1, found.accepted[-1], most)
    shown = np.unique(np.searchsorted(found.accepted, wanted).clip(max=found.threshold.size - 1))
    low = np.where(found.right > 0, betaincinv(np.maximum(found.right, 1), found.accepted - found.right + 1, delta), 0.0)
    return [
        CurvePoint(*(float(each) for each in (found.threshold[i], found.accepted[i] / n, found.right[i] / found.accepted[i], low[i])))
        for i in shown
    ]


def coverage_of(confidences: Sequence[float | None], threshold: float) -> float:
    """The share of answers that a threshold accepts; one without a confidence is not accepted."""
    return sum(each is not None and each >= threshold for each in confidences) / len(confidences)
