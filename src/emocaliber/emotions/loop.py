"""The emotion loop: the shortest closed tour through a taxonomy's VAD points, and the distance along it.

It makes the emotion wheel computable: neighbouring emotions are similar, opposite ones most different. Two solvers find the tour: an exact
dynamic programme for small taxonomies, and a local search with a lower bound for larger ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emocaliber.errors import UserError

# Beyond these sizes, the exact solver takes more than a second or a gigabyte.
EXACT_FAMILIES = 15
EXACT_LABELS = 60

# Lengths are compared as integers in this unit, so that equal tours tie exactly in any order of summation.
_UNIT = 1e-12

Ints = NDArray[np.int64]


class VAD(NamedTuple):
    """Valence, arousal and dominance, each in [-1, 1]: the scale of the NRC VAD lexicon, version 2."""

    valence: float
    arousal: float
    dominance: float

    def distance(self, other: VAD) -> float:
        """The Euclidean distance between two points."""
        return math.dist(self, other)


@dataclass(frozen=True)
class Loop:
    """A closed tour. `arcs[i]` is the length from `order[i]` to the next label (from the last to the first), in VAD units.

    The order starts at the alphabetically first label and continues to the alphabetically smaller of its two neighbours.
    `exact`: no shorter tour exists; otherwise a tour could be shorter by at most the fraction `gap` of the perimeter.
    """

    order: tuple[str, ...]
    arcs: tuple[float, ...]
    perimeter: float
    exact: bool = True
    gap: float = 0.0

    def distance(self, a: str, b: str) -> float:
        """The shorter arc between two labels as a fraction of the perimeter, in [0, 0.5]. Raises UserError for a label not on the loop."""
        for label in (a, b):
            if label not in self._positions:
                raise UserError(f"'{label}' is not on this emotion loop; its labels are {', '.join(self.order)}")
        start, end = sorted((self._positions[a], self._positions[b]))
        one_way, other_way = math.fsum(self.arcs[start:end]), math.fsum(self.arcs[end:] + self.arcs[:start])
        return min(one_way, other_way) / self.perimeter if a != b else 0.0

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {label: position for position, label in enumerate(self.order)}


def shortest_loop(points: Mapping[str, VAD], families: Mapping[str, str] | None = None) -> Loop:
    """The shortest closed tour through `points`; with `families`, among the tours in which each family's labels are adjacent.

    Exact for up to 15 labels, or 15 families of up to 15 (60 labels in all); beyond that a local search, with its gap. The result does not
    depend on the order of `points`. Raises UserError for fewer than two labels, and if all points coincide.
    """
    labels = sorted(points, key=lambda label: (label.casefold(), label))
    if len(labels) < 2:
        raise UserError(f"an emotion loop needs at least two labels; {len(labels)} given")
    distances = np.array([[round(points[a].distance(points[b]) / _UNIT) for b in labels] for a in labels], dtype=np.int64)
    if not distances.any():
        raise UserError(f"the labels {', '.join(labels)} all have the same VAD value; an emotion loop needs at least two different ones")

    groups = _groups(labels, families)
    exact = len(labels) <= EXACT_LABELS and max(len(groups), *map(len, groups)) <= EXACT_FAMILIES
    tour = shortest_tour(distances, groups) if exact else short_tour(distances, groups)
    order = tuple(labels[i] for i in _canonical(tour))
    arcs = tuple(points[a].distance(points[b]) for a, b in pairwise((*order, order[0])))
    perimeter = math.fsum(arcs)
    gap = 0.0 if exact else max(0.0, 1 - lower_bound(distances, _length(distances, tour)) * _UNIT / perimeter)
    return Loop(order, arcs, perimeter, exact, gap)


def _groups(labels: list[str], families: Mapping[str, str] | None) -> list[list[int]]:
    """The families as lists of indices. In a flat loop, every label is a family of its own."""
    groups: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        groups.setdefault(label if families is None else families[label], []).append(index)
    return list(groups.values())


def _canonical(tour: list[int]) -> list[int]:
    """The same cycle, starting at its smallest index and continuing to the smaller of its two neighbours."""
    first = tour.index(min(tour))
    onward = tour[first:] + tour[:first]
    return min(onward, [onward[0], *reversed(onward[1:])])


def _length(distances: Ints, tour: list[int]) -> int:
    return int(distances[tour, np.roll(tour, -1)].sum())


# The exact solver.

# More than any tour, and small enough that adding to it does not overflow.
_FAR = 1 << 60


def shortest_tour(distances: Ints, families: Sequence[Sequence[int]]) -> list[int]:
    """The points in the order of a shortest closed tour in which every family is contiguous.

    The dynamic programme of Held and Karp (1962) over sets of families: crossing a family from one point to another costs its shortest
    Hamiltonian path, which the same recursion finds.
    `distances` is symmetric, (N, N), in whole numbers, so that ties are exact; `families` partition 0..N-1. Memory and time grow with
    2^families and 2^(largest family).
    """
    home, *others = (_Crossing(distances, family) for family in sorted(families, key=len))
    # table[mask, s, e]: the shortest path from point s of the home family through home and the families in `mask` to point e.
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
    """The shortest paths through one family: `cost[s, e]` from its point s to e; `step[v, e]` to e when coming from any point v."""

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


# The local search and its lower bound.

_STARTS = 16
_LONGEST_SEGMENT = 3
_ASCENT_STEPS = 300


def short_tour(distances: Ints, families: Sequence[Sequence[int]]) -> list[int]:
    """The shortest of several nearest-neighbour tours, each improved until no 2-opt or Or-opt move shortens it; families stay contiguous.

    `distances` is symmetric, (N, N), in whole numbers; `families` partition 0..N-1. Deterministic.
    """
    size = len(distances)
    family_of = np.empty(size, dtype=np.int64)
    for number, family in enumerate(families):
        family_of[list(family)] = number
    # Leaving a family costs more than any tour. Nearest neighbour therefore leaves each family once, and so does every improvement.
    toll = size * int(distances.max()) + 1
    tolled = distances + toll * (family_of[:, None] != family_of)
    starts = range(0, size, max(1, size // _STARTS))
    tours = [_improved(_nearest_neighbour(tolled, start), tolled) for start in starts]
    return [int(point) for point in min(tours, key=lambda tour: int(tolled[tour, np.roll(tour, -1)].sum()))]


def lower_bound(distances: Ints, upper: int) -> float:
    """A lower bound on the length of any closed tour, with or without families, given a tour of length `upper`.

    The 1-tree bound of Held and Karp (1970): a tour is a spanning tree of all points but one plus two edges of that one;
    prices on the points, raised where the tree has more than two edges, tighten the bound.
    """
    prices = np.zeros(len(distances))
    best, rate, since_best = 0.0, 2.0, 0
    for _ in range(_ASCENT_STEPS):
        length, degrees = _one_tree(distances + prices[:, None] + prices)
        bound = length - 2 * prices.sum()
        best, since_best = (bound, 0) if bound > best else (best, since_best + 1)
        excess = degrees - 2
        if not excess.any():
            break
        if since_best == 10:
            rate, since_best = rate / 2, 0
        prices = prices + rate * (upper - bound) / (excess**2).sum() * excess
    return float(best)


def _nearest_neighbour(distances: Ints, start: int) -> Ints:
    tour = [start]
    free = np.ones(len(distances), dtype=bool)
    free[start] = False
    while free.any():
        candidates = np.flatnonzero(free)
        nearest = int(candidates[distances[tour[-1], candidates].argmin()])
        free[nearest] = False
        tour.append(nearest)
    return np.array(tour)


def _improved(tour: Ints, distances: Ints) -> Ints:
    while (better := _two_opt(tour, distances)) is not None or (better := _or_opt(tour, distances)) is not None:
        tour = better
    return tour


def _two_opt(tour: Ints, distances: Ints) -> Ints | None:
    """The tour after its best reversal of a stretch, or None where no reversal shortens it."""
    following = np.roll(tour, -1)
    edges = distances[tour, following]
    change = distances[np.ix_(tour, tour)] + distances[np.ix_(following, following)] - edges[:, None] - edges
    np.fill_diagonal(change, 0)
    i, j = sorted(int(index) for index in np.unravel_index(change.argmin(), change.shape))
    if change[i, j] >= 0:
        return None
    return np.concatenate([tour[: i + 1], tour[i + 1 : j + 1][::-1], tour[j + 1 :]])


def _or_opt(tour: Ints, distances: Ints) -> Ints | None:
    """The tour after the first shortening move of one to three neighbours to another position, in either direction; or None."""
    for length in range(1, min(_LONGEST_SEGMENT, len(tour) - 3) + 1):
        for start in range(len(tour)):
            turned = np.roll(tour, -start)
            segment, rest = turned[:length], turned[length:]
            saved = distances[rest[-1], segment[0]] + distances[segment[-1], rest[0]] - distances[rest[-1], rest[0]]
            edges = distances[rest[:-1], rest[1:]]
            for moved in (segment, segment[::-1]):
                added = distances[rest[:-1], moved[0]] + distances[moved[-1], rest[1:]] - edges
                place = int(added.argmin())
                if added[place] < saved:
                    return np.concatenate([rest[: place + 1], moved, rest[place + 1 :]])
    return None


def _one_tree(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.int64]]:
    """The length of a minimum 1-tree (Prim's tree of all points but the first, and the first's two cheapest edges), and its degrees."""
    size = len(weights)
    degrees = np.zeros(size, dtype=np.int64)
    nearest = np.ones(size, dtype=np.int64)
    cost = weights[1].copy()
    cost[:2] = np.inf
    length = 0.0
    for _ in range(size - 2):
        new = int(cost.argmin())
        length += cost[new]
        degrees[[new, nearest[new]]] += 1
        cost[new] = np.inf
        closer = (weights[new] < cost) & np.isfinite(cost)
        cost[closer], nearest[closer] = weights[new][closer], new
    two = 1 + np.argsort(weights[0, 1:], kind="stable")[:2]
    degrees[two] += 1
    degrees[0] = 2
    return length + float(weights[0, two].sum()), degrees
