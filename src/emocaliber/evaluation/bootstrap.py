"""Cluster bootstrap and paired permutation, by weighted counts instead of resampled samples.

Images are resampled with replacement, with all answers to an image, and stratified by task: the size of a task is part of the benchmark,
not of chance. A replicate is a weight for each image, and every metric is a function of weighted counts, so that a thousand replicates of
all metrics are a few matrix products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from emocaliber.evaluation.metrics import Floats

UNITS = 8192  # for a large data set: variances are then accurate to 1 %, less than the scatter of a thousand replicates
FEWEST_UNITS = 1000  # per task of it, if the task has as many images
ENTRIES = 2**25  # of a block of the weight matrix

Ints = NDArray[np.int64]
Weights = NDArray[np.float32]
Draw = Callable[[int, int, np.random.Generator], NDArray[np.int64]]


class ResamplingUnits:
    """The resampling units of n samples: an image with all answers to it.

    `images` (n,) are names or numbers, `tasks` (n,) names. Images in the same set of tasks form a stratum. Of more than `most` images,
    random groups form the units, which leaves the expected variance unchanged (random groups; Wolter 2007, chapter 2).
    """

    def __init__(self, images: Sequence[str] | Ints, tasks: Sequence[str], *, most: int = UNITS) -> None:
        n_images, self._image = _numbered(images)
        unit_of_image = np.empty(n_images, dtype=np.int64)
        self.strata: list[Ints] = []
        self.count = 0
        place = {task: number for number, task in enumerate(sorted(set(tasks)))}
        for number, members in enumerate(_strata(self._image, np.array([place[task] for task in tasks]), n_images)):
            size = members.size
            if n_images > most:
                size = min(size, max(FEWEST_UNITS, round(most * size / n_images)))
            order = np.arange(members.size)
            if size < members.size:
                np.random.default_rng(number).shuffle(order)
            unit_of_image[members] = self.count + order % size
            self.strata.append(np.arange(self.count, self.count + size))
            self.count += size
        self._unit = unit_of_image[self._image]

    def images(self, rows: Ints) -> int:
        """The number of distinct images of the samples `rows` (m,)."""
        return int(np.count_nonzero(np.bincount(self._image[rows])))

    def touched(self, rows: Ints) -> int:
        """The number of distinct units of the samples `rows` (m,)."""
        return int(np.count_nonzero(np.bincount(self._unit[rows])))

    def members(self, rows: Ints, cells: Ints, size: int) -> sparse.csr_matrix | NDArray[np.float32]:
        """(size, units): the number of samples of each unit in each cell, for the samples `rows` (m,) and their `cells` (m,)."""
        units = self._unit[rows]
        if size * self.count > 8 * rows.size:
            return sparse.csr_matrix((np.ones(rows.size, dtype=np.float32), (cells, units)), shape=(size, self.count))
        return np.bincount(cells * self.count + units, minlength=size * self.count).reshape(size, self.count).astype(np.float32)


class Weighting:
    """Random weights of units for each of `replicates` replicates, reproducible from the arguments."""

    def __init__(self, units: ResamplingUnits, replicates: int, seed: int, *, entries: int = ENTRIES) -> None:
        self.units, self.replicates, self.seed = units, replicates, seed
        self._step = max(1, min(replicates, entries // units.count))

    def counts(self, rows: Ints, cells: Ints, size: int) -> Floats:
        """(R, size): the weighted count of each cell per replicate, for the samples `rows` (m,) and their `cells` (m,)."""
        members = self.units.members(rows, cells, size)
        blocks = iter([self._only_block]) if self._step == self.replicates else self._blocks()
        return np.concatenate([np.asarray(members @ weights, dtype=float).T for weights in blocks])

    def prepare(self) -> None:
        """Draws the weights, if they are kept, before processes that share them are made."""
        if self._step == self.replicates:
            _ = self._only_block

    @cached_property
    def _only_block(self) -> Weights:
        return next(self._blocks())

    def _blocks(self) -> Iterator[Weights]:
        """The weights in blocks of replicates, (units, r) each."""
        for start in range(0, self.replicates, self._step):
            width = min(self._step, self.replicates - start)
            weights = np.empty((self.units.count, width), dtype=np.float32)
            for number, members in enumerate(self.units.strata):
                weights[members] = self._drawn(members.size, width, np.random.default_rng((self.seed, number, start)))
            yield weights

    def _drawn(self, size: int, width: int, random: np.random.Generator) -> Ints:
        raise NotImplementedError


class Resampling(Weighting):
    """Bootstrap weights: how often each unit is drawn when a stratum is resampled with replacement."""

    def _drawn(self, size: int, width: int, random: np.random.Generator) -> Ints:
        drawn = random.integers(0, size, size=(size, width))
        drawn *= width
        drawn += np.arange(width)
        return np.bincount(drawn.ravel(), minlength=size * width).reshape(size, width)


class Swapping(Weighting):
    """Permutation weights: whether two systems' answers to a unit are swapped (1) or not (0), each with probability 1/2."""

    def _drawn(self, size: int, width: int, random: np.random.Generator) -> Ints:
        return random.integers(0, 2, size=(size, width))


def _numbered(images: Sequence[str] | Ints) -> tuple[int, Ints]:
    """The number of distinct images, and each one's place (n,) among them in their order."""
    if isinstance(images, np.ndarray):
        names, place = np.unique(images, return_inverse=True)
        return names.size, place
    in_order = sorted(dict.fromkeys(images))
    places = dict(zip(in_order, range(len(in_order)), strict=True))
    return len(places), np.fromiter(map(places.__getitem__, images), dtype=np.int64, count=len(images))


def _strata(image: Ints, task: Ints, n_images: int) -> list[Ints]:
    """The images of each stratum (set of tasks), in the order of the tasks."""
    if n_images == image.size:  # each in one task
        images, tasks, several = image, task, np.zeros(image.size, dtype=bool)
    else:
        images, tasks = np.divmod(np.unique(image * (int(task.max()) + 1) + task), int(task.max()) + 1)
        several = np.bincount(images)[images] > 1
    found: dict[tuple[int, ...], list[int]] = {}
    of_several: dict[int, list[int]] = {}
    for one, its in zip(images[several].tolist(), tasks[several].tolist(), strict=True):
        of_several.setdefault(one, []).append(its)
    for one, all_its in of_several.items():
        found.setdefault(tuple(all_its), []).append(one)
    strata = {key: np.array(members) for key, members in found.items()}
    strata |= {(its,): np.sort(images[~several & (tasks == its)]) for its in np.unique(tasks[~several]).tolist()}
    return [strata[key] for key in sorted(strata)]
