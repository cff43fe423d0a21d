from __future__ import annotations

import numpy as np
import pytest

from emocaliber.core.scoring import Outcome
from emocaliber.evaluation.metrics import Tally, tally_of
from emocaliber.evaluation.stated import METRICS, confidence_metrics


def outcome(identity: str, correct: bool, **confidence: float | None) -> Outcome:
    return Outcome(identity, "FI-8", "awe", "awe" if correct else "fear", correct, None, None, confidence)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.filterwarnings("error")
def test_no_answers_have_no_value(name: str) -> None:
    assert np.isnan(METRICS[name](Tally.of([], [])))
    assert np.isnan(METRICS[name](Tally(np.array([0.2, 0.7]), np.zeros(2), np.zeros(2))))


def test_without_answers_every_number_is_null_and_says_why() -> None:
    found = confidence_metrics([], [])
    assert all(found[name] is None for name in METRICS)
    assert set(found["undefined"]) == set(METRICS)


def test_a_tally_holds_the_answers_that_have_a_confidence_of_its_source() -> None:
    outcomes = [outcome("a", True, verb=0.9, ans=0.4), outcome("b", False, verb=0.9), outcome("c", True, verb=None)]
    tally = tally_of(outcomes, "verb")
    assert (tally.values.tolist(), tally.right.tolist(), tally.wrong.tolist()) == ([0.9], [1], [1])
    assert tally_of(outcomes, "ans").n == 1
    assert tally_of(outcomes, "avg").n == 0
