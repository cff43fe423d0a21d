"""The content of `metrics.json`: every metric by task, by the paper's groups and overall, each with its interval.

For samples with posteriors, that includes the best possible numbers:

- `best_possible`: the likeliest label as the answer and its probability as the confidence. Metrics are expectations over labels drawn from
  the posteriors, so they depend on the samples alone.
- `best_possible_same_answers`: the given answers, each with its true probability as the confidence, on the given labels; the accuracy is
the
  expected one of these answers.

F1 is left out: the likeliest label maximises accuracy, not F1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from scipy import fft

from emocaliber.core.outcomes import Names, Outcomes
from emocaliber.core.scoring import VERBALIZED, Outcome
from emocaliber.evaluation import calibration, ranking, stated
from emocaliber.evaluation.bootstrap import Ints
from emocaliber.evaluation.estimates import OutcomeCounts, Scope
from emocaliber.evaluation.intervals import LEVEL, IntervalEstimate
from emocaliber.evaluation.metrics import Floats, Tally
from emocaliber.evaluation.people import people_estimates
from emocaliber.io.parallel import shared_out

Metrics = dict[str, Any]


def summarise(outcomes: Iterable[Outcome], *, replicates: int = 1000, seed: int = 0, confidence: str = VERBALIZED) -> dict[str, Any]:
    """`{"n", "tasks": {TASK: M}, "groups": {GROUP: M}, "overall": M, "settings"}`; the order of the outcomes does not matter.

    In a group and overall, accuracy and F1s are means over tasks, as in the paper; `accuracy_pooled` and all other metrics are over
    samples. A task outside VECBench is in no group but counts overall. A metric `X` has its 95 % interval in `X_ci`; `undefined` has the
    reason for each null, an interval's under `X_ci`. `best_possible` and `best_possible_same_answers` are null unless every sample carries
    a posterior. `confidence` is the source that tables and figures show first. Raises ValueError without outcomes, UserError if none has
    that source.
    """
    counts = OutcomeCounts(outcomes, replicates=replicates, seed=seed, confidence=confidence)
    found: dict[str, dict[str, Metrics]] = {"tasks": {}, "groups": {}, "overall": {}}
    for scope, confidences in zip(counts.scopes, _confidences(counts), strict=True):
        m = found[scope.kind][scope.name] = _metrics(counts, scope, confidences)
        if scope.kind != "tasks":  # which all come before
            _mean_ceilings(m, [found["tasks"][name] for name in scope.tasks])
    return {
        "n": len(counts.outcomes),
        "tasks": found["tasks"],
        "groups": found["groups"],
        "overall": found["overall"]["overall"],
        "settings": {
            "ece_bins": calibration.BINS,
            "ece_edges": "(low, high], 0 in the first",
            "nll_clip": [calibration.CLIP, 1 - calibration.CLIP],
            "sources": counts.sources,
            "replicates": replicates,
            "seed": seed,
            "level": LEVEL,
        },
    }


def _metrics(counts: OutcomeCounts, scope: Scope, confidences: Metrics) -> Metrics:
    rows = counts.places(scope)
    answers, ceilings = counts.answers(scope), _ceilings(counts.outcomes, rows)
    malformed = answers.pop("malformed")
    numbers, steps = _numbers(answers), _numbers({"format": counts.format(scope)})
    undefined = {name: why for part in (numbers, steps, ceilings) for name, why in part.pop("undefined", {}).items()}
    return {
        "n": len(rows),
        **numbers,
        "malformed": _malformed(counts.outcomes.malformed.take(rows), malformed),
        **steps,
        "confidence": confidences,
        "emotion": _emotion(counts, scope),
        **_people(counts, scope),
        **ceilings,
        "undefined": undefined,
    }


def _numbers(estimates: Mapping[str, IntervalEstimate]) -> Metrics:
    """Each estimate's value and interval, and under `undefined` the reasons for missing ones, if any."""
    found: Metrics = {}
    undefined: dict[str, str] = {}
    for name, estimate in estimates.items():
        found[name] = _defined(estimate.value)
        found[f"{name}_ci"] = None if estimate.interval is None else list(estimate.interval)
        if estimate.why is not None:
            undefined[f"{name}_ci" if found[name] is not None else name] = estimate.why
    return found | {"undefined": undefined} if undefined else found


def _malformed(why: Names[str | None], share: IntervalEstimate) -> Metrics:
    n, of_each = len(why.codes), np.bincount(why.codes, minlength=len(why.names)).tolist()
    reasons = Counter({name: count for name, count in zip(why.names, of_each, strict=True) if name is not None and count})
    return {
        "count": reasons.total(),
        **_numbers({"share": share}),
        "reasons": {reason: {"count": reasons[reason], "share": reasons[reason] / n} for reason in sorted(reasons)},
    }


def _confidences(counts: OutcomeCounts) -> list[Metrics]:
    """The metrics of every source in each scope."""
    counts.resampling.prepare()  # which all sources share
    asked = [(source, scope) for source in counts.sources for scope in counts.scopes]
    # A process takes a whole source, whose replicates it draws once; a single source is halved.
    at_once = max(1, math.ceil(len(asked) / max(2, len(counts.sources))))
    metrics = shared_out(lambda each: _confidence(counts, each[1], each[0]), asked, at_once=at_once)
    found: list[Metrics] = [{} for _ in counts.scopes]
    for (source, _), of_scope, each in zip(asked, cycle(found), metrics, strict=False):
        of_scope[source] = each
    return found


def _confidence(counts: OutcomeCounts, scope: Scope, source: str) -> Metrics:
    return {
        **_numbers({"coverage": counts.coverage(source, scope)}),
        **counts.confidence(source, scope),
        "penalised": counts.confidence(source, scope, stated.PENALISED, penalised=True),
    }


def _emotion(counts: OutcomeCounts, scope: Scope) -> Metrics:
    estimates = counts.emotion(scope)
    found: Metrics = _numbers({name: estimate for name, estimate in estimates.items() if "." not in name})
    if "agreement" in estimates:
        rows = counts.places(scope).tolist()
        found["agreement_best"] = math.fsum(max((shares or {}).values()) for shares in counts.outcomes.shares(rows)) / len(rows)
        found["agreement_spearman"] = {
            name.partition(".")[2]: _numbers({"value": estimate}) for name, estimate in estimates.items() if "." in name
        }
    if scope.kind == "tasks":
        confusion = counts.confusions[scope.name]
        answers = (*confusion.labels, "malformed")
        found["confusion"] = {
            "labels": list(confusion.labels),
            "rows": {
                truth: {answer: int(count) for answer, count in zip(answers, row, strict=True) if count}
                for truth, row in zip(confusion.labels, confusion.counts.tolist(), strict=True)
            },
        }
    return found


def _people(counts: OutcomeCounts, scope: Scope) -> Metrics:
    n, estimates = people_estimates(counts, scope)
    return {"people": {"n": n, **_numbers(estimates)}} if n else {}


def _ceilings(outcomes: Outcomes, rows: Ints) -> Metrics:
    names = ("best_possible", "best_possible_same_answers")
    if missing := int((~outcomes.posterior.given[rows]).sum()):
        reason = f"{missing} of {len(rows)} samples carry no posterior"
        return {**dict.fromkeys(names), "undefined": dict.fromkeys(names, reason)}
    posteriors = [outcomes.posterior[row] or {} for row in rows.tolist()]
    answers, correct = outcomes.answer.take(rows).listed(), outcomes.correct[rows].tolist()
    best = (best_possible(posteriors), best_possible_same_answers(posteriors, answers, correct))
    found: Metrics = {name: _ceiling(len(rows), *numbers) for name, numbers in zip(names, best, strict=True)}
    return found | {"undefined": {}}


def _ceiling(n: int, accuracy: float, numbers: Mapping[str, float]) -> Metrics:
    return {
        "n": n,
        "accuracy": accuracy,
        "confidence": {"posterior": {"coverage": 1.0, **{name: _defined(value) for name, value in numbers.items()}}},
    }


def _mean_ceilings(m: Metrics, tasks: Sequence[Metrics]) -> None:
    """Replaces a group's best possible accuracy by the mean over its tasks; the pooled one becomes `accuracy_pooled`."""
    for name in ("best_possible", "best_possible_same_answers"):
        if m[name] is not None:
            mean = math.fsum(task[name]["accuracy"] for task in tasks) / len(tasks)
            m[name] = {"n": m[name]["n"], "accuracy": mean, "accuracy_pooled": m[name]["accuracy"], "confidence": m[name]["confidence"]}


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


# Best possible numbers

Posterior = Mapping[str, float]

_DRAWS = 1000


def best_possible(posteriors: Sequence[Posterior], *, seed: int = 0) -> tuple[float, dict[str, float]]:
    """The expected accuracy of answering the likeliest label, and the expectation of every confidence metric with its probability as the
    confidence, NaN if undefined.

    ECE, Brier and AUROC are exact (AUROC as the ratio of expected pairs won to expected pairs); the others are means over 1,000 draws of
    the labels. ECE is above 0, as labels are random: see `expected_ece`. Raises ValueError without samples.
    """
    top = _probabilities([max(posterior.values()) for posterior in posteriors])
    level, values = stated.levels(top)
    n = np.bincount(level)
    right = np.random.default_rng(seed).binomial(n, values, size=(_DRAWS, values.size)).astype(float)
    simulated = Tally(values, right, n - right)
    numbers = {name: _mean_of_defined(metric(simulated)) for name, metric in stated.METRICS.items()}
    exact = {"ece": expected_ece(top), "brier": float(np.mean(top * (1 - top))), "auroc": expected_auroc(top)}
    return float(top.mean()), numbers | exact


def best_possible_same_answers(
    posteriors: Sequence[Posterior], answers: Sequence[str | None], correct: Sequence[bool]
) -> tuple[float, dict[str, float]]:
    """The expected accuracy of these answers, and every confidence metric with their true probabilities as confidences (0 for no
    answer)."""
    own = _probabilities(
        [0.0 if answer is None else posterior.get(answer, 0.0) for posterior, answer in zip(posteriors, answers, strict=True)]
    )
    tally = Tally.of(own, correct)
    return float(own.mean()), {name: float(metric(tally)) for name, metric in stated.METRICS.items()}


def expected_auroc(probabilities: Floats) -> float:
    """The ratio of expected pairs won to expected pairs, for answers that are right with `probabilities` (n,), their confidences.

    An answer is not paired with itself. NaN if no pair is possible.
    """
    values, level = np.unique(probabilities, return_inverse=True)
    tally = Tally(values, np.bincount(level, probabilities).astype(float), np.bincount(level, 1 - probabilities).astype(float))
    alone = float(np.sum(probabilities * (1 - probabilities)))
    pairs = float(tally.right.sum() * tally.wrong.sum()) - alone
    if pairs <= 1e-12:
        return float("nan")
    return (float(ranking.auroc(tally)) * float(tally.right.sum() * tally.wrong.sum()) - alone / 2) / pairs


def expected_ece(probabilities: Floats, bins: int = calibration.BINS) -> float:
    """The expected ECE of a perfectly calibrated model, whose answers are right with `probabilities` (n,), their confidences.

    Exact: in each bin the number of right answers is Poisson-binomial, and |right - expected| is averaged over its distribution.
    """
    index = calibration.bin_of(probabilities, bins)
    gap = 0.0
    for b in np.unique(index):
        inside = probabilities[index == b]
        gap += float(_poisson_binomial(inside) @ np.abs(np.arange(inside.size + 1) - inside.sum()))
    return gap / probabilities.size


def _probabilities(values: Sequence[float]) -> Floats:
    if not values:
        raise ValueError("there are no samples")
    probabilities: Floats = np.minimum(np.array(values, dtype=float), 1.0)  # rounded posteriors may sum to a little more
    return probabilities


def _mean_of_defined(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if 2 * defined.size > values.size else float("nan")


def _poisson_binomial(probabilities: Floats) -> Floats:
    """(n + 1,): the probabilities of 0 .. n successes in n independent trials of the given probabilities; n at least 1.

    The distributions of single trials are convolved in pairs, then these in pairs, and so on, by FFT: in O(n log^2 n).
    """
    n = probabilities.size
    trials = np.zeros(1 << (n - 1).bit_length())  # trials that never succeed fill it up
    trials[:n] = probabilities
    mass = np.stack([1 - trials, trials], axis=1)  # (distributions, successes)
    while len(mass) > 1:
        size = fft.next_fast_len(2 * mass.shape[1] - 1, real=True)
        waves = fft.rfft(mass, size)
        mass = fft.irfft(waves[::2] * waves[1::2], size)[:, : 2 * mass.shape[1] - 1]
    found: Floats = np.maximum(mass[0, : n + 1], 0)  # rounding may leave a little less
    return found
