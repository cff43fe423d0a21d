"""The emotion loop is a shortest tour, has one canonical order, and its distance is a distance."""

from __future__ import annotations

import itertools
import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emocaliber.emotions.loop import VAD, Loop, shortest_loop
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError

AXIS = st.floats(-1, 1).map(lambda x: round(x, 3))
POINT = st.builds(VAD, AXIS, AXIS, AXIS)


def points_of(values: list[VAD]) -> dict[str, VAD]:
    return {f"label{index:02}": value for index, value in enumerate(values)}


def some_points(number: int, seed: int = 0) -> dict[str, VAD]:
    draw = random.Random(seed)
    return points_of([VAD(*(draw.uniform(-1, 1) for _ in range(3))) for _ in range(number)])


def length(order: tuple[str, ...], points: dict[str, VAD]) -> float:
    return sum(math.dist(points[a], points[b]) for a, b in itertools.pairwise((*order, order[0])))


def families_left(order: tuple[str, ...], families: dict[str, str]) -> int:
    return sum(families[a] != families[b] for a, b in itertools.pairwise((*order, order[0])))


def shortest_by_trying_all(points: dict[str, VAD], families: dict[str, str] | None = None) -> float:
    first, *others = points
    tours = ((first, *rest) for rest in itertools.permutations(others))
    if families:
        kinds = len(set(families.values()))
        # With one family nothing is left; with two or more a tour that keeps them together leaves each of them once.
        tours = (tour for tour in tours if families_left(tour, families) == (kinds if kinds > 1 else 0))
    return min(length(tour, points) for tour in tours)


@given(st.lists(POINT, min_size=2, max_size=7, unique=True).map(points_of))
@settings(max_examples=60, deadline=None)
def test_a_flat_loop_is_as_short_as_the_best_of_all_tours(points: dict[str, VAD]) -> None:
    loop = shortest_loop(points)
    assert loop.exact and loop.gap == 0
    assert sorted(loop.order) == sorted(points)
    assert loop.perimeter == pytest.approx(shortest_by_trying_all(points), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_eight_labels_agree_with_trying_all(seed: int) -> None:
    points = some_points(8, seed)
    assert shortest_loop(points).perimeter == pytest.approx(shortest_by_trying_all(points), abs=1e-9)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_hierarchical_loop_is_as_short_as_the_best_tour_that_keeps_families_together(data: st.DataObject) -> None:
    points = points_of(data.draw(st.lists(POINT, min_size=2, max_size=7, unique=True)))
    families = {label: data.draw(st.sampled_from("abcd"), label=label) for label in points}
    loop = shortest_loop(points, families)
    kinds = len(set(families.values()))
    assert loop.exact
    assert sorted(loop.order) == sorted(points)
    assert families_left(loop.order, families) == (kinds if kinds > 1 else 0)
    assert loop.perimeter == pytest.approx(shortest_by_trying_all(points, families), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "expected", "perimeter"),
    [
        ("mikels-8", "amusement anger fear disgust sadness awe contentment excitement", 6.548),
        ("webemo-7", "anger fear confusion sadness love joy surprise", 6.799),
        ("unbiasedemo-6", "anger fear sadness love joy surprise", 6.541),
    ],
)
def test_known_loops(name: str, expected: str, perimeter: float) -> None:
    loop = taxonomy(name).loop()
    assert loop.order == tuple(expected.split())
    assert round(loop.perimeter, 3) == perimeter


def test_webemo_25_is_looped_exactly_within_a_second_and_keeps_its_families_together() -> None:
    webemo = taxonomy("webemo-25")
    start = time.perf_counter()
    loop = shortest_loop(dict(webemo.vad), dict(webemo.parents))
    assert time.perf_counter() - start < 1
    assert loop.exact
    assert families_left(loop.order, dict(webemo.parents)) == 7
    assert loop == webemo.loop()


@given(st.lists(POINT, min_size=2, max_size=8, unique=True).map(points_of), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_is_canonical(points: dict[str, VAD], shuffle: random.Random) -> None:
    loop = shortest_loop(points)
    labels = list(points)
    shuffle.shuffle(labels)
    assert shortest_loop({label: points[label] for label in labels}) == loop
    assert loop.order[0] == min(points)
    assert loop.order[1] <= loop.order[-1]


def test_ties_between_different_tours_always_fall_the_same_way() -> None:
    corners = points_of([VAD(*corner) for corner in itertools.product((-0.5, 0.5), repeat=3)])
    loop = shortest_loop(corners)
    assert loop.perimeter == pytest.approx(8)
    assert shortest_loop(dict(reversed(corners.items()))).order == loop.order


def test_capital_letters_do_not_change_what_comes_first() -> None:
    assert shortest_loop({"Zest": VAD(1, 0, 0), "awe": VAD(0, 1, 0), "Fear": VAD(0, 0, 1)}).order == ("awe", "Fear", "Zest")


@given(st.lists(POINT, min_size=2, max_size=8, unique=True).map(points_of))
@settings(max_examples=40, deadline=None)
def test_distance_is_a_metric_of_at_most_one_half(points: dict[str, VAD]) -> None:
    loop = shortest_loop(points)
    for a, b in itertools.product(points, repeat=2):
        assert loop.distance(a, b) == loop.distance(b, a)
        assert 0 <= loop.distance(a, b) <= 0.5 + 1e-12
        assert (loop.distance(a, b) == 0) == (a == b)
    for a, b, c in itertools.product(points, repeat=3):
        assert loop.distance(a, c) <= loop.distance(a, b) + loop.distance(b, c) + 1e-9


def test_neighbours_are_as_far_apart_as_the_arc_between_them() -> None:
    loop = taxonomy("mikels-8").loop()
    assert sum(loop.arcs) == pytest.approx(loop.perimeter)
    for (a, b), arc in zip(itertools.pairwise((*loop.order, loop.order[0])), loop.arcs, strict=True):
        assert loop.distance(a, b) == pytest.approx(arc / loop.perimeter)


def test_the_way_round_the_other_side_counts_when_it_is_shorter() -> None:
    loop = Loop(order=("a", "b", "c"), arcs=(1.0, 6.0, 1.0), perimeter=8.0)
    assert loop.distance("b", "c") == 0.25


def test_two_labels_are_half_a_loop_apart() -> None:
    assert taxonomy("polarity-2").loop().distance("positive", "negative") == 0.5


@pytest.mark.parametrize(("number", "families"), [(16, None), (30, None), (70, 7)])
def test_a_loop_too_large_to_prove_reports_its_gap(number: int, families: int | None) -> None:
    points = some_points(number)
    parents = {label: str(index % families) for index, label in enumerate(points)} if families else None
    loop = shortest_loop(points, parents)
    assert not loop.exact
    assert 0 <= loop.gap < (0.6 if parents else 0.05)
    assert sorted(loop.order) == sorted(points)
    assert loop.perimeter == pytest.approx(length(loop.order, points))
    if parents:
        assert families_left(loop.order, parents) == families
    assert shortest_loop(points, parents) == loop


def test_local_search_comes_within_its_gap_of_a_known_optimum() -> None:
    circle = points_of([VAD(0.9 * math.cos(0.3 * k), 0.9 * math.sin(0.3 * k), 0.0) for k in range(20)])
    loop = shortest_loop(circle)
    assert loop.perimeter == pytest.approx(length(tuple(circle), circle))
    assert loop.gap < 1e-3


def test_fifteen_labels_are_still_exact() -> None:
    assert shortest_loop(some_points(15)).exact


def test_one_label_makes_no_loop() -> None:
    with pytest.raises(UserError, match="at least two labels; 1 given"):
        shortest_loop({"joy": VAD(1, 0, 0)})


def test_labels_that_all_coincide_make_no_loop() -> None:
    with pytest.raises(UserError, match="joy, love all have the same VAD value"):
        shortest_loop({"joy": VAD(1, 0, 0), "love": VAD(1, 0, 0)})


def test_a_label_that_is_not_on_the_loop_has_no_distance() -> None:
    with pytest.raises(UserError, match="'hope' is not on this emotion loop"):
        taxonomy("polarity-2").loop().distance("positive", "hope")
