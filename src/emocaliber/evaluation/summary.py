"""From outcomes to `metrics.json`: every number by task, by the paper's groups, and overall."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emocaliber.evaluation import metrics
from emocaliber.evaluation.ceiling import best_possible, best_possible_same_answers
from emocaliber.evaluation.metrics import Result
from emocaliber.scoring import VERBALIZED, Outcome
from emocaliber.vecbench import GROUPS, TASKS

Metrics = dict[str, Any]

_MEANS = ("accuracy", "f1_macro", "f1_weighted")
_CONFIDENCE = ("ece", "brier", "auroc")


def summarise(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """`{"n", "tasks": {TASK: M}, "groups": {GROUP: M}, "overall": M, "settings"}`, in which the order of the outcomes plays no part.

    In a group and overall, accuracy and the F1s are means over tasks, as in the paper; `accuracy_pooled` and everything about confidence
    are over samples. A task outside VECBench is in no group but counts overall. `undefined` gives the reason for each null beside it.
    `best_possible` and `best_possible_same_answers` are null unless every sample in question carries a posterior.
    Raises ValueError where there are no outcomes.
    """
    ordered = sorted(outcomes, key=lambda outcome: (outcome.task, outcome.id))
    if not ordered:
        raise ValueError("there are no outcomes to summarise")
    sources = sorted({source for outcome in ordered for source in outcome.confidence}, key=lambda source: (source != VERBALIZED, source))
    by_task: dict[str, list[Outcome]] = {name: [] for name in TASKS}
    for outcome in ordered:
        by_task.setdefault(outcome.task, []).append(outcome)
    by_task = {name: rows for name, rows in by_task.items() if rows}
    tasks = {name: _metrics(rows, sources) for name, rows in by_task.items()}
    groups = {}
    for group in GROUPS:
        if members := [name for name in by_task if name in TASKS and TASKS[name].group == group]:
            pooled = [outcome for name in members for outcome in by_task[name]]
            groups[group] = _pooled_metrics(pooled, [tasks[name] for name in members], sources)
    return {
        "n": len(ordered),
        "tasks": tasks,
        "groups": groups,
        "overall": _pooled_metrics(ordered, list(tasks.values()), sources),
        "settings": {"ece_bins": metrics.BINS, "ece_edges": "(low, high], 0 in the first", "sources": sources},
    }


def _metrics(outcomes: Sequence[Outcome], sources: Sequence[str]) -> Metrics:
    truths = [outcome.ground_truth for outcome in outcomes]
    answers = [outcome.answer for outcome in outcomes]
    values, undefined = _split(
        {
            "accuracy": metrics.accuracy([outcome.correct for outcome in outcomes]),
            "f1_macro": metrics.f1_macro(truths, answers),
            "f1_weighted": metrics.f1_weighted(truths, answers),
        }
    )
    ceilings, without = _ceilings(outcomes)
    return {
        "n": len(outcomes),
        **values,
        "malformed": _malformed(outcomes),
        "confidence": {source: _confidence(outcomes, source) for source in sources},
        **ceilings,
        "undefined": undefined | without,
    }


def _pooled_metrics(outcomes: Sequence[Outcome], tasks: Sequence[Metrics], sources: Sequence[str]) -> Metrics:
    pooled = _metrics(outcomes, sources)
    result = {"n": pooled["n"], "accuracy": None, "accuracy_pooled": pooled["accuracy"], **pooled}
    result |= {name: _mean(task[name] for task in tasks) for name in _MEANS}
    for ceiling in ("best_possible", "best_possible_same_answers"):
        if (best := pooled[ceiling]) is not None:
            mean = _mean(task[ceiling]["accuracy"] for task in tasks)
            result[ceiling] = {"n": best["n"], "accuracy": mean, "accuracy_pooled": best["accuracy"], "confidence": best["confidence"]}
    return result


def _malformed(outcomes: Sequence[Outcome]) -> Metrics:
    reasons = Counter(outcome.malformed for outcome in outcomes if outcome.malformed is not None)
    n = len(outcomes)
    return {
        "count": reasons.total(),
        "share": reasons.total() / n,
        "reasons": {reason: {"count": reasons[reason], "share": reasons[reason] / n} for reason in sorted(reasons)},
    }


def _confidence(outcomes: Sequence[Outcome], source: str) -> Metrics:
    stated = [(outcome.confidence.get(source), outcome.correct) for outcome in outcomes]
    confidences = [confidence for confidence, _ in stated if confidence is not None]
    correct = [right for confidence, right in stated if confidence is not None]
    values, undefined = _split(
        {
            "coverage": metrics.coverage([confidence for confidence, _ in stated]),
            "ece": metrics.ece(confidences, correct),
            "brier": metrics.brier(confidences, correct),
            "auroc": metrics.auroc(confidences, correct),
        }
    )
    return {**values, "undefined": undefined}


def _ceilings(outcomes: Sequence[Outcome]) -> tuple[Metrics, dict[str, str]]:
    names = ("best_possible", "best_possible_same_answers")
    posteriors = [outcome.posterior for outcome in outcomes if outcome.posterior is not None]
    if missing := len(outcomes) - len(posteriors):
        reason = f"{missing} of {len(outcomes)} samples carry no posterior"
        return dict.fromkeys(names), dict.fromkeys(names, reason)
    answers, correct = [outcome.answer for outcome in outcomes], [outcome.correct for outcome in outcomes]
    readings = (best_possible(posteriors), best_possible_same_answers(posteriors, answers, correct))
    return {name: _ceiling(len(outcomes), reading) for name, reading in zip(names, readings, strict=True)}, {}


def _ceiling(n: int, reading: Mapping[str, Result]) -> Metrics:
    values, undefined = _split({name: reading[name] for name in _CONFIDENCE})
    return {"n": n, "accuracy": reading["accuracy"][0], "confidence": {"posterior": {"coverage": 1.0, **values, "undefined": undefined}}}


def _split(results: Mapping[str, Result]) -> tuple[dict[str, float | None], dict[str, str]]:
    """The values, and the reason for each that is None."""
    values = {name: value for name, (value, _) in results.items()}
    return values, {name: str(details["reason"]) for name, (value, details) in results.items() if value is None}


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return math.fsum(numbers) / len(numbers)
