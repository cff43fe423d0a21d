from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.evaluation import ranking
from emocaliber.evaluation.metrics import Floats, Tally

two_decimals = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
judged = st.lists(st.tuples(two_decimals, st.booleans()), min_size=1, max_size=60)
# Few confidences, so that most answers are tied, and few answers, so that all their orders can be tried.
tied = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=6)

METRICS: dict[str, Callable[[Tally], Floats]] = {
    "auroc": ranking.auroc,
    "aurc": ranking.aurc,
    "augrc": ranking.augrc,
    "coverage_at_80": lambda tally: ranking.coverage_at(tally, 0.8),
}
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def tally_of(pairs: list[tuple[float, bool]]) -> Tally:
    return Tally.of([confidence for confidence, _ in pairs], [right for _, right in pairs])


@every_metric
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1, 0.37], ids=["whole", "fractions"])
def test_many_tallies_at_once_give_what_each_gives_alone(metric: Callable[[Tally], Floats], scale: float) -> None:
    right, wrong = np.random.default_rng(0).poisson(0.7, (2, 7, 3, 12)) * scale
    right[0, 0] = wrong[0, 0] = 0
    values = np.arange(12) / 12
    together = metric(Tally(values, right, wrong))
    assert together.shape == (7, 3) and np.isnan(together[0, 0])
    alone = [[float(metric(Tally(values, right[i, j], wrong[i, j]))) for j in range(3)] for i in range(7)]
    np.testing.assert_allclose(together, alone, atol=1e-12)


@every_metric
@given(judged)
def test_only_the_order_of_confidences_matters(metric: Callable[[Tally], Floats], pairs: list[tuple[float, bool]]) -> None:
    squared = tally_of([(confidence**2 / 2, right) for confidence, right in pairs])
    assert float(metric(squared)) == pytest.approx(float(metric(tally_of(pairs))), abs=1e-12, nan_ok=True)


@every_metric
@given(judged)
def test_metrics_are_shares(metric: Callable[[Tally], Floats], pairs: list[tuple[float, bool]]) -> None:
    value = float(metric(tally_of(pairs)))
    assert math.isnan(value) or -1e-12 <= value <= 1 + 1e-12


@given(tied)
def test_ties_count_as_the_mean_over_all_their_orders(pairs: list[tuple[float, bool]]) -> None:
    groups = [[right for c, right in pairs if c == confidence] for confidence in (0.9, 0.5, 0.2)]
    risks, generalised = [], []
    for orders in itertools.product(*(list(itertools.permutations(group)) for group in groups)):
        wrong_so_far = np.cumsum([0, *(not right for group in orders for right in group)])
        risks.append((wrong_so_far[1:] / np.arange(1, len(pairs) + 1)).mean())
        generalised.append(np.trapezoid(wrong_so_far) / len(pairs) ** 2)
    tally = tally_of(pairs)
    assert float(ranking.aurc(tally)) == pytest.approx(np.mean(risks), abs=1e-12)
    assert float(ranking.augrc(tally)) == pytest.approx(np.mean(generalised), abs=1e-12)


@given(judged)
def test_aurc_of_fractional_answers_continues_that_of_whole_ones(pairs: list[tuple[float, bool]]) -> None:
    tally = tally_of(pairs)
    nearly = Tally(tally.values, tally.right * (1 + 1e-12), tally.wrong * (1 + 1e-12))
    assert float(ranking.aurc(nearly)) == pytest.approx(float(ranking.aurc(tally)), abs=1e-9)


@given(judged)
def test_augrc_is_the_area_under_the_straight_generalised_risk_curve(pairs: list[tuple[float, bool]]) -> None:
    tally = tally_of(pairs)
    coverage, risk = ranking.risk_coverage(tally)
    area = np.trapezoid(np.concatenate([[0], coverage * risk]), np.concatenate([[0], coverage]))
    assert float(ranking.augrc(tally)) == pytest.approx(area, abs=1e-12)


def test_confidence_that_tells_right_from_wrong_ranks_best() -> None:
    good = Tally.of([0.9, 0.9, 0.8, 0.2, 0.1], [True, True, True, False, False])
    assert float(ranking.auroc(good)) == 1
    assert float(ranking.aurc(good)) == pytest.approx((1 / 4 + 2 / 5) / 5)
    assert float(ranking.augrc(good)) == pytest.approx(0.4**2 / 2)
    flipped = Tally.of([0.1, 0.1, 0.2, 0.8, 0.9], [True, True, True, False, False])
    assert float(ranking.auroc(flipped)) == 0
    assert float(ranking.aurc(flipped)) == pytest.approx((1 + 1 + 2 / 3 + 2 / 4 + 2 / 5) / 5)


def test_one_confidence_for_all_says_nothing() -> None:
    tally = Tally.of([0.7] * 10, [True] * 6 + [False] * 4)
    assert float(ranking.auroc(tally)) == 0.5
    assert float(ranking.aurc(tally)) == pytest.approx(0.4)
    assert float(ranking.augrc(tally)) == pytest.approx(0.2)


@pytest.mark.parametrize(("right", "area", "generalised"), [(True, 0.0, 0.0), (False, 1.0, 0.5)])
def test_answers_all_alike_cannot_be_ranked_but_carry_a_risk(right: bool, area: float, generalised: float) -> None:
    tally = Tally.of([0.3, 0.6, 0.6], [right] * 3)
    assert np.isnan(ranking.auroc(tally))
    assert float(ranking.aurc(tally)) == pytest.approx(area)
    assert float(ranking.augrc(tally)) == pytest.approx(generalised)


@given(judged, two_decimals)
def test_coverage_at_is_the_widest_threshold_that_is_accurate_enough(pairs: list[tuple[float, bool]], accuracy: float) -> None:
    allowed = [0.0]
    for threshold in {confidence for confidence, _ in pairs}:
        kept = [right for confidence, right in pairs if confidence >= threshold]
        if 100 * sum(kept) >= round(100 * accuracy) * len(kept):
            allowed.append(len(kept) / len(pairs))
    assert float(ranking.coverage_at(tally_of(pairs), accuracy)) == pytest.approx(max(allowed))


def test_coverage_at_may_pass_over_a_threshold_that_is_not_accurate_enough() -> None:
    tally = Tally.of([0.9, 0.8, 0.7, 0.6, 0.5, 0.1], [False, True, True, True, True, False])
    assert float(ranking.coverage_at(tally, 0.8)) == pytest.approx(5 / 6)
    assert float(ranking.coverage_at(tally, 0.81)) == 0


def test_risk_coverage_has_a_point_per_threshold() -> None:
    coverage, risk = ranking.risk_coverage(Tally.of([0.9, 0.5, 0.5, 0.2], [True, True, False, False]))
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert risk.tolist() == pytest.approx([0, 1 / 3, 1 / 2])
    assert all(part.size == 0 for part in ranking.risk_coverage(Tally.of([], [])))
