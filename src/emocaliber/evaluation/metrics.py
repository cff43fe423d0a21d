"""The numbers of an evaluation, in plain numpy.

Every function returns `(value, details)`. Where a number is not defined the value is None and `details["reason"]` says why; no data is
never 0. Confidences are fractions in [0, 1]; `correct` holds truth values, one per confidence.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Details = dict[str, object]
Result = tuple[float | None, Details]

BINS = 10
_UNITS = 10**9

NO_SAMPLES = "there are no samples"
NO_CONFIDENCES = "no sample has a confidence"


def accuracy(correct: ArrayLike) -> Result:
    """The share of correct answers."""
    hits = np.asarray(correct, dtype=bool)
    if hits.size == 0:
        return None, {"reason": NO_SAMPLES}
    return float(hits.mean()), {"n": hits.size, "correct": int(hits.sum())}


def f1_macro(truths: Sequence[str], answers: Sequence[str | None]) -> Result:
    """The mean F1 over the labels that occur as a truth or an answer. A missing answer (None) costs its truth recall and is no label."""
    return _f1(truths, answers, weighted=False)


def f1_weighted(truths: Sequence[str], answers: Sequence[str | None]) -> Result:
    """The mean F1 weighted by how often each label is the truth: the one the paper's tables print under "F1"."""
    return _f1(truths, answers, weighted=True)


def coverage(confidences: Sequence[float | None]) -> Result:
    """The share of samples that have a confidence."""
    if not confidences:
        return None, {"reason": NO_SAMPLES}
    present = sum(confidence is not None for confidence in confidences)
    return present / len(confidences), {"n": len(confidences), "present": present}


def bin_of(confidences: ArrayLike, bins: int = BINS) -> NDArray[np.int64]:
    """The equal-width bin `(lo, hi]` of each confidence, counted from 0, with 0.0 in the first.

    Decided on integers: a confidence is read as whole billionths. Two-decimal numbers are whole billionths, so 0.3 is exactly the upper
    edge of (0.2, 0.3]; of other numbers only those within half a billionth of an edge are moved, onto it, which makes the bin of
    0.1 + 0.2 that of 0.3.
    """
    units = np.rint(np.asarray(confidences, dtype=float) * _UNITS).astype(np.int64)
    ceilings: NDArray[np.int64] = -(-units * bins // _UNITS)
    return np.maximum(ceilings - 1, 0)


def ece(confidences: ArrayLike, correct: ArrayLike, bins: int = BINS) -> Result:
    """Expected calibration error: the mean over samples of |accuracy - mean confidence| of their bin. Guo et al. (2017), eq. 3.

    `details["bins"]` lists the bins that hold samples: low, high, n, confidence, accuracy.
    """
    stated, hits = _pair(confidences, correct)
    if stated.size == 0:
        return None, {"reason": NO_CONFIDENCES}
    index = bin_of(stated, bins)
    n = np.bincount(index, minlength=bins)
    confidence_sum = np.bincount(index, stated, minlength=bins)
    hit_sum = np.bincount(index, hits, minlength=bins)
    table = [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "n": int(n[b]),
            "confidence": float(confidence_sum[b] / n[b]),
            "accuracy": float(hit_sum[b] / n[b]),
        }
        for b in np.flatnonzero(n).tolist()
    ]
    return float(np.abs(hit_sum - confidence_sum).sum() / stated.size), {"n": stated.size, "bins": table}


def brier(confidences: ArrayLike, correct: ArrayLike) -> Result:
    """The mean squared difference between confidence and correctness. Brier (1950)."""
    stated, hits = _pair(confidences, correct)
    if stated.size == 0:
        return None, {"reason": NO_CONFIDENCES}
    return float(np.mean((stated - hits) ** 2)), {"n": stated.size}


def auroc(confidences: ArrayLike, correct: ArrayLike) -> Result:
    """The probability that a right answer is stated with more confidence than a wrong one, ties counting half."""
    stated, hits = _pair(confidences, correct)
    if stated.size == 0:
        return None, {"reason": NO_CONFIDENCES}
    return weighted_auroc(stated, hits, 1 - hits)


def weighted_auroc(confidences: NDArray[np.float64], right: NDArray[np.float64], wrong: NDArray[np.float64]) -> Result:
    """AUROC where answer i is right with weight `right[i]` and wrong with weight `wrong[i]`; an answer is never paired with itself."""
    pairs = right.sum() * wrong.sum() - right @ wrong
    if pairs <= 0:
        return None, {"reason": _one_class(right.sum(), wrong.sum())}
    _, level = np.unique(confidences, return_inverse=True)
    right_at, wrong_at = np.bincount(level, right), np.bincount(level, wrong)
    wrong_below = np.cumsum(wrong_at) - wrong_at
    won = right_at @ (wrong_below + wrong_at / 2) - (right @ wrong) / 2
    return float(won / pairs), {"n": confidences.size, "right": float(right.sum()), "wrong": float(wrong.sum())}


def _one_class(right: float, wrong: float) -> str:
    if right and wrong:
        return "there is only one answer"
    return "every answer is right" if right else "every answer is wrong"


def _pair(confidences: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    stated, hits = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=float)
    if stated.shape != hits.shape or stated.ndim != 1:
        raise ValueError(f"confidences and correct must be two lists of one length, not of shapes {stated.shape} and {hits.shape}")
    if not np.all((stated >= 0) & (stated <= 1)):  # NaN compares false
        raise ValueError("every confidence must be a number in [0, 1]; leave out the missing ones and report their coverage")
    return stated, hits


def _f1(truths: Sequence[str], answers: Sequence[str | None], *, weighted: bool) -> Result:
    if len(truths) != len(answers):
        raise ValueError(f"there are {len(truths)} truths and {len(answers)} answers; give one answer per truth")
    if not truths:
        return None, {"reason": NO_SAMPLES}
    support, given = Counter(truths), Counter(answer for answer in answers if answer is not None)
    hits = Counter(truth for truth, answer in zip(truths, answers, strict=True) if truth == answer)
    f1 = {label: 2 * hits[label] / (support[label] + given[label]) for label in sorted({*support, *given})}
    weight = {label: support[label] if weighted else 1 for label in f1}
    mean = math.fsum(f1[label] * weight[label] for label in f1) / sum(weight.values())
    return mean, {"n": len(truths), "f1": f1, "support": dict(support)}
