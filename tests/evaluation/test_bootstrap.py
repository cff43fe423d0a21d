from __future__ import annotations

import numpy as np
import pytest

from emocaliber.evaluation.bootstrap import Resampling, ResamplingUnits, Swapping


def own_images(n: int) -> list[str]:
    return [str(number) for number in range(n)]


def test_each_task_keeps_its_size() -> None:
    resampling = Resampling(ResamplingUnits(own_images(30), ["a"] * 10 + ["b"] * 20), 50, 0)
    for members in (np.arange(10), np.arange(10, 30)):
        counts = resampling.counts(members, np.arange(members.size) % 3, 3)
        assert counts.shape == (50, 3)
        assert (counts.sum(axis=1) == members.size).all()


@pytest.mark.parametrize("kind", [Resampling, Swapping])
def test_all_answers_to_an_image_are_drawn_together(kind: type[Resampling | Swapping]) -> None:
    weights = kind(ResamplingUnits(["x", "x", "y", "y", "z", "z"], ["a", "b"] * 3), 200, 0)
    of_a = weights.counts(np.array([0, 2, 4]), np.arange(3), 3)
    assert (of_a == weights.counts(np.array([1, 3, 5]), np.arange(3), 3)).all()
    assert len(np.unique(of_a, axis=0)) > 5


def test_images_in_the_same_tasks_are_drawn_from_one_another() -> None:
    images, tasks = ["x", "x", "y", "y", "z", "w"], ["a", "b", "a", "b", "a", "b"]
    counts = Resampling(ResamplingUnits(images, tasks), 100, 0).counts(np.array([0, 2, 4]), np.arange(3), 3)
    assert (counts[:, 2] == 1).all(), "z is the only image that is in task a alone"
    assert (counts[:, :2].sum(axis=1) == 2).all() and counts[:, 0].max() == 2


def test_the_counts_have_the_spread_of_a_multinomial() -> None:
    n, share = 400, 0.3
    drawn = (
        Resampling(ResamplingUnits(own_images(n), ["a"] * n), 4000, 0).counts(np.arange(n), (np.arange(n) < share * n).astype(int), 2)[:, 1]
        / n
    )
    assert drawn.mean() == pytest.approx(share, abs=0.003)
    assert drawn.std() == pytest.approx(np.sqrt(share * (1 - share) / n), rel=0.05)


def test_each_unit_is_swapped_in_half_of_the_permutations() -> None:
    counts = Swapping(ResamplingUnits(own_images(50), ["a"] * 50), 2000, 0).counts(np.arange(50), np.arange(50), 50)
    assert set(np.unique(counts)) == {0.0, 1.0}
    assert counts.mean(axis=0) == pytest.approx(np.full(50, 0.5), abs=0.06)


def test_units_of_several_images_have_the_same_spread() -> None:
    n = 6000
    cells = (np.random.default_rng(0).random(n) < 0.3).astype(int)
    units = ResamplingUnits(own_images(n), ["a"] * n, most=1000)
    assert units.count == 1000
    drawn = Resampling(units, 1000, 0).counts(np.arange(n), cells, 2)
    assert (drawn.sum(axis=1) == n).all()
    assert drawn[:, 1].std() == pytest.approx(np.sqrt(n * 0.3 * 0.7), rel=0.1)


def test_a_small_task_of_a_large_data_set_keeps_its_images_apart() -> None:
    units = ResamplingUnits(own_images(5040), ["large"] * 5000 + ["small"] * 40, most=1000)
    assert units.touched(np.arange(5000, 5040)) == 40
    assert 990 < units.touched(np.arange(5000)) <= 1000
    assert units.images(np.arange(5000)) == 5000


def test_blocks_of_replicates_are_replicates_like_any_others() -> None:
    resampling = Resampling(ResamplingUnits(own_images(20), ["a"] * 20), 33, 0, entries=100)
    counts = resampling.counts(np.arange(20), np.arange(20), 20)
    assert counts.shape == (33, 20)
    assert (counts.sum(axis=1) == 20).all()
    assert len(np.unique(counts, axis=0)) > 30
    assert (counts == resampling.counts(np.arange(20), np.arange(20), 20)).all(), "two systems must be compared on the same drawings"


def test_many_samples_of_few_cells_are_counted_as_few_of_many() -> None:
    units = ResamplingUnits(np.repeat(np.arange(10), 500), ["a"] * 5000)
    resampling, cells = Resampling(units, 20, 0), np.arange(5000) % 3
    few = resampling.counts(np.arange(5000), cells, 3)
    many = resampling.counts(np.arange(5000), cells * 40_000, 80_001)
    assert (few == many[:, ::40_000]).all()
