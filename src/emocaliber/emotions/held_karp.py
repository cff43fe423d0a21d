"""The shortest closed tour that visits families of points one after another, exactly, by dynamic programming.

Held and Karp (1962) ask for the cheapest way to have visited a set of points and to stand at one of them. Here the sets are
sets of families; crossing a family from one point to another costs its shortest Hamiltonian path, found by the same recursion.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# More than any tour, and small enough that adding to it does not overflow.
_FAR = 1 << 60


def shortest_tour(distances: Ints, families: Sequence[Sequence[int]]) -> list[int]:
    """The points in the order of a shortest closed tour in which every family is contiguous.

    `distances` is symmetric, (N, N), in whole numbers, so that ties are exact and always fall the same way; `families` partition
    0..N-1. Memory and time grow with 2^families and 2^(largest family).
    """
    home, *others = (_Crossing(distances, family) for family in sorted(families, key=len))
    # table[mask, s, e]: the cheapest way from home's point s through home and the families in `mask`, ending at point e.
    table = np.full((1 << len(others), len(home.points), len(distances)), _FAR)
    table[0][:, home.points] = home.cost
    _fill(table, [family.points for family in others], [family.step for family in others])

    closed = table[-1] + distances[home.points]
    start, end = (int(index) for index in np.unravel_index(closed.argmin(), closed.shape))
    tour: list[int] = []
    left = len(table) - 1
    while left:
        number = next(number for number, family in enumerate(others) if end in family.points)
        family = others[number]
        left ^= 1 << number
        before = int((table[left, start] + family.step[:, family.points.index(end)]).argmin())
        tour = family.path_from(before, end) + tour
        end = before
    return home.path(start, home.points.index(end)) + tour


class _Crossing:
    """The ways through one family: `cost[s, e]` visits all its points from s to e; `step[v, e]` does so coming from any point v."""

    def __init__(self, distances: Ints, family: Sequence[int]) -> None:
        self.points = list(family)
        self._from_outside = distances[:, self.points]
        self._within = distances[np.ix_(self.points, self.points)]
        size = len(self.points)
        self._table = np.full((1 << size, size, size), _FAR)
        for start in range(size):
            self._table[1 << start, start, start] = 0
        _fill(self._table, [[point] for point in range(size)], [self._within[:, [point]] for point in range(size)])
        self.cost: Ints = self._table[-1]
        self.step: Ints = (self._from_outside[:, :, None] + self.cost).min(axis=1)

    def path(self, start: int, end: int) -> list[int]:
        """The points of a shortest path from the start-th to the end-th point of the family."""
        left, backwards = len(self._table) - 1, [end]
        while left := left ^ 1 << end:
            end = int((self._table[left, start] + self._within[:, end]).argmin())
            backwards.append(end)
        return [self.points[index] for index in reversed(backwards)]

    def path_from(self, before: int, end: int) -> list[int]:
        """The points of a shortest path through the family to the point `end`, coming from the point `before` outside it."""
        last = self.points.index(end)
        return self.path(int((self._from_outside[before] + self.cost[:, last]).argmin()), last)


def _fill(table: Ints, families: Sequence[Sequence[int]], steps: Sequence[Ints]) -> None:
    """Completes table[mask, start, end], in order of the size of mask: step[v, i] adds a family, leaving it at its i-th point."""
    masks = np.arange(len(table))
    sizes = np.array([mask.bit_count() for mask in range(len(table))])
    for size in range(len(families)):
        for number, (points, step) in enumerate(zip(families, steps, strict=True)):
            without = masks[(sizes == size) & (masks >> number & 1 == 0)]
            reached = table[without]
            for index, point in enumerate(points):
                cheapest = (reached + step[:, index]).min(axis=2)
                table[without | 1 << number, :, point] = np.minimum(table[without | 1 << number, :, point], cheapest)
