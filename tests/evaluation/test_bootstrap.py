from __future__ import annotations

import numpy as np
import pytest

from emocaliber.evaluation import bootstrap
from emocaliber.evaluation.bootstrap import Estimate, Resampling


def test_each_task_keeps_its_size() -> None:
    images, tasks = [f"{n}" for n in range(30)], ["a"] * 10 + ["b"] * 20
    resampling = Resampling(images, tasks, replicates=50)
    for members in (np.arange(10), np.arange(10, 30)):
        counts = resampling.counts(members, np.arange(members.size) % 3, 3)
        assert counts.shape == (50, 3)
        assert (counts.sum(axis=1) == members.size).all()


def test_all_answers_to_an_image_are_drawn_together() -> None:
    images = ["x", "x", "y", "y", "z", "z"]
    resampling = Resampling(images, ["a", "b"] * 3, replicates=200)
    of_a = resampling.counts(np.array([0, 2, 4]), np.arange(3), 3)
    of_b = resampling.counts(np.array([1, 3, 5]), np.arange(3), 3)
    assert (of_a == of_b).all()
    assert (of_a.sum(axis=1) == 3).all()


def test_the_counts_have_the_spread_of_a_multinomial() -> None:
    n, replicates = 400, 4000
    resampling = Resampling([str(i) for i in range(n)], ["a"] * n, replicates)
    share = 0.3
    drawn = resampling.counts(np.arange(n), (np.arange(n) < share * n).astype(int), 2)[:, 1] / n
    assert drawn.mean() == pytest.approx(share, abs=0.003)
    assert drawn.std() == pytest.approx(np.sqrt(share * (1 - share) / n), rel=0.05)


def test_drawing_the_counts_themselves_has_the_same_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 400
    rows, cells = np.arange(n), (np.arange(n) < 120).astype(int)
    slow = Resampling([str(i) for i in range(n)], ["a"] * n, 4000).counts(rows, cells, 2)[:, 1]
    monkeypatch.setattr(bootstrap, "_MANY", 10)
    fast = Resampling([str(i) for i in range(n)], ["a"] * n, 4000).counts(rows, cells, 2)[:, 1]
    assert fast.mean() == pytest.approx(slow.mean(), rel=0.01)
    assert fast.std() == pytest.approx(slow.std(), rel=0.06)


def test_blocks_of_replicates_are_replicates_like_any_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_ENTRIES", 100)
    resampling = Resampling([str(i) for i in range(20)], ["a"] * 20, replicates=33)
    counts = resampling.counts(np.arange(20), np.arange(20), 20)
    assert counts.shape == (33, 20)
    assert (counts.sum(axis=1) == 20).all()
    assert len(np.unique(counts, axis=0)) > 30
    assert (counts == resampling.counts(np.arange(20), np.arange(20), 20)).all(), "two systems must be compared on the same drawings"


def test_the_percentile_interval_holds_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        right = random.random(200) < 0.6
        resampling = Resampling([str(i) for i in range(200)], ["a"] * 200, replicates=300, seed=int(random.integers(2**31)))
        counts = resampling.counts(np.arange(200), right.astype(int), 2)
        low, high = Estimate(float(right.mean()), counts[:, 1] / 200).interval() or (1, 0)
        held += low <= 0.6 <= high
    assert 0.90 < held / 300 < 0.985


def test_a_reflected_interval_undoes_the_inflation_of_replicates() -> None:
    inflated = Estimate(0.10, np.linspace(0.11, 0.15, 1001))
    assert inflated.interval() == pytest.approx((0.111, 0.149))
    assert inflated.reflected_interval(floor=0.02) == pytest.approx((0.051, 0.10))
    assert (inflated.reflected_interval(floor=0.12) or (1, 1))[0] == 0.0


def test_what_is_not_defined_has_no_interval() -> None:
    assert Estimate(float("nan"), np.ones(10)).interval() is None
    assert Estimate(0.5, np.array([np.nan] * 6 + [0.5] * 4)).interval() is None
    assert Estimate(0.5, np.array([np.nan] * 4 + [0.5] * 6)).interval() == (0.5, 0.5)
