from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score

from emocaliber.evaluation import metrics

LABELS = ("awe", "fear", "joy")
two_decimals = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
judged = st.lists(st.tuples(two_decimals, st.booleans()), min_size=1, max_size=60)
answered = st.lists(st.tuples(st.sampled_from(LABELS), st.none() | st.sampled_from(LABELS)), min_size=1, max_size=60)


@given(answered)
def test_f1_agrees_with_scikit_learn(pairs: list[tuple[str, str | None]]) -> None:
    truths, answers = [truth for truth, _ in pairs], [answer for _, answer in pairs]
    labels = sorted({*truths, *(answer for answer in answers if answer is not None)})
    said = [answer or "(none)" for answer in answers]
    for average, ours in (("macro", metrics.f1_macro), ("weighted", metrics.f1_weighted)):
        expected = f1_score(truths, said, labels=labels, average=average, zero_division=0)
        assert ours(truths, answers)[0] == pytest.approx(expected)


@given(judged)
def test_brier_and_auroc_agree_with_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    confidences, correct = [c for c, _ in pairs], [right for _, right in pairs]
    assert metrics.brier(confidences, correct)[0] == pytest.approx(brier_score_loss(correct, confidences, pos_label=True))
    value, details = metrics.auroc(confidences, correct)
    if len(set(correct)) == 2:
        assert value == pytest.approx(roc_auc_score(correct, confidences))
    else:
        assert value is None and details["reason"] == ("every answer is right" if correct[0] else "every answer is wrong")


@given(judged, st.randoms(use_true_random=False))
def test_the_order_of_samples_plays_no_part(pairs: list[tuple[float, bool]], random: object) -> None:
    shuffled = pairs.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for metric in (metrics.ece, metrics.brier, metrics.auroc):
        before, after = (metric([c for c, _ in each], [right for _, right in each])[0] for each in (pairs, shuffled))
        assert before == after if before is None else before == pytest.approx(after)


def test_every_two_decimal_confidence_falls_in_its_bin_exactly() -> None:
    hundredths = np.arange(101)
    assert metrics.bin_of(hundredths / 100).tolist() == np.maximum((hundredths + 9) // 10 - 1, 0).tolist()


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.0, 0), (1e-12, 0), (0.1, 0), (0.1 + 1e-8, 1), (0.3, 2), (0.1 + 0.2, 2), (math.nextafter(0.3, 0), 2), (1.0, 9)],
)
def test_bins_are_closed_above_and_float_noise_does_not_cross_an_edge(confidence: float, expected: int) -> None:
    assert metrics.bin_of([confidence]).tolist() == [expected]


def test_a_hundred_wrong_answers_stated_with_certainty_give_an_ece_of_one() -> None:
    assert metrics.ece([1.0] * 100, [False] * 100)[0] == 1.0


def test_ece_by_hand() -> None:
    # (0.2, 0.3]: 0.3 and 0.25, one right: |1 - 0.55|; first bin: 0.0, right: |1 - 0|; last bin: 1.0, right: 0.
    value, details = metrics.ece([0.3, 0.25, 0.0, 1.0], [True, False, True, True])
    assert value == pytest.approx((0.45 + 1.0 + 0.0) / 4)
    assert details["bins"] == [
        {"low": 0.0, "high": 0.1, "n": 1, "confidence": 0.0, "accuracy": 1.0},
        {"low": 0.2, "high": 0.3, "n": 2, "confidence": 0.275, "accuracy": 0.5},
        {"low": 0.9, "high": 1.0, "n": 1, "confidence": 1.0, "accuracy": 1.0},
    ]


def test_ece_and_brier_lie_in_the_unit_interval_and_are_zero_for_a_prophet() -> None:
    assert metrics.ece([0.0, 1.0], [False, True])[0] == 0.0
    assert metrics.brier([0.0, 1.0], [False, True])[0] == 0.0


def test_tied_confidences_count_half() -> None:
    assert metrics.auroc([0.5, 0.5, 0.5], [True, False, True])[0] == 0.5


def test_an_answer_never_competes_with_itself() -> None:
    # Two answers, each right or wrong with even odds: of the mixed pairs, half are won by the surer one.
    chances = np.array([0.5, 0.5])
    assert metrics.weighted_auroc(np.array([0.2, 0.8]), chances, 1 - chances)[0] == 0.5
    assert metrics.weighted_auroc(np.array([0.5]), np.array([0.5]), np.array([0.5])) == (None, {"reason": "there is only one answer"})


def test_no_data_is_never_zero() -> None:
    for value, details in (
        metrics.accuracy([]),
        metrics.f1_macro([], []),
        metrics.f1_weighted([], []),
        metrics.coverage([]),
        metrics.ece([], []),
        metrics.brier([], []),
        metrics.auroc([], []),
    ):
        assert value is None and details["reason"]


def test_coverage_counts_the_missing() -> None:
    assert metrics.coverage([0.0, None, 0.5, None]) == (0.5, {"n": 4, "present": 2})


@pytest.mark.parametrize("bad", [math.nan, -0.1, 1.1, math.inf])
def test_a_confidence_that_is_none_is_not_scored_silently(bad: float) -> None:
    for metric in (metrics.ece, metrics.brier, metrics.auroc):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            metric([0.5, bad], [True, False])


def test_confidences_and_answers_must_match_in_number() -> None:
    with pytest.raises(ValueError, match="one length"):
        metrics.brier([0.5, 0.5], [True])
    with pytest.raises(ValueError, match="one answer per truth"):
        metrics.f1_macro(["awe"], [])
