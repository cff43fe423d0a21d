"""The emotion loop: the shortest closed tour through a taxonomy's VAD points, and the distance along it.

The idea of an emotion wheel made computable: neighbours on the loop feel alike, opposite points feel most unlike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from emocaliber.emotions.held_karp import Ints, shortest_tour
from emocaliber.emotions.local_search import lower_bound, short_tour
from emocaliber.emotions.vad import VAD
from emocaliber.errors import UserError

# Beyond these the exact tables outgrow a second or a gigabyte.
EXACT_FAMILIES = 15
EXACT_LABELS = 60

# Lengths are compared as whole numbers of this unit, so that equal tours tie exactly whatever the order of summation.
_UNIT = 1e-12


@dataclass(frozen=True)
class Loop:
    """A closed tour. `arcs[i]` leads from `order[i]` to the next label (the last one back to the first); lengths are in VAD units.

    The order starts at the alphabetically first label and goes on to the alphabetically smaller of its two neighbours.
    `exact` says that no shorter tour exists; otherwise one could be shorter by at most the fraction `gap` of the perimeter.
    """

    order: tuple[str, ...]
    arcs: tuple[float, ...]
    perimeter: float
    exact: bool = True
    gap: float = 0.0

    def distance(self, a: str, b: str) -> float:
        """The shorter arc between two labels as a fraction of the perimeter, in [0, 0.5]. Raises UserError for a label not on the loop.

        Two labels alone are 0.5 apart.
        """
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

    Exact for up to 15 labels, or 15 families of up to 15 (60 labels in all); beyond that a local search, with its gap.
    Depends on the points alone, not on their order. Raises UserError for fewer than two labels or if all points coincide.
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
    """The families as lists of indices. A flat loop is one in which every label is a family of its own."""
    groups: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        groups.setdefault(label if families is None else families[label], []).append(index)
    return list(groups.values())


def _canonical(tour: list[int]) -> list[int]:
    """The same cycle from its smallest index on, towards the smaller of that index's neighbours."""
    first = tour.index(min(tour))
    onward = tour[first:] + tour[:first]
    return min(onward, [onward[0], *reversed(onward[1:])])


def _length(distances: Ints, tour: list[int]) -> int:
    return int(distances[tour, np.roll(tour, -1)].sum())
