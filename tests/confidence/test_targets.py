"""Equation 2: right answers are taught at least 0.5, wrong ones at most 0.5, and near misses more than far ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.confidence import confidence_target
from emocaliber.emotions import BUILT_IN, Loop, taxonomy

SQUARE = Loop(order=("a", "b", "c", "d"), arcs=(1.0, 2.0, 3.0, 4.0), perimeter=10.0)
probabilities = st.floats(0, 1)
labels = st.sampled_from(taxonomy("mikels-8").labels)
MIKELS = taxonomy("mikels-8").loop()


def test_a_right_answer_by_hand() -> None:
    assert confidence_target("a", "a", 0.8, SQUARE) == pytest.approx(0.9)
    assert confidence_target("A ", "a", 0.8, SQUARE) == pytest.approx(0.9), "the one definition of correct ignores case"


def test_wrong_answers_by_hand() -> None:
    assert confidence_target("a", "b", 0.8, SQUARE) == pytest.approx(0.5 - 0.1 * 0.8)
    assert confidence_target("c", "a", 0.8, SQUARE) == pytest.approx(0.5 - 0.3 * 0.8)
    assert confidence_target("d", "a", 0.8, SQUARE) == pytest.approx(0.5 - 0.4 * 0.8), "the shorter way round"


@given(labels, labels, probabilities)
def test_right_answers_get_at_least_a_half_and_wrong_ones_at_most(answer: str, truth: str, probability: float) -> None:
    target = confidence_target(answer, truth, probability, MIKELS)
    low, high = (0.5, 1) if answer == truth else (0, 0.5)
    assert low <= target <= high


@given(labels, st.floats(0.01, 1))
def test_a_closer_miss_is_taught_more_confidence(truth: str, probability: float) -> None:
    wrong = sorted((label for label in MIKELS.order if label != truth), key=lambda label: MIKELS.distance(label, truth))
    targets = [confidence_target(label, truth, probability, MIKELS) for label in wrong]
    assert targets == sorted(targets, reverse=True)
    assert targets[0] > targets[-1]


@given(labels, labels, probabilities, probabilities)
def test_a_surer_model_is_taught_more_where_right_and_less_where_wrong(answer: str, truth: str, p: float, q: float) -> None:
    low, high = (confidence_target(answer, truth, x, MIKELS) for x in sorted((p, q)))
    assert low <= high if answer == truth else low >= high


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_bounds_hold_for_every_pair_of_every_taxonomy(name: str) -> None:
    loop = taxonomy(name).loop()
    for truth in loop.order:
        for answer in loop.order:
            assert (0.5 <= confidence_target(answer, truth, 1.0, loop) <= 1) == (answer == truth) or loop.distance(answer, truth) == 0


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_mean_probability_is_a_probability(probability: float) -> None:
    with pytest.raises(ValueError, match="mean token probability"):
        confidence_target("a", "a", probability, SQUARE)
