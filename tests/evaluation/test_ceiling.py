from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emocaliber.evaluation import metrics
from emocaliber.evaluation.ceiling import best_possible, best_possible_same_answers, expected_ece

POSTERIORS = [{"awe": 0.8, "fear": 0.2}, {"awe": 0.4, "fear": 0.6}]


def test_the_best_possible_by_hand() -> None:
    best = {name: value for name, (value, _) in best_possible(POSTERIORS).items()}
    assert best["accuracy"] == pytest.approx((0.8 + 0.6) / 2)
    assert best["brier"] == pytest.approx((0.8 * 0.2 + 0.6 * 0.4) / 2)
    # A mixed pair is won if the 0.8 is right and the 0.6 wrong: 0.32, against 0.12 the other way round.
    assert best["auroc"] == pytest.approx(0.32 / 0.44)
    # Each alone in its bin: 0.8 is missed by 0.2 with chance 0.8, by 0.8 with chance 0.2.
    assert best["ece"] == pytest.approx((0.32 + 0.48) / 2)


def test_the_same_answers_by_hand() -> None:
    same = best_possible_same_answers(POSTERIORS, ["awe", "awe"], [True, False])
    values = {name: value for name, (value, _) in same.items()}
    assert values["accuracy"] == pytest.approx((0.8 + 0.4) / 2)
    assert values["brier"] == pytest.approx((0.2**2 + 0.4**2) / 2)
    assert values["ece"] == pytest.approx((0.2 + 0.4) / 2)
    assert values["auroc"] == 1.0


def test_an_answer_that_is_missing_or_impossible_deserves_no_confidence() -> None:
    same = best_possible_same_answers(POSTERIORS, [None, "joy"], [False, False])
    assert same["accuracy"][0] == 0.0 and same["brier"][0] == 0.0
    assert same["auroc"] == (None, {"reason": "every answer is wrong"})


chance_lists = st.lists(st.integers(0, 20).map(lambda twentieths: twentieths / 20), min_size=2, max_size=6)


@settings(max_examples=40)
@given(chance_lists)
def test_the_expectations_are_those_over_all_labels_that_could_have_been_drawn(chances: list[float]) -> None:
    gap = 0.0
    for labels in itertools.product((False, True), repeat=len(chances)):
        probability = math.prod(chance if right else 1 - chance for chance, right in zip(chances, labels, strict=True))
        gap += probability * (metrics.ece(chances, labels)[0] or 0.0)
    assert expected_ece(np.array(chances))[0] == pytest.approx(gap)


def test_a_perfectly_calibrated_model_still_has_the_known_ece_of_chance() -> None:
    # 0.030 at n = 1,000 for confidences spread over [0, 1].
    value, _ = expected_ece(np.random.default_rng(0).uniform(size=1000))
    assert value == pytest.approx(0.030, abs=0.005)


def test_without_posteriors_nothing_is_claimed() -> None:
    for results in (best_possible([]), best_possible_same_answers([], [], [])):
        assert all(value is None and details["reason"] for value, details in results.values())
