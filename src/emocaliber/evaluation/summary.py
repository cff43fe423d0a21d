"""From outcomes to `metrics.json`: every number by task, by the paper's groups, and overall, each beside its interval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from emocaliber.core.scoring import VERBALIZED, Outcome
from emocaliber.evaluation import calibration, ranking, stated
from emocaliber.evaluation.estimates import OutcomeCounts, Scope
from emocaliber.evaluation.intervals import LEVEL, IntervalEstimate
from emocaliber.evaluation.metrics import Floats, Tally, annotator_shares

Metrics = dict[str, Any]


def summarise(outcomes: Iterable[Outcome], *, replicates: int = 1000, seed: int = 0, confidence: str = VERBALIZED) -> dict[str, Any]:
    """`{"n", "tasks": {TASK: M}, "groups": {GROUP: M}, "overall": M, "settings"}`, in which the order of the outcomes plays no part.

    In a group and overall, accuracy and the F1s are means over tasks, as in the paper; `accuracy_pooled` and everything else is over
    samples. A task outside VECBench is in no group but counts overall. Beside a number `X` stands its 95 % interval `X_ci`; `undefined`
    gives the reason for each null, that of an interval under `X_ci`. `best_possible` and `best_possible_same_answers` are null unless every
    sample in question carries a posterior. `confidence` is the source that tables and figures show first. Raises ValueError where there are
    no outcomes, UserError where none has that source.
    """
    sheet = OutcomeCounts(outcomes, replicates=replicates, seed=seed, confidence=confidence)
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


def _metrics(sheet: OutcomeCounts, scope: Scope) -> Metrics:
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


def _numbers(estimates: Mapping[str, IntervalEstimate]) -> Metrics:
    """Each estimate as its value and its interval, and under `undefined`, if there is any, why one is missing."""
    found: Metrics = {}
    undefined: dict[str, str] = {}
    for name, estimate in estimates.items():
        found[name] = _defined(estimate.value)
        found[f"{name}_ci"] = None if estimate.interval is None else list(estimate.interval)
        if estimate.why is not None:
            undefined[f"{name}_ci" if found[name] is not None else name] = estimate.why
    return found | {"undefined": undefined} if undefined else found


def _malformed(outcomes: Sequence[Outcome], share: IntervalEstimate) -> Metrics:
    reasons = Counter(outcome.malformed for outcome in outcomes if outcome.malformed is not None)
    n = len(outcomes)
    return {
        "count": reasons.total(),
        **_numbers({"share": share}),
        "reasons": {reason: {"count": reasons[reason], "share": reasons[reason] / n} for reason in sorted(reasons)},
    }


def _confidence(sheet: OutcomeCounts, scope: Scope, source: str) -> Metrics:
    return {
        **_numbers({"coverage": sheet.coverage(source, scope)}),
        **sheet.stated(source, scope),
        "penalised": sheet.stated(source, scope, stated.PENALISED, penalised=True),
    }


def _emotion(sheet: OutcomeCounts, scope: Scope, outcomes: Sequence[Outcome]) -> Metrics:
    estimates = sheet.emotion(scope)
    found: Metrics = _numbers({name: estimate for name, estimate in estimates.items() if "." not in name})
    if "agreement" in estimates:
        found["agreement_best"] = math.fsum(max((annotator_shares(outcome) or {}).values()) for outcome in outcomes) / len(outcomes)
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


# What nobody can beat: the best possible numbers where every label's true probability is known.
#
# Two readings:
#
# - `best_possible`: perfect answers and perfect confidence. The model answers the likeliest label and states its probability. Every number
#   is the expectation over labels drawn from the posteriors, so it depends on the samples alone.
# - `best_possible_same_answers`: the answers as given, with perfect confidence in each, measured against the labels as drawn; the accuracy
#   is what these answers were expected to get.
#
# F1 is left out: the likeliest label maximises accuracy, not F1.

Posterior = Mapping[str, float]

_DRAWS = 1000


def best_possible(posteriors: Sequence[Posterior], *, seed: int = 0) -> tuple[float, dict[str, float]]:
    """The expected accuracy of always answering the likeliest label, and the expectation of every confidence metric of stating its
    probability, NaN where it is not defined.

    ECE, Brier and AUROC are exact (AUROC as the expected pairs won over the expected pairs); the others are means over 1,000 drawings
    of the labels. ECE is not 0, because labels are drawn: see `expected_ece`. Raises ValueError without samples.
    """
    top = _chances([max(posterior.values()) for posterior in posteriors])
    level, values = stated.levels(top)
    n = np.bincount(level)
    right = np.random.default_rng(seed).binomial(n, values, size=(_DRAWS, values.size)).astype(float)
    drawn = Tally(values, right, n - right)
    numbers = {name: _mean_of_defined(metric(drawn)) for name, metric in stated.METRICS.items()}
    exact = {"ece": expected_ece(top), "brier": float(np.mean(top * (1 - top))), "auroc": expected_auroc(top)}
    return float(top.mean()), numbers | exact


def best_possible_same_answers(
    posteriors: Sequence[Posterior], answers: Sequence[str | None], correct: Sequence[bool]
) -> tuple[float, dict[str, float]]:
    """The accuracy expected of these answers, and every metric of stating each answer's own probability (0 for no answer)."""
    own = _chances([0.0 if answer is None else posterior.get(answer, 0.0) for posterior, answer in zip(posteriors, answers, strict=True)])
    tally = Tally.of(own, correct)
    return float(own.mean()), {name: float(metric(tally)) for name, metric in stated.METRICS.items()}


def expected_auroc(chances: Floats) -> float:
    """The expected pairs won over the expected pairs, where answer i is right with probability `chances[i]`, which is its confidence.

    An answer is never paired with itself. NaN where no pair is possible.
    """
    values, level = np.unique(chances, return_inverse=True)
    tally = Tally(values, np.bincount(level, chances).astype(float), np.bincount(level, 1 - chances).astype(float))
    alone = float(np.sum(chances * (1 - chances)))
    pairs = float(tally.right.sum() * tally.wrong.sum()) - alone
    if pairs <= 1e-12:
        return float("nan")
    return (float(ranking.auroc(tally)) * float(tally.right.sum() * tally.wrong.sum()) - alone / 2) / pairs


def expected_ece(chances: Floats, bins: int = calibration.BINS) -> float:
    """The ECE to expect of a perfectly calibrated model on this many samples: answer i is right with probability `chances[i]`, as stated.

    Exact: in each bin the number of right answers is Poisson-binomial, and |right - expected| is averaged over its distribution.
    """
    index = calibration.bin_of(chances, bins)
    gap = 0.0
    for b in np.unique(index):
        inside = chances[index == b]
        gap += float(_poisson_binomial(inside) @ np.abs(np.arange(inside.size + 1) - inside.sum()))
    return gap / chances.size


def _chances(values: Sequence[float]) -> Floats:
    if not values:
        raise ValueError("there are no samples, so nothing is possible")
    chances: Floats = np.minimum(np.array(values, dtype=float), 1.0)  # rounded posteriors may sum to a little more
    return chances


def _mean_of_defined(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if 2 * defined.size > values.size else float("nan")


def _poisson_binomial(chances: Floats) -> Floats:
    """The probability of 0, 1, .. n successes in independent trials of the given chances."""
    mass = np.zeros(chances.size + 1)
    mass[0] = 1.0
    for done, chance in enumerate(chances, start=1):
        mass[1 : done + 1] = mass[1 : done + 1] * (1 - chance) + mass[:done] * chance
        mass[0] *= 1 - chance
    return mass
