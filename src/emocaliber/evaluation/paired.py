"""Two systems on the same samples: every metric of both under the same bootstrap replicates and permutations.

Both systems get the same sample weights in every replicate, so that a system never differs from itself, whatever its files call the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emocaliber.core.scoring import Outcome
from emocaliber.errors import UserError
from emocaliber.evaluation import metrics, stated
from emocaliber.evaluation.bootstrap import Ints, Resampling, ResamplingUnits, Swapping
from emocaliber.evaluation.estimates import FEWEST_PER_LABEL, Scope, confusion_cells, confusion_labels, rows_by_task
from emocaliber.evaluation.metrics import Floats, Tally

Bools = NDArray[np.bool_]

_OF_TASKS: dict[str, Callable[[Floats], Floats]] = {
    "accuracy": metrics.accuracy,
    "f1_macro": metrics.f1_macro,
    "f1_weighted": metrics.f1_weighted,
    "malformed": metrics.malformed_share,
}
_STATED = ("ece", "brier", "auroc", "aurc")
_ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedDifference:
    """One metric of both systems `a` and `b`, and B minus A in bootstrap replicates, `drawn` (R,), and permutations, `swapped` (P,).

    `observed` is B minus A as computed from the same counts as these. `differing` is the number of units on which the systems differ in
    what enters the metric; `images` is the number of images for the interval, 0 if they are too few for one.
    """

    a: float
    b: float
    observed: float
    drawn: Floats
    swapped: Floats
    differing: int
    images: int

    @property
    def alike(self) -> bool:
        """Whether the metric is the same for both systems in every replicate."""
        same = np.abs(self.drawn) <= _ROUNDING
        return bool(abs(self.b - self.a) <= _ROUNDING and np.all(same | np.isnan(self.drawn)))

    @property
    def p(self) -> float:
        """The two-sided permutation p-value, under exchangeability of the systems' answers to an image.

        It is the share of permutations, the observed one included, with at least the observed difference.
        """
        extreme = ~(np.abs(self.swapped) < abs(self.observed) - _ROUNDING)  # an undefined value counts as extreme
        return float((1 + np.count_nonzero(extreme)) / (1 + extreme.size))


class PairedSystems:
    """Two systems' outcomes on the same samples, with `replicates` bootstrap replicates and `permutations` random swaps."""

    def __init__(self, a: OutcomeColumns, b: OutcomeColumns, *, replicates: int, permutations: int, seed: int) -> None:
        self._both = a, b
        self.rows = rows_by_task(a.tasks)
        self.units = ResamplingUnits(images_of(a, b), a.tasks)
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
        """Whether no two samples of a scope share an image."""
        rows = self._rows(scope)
        return self.units.images(rows) == rows.size

    def answers(self, scope: Scope) -> dict[str, PairedDifference]:
        """Accuracy and F1s, averaged over tasks; the malformed share and, if tasks differ in size, accuracy, pooled over samples."""
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

    def confidence(self, source: str, scope: Scope) -> dict[str, PairedDifference]:
        """The metrics of one source of confidence; empty if either system has no confidence in the scope."""
        rows = self._rows(scope)
        confidences = [each.confidence[source][rows] for each in self._both]
        present = [~np.isnan(each) for each in confidences]
        if not all(each.any() for each in present):
            return {}
        exact = [Tally.of(c[there], r[there]) for c, there, r in zip(confidences, present, self.right(scope), strict=True)]
        level, values = stated.levels(np.concatenate([c[there] for c, there in zip(confidences, present, strict=True)]))
        level_of = np.split(level, [np.count_nonzero(present[0])])
        cells = [np.full(rows.size, 2 * values.size) for _ in present]  # the last cell: no confidence
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

    def _paired(self, value_a: float, value_b: float, a: Floats, b: Floats, differing: int, images: int) -> PairedDifference:
        change, end = b - a, 1 + self._resampling.replicates
        return PairedDifference(value_a, value_b, float(change[0]), change[1:end], change[end:], differing, images)

    def _rows(self, scope: Scope) -> Ints:
        return np.concatenate([self.rows[name] for name in scope.tasks])

    @cached_property
    def _by_task(self) -> dict[str, dict[str, tuple[Floats, Floats]]]:
        """By task and metric, both systems' values: observed, in each replicate, in each permutation: (1 + R + P,) each."""
        found = {}
        for task, rows in self.rows.items():
            columns = self._both[0].truths, *(each.answers for each in self._both)
            truths, *answers = ([column[row] for row in rows.tolist()] for column in columns)
            labels = self._labels[task] = confusion_labels(task, {*truths, *answers[0], *answers[1]})
            k = len(labels)
            counts = self._counted(rows, [confusion_cells(truths, each, labels) for each in answers], k * (k + 1))
            a, b = (each.reshape(-1, k, k + 1) for each in counts)
            found[task] = {name: (metric(a), metric(b)) for name, metric in _OF_TASKS.items()}
        return found

    def _counted(self, rows: Ints, cells: Sequence[Ints], size: int) -> tuple[Floats, Floats]:
        """Both systems' counts: observed, in each replicate, in each permutation: (1 + R + P, size) each."""
        whole = [np.bincount(each, minlength=size).astype(float)[None] for each in cells]
        drawn = [self._resampling.counts(rows, each, size) for each in cells]
        moved = [self._swapping.counts(rows, each, size) for each in cells]
        a, b = (np.concatenate([whole[s], drawn[s], whole[s] - moved[s] + moved[1 - s]]) for s in (0, 1))
        return a, b


# Outcomes by column


@dataclass(frozen=True)
class OutcomeColumns:
    """One system's outcomes by column, (n,) each, sorted by task and id; compact enough for millions.

    `confidence` has NaN where a source gives no confidence.
    """

    tasks: Sequence[str]
    ids: Sequence[str]
    truths: Sequence[str]
    answers: Sequence[str | None]
    images: Sequence[str | None]
    right: Bools
    confidence: dict[str, Floats]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> OutcomeColumns:
        """The columns of `outcomes`, which may be an iterator. Raises ValueError without outcomes."""
        same: dict[str | None, str | None] = {}  # interned labels and names
        texts: list[tuple[str, str, str, str | None, str | None]] = []
        right: list[bool] = []
        confidence: dict[str, list[float]] = {}
        for outcome in outcomes:
            task, truth, answer = (same.setdefault(each, each) for each in (outcome.task, outcome.ground_truth, outcome.answer))
            texts.append((task or "", outcome.id, truth or "", answer, outcome.image))
            right.append(outcome.correct)
            for source, value in outcome.confidence.items():
                if value is not None:
                    known = confidence.setdefault(source, [])
                    known.extend([np.nan] * (len(right) - 1 - len(known)))
                    known.append(value)
        if not texts:
            raise ValueError("there are no outcomes to compare")
        order = np.array(sorted(range(len(texts)), key=lambda row: texts[row][:2]))
        tasks, ids, truths, answers, images = zip(*(texts[row] for row in order.tolist()), strict=True)
        stated = {s: np.array(v + [np.nan] * (len(right) - len(v)))[order] for s, v in sorted(confidence.items())}
        return cls(tasks, ids, truths, answers, images, np.array(right, dtype=bool)[order], stated)


def check_same_samples(a: OutcomeColumns, b: OutcomeColumns) -> None:
    """Raises UserError where two systems did not answer the same samples."""
    if a.tasks != b.tasks and sorted(a.ids) == sorted(b.ids):
        first, second = (", ".join(map(repr, sorted(set(mine) - set(other)))) for mine, other in ((a.tasks, b.tasks), (b.tasks, a.tasks)))
        if first and second:
            raise UserError(
                f"both have the same {len(a.ids):,} ids, but the first calls the task {first} and the second {second}; score both with "
                "the same --task"
            )
    if a.tasks != b.tasks or a.ids != b.ids:
        keys = [set(zip(columns.tasks, columns.ids, strict=True)) for columns in (a, b)]
        for name, mine, other in (("the second", keys[0], keys[1]), ("the first", keys[1], keys[0])):
            if missing := sorted(mine - other):
                task, sample = missing[0]
                raise UserError(
                    f"{len(missing)} samples are not in {name}, among them {sample!r} of {task}; a comparison needs the same samples in "
                    "both: let both systems answer one file"
                )
        raise UserError("a sample is more often in one of the two than in the other; let both systems answer one file")
    for task, sample, first, second in zip(a.tasks, a.ids, a.truths, b.truths, strict=True):
        if first != second:
            raise UserError(
                f"sample {sample!r} of {task} has the truth {first!r} in the first and {second!r} in the second; let both systems answer "
                "one file"
            )


def images_of(a: OutcomeColumns, b: OutcomeColumns) -> list[str]:
    """(n,): a name for each sample's image, equal for samples that share one, from both systems' outcomes.

    Only which samples share an image matters, not the names in a file; where one system has no image, the other's is used. Raises UserError
    if the systems disagree.
    """
    found = []
    in_b: dict[str, str] = {}  # the second's names of images by the first's
    in_a: dict[str, str] = {}
    for row, (first, second) in enumerate(zip(a.images, b.images, strict=True)):
        if first is not None and second is not None:
            for names, one, other, where in ((in_b, first, second, "the first"), (in_a, second, first, "the second")):
                if names.setdefault(one, other) != other:
                    raise UserError(
                        f"sample {a.ids[row]!r} of {a.tasks[row]} shares its image with another sample in {where} of the two alone; "
                        "answers to one image are not independent, so both must agree on it: let both systems answer one file, or take the "
                        "field 'image' out of one of them"
                    )
    for first, second, sample in zip(a.images, b.images, a.ids, strict=True):
        image = in_a.get(second, second) if first is None and second is not None else first
        found.append(sample if image is None else image)
    return found
