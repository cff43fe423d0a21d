"""Two systems on the same samples: every number of both, under the same replicates.

A replicate weighs the samples, by drawing images with replacement or by letting the two systems change places, and both systems have the
weights of the same samples. So a system never differs from itself, whatever its files call the images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emocaliber.evaluation import metrics, stated
from emocaliber.evaluation.bootstrap import Ints, Resampling, Swapping, Units
from emocaliber.evaluation.columns import Bools, Columns, images_of
from emocaliber.evaluation.estimates import FEWEST_PER_LABEL, Scope, confusion_cells, labels_of, rows_by_task
from emocaliber.evaluation.tally import Floats, Tally

_OF_TASKS: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": metrics.accuracy,
    "f1_macro": metrics.f1_macro,
    "f1_weighted": metrics.f1_weighted,
    "malformed": metrics.malformed_share,
}
_STATED = ("ece", "brier", "auroc", "aurc")
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Paired:
    """One number of both systems: its values, and B minus A in each drawing of images (R,) and each swap (P,), beside which `observed` is
    to be seen. `differing` is the number of units on which the systems differ in what the number is made of, `images` that of the scope
    by which one image counts, 0 where it is too small for an interval."""

    a: float
    b: float
    observed: float
    drawn: Floats
    swapped: Floats
    differing: int
    images: int

    @property
    def alike(self) -> bool:
        """Whether the number is the same for both systems in every drawing."""
        same = np.abs(self.drawn) <= _ROUNDING
        return bool(abs(self.b - self.a) <= _ROUNDING and np.all(same | np.isnan(self.drawn)))

    @property
    def p(self) -> float:
        """Two-sided, of the hypothesis that it is chance which of the two gave which answers to an image: the share of swaps that differ as
        much, this one among them."""
        extreme = ~(np.abs(self.swapped) < abs(self.observed) - _ROUNDING)  # one without a value counts as extreme
        return float((1 + np.count_nonzero(extreme)) / (1 + extreme.size))


class Pair:
    """Two systems on the same samples. `permutations` is the number of swaps."""

    def __init__(self, a: Columns, b: Columns, *, replicates: int, permutations: int, seed: int) -> None:
        self._both = a, b
        self.rows = rows_by_task(a.tasks)
        self.units = Units(images_of(a, b), a.tasks)
        self._resampling, self._swapping = Resampling(self.units, replicates, seed), Swapping(self.units, permutations, seed + 1)
        self._labels: dict[str, tuple[str, ...]] = {}
        malformed = [np.array([answer is None for answer in each.answers]) for each in self._both]
        self._differ = {
            "accuracy": a.right != b.right,
            "malformed": malformed[0] != malformed[1],
            "f1_macro": np.array([first != second for first, second in zip(a.answers, b.answers, strict=True)]),
        }

    def right(self, scope: Scope) -> tuple[Bools, Bools]:
        """Whether each system was right on each sample of a scope."""
        rows = self._rows(scope)
        return self._both[0].right[rows], self._both[1].right[rows]

    def one_image_each(self, scope: Scope) -> bool:
        """Whether every sample of a scope has an image of its own in it."""
        rows = self._rows(scope)
        return self.units.images(rows) == rows.size

    def answers(self, scope: Scope) -> dict[str, Paired]:
        """Accuracy and F1s as means over the tasks; pooled, the malformed share and, where tasks differ in size, accuracy."""
        sizes, fewest = [self.rows[name].size for name in scope.tasks], min(self.units.images(self.rows[name]) for name in scope.tasks)
        rows, one_size = self._rows(scope), len(set(sizes)) == 1
        found = {}
        for name in ("accuracy", *(() if one_size else ("accuracy_pooled",)), "f1_macro", "f1_weighted", "malformed"):
            metric, pooled = name.removesuffix("_pooled"), name in ("accuracy_pooled", "malformed")
            weights = sizes if pooled else None
            a, b = (np.average([self._by_task[task][metric][system] for task in scope.tasks], axis=0, weights=weights) for system in (0, 1))
            images = self.units.images(rows) if pooled or (name == "accuracy" and one_size) else fewest * len(sizes)
            if name == "f1_macro" and any(self.rows[task].size < FEWEST_PER_LABEL * len(self._labels[task]) for task in scope.tasks):
                images = 0
            apart = self._differ.get(metric, self._differ["f1_macro"])[rows]
            found[name] = self._paired(float(a[0]), float(b[0]), a, b, self.units.touched(rows[apart]), images)
        return found

    def stated(self, source: str, scope: Scope) -> dict[str, Paired]:
        """What one source of confidence is worth; empty where either system has none in the scope."""
        rows = self._rows(scope)
        confidences = [each.confidence[source][rows] for each in self._both]
        present = [~np.isnan(each) for each in confidences]
        if not all(each.any() for each in present):
            return {}
        exact = [Tally.of(c[there], r[there]) for c, there, r in zip(confidences, present, self.right(scope), strict=True)]
        level, values = stated.levels(np.concatenate([c[there] for c, there in zip(confidences, present, strict=True)]))
        level_of = np.split(level, [np.count_nonzero(present[0])])
        cells = [np.full(rows.size, 2 * values.size) for _ in present]  # the last one: no confidence
        for cell, there, its, right in zip(cells, present, level_of, self.right(scope), strict=True):
            cell[there] = 2 * its + right[there]
        counted = self._counted(rows, cells, 2 * values.size + 1)
        a, b = (Tally(values, each[:, 1::2], each[:, :-1:2]) for each in counted)
        differing, images = self.units.touched(rows[cells[0] != cells[1]]), self.units.images(rows)
        found = {}
        for name in _STATED:
            metric = stated.METRICS[name]
            found[name] = self._paired(float(metric(exact[0])), float(metric(exact[1])), metric(a), metric(b), differing, images)
        return found

    def _paired(self, value_a: float, value_b: float, a: Floats, b: Floats, differing: int, images: int) -> Paired:
        change, end = b - a, 1 + self._resampling.replicates
        return Paired(value_a, value_b, float(change[0]), change[1:end], change[end:], differing, images)

    def _rows(self, scope: Scope) -> Ints:
        return np.concatenate([self.rows[name] for name in scope.tasks])

    @cached_property
    def _by_task(self) -> dict[str, dict[str, tuple[Floats, Floats]]]:
        """By task and metric, the numbers of both systems as they are, in each drawing and in each swap: (1 + R + P,) each."""
        found = {}
        for task, rows in self.rows.items():
            columns = self._both[0].truths, *(each.answers for each in self._both)
            truths, *answers = ([column[row] for row in rows.tolist()] for column in columns)
            labels = self._labels[task] = labels_of(task, {*truths, *answers[0], *answers[1]})
            k = len(labels)
            counts = self._counted(rows, [confusion_cells(truths, each, labels) for each in answers], k * (k + 1))
            a, b = (each.reshape(-1, k, k + 1) for each in counts)
            found[task] = {name: (metric(a), metric(b)) for name, metric in _OF_TASKS.items()}
        return found

    def _counted(self, rows: Ints, cells: Sequence[Ints], size: int) -> tuple[Floats, Floats]:
        """For each system, its counts as they are, in each drawing and in each swap: (1 + R + P, size) each."""
        whole = [np.bincount(each, minlength=size).astype(float)[None] for each in cells]
        drawn = [self._resampling.counts(rows, each, size) for each in cells]
        moved = [self._swapping.counts(rows, each, size) for each in cells]
        a, b = (np.concatenate([whole[s], drawn[s], whole[s] - moved[s] + moved[1 - s]]) for s in (0, 1))
        return a, b
