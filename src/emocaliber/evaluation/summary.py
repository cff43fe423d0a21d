"""From outcomes to `metrics.json`: every number by task, by the paper's groups, and overall, each beside its interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emocaliber.evaluation import calibration, stated
from emocaliber.evaluation.ceiling import best_possible, best_possible_same_answers
from emocaliber.evaluation.emotional import people
from emocaliber.evaluation.estimates import Scope, Sheet
from emocaliber.evaluation.intervals import LEVEL, Estimate
from emocaliber.scoring import VERBALIZED, Outcome

Metrics = dict[str, Any]


def summarise(outcomes: Iterable[Outcome], *, replicates: int = 1000, seed: int = 0, confidence: str = VERBALIZED) -> dict[str, Any]:
    """`{"n", "tasks": {TASK: M}, "groups": {GROUP: M}, "overall": M, "settings"}`, in which the order of the outcomes plays no part.

    In a group and overall, accuracy and the F1s are means over tasks, as in the paper; `accuracy_pooled` and everything else is over
    samples. A task outside VECBench is in no group but counts overall. Beside a number `X` stands its 95 % interval `X_ci`; `undefined`
    gives the reason for each null, that of an interval under `X_ci`. `best_possible` and `best_possible_same_answers` are null unless every
    sample in question carries a posterior. `confidence` is the source that tables and figures show first. Raises ValueError where there are
    no outcomes, UserError where none has that source.
    """
    sheet = Sheet(outcomes, replicates=replicates, seed=seed, confidence=confidence)
    found: dict[str, dict[str, Metrics]] = {"tasks": {}, "groups": {}, "overall": {}}
    for scope in sheet.scopes:
        m = found[scope.kind][scope.name] = _metrics(sheet, scope)
        if scope.kind != "tasks":  # which all come before
            _mean_ceilings(m, [found["tasks"][name] for name in scope.tasks])
    return {
        "n": len(sheet.outcomes),
        "tasks": found["tasks"],
        "groups": found["groups"],
        "overall": found["overall"]["overall"],
        "settings": {
            "ece_bins": calibration.BINS,
            "ece_edges": "(low, high], 0 in the first",
            "nll_clip": [calibration.CLIP, 1 - calibration.CLIP],
            "sources": sheet.sources,
            "replicates": replicates,
            "seed": seed,
            "level": LEVEL,
        },
    }


def _metrics(sheet: Sheet, scope: Scope) -> Metrics:
    outcomes = sheet.of(scope)
    answers, ceilings = sheet.answers(scope), _ceilings(outcomes)
    malformed = answers.pop("malformed")
    numbers, steps = _numbers(answers), _numbers({"format": sheet.format(scope)})
    undefined = {name: why for part in (numbers, steps, ceilings) for name, why in part.pop("undefined", {}).items()}
    return {
        "n": len(outcomes),
        **numbers,
        "malformed": _malformed(outcomes, malformed),
        **steps,
        "confidence": {source: _confidence(sheet, scope, source) for source in sheet.sources},
        "emotion": _emotion(sheet, scope, outcomes),
        **ceilings,
        "undefined": undefined,
    }


def _numbers(estimates: Mapping[str, Estimate]) -> Metrics:
    """Each estimate as its value and its interval, and under `undefined`, if there is any, why one is missing."""
    found: Metrics = {}
    undefined: dict[str, str] = {}
    for name, estimate in estimates.items():
        found[name] = _defined(estimate.value)
        found[f"{name}_ci"] = None if estimate.interval is None else list(estimate.interval)
        if estimate.why is not None:
            undefined[f"{name}_ci" if found[name] is not None else name] = estimate.why
    return found | {"undefined": undefined} if undefined else found


def _malformed(outcomes: Sequence[Outcome], share: Estimate) -> Metrics:
    reasons = Counter(outcome.malformed for outcome in outcomes if outcome.malformed is not None)
    n = len(outcomes)
    return {
        "count": reasons.total(),
        **_numbers({"share": share}),
        "reasons": {reason: {"count": reasons[reason], "share": reasons[reason] / n} for reason in sorted(reasons)},
    }


def _confidence(sheet: Sheet, scope: Scope, source: str) -> Metrics:
    return {
        **_numbers({"coverage": sheet.coverage(source, scope)}),
        **sheet.stated(source, scope),
        "penalised": sheet.stated(source, scope, stated.PENALISED, penalised=True),
    }


def _emotion(sheet: Sheet, scope: Scope, outcomes: Sequence[Outcome]) -> Metrics:
    estimates = sheet.emotion(scope)
    found: Metrics = _numbers({name: estimate for name, estimate in estimates.items() if "." not in name})
    if "agreement" in estimates:
        found["agreement_best"] = math.fsum(max((people(outcome) or {}).values()) for outcome in outcomes) / len(outcomes)
        found["agreement_spearman"] = {
            name.partition(".")[2]: _numbers({"value": estimate}) for name, estimate in estimates.items() if "." in name
        }
    if scope.kind == "tasks":
        confusion = sheet.confusions[scope.name]
        answers = (*confusion.labels, "malformed")
        found["confusion"] = {
            "labels": list(confusion.labels),
            "rows": {
                truth: {answer: int(count) for answer, count in zip(answers, counts, strict=True) if count}
                for truth, counts in zip(confusion.labels, confusion.counts.tolist(), strict=True)
            },
        }
    return found


def _ceilings(outcomes: Sequence[Outcome]) -> Metrics:
    names = ("best_possible", "best_possible_same_answers")
    posteriors = [outcome.posterior for outcome in outcomes if outcome.posterior is not None]
    if missing := len(outcomes) - len(posteriors):
        reason = f"{missing} of {len(outcomes)} samples carry no posterior"
        return {**dict.fromkeys(names), "undefined": dict.fromkeys(names, reason)}
    answers, correct = [outcome.answer for outcome in outcomes], [outcome.correct for outcome in outcomes]
    readings = (best_possible(posteriors), best_possible_same_answers(posteriors, answers, correct))
    found: Metrics = {name: _ceiling(len(outcomes), *reading) for name, reading in zip(names, readings, strict=True)}
    return found | {"undefined": {}}


def _ceiling(n: int, accuracy: float, numbers: Mapping[str, float]) -> Metrics:
    return {
        "n": n,
        "accuracy": accuracy,
        "confidence": {"posterior": {"coverage": 1.0, **{name: _defined(value) for name, value in numbers.items()}}},
    }


def _mean_ceilings(m: Metrics, tasks: Sequence[Metrics]) -> None:
    """In a group, the best possible accuracy is the mean over its tasks, and the pooled one has a name of its own."""
    for name in ("best_possible", "best_possible_same_answers"):
        if m[name] is not None:
            mean = math.fsum(task[name]["accuracy"] for task in tasks) / len(tasks)
            m[name] = {"n": m[name]["n"], "accuracy": mean, "accuracy_pooled": m[name]["accuracy"], "confidence": m[name]["confidence"]}


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value
