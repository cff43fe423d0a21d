"""A short closed tour through more points than can be searched exactly, and a bound on how much shorter one could be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_STARTS = 16
_LONGEST_SEGMENT = 3
_ASCENT_STEPS = 300


def short_tour(distances: Ints, families: Sequence[Sequence[int]]) -> list[int]:
    """The best of some nearest-neighbour tours, each improved until no 2-opt or Or-opt move shortens it; families stay contiguous.

    `distances` is symmetric, (N, N), in whole numbers; `families` partition 0..N-1. No randomness: the same input gives the same tour.
    """
    size = len(distances)
    family_of = np.empty(size, dtype=np.int64)
    for number, family in enumerate(families):
        family_of[list(family)] = number
    # Leaving a family costs more than any tour, so a tour that leaves each just once stays so under every improvement,
    # and nearest neighbour begins with such a tour.
    toll = size * int(distances.max()) + 1
    tolled = distances + toll * (family_of[:, None] != family_of)
    starts = range(0, size, max(1, size // _STARTS))
    tours = [_improved(_nearest_neighbour(tolled, start), tolled) for start in starts]
    return [int(point) for point in min(tours, key=lambda tour: int(tolled[tour, np.roll(tour, -1)].sum()))]


def lower_bound(distances: Ints, upper: int) -> float:
    """No closed tour is shorter than this (families or not), given that one of length `upper` exists.

    The 1-tree bound of Held and Karp (1970): a tour is a spanning tree of all points but one plus two edges of that one;
    prices on the points, raised where the tree has more than two edges, tighten it.
    """
    prices = np.zeros(len(distances))
    best, pace, since_best = 0.0, 2.0, 0
    for _ in range(_ASCENT_STEPS):
        length, degrees = _one_tree(distances + prices[:, None] + prices)
        bound = length - 2 * prices.sum()
        best, since_best = (bound, 0) if bound > best else (best, since_best + 1)
        excess = degrees - 2
        if not excess.any():
            break
        if since_best == 10:
            pace, since_best = pace / 2, 0
        prices = prices + pace * (upper - bound) / (excess**2).sum() * excess
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
    """The tour after the first move of one to three neighbours elsewhere that shortens it, either way round, or None."""
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
