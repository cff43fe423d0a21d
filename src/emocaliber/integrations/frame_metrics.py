"""What evaluation frames compute of answers: one answer's contribution to each metric, and the metric of many, as `score` computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from emocaliber.core.scoring import VERBALIZED, Outcome
from emocaliber.evaluation.calibration import brier, ece
from emocaliber.evaluation.metrics import Floats, Tally, f1_macro
from emocaliber.evaluation.ranking import auroc

# Each metric, and whether higher is better.
METRICS = {"accuracy": True, "f1_macro": True, "malformed": False, "coverage": True, "ece": False, "brier": False, "auroc": True}


def contributions(judged: Outcome) -> dict[str, Any]:
    """One answer's contribution to each metric. Calibration is over answers with a stated confidence; `coverage` is their share."""
    stated = judged.confidence.get(VERBALIZED)
    pair = None if stated is None else [stated, judged.correct]
    return {
        "accuracy": float(judged.correct),
        "f1_macro": [judged.ground_truth, judged.answer],
        "malformed": float(judged.malformed is not None),
        "coverage": float(stated is not None),
        **dict.fromkeys(("ece", "brier", "auroc"), pair),
    }


def mean_of(values: Iterable[float]) -> float:
    """The mean of numbers; NaN of none."""
    listed = list(values)
    return float(np.mean(listed)) if listed else float("nan")


def f1_macro_of(pairs: Iterable[Sequence[str | None]]) -> float:
    """Macro F1 of (truth, answer or None), over the labels that occur; NaN of none."""
    listed = [(str(truth), answer) for truth, answer in pairs]
    labels = sorted({label for pair in listed for label in pair if label is not None})
    place = {label: number for number, label in enumerate(labels)}
    confusion = np.zeros((len(labels), len(labels) + 1))
    for truth, answer in listed:
        confusion[place[truth], -1 if answer is None else place[answer]] += 1
    return float(f1_macro(confusion)) if listed else float("nan")


def ece_of(pairs: Iterable[Sequence[float] | None]) -> float:
    """Expected calibration error of (confidence, correct); NaN where no answer states a confidence."""
    return _metric(ece, pairs)


def brier_of(pairs: Iterable[Sequence[float] | None]) -> float:
    """Brier score of (confidence, correct); NaN where no answer states a confidence."""
    return _metric(brier, pairs)


def auroc_of(pairs: Iterable[Sequence[float] | None]) -> float:
    """AUROC of confidence for being right; NaN where not both right and wrong answers state one."""
    return _metric(auroc, pairs)


AGGREGATE: Mapping[str, Callable[[Iterable[Any]], float]] = {
    "accuracy": mean_of,
    "f1_macro": f1_macro_of,
    "malformed": mean_of,
    "coverage": mean_of,
    "ece": ece_of,
    "brier": brier_of,
    "auroc": auroc_of,
}


def _metric(metric: Callable[[Tally], Floats], pairs: Iterable[Sequence[float] | None]) -> float:
    stated = [pair for pair in pairs if pair is not None]
    return float(metric(Tally.of([each for each, _ in stated], [float(hit) for _, hit in stated])))
