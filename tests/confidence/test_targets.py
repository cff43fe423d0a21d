"""Equation 2: targets of right answers are at least 0.5, of wrong ones at most 0.5, and higher for near misses than for far ones."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emocaliber.confidence.targets import confidence_target, decimal_targets
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, taxonomy

CORNERS = {"a": VAD(-0.5, -1, 0), "b": VAD(0.5, -1, 0), "c": VAD(0.5, 1, 0), "d": VAD(-0.5, 1, 0)}
RECTANGLE = Labels.of("abcd", Taxonomy("rectangle", tuple("abcd"), aliases={"the first": "a"}, vad=CORNERS))  # its arcs: 1, 2, 1, 2
probabilities = st.floats(0, 1)
MIKELS = Labels.of(taxonomy("mikels-8").labels, taxonomy("mikels-8"))
labels = st.sampled_from(MIKELS.names)


def far(a: str, b: str) -> float:
    return taxonomy("mikels-8").loop().distance(a, b)


def test_a_right_answer_by_hand() -> None:
    assert confidence_target("a", "a", 0.8, RECTANGLE) == pytest.approx(0.9)
    assert confidence_target("A ", "a", 0.8, RECTANGLE) == pytest.approx(0.9), "the one definition of correct ignores case"
    assert confidence_target("the first", "a", 0.8, RECTANGLE) == pytest.approx(0.9), "and knows other spellings"


def test_wrong_answers_by_hand() -> None:
    assert confidence_target("a", "b", 0.8, RECTANGLE) == pytest.approx(0.5 - 0.8 / 6)
    assert confidence_target("c", "a", 0.8, RECTANGLE) == pytest.approx(0.5 - 0.8 * 3 / 6)
    assert confidence_target("d", "a", 0.8, RECTANGLE) == pytest.approx(0.5 - 0.8 * 2 / 6), "the shorter way round"


def test_labels_without_a_loop_are_all_as_far_apart_as_two_can_be() -> None:
    moods = Labels.of(("calm", "tense", "bright"))
    assert confidence_target("Calm", "calm", 0.8, moods) == pytest.approx(0.9)
    assert confidence_target("tense", "calm", 0.8, moods) == confidence_target("bright", "calm", 0.8, moods) == pytest.approx(0.1)


@given(labels, labels, probabilities)
def test_right_answers_get_at_least_a_half_and_wrong_ones_at_most(answer: str, truth: str, probability: float) -> None:
    target = confidence_target(answer, truth, probability, MIKELS)
    low, high = (0.5, 1) if answer == truth else (0, 0.5)
    assert low <= target <= high


@given(labels, st.floats(0.01, 1))
def test_a_nearer_miss_has_a_higher_target(truth: str, probability: float) -> None:
    wrong = sorted((label for label in MIKELS if label != truth), key=lambda label: far(label, truth))
    targets = [confidence_target(label, truth, probability, MIKELS) for label in wrong]
    assert targets == sorted(targets, reverse=True)
    assert targets[0] > targets[-1]


@given(labels, labels, probabilities, probabilities)
def test_a_higher_probability_raises_right_and_lowers_wrong_targets(answer: str, truth: str, p: float, q: float) -> None:
    low, high = (confidence_target(answer, truth, x, MIKELS) for x in sorted((p, q)))
    assert low <= high if answer == truth else low >= high


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_bounds_hold_for_every_pair_of_every_taxonomy(name: str) -> None:
    loop, labels = taxonomy(name).loop(), Labels.of(taxonomy(name).labels, taxonomy(name))
    for truth in loop.order:
        for answer in loop.order:
            target = confidence_target(answer, truth, 1.0, labels)
            assert (0.5 <= target <= 1) == (answer == truth) or loop.distance(answer, truth) == 0


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_mean_probability_is_a_probability(probability: float) -> None:
    with pytest.raises(ValueError, match="mean token probability"):
        confidence_target("a", "a", probability, RECTANGLE)


@settings(max_examples=100)
@given(probability=st.floats(0.02, 0.97), width=st.floats(0.02, 0.2))
def test_a_bump_is_a_distribution_whose_likeliest_number_is_the_target(probability: float, width: float) -> None:
    first, second = decimal_targets(probability, width)
    assert sum(first) == pytest.approx(1) and all(sum(each) == pytest.approx(1) for each in second)
    tens = max(range(10), key=first.__getitem__)
    number = tens / 10 + max(range(10), key=second[tens].__getitem__) / 100
    assert number == pytest.approx(probability, abs=0.011)
    mean = sum(first[k] * sum(second[k][j] * (k / 10 + j / 100) for j in range(10)) for k in range(10))
    if 3 * width < probability < 1 - 3 * width:
        assert mean == pytest.approx(probability, abs=0.02)


def test_a_bump_needs_a_width() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        decimal_targets(0.5, 0.0)
