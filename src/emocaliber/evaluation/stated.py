"""All confidence metrics by name, with their intervals and the range of perfectly calibrated models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emocaliber.evaluation import calibration, intervals, ranking
from emocaliber.evaluation.bootstrap import Ints, Resampling, ResamplingUnits
from emocaliber.evaluation.intervals import IntervalEstimate
from emocaliber.evaluation.metrics import Floats, Tally
from emocaliber.io.plugins import Registry

NO_CONFIDENCES = "no sample has a confidence"
LEVELS = 256
PENALISED = ("ece", "brier", "auroc")

Metric = Callable[[Tally], Floats]

# Errors that sampling noise inflates: above 0 for any finite sample of a perfectly calibrated model.
ERRORS: dict[str, Metric] = {
    "ece": calibration.ece,
    "ece_equal_mass": calibration.ece_equal_mass,
    "ece_debiased": calibration.ece_debiased,
    "ece_smooth": calibration.ece_smooth,
    "mce": calibration.mce,
    "brier_reliability": calibration.brier_reliability,
}
_BUILT_IN: dict[str, Metric] = ERRORS | {
    "brier": calibration.brier,
    "brier_resolution": calibration.brier_resolution,
    "brier_uncertainty": calibration.brier_uncertainty,
    "brier_skill": calibration.brier_skill,
    "nll": calibration.nll,
    "auroc": ranking.auroc,
    "aurc": ranking.aurc,
    "augrc": ranking.augrc,
    "coverage_at_80": lambda tally: ranking.coverage_at(tally, 0.8),
    "coverage_at_90": lambda tally: ranking.coverage_at(tally, 0.9),
    "spiegelhalter_z": lambda tally: calibration.spiegelhalter(tally)[0],
    "spiegelhalter_p": lambda tally: calibration.spiegelhalter(tally)[1],
}
WITHOUT_INTERVAL = ("spiegelhalter_z", "spiegelhalter_p")  # test statistics
BOUNDS = {"brier_uncertainty": (0.0, 0.25), "brier_resolution": (0.0, 0.25), "brier_skill": (-np.inf, 1.0), "nll": (0.0, np.inf)}
NOT_SHARES = ("nll", *WITHOUT_INTERVAL)  # not percentages
METRICS: Registry[Metric] = Registry("metric of confidence")
for _name, _metric in _BUILT_IN.items():
    METRICS.add(_name, _metric)
MEANS = ("brier", "nll")  # over answers, whose `unseen` bounds are the extremes over one answer at a stated confidence
BY_DISTINCT = ("brier_reliability", "brier_resolution")  # undefined for replicates that merge near confidences


def metric(name: str, *, bounds: tuple[float, float] = (0.0, 1.0)) -> Callable[[Metric], Metric]:
    """Adds a metric to `METRICS`, as a decorator. It takes a `Tally` with counts (..., L), returns (...), and lies within `bounds`.

    It then stands in `metrics.json` with its interval, and in the table of confidence.
    """

    def added(function: Metric) -> Metric:
        METRICS.add(name, function)
        BOUNDS[name] = bounds
        return function

    return added


def added_metrics() -> list[str]:
    """The names of the metrics that plug-ins have added."""
    return [name for name in METRICS if name not in _BUILT_IN]


def confidence_metrics(confidences: ArrayLike, correct: ArrayLike, *, replicates: int = 1000, seed: int = 0) -> dict[str, Any]:
    """All confidence metrics of n answers, from confidences in [0, 1] and whether each was right: `{name: value, name_ci: [low, high]}`.

    An undefined value is None, and `undefined` has the reason. Raises ValueError for a confidence that is not in [0, 1].
    """
    stated, hits = np.asarray(confidences, dtype=float), np.asarray(correct, dtype=bool)
    tally = Tally.of(stated, hits)
    if not stated.size:
        return confidence_report(tally, tally, images=0, seed=seed)
    cells, values = levels(stated)
    resampling = Resampling(ResamplingUnits(np.arange(stated.size), [""] * stated.size), replicates, seed)
    counts = resampling.counts(np.arange(stated.size), 2 * cells + hits, 2 * values.size)
    return confidence_report(tally, Tally(values, counts[:, 1::2], counts[:, ::2]), images=stated.size, seed=seed)


def levels(confidences: Floats, most: int = LEVELS) -> tuple[Ints, Floats]:
    """The level (n,) of each confidence, and the levels' values (L,), ascending: the confidences themselves if at most `most` are distinct.

    More are merged with their neighbours into levels of equal size, never across an edge of the ECE's bins. Only replicates use levels; the
    metrics themselves use the exact confidences.
    """
    values, level = np.unique(confidences, return_inverse=True)
    if values.size > most:
        rank = np.cumsum(np.bincount(level)) - 1
        key = calibration.bin_of(values) * most + rank * (most - calibration.BINS) // rank[-1]
        level = np.unique(key, return_inverse=True)[1][level]
        values = np.bincount(level, confidences) / np.bincount(level)
    return level, values


def confidence_report(tally: Tally, replicated: Tally, names: Iterable[str] = METRICS, *, images: int, seed: int) -> dict[str, Any]:
    """The named metrics of one source of confidence as in `metrics.json`, from the tally of answers to `images` images and the tallies (R,
    L) of their replicates.

    `ece_null` is the ECE range of 95 % of perfectly calibrated models with these confidences. An error's interval starts at 0 if a
    perfectly calibrated model could have the same error.
    """
    if not tally.n:
        return dict.fromkeys(METRICS) | {"ece_null": None, "undefined": dict.fromkeys(METRICS, NO_CONFIDENCES)}
    perfect = calibration.perfectly_calibrated(_coarse(tally), len(replicated.right), np.random.default_rng((seed, 1)))
    numbers: dict[str, Any] = {}
    undefined: dict[str, str] = {}
    for name in names:
        value = float(METRICS[name](tally))
        numbers[name] = None if np.isnan(value) else value
        if np.isnan(value):
            undefined[name] = _why(name, tally)
        if name in WITHOUT_INTERVAL:
            continue
        null = ERRORS[name](perfect) if name in ERRORS else None
        if name == "ece" and null is not None:
            numbers["ece_null"] = np.quantile(null, [(1 - intervals.LEVEL) / 2, (1 + intervals.LEVEL) / 2]).tolist()
        if name in BY_DISTINCT and tally.values.size > LEVELS:
            estimate = IntervalEstimate(value, replicated.n, None, f"more than {LEVELS} confidences differ")
        else:
            estimate = _estimate(name, value, tally, replicated, images, null)
        numbers[f"{name}_ci"] = None if estimate.interval is None else list(estimate.interval)
        if estimate.why is not None:
            undefined[f"{name}_ci"] = estimate.why
    return numbers | {"undefined": undefined}


def _estimate(name: str, value: float, tally: Tally, replicated: Tally, images: int, null: Floats | None) -> IntervalEstimate:
    replicates = METRICS[name](replicated)
    if name == "auroc":
        right, wrong = float(tally.rights), float(tally.n - tally.rights)
        return intervals.auroc_estimate(value, replicates, right, wrong, clustered=bool(images < tally.n))
    # Errors on one image may be correlated, which widens the null distribution by up to the root of the answers per image.
    floor = None if null is None else float(np.nanquantile(null, intervals.LEVEL)) * float(np.sqrt(tally.n / images))
    unseen, within = (-1.0, 1.0), BOUNDS.get(name, (0.0, 1.0))
    if name in MEANS:
        of_one = [
            float(METRICS[name](Tally(tally.values[[at]], np.array([hit]), np.array([1 - hit])))) for at in (0, -1) for hit in (0.0, 1.0)
        ]
        unseen = min(of_one), max(of_one)
    return intervals.bootstrap_estimate(value, replicates, images, unseen=unseen, within=within, floor=floor)


def _coarse(tally: Tally) -> Tally:
    """The tally with confidences merged into at most `LEVELS` levels; only its counts are kept."""
    if tally.values.size <= LEVELS:
        return tally
    level, values = levels(np.repeat(tally.values, tally.count.astype(int)))
    return Tally(values, np.zeros(values.size), np.bincount(level).astype(float))


def _why(name: str, tally: Tally) -> str:
    if name.startswith("spiegelhalter"):
        return "every confidence is 0, 0.5 or 1"
    if tally.n == 1:
        return "there is only one answer"
    return "every answer is right" if tally.rights == tally.n else "every answer is wrong"
