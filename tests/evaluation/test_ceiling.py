from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from emocaliber.evaluation import calibration
from emocaliber.evaluation.metrics import Tally
from emocaliber.evaluation.stated import METRICS
from emocaliber.evaluation.summary import best_possible, best_possible_same_answers, expected_auroc, expected_ece

POSTERIORS = [{"awe": 0.8, "fear": 0.2}, {"awe": 0.4, "fear": 0.6}]


def test_the_best_possible_by_hand() -> None:
    accuracy, best = best_possible(POSTERIORS)
    assert accuracy == pytest.approx((0.8 + 0.6) / 2)
    assert best["brier"] == pytest.approx((0.8 * 0.2 + 0.6 * 0.4) / 2)
    # A mixed pair is won if the 0.8 is right and the 0.6 wrong: 0.32, against 0.12 the other way round.
    assert best["auroc"] == pytest.approx(0.32 / 0.44)
    # Each alone in its bin: 0.8 is missed by 0.2 with chance 0.8, by 0.8 with chance 0.2.
    assert best["ece"] == pytest.approx((0.32 + 0.48) / 2)
    assert set(best) == set(METRICS)


def test_the_same_answers_by_hand() -> None:
    accuracy, same = best_possible_same_answers(POSTERIORS, ["awe", "awe"], [True, False])
    assert accuracy == pytest.approx((0.8 + 0.4) / 2)
    assert same["brier"] == pytest.approx((0.2**2 + 0.4**2) / 2)
    assert same["ece"] == pytest.approx((0.2 + 0.4) / 2)
    assert same["auroc"] == 1.0


def test_an_answer_that_is_missing_or_impossible_deserves_no_confidence() -> None:
    accuracy, same = best_possible_same_answers(POSTERIORS, [None, "joy"], [False, False])
    assert accuracy == 0.0 and same["brier"] == 0.0
    assert math.isnan(same["auroc"])


chance_lists = st.lists(st.integers(0, 20).map(lambda twentieths: twentieths / 20), min_size=2, max_size=6)


@settings(max_examples=40)
@given(chance_lists)
def test_the_expectations_are_those_over_all_labels_that_could_have_been_drawn(chances: list[float]) -> None:
    gap = won = pairs = 0.0
    for labels in itertools.product((0, 1), repeat=len(chances)):
        probability = math.prod(chance if right else 1 - chance for chance, right in zip(chances, labels, strict=True))
        gap += probability * float(calibration.ece(Tally.of(chances, labels)))
        for (mine, right), (other, too) in itertools.product(zip(chances, labels, strict=True), repeat=2):
            if right and not too:
                pairs += probability
                won += probability * (1.0 if mine > other else 0.5 if mine == other else 0.0)
    assert expected_ece(np.array(chances)) == pytest.approx(gap)
    assert expected_auroc(np.array(chances)) == pytest.approx(won / pairs if pairs > 1e-9 else math.nan, nan_ok=True)


def test_the_drawn_expectations_come_near_the_exact_ones() -> None:
    chances = np.random.default_rng(0).uniform(0.3, 0.9, 300)
    _, best = best_possible([{"awe": p, "fear": 1 - p} for p in np.maximum(chances, 1 - chances)])
    assert best["brier"] == pytest.approx(-best["brier_resolution"] + best["brier_reliability"] + best["brier_uncertainty"], abs=0.002)


@pytest.mark.parametrize("n", [1, 2, 7, 1000, 30_000])
def test_the_ece_of_chance_of_one_confidence_is_the_mean_deviation_of_a_binomial(n: int) -> None:
    """De Moivre's closed form: 2 k (1 - p) P(k successes), k = floor(n p) + 1, at most n, of a mean of n p."""
    p = 0.37
    k = math.floor(n * p) + 1
    deviation = 2 * k * (1 - p) * float(stats.binom.pmf(k, n, p))
    assert expected_ece(np.full(n, p)) == pytest.approx(deviation / n, rel=1e-9)


def test_a_perfectly_calibrated_model_still_has_the_known_ece_of_chance() -> None:
    # 0.030 at n = 1,000 for confidences spread over [0, 1].
    assert expected_ece(np.random.default_rng(0).uniform(size=1000)) == pytest.approx(0.030, abs=0.005)


def test_without_samples_nothing_is_claimed() -> None:
    with pytest.raises(ValueError, match="no samples"):
        best_possible([])
