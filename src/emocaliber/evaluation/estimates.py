"""Estimates of every metric by task, by group and overall, with bootstrap replicates, from one system's outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from emocaliber.core.outcomes import Outcomes
from emocaliber.core.scoring import NO_ANSWER, VERBALIZED, Outcome
from emocaliber.core.tasks import GROUPS, group_of, task_order, taxonomy_of
from emocaliber.errors import UserError
from emocaliber.evaluation import intervals, metrics, stated
from emocaliber.evaluation.bootstrap import Ints, Resampling, ResamplingUnits
from emocaliber.evaluation.intervals import IntervalEstimate
from emocaliber.evaluation.metrics import AnswerCost, Floats, Tally, costs, rank_correlation

FEWEST_PER_LABEL = 5  # samples per label, for an interval of the macro F1; with fewer, its bias is too large
NO_FORMAT = "no outcome says whether its text keeps to the five steps"
_RANKS = 32
_UNKNOWN = -2  # whether a text keeps to the five steps

Estimates = dict[str, IntervalEstimate]


@dataclass(frozen=True)
class Scope:
    """A task, a group or "overall", and its tasks."""

    kind: str
    name: str
    tasks: tuple[str, ...]


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of a task, truth by answer in the order of `labels`, then no answer: `counts` (K, K + 1), `replicates` (R, K, K
    + 1)."""

    labels: tuple[str, ...]
    counts: Floats
    replicates: Floats
    costs: Mapping[str, AnswerCost]

    def both(self, metric: Callable[[Floats], Floats]) -> tuple[float, Floats]:
        """A metric of the counts, and (R,) of the replicates."""
        return float(metric(self.counts)), metric(self.replicates)


class OutcomeCounts:
    """One system's outcomes as counts, and the estimates from them; the order of the outcomes does not matter.

    `confidence` is the source that comes first in `sources`. Raises ValueError without outcomes, UserError if none has that source.
    """

    def __init__(self, outcomes: Iterable[Outcome], *, replicates: int = 1000, seed: int = 0, confidence: str = VERBALIZED) -> None:
        self.outcomes = Outcomes.of(outcomes).in_order()
        if not self.outcomes:
            raise ValueError("there are no outcomes to summarise")
        tasks = self.outcomes.task.listed()
        self.units = ResamplingUnits(
            [image or sample for image, sample in zip(self.outcomes.images, self.outcomes.ids, strict=True)], tasks
        )
        self.resampling = Resampling(self.units, replicates, seed)
        given = self.outcomes.sources
        self.sources = sorted(given, key=lambda s: (s != confidence, s != VERBALIZED, s))
        if confidence not in {VERBALIZED, *given}:
            raise UserError(f"no response has a confidence {confidence!r}; there are {', '.join(self.sources) or 'none at all'}")
        self.rows = rows_by_task(tasks)
        self._last: _Source | None = None

    @cached_property
    def scopes(self) -> list[Scope]:
        """The tasks, groups and overall, as `scopes_of` gives them."""
        return scopes_of(self.rows)

    def answers(self, scope: Scope) -> Estimates:
        """Accuracy and F1s, averaged over tasks as in the paper; the malformed share and, in a group and overall, accuracy, pooled over
        samples."""
        confusions = [self.confusions[name] for name in scope.tasks]
        images = [self.units.images(self.rows[name]) for name in scope.tasks]
        accuracy, malformed = ([each.both(metric) for each in confusions] for metric in (metrics.accuracy, metrics.malformed_share))
        sizes = [len(self.rows[name]) for name in scope.tasks]
        pooled, of_tasks = self._pooled(scope, accuracy), zip(accuracy, sizes, images, strict=True)
        mean = intervals.mean_of_proportions([intervals.proportion(*both, n, many) for both, n, many in of_tasks])
        found = {
            "accuracy": replace(mean, interval=pooled.interval) if len(set(sizes)) == 1 else mean,  # the same number then
            "f1_macro": intervals.mean_bootstrap_estimate([_f1_macro(*each) for each in zip(confusions, images, strict=True)], min(images)),
            "f1_weighted": intervals.mean_bootstrap_estimate(
                [
                    intervals.bootstrap_estimate(*each.both(metrics.f1_weighted), many)
                    for each, many in zip(confusions, images, strict=True)
                ],
                min(images),
            ),
            "malformed": self._pooled(scope, malformed),
        }
        return found if scope.kind == "tasks" else found | {"accuracy_pooled": pooled}

    def format(self, scope: Scope) -> IntervalEstimate:
        """The share of samples whose text keeps to the five steps, among those where this is known or there is no text."""
        rows = self.places(scope)
        keeps = self._keeps[rows]
        if not np.any(keeps >= 0):
            return IntervalEstimate(np.nan, np.empty(0), None, NO_FORMAT)
        counts = self.resampling.counts(rows, keeps + 2, 4)
        known = keeps > _UNKNOWN
        replicates = metrics.ratio(counts[:, 3], counts[:, 1:].sum(axis=1))
        return intervals.proportion(float((keeps[known] == 1).mean()), replicates, int(known.sum()), self.units.images(rows[known]))

    def emotion(self, scope: Scope) -> Estimates:
        """The answers' costs, pooled, and their agreement with annotators, each if defined for every task of the scope."""
        confusions = [self.confusions[name] for name in scope.tasks]
        images = self.units.images(self.places(scope))
        found: Estimates = {}
        for name, cost in confusions[0].costs.items():
            if all(name in each.costs for each in confusions):
                part, whole = _sums([each.costs[name].parts(each.counts) for each in confusions])
                replicates = metrics.ratio(*_sums([each.costs[name].parts(each.replicates) for each in confusions]))
                value = float(metrics.ratio(part, whole))
                if cost.among_errors:
                    span = (0.0, 0.5)
                    found[name] = intervals.bootstrap_estimate(value, replicates, min(images, int(whole)), unseen=span, within=span)
                else:
                    found[name] = intervals.proportion(value, replicates, int(whole), images)
        return found | self._agreement(scope)

    def confidence(self, source: str, scope: Scope, names: Iterable[str] = stated.METRICS, *, penalised: bool = False) -> dict[str, Any]:
        """The named metrics of one source of confidence with their intervals, in the form of `stated.confidence_report`.

        `penalised` counts missing confidences and malformed answers as wrong at confidence 1.
        """
        counted, rows = self._source(source), self.places(scope)
        images = self.units.images(rows if penalised else rows[counted.present[rows]])
        tally, replicated = counted.tally(rows, penalised=penalised), counted.replicated(scope.tasks, penalised=penalised)
        return stated.confidence_report(tally, replicated, names, images=images, seed=self.resampling.seed)

    def coverage(self, source: str, scope: Scope) -> IntervalEstimate:
        """The share of samples with a confidence."""
        counted, rows = self._source(source), self.places(scope)
        replicates = np.sum([counted.replicates[name] for name in scope.tasks], axis=0)
        present = metrics.ratio(replicates[:, :-2].sum(axis=1), replicates.sum(axis=1))
        return intervals.proportion(float(counted.present[rows].mean()), present, len(rows), self.units.images(rows))

    @cached_property
    def confusions(self) -> dict[str, Confusion]:
        return {name: self._confusion(name) for name in self.rows}

    @cached_property
    def _keeps(self) -> Ints:
        """(n,): whether the text keeps to the five steps: 1 or 0, -1 without a text, -2 if unknown."""
        keeps = np.where(self.outcomes.format < 0, _UNKNOWN, self.outcomes.format).astype(int)
        if keeps.max() > _UNKNOWN:
            keeps[self.outcomes.malformed.are(NO_ANSWER) & (keeps == _UNKNOWN)] = -1
        return keeps

    def _confusion(self, task: str) -> Confusion:
        outcomes, rows = self.outcomes, self.rows[task]
        several = len(outcomes.answer.names)
        pairs = outcomes.ground_truth.codes[rows].astype(np.int64) * several + outcomes.answer.codes[rows]
        distinct, last, which = np.unique(pairs[::-1], return_index=True, return_inverse=True)
        truths = [outcomes.ground_truth.names[pair // several] for pair in distinct.tolist()]
        answers = [outcomes.answer.names[pair % several] for pair in distinct.tolist()]
        labels = confusion_labels(task, {*truths, *answers})
        k, cells = len(labels), confusion_cells(truths, answers, labels)[which[::-1]]
        known = dict(zip(zip(truths, answers, strict=True), outcomes.distance[rows[::-1][last]].tolist(), strict=True))
        counts = np.bincount(cells, minlength=k * (k + 1)).reshape(k, k + 1).astype(float)
        replicates = self.resampling.counts(self.rows[task], cells, k * (k + 1)).reshape(-1, k, k + 1)
        return Confusion(labels, counts, replicates, costs(task, labels, _distances(task, labels, known)))

    def _pooled(self, scope: Scope, shares: Sequence[tuple[float, Floats]]) -> IntervalEstimate:
        """A share pooled over samples, from the shares of the tasks."""
        sizes, rows = [len(self.rows[name]) for name in scope.tasks], self.places(scope)
        value = float(np.average([each for each, _ in shares], weights=sizes))
        replicates = np.average([each for _, each in shares], axis=0, weights=sizes)
        return intervals.proportion(value, replicates, len(rows), self.units.images(rows))

    def _agreement(self, scope: Scope) -> Estimates:
        rows = self.places(scope)
        if not self.outcomes.shared[rows].all():
            return {}
        agreed = np.array(list(self.outcomes.agreement(rows)), dtype=float)
        found = {"agreement": self.mean(rows, agreed)}
        for source in self.sources:
            counted = self._source(source)
            present = counted.present[rows]
            if present.any():
                found[f"agreement_spearman.{source}"] = self.spearman(rows[present], counted.confidences[rows[present]], agreed[present])
        return found

    def mean(self, rows: Ints, values: Floats) -> IntervalEstimate:
        """The mean of numbers in [0, 1], (n,), of the outcomes at `rows` (n,)."""
        cells, levels = stated.levels(values)
        counts = self.resampling.counts(rows, cells, levels.size)
        replicates = counts @ levels / counts.sum(axis=1)
        return intervals.bootstrap_estimate(float(values.mean()), replicates, self.units.images(rows), unseen=(0.0, 1.0))

    def spearman(self, rows: Ints, first: Floats, second: Floats) -> IntervalEstimate:
        """Spearman's correlation of two numbers in [0, 1], (n,) each, of the outcomes at `rows` (n,)."""
        exact = [np.unique(each, return_inverse=True)[1] for each in (first, second)]
        few = [stated.levels(each, _RANKS)[0] for each in (first, second)]
        shape = (int(few[0].max()) + 1, int(few[1].max()) + 1)
        joint = self.resampling.counts(rows, few[0] * shape[1] + few[1], shape[0] * shape[1]).reshape(-1, *shape)
        return intervals.bootstrap_estimate(_spearman(*exact), rank_correlation(joint), self.units.images(rows), within=(-1.0, 1.0))

    def _source(self, name: str) -> _Source:
        if self._last is None or self._last.name != name:  # one alone is kept, as its replicates may take 50 MB
            self._last = _Source(name, self.outcomes, self.rows, self.resampling)
        return self._last

    def places(self, scope: Scope) -> Ints:
        """The places of the outcomes of a scope."""
        return np.concatenate([self.rows[name] for name in scope.tasks])


class _Source:
    """One source of confidence as counts by task, in cells of level by (wrong, right, malformed), then two for missing confidences."""

    def __init__(self, name: str, outcomes: Outcomes, rows: Mapping[str, Ints], resampling: Resampling) -> None:
        self.name, self._rows, self._resampling = name, rows, resampling
        self.confidences = outcomes.confidence.column(name)
        self.present = ~np.isnan(self.confidences)
        self.correct = outcomes.correct
        self.malformed = ~outcomes.malformed.are(None)

    @cached_property
    def _exact(self) -> tuple[Ints, Floats]:
        """The place (n,) of each confidence among the values that occur, and those, ascending; the last is 1, that of a missing one."""
        values, place = np.unique(np.append(np.where(self.present, self.confidences, 1.0), 1.0), return_inverse=True)
        return place[:-1], values

    @cached_property
    def _levels(self) -> tuple[Ints, Floats]:
        return stated.levels(self.confidences[self.present])

    @property
    def values(self) -> Floats:
        """The values of the levels."""
        return self._levels[1]

    @cached_property
    def replicates(self) -> dict[str, Floats]:
        """(R, cells) by task."""
        level, values = self._levels
        cells = np.full(self.present.size, 3 * values.size)
        cells[self.present] = 3 * level + np.where(self.malformed, 2, self.correct)[self.present]
        size = 3 * values.size + 2
        return {task: self._resampling.counts(members, cells[members], size) for task, members in self._rows.items()}

    def tally(self, rows: Ints, *, penalised: bool) -> Tally:
        """The tally of the samples `rows`, from the exact confidences."""
        place, values = self._exact
        if penalised:
            lost = ~self.present[rows] | self.malformed[rows]
            return Tally.of_levels(values, np.where(lost, values.size - 1, place[rows]), self.correct[rows] & ~lost)
        rows = rows[self.present[rows]]
        return Tally.of_levels(values, place[rows], self.correct[rows])

    def replicated(self, tasks: Sequence[str], *, penalised: bool) -> Tally:
        """The tallies (R, L) of the replicates of `tasks`, from the levels."""
        counts = np.sum([self.replicates[task] for task in tasks], axis=0)
        wrong, right, malformed = (counts[:, kind : 3 * self.values.size : 3] for kind in range(3))
        if not penalised:
            return Tally(self.values, right, wrong + malformed)
        lost = (malformed.sum(axis=1) + counts[:, -2:].sum(axis=1))[:, None]
        if self.values.size and self.values[-1] == 1.0:
            return Tally(self.values, right, np.hstack([wrong[:, :-1], wrong[:, -1:] + lost]))
        return Tally(np.append(self.values, 1.0), np.hstack([right, np.zeros_like(lost)]), np.hstack([wrong, lost]))


def _f1_macro(confusion: Confusion, images: int) -> IntervalEstimate:
    if confusion.counts.sum() < FEWEST_PER_LABEL * len(confusion.labels):
        return IntervalEstimate(*confusion.both(metrics.f1_macro), None, f"fewer than {FEWEST_PER_LABEL} samples per label")
    return intervals.bootstrap_estimate(*confusion.both(metrics.f1_macro), images)


def _spearman(first: Ints, second: Ints) -> float:
    """Spearman's correlation of two lists of ranks (n,), with ties."""
    counts = [np.bincount(each) for each in (first, second)]
    ranks = [(np.cumsum(count) - (count - 1) / 2)[each] for count, each in zip(counts, (first, second), strict=True)]
    centred = [rank - rank.mean() for rank in ranks]
    return float(metrics.ratio(np.sum(centred[0] * centred[1]), np.sqrt(np.sum(centred[0] ** 2) * np.sum(centred[1] ** 2))))


def rows_by_task(tasks: Sequence[str]) -> dict[str, Ints]:
    """The row indices of each task, in the order of the tasks."""
    place = {name: number for number, name in enumerate(sorted(set(tasks), key=task_order))}
    codes = np.array([place[task] for task in tasks])
    return {name: np.flatnonzero(codes == number) for name, number in place.items()}


def scopes_of(tasks: Iterable[str]) -> list[Scope]:
    """Every task, each non-empty group of the paper, and overall. A task outside VECBench is in no group but counts overall."""
    names = tuple(tasks)
    members = {group: tuple(name for name in names if group_of(name) == group) for group in GROUPS}
    return [
        *(Scope("tasks", name, (name,)) for name in names),
        *(Scope("groups", group, found) for group, found in members.items() if found),
        Scope("overall", "overall", names),
    ]


def confusion_labels(task: str, occurring: Iterable[str | None]) -> tuple[str, ...]:
    """The occurring labels in the order of the task's emotion loop if it has one; None is ignored."""
    order = known.loop().order if (known := taxonomy_of(task)) else ()
    labels = [label for label in occurring if label is not None]
    return tuple(sorted(labels, key=lambda label: (order.index(label) if label in order else len(order), label)))


def confusion_cells(truths: Sequence[str], answers: Sequence[str | None], labels: Sequence[str]) -> Ints:
    """(n,): each sample's cell in a flattened confusion matrix (K, K + 1), truth by answer, then no answer."""
    place: dict[str | None, int] = {label: number for number, label in enumerate(labels)} | {None: len(labels)}
    return np.array([place[truth] * (len(labels) + 1) + place[answer] for truth, answer in zip(truths, answers, strict=True)])


def _distances(task: str, labels: Sequence[str], given: Mapping[tuple[str, str | None], float]) -> dict[tuple[str, str], float]:
    """The loop distance of each (truth, answer): from a known task's emotion loop, else as `given` by the outcomes, NaN where it is not."""
    found = {(truth, answer): distance for (truth, answer), distance in given.items() if answer is not None and not np.isnan(distance)}
    if known := taxonomy_of(task):
        loop = known.loop()
        inside = [label for label in labels if label in loop.order]
        found |= {(a, b): loop.distance(a, b) for a in inside for b in inside}
    return found


def _sums(parts: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    return np.sum([part for part, _ in parts], axis=0), np.sum([whole for _, whole in parts], axis=0)
