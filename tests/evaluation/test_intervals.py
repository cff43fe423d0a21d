from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from emocaliber.evaluation import intervals

NONE_DRAWN = np.zeros(1000)


@pytest.mark.parametrize(("right", "n"), [(0, 12), (1, 50), (25, 50), (50, 50), (1, 1)])
def test_a_share_of_samples_with_images_of_their_own_has_the_exact_interval(right: int, n: int) -> None:
    exact = binomtest(right, n).proportion_ci(method="exact")
    assert intervals.proportion(right / n, NONE_DRAWN, n, n).interval == pytest.approx((exact.low, exact.high))


def test_a_share_over_shared_images_counts_as_many_samples_as_the_variance_of_the_replicates_says() -> None:
    replicates = np.random.default_rng(0).normal(0.5, np.sqrt(0.25 / 50), 100_000)
    found = intervals.proportion(0.5, replicates, 100, 60).interval
    assert found == pytest.approx(intervals.clopper_pearson(25, 50), abs=0.002)
    assert intervals.proportion(1.0, np.ones(1000), 100, 20).interval == intervals.clopper_pearson(20, 20)


def test_the_interval_of_a_mean_of_proportions_is_narrower_than_each_but_has_a_width() -> None:
    parts = [intervals.proportion(value, np.full(1000, value), 12, 12) for value in (0.0, 1.0)]
    low, high = intervals.mean_of_proportions(parts).interval or (0.5, 0.5)
    assert 0.3 < low < 0.42 and 0.58 < high < 0.7
    assert intervals.mean_of_proportions(parts[:1]).interval == parts[0].interval


def test_the_mean_of_proportions_over_the_same_images_has_the_interval_of_one() -> None:
    replicates = np.random.default_rng(0).normal(0.5, 0.05, 10_000)
    part = intervals.proportion(0.5, replicates, 100, 100)
    assert intervals.mean_of_proportions([part, part]).interval == pytest.approx(part.interval, abs=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.3, 0.5, 1.0])
def test_auroc_has_an_interval_that_holds_it_and_is_symmetric_in_right_and_wrong(value: float) -> None:
    low, high = intervals.auroc_estimate(value, NONE_DRAWN, 3, 9, clustered=False).interval or (1, 0)
    assert 0 <= low <= value <= high <= 1 and high - low > 0.3
    mirrored = intervals.auroc_estimate(1 - value, NONE_DRAWN, 9, 3, clustered=False).interval or (1, 0)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


def test_aurocs_interval_widens_with_the_variance_of_the_replicates() -> None:
    scattered = np.random.default_rng(0).normal(0.7, 0.1, 1000)
    estimates = [intervals.auroc_estimate(0.7, scattered, 100, 100, clustered=clustered) for clustered in (False, True)]
    alone, shared = (estimate.interval or (1, 0) for estimate in estimates)
    assert shared[0] < alone[0] < alone[1] < shared[1]


def test_one_unseen_image_gives_nearly_the_exact_interval_of_a_share() -> None:
    random = np.random.default_rng(1)
    for right in (0, 1, 3, 50, 97, 100):
        replicates = random.binomial(100, right / 100, 20_000) / 100
        found = intervals.bootstrap_estimate(right / 100, replicates, 100, unseen=(0.0, 1.0)).interval
        assert found == pytest.approx(intervals.clopper_pearson(right, 100), abs=0.011)


def test_a_bias_of_the_replicates_is_undone_on_the_side_to_which_it_points() -> None:
    inflated = intervals.bootstrap_estimate(0.10, np.linspace(0.11, 0.15, 1001), 10**6).interval
    assert inflated == pytest.approx((0.051, 0.119), abs=1e-4)
    deflated = intervals.bootstrap_estimate(0.90, np.linspace(0.85, 0.89, 1001), 10**6).interval
    assert deflated == pytest.approx((0.881, 0.949), abs=1e-4)


def test_an_error_that_a_perfect_model_could_show_may_be_0() -> None:
    assert (intervals.bootstrap_estimate(0.10, np.linspace(0.11, 0.15, 1001), 10**6, floor=0.12).interval or (1, 1))[0] == 0.0


def test_too_few_images_have_no_interval_and_the_reason() -> None:
    found = intervals.bootstrap_estimate(0.5, np.linspace(0, 1, 1000), 9)
    assert found.interval is None and found.why == "fewer than 10 images"
    assert intervals.bootstrap_estimate(0.5, np.linspace(0, 1, 1000), 10).interval is not None
    mean = intervals.mean_bootstrap_estimate([found, found], 9)
    assert mean.interval is None and mean.why == "in a task: fewer than 10 images"


def test_what_is_not_defined_has_no_interval() -> None:
    assert intervals.bootstrap_estimate(float("nan"), np.ones(10), 50).interval is None
    assert intervals.bootstrap_estimate(0.5, np.array([np.nan] * 6 + [0.5] * 4), 50).why == "most replicates have no value"
    assert intervals.bootstrap_estimate(0.5, np.array([np.nan] * 4 + [0.5] * 6), 50).interval is not None
    assert intervals.auroc_estimate(float("nan"), np.full(10, np.nan), 5, 0, clustered=False).interval is None


@pytest.mark.parametrize("value", [0.0, 0.02, 1.0])
def test_no_interval_has_width_zero_or_excludes_its_number(value: float) -> None:
    low, high = intervals.bootstrap_estimate(value, np.full(1000, value), 1000).interval or (1, 0)
    assert low <= value <= high and high - low > 0.001
