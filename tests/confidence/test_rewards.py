"""Stage 3's reward: by hand, proper, and never better for a malformed text than for a well-formed one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.confidence import PARTS, RewardSettings, confidence_reward, reward
from emocaliber.errors import UserError
from emocaliber.response import Reasoning, Response, render

CANDIDATES = ("awe", "fear", "anger")
LOG, BRIER = RewardSettings(), RewardSettings(confidence="brier")
BOTH = pytest.mark.parametrize("settings", [LOG, BRIER], ids=["log_likelihood", "brier"])


def text(answer: str, confidence: float | None) -> str:
    return render(Response(Reasoning("a storm", "nobody", "the sea", "close", "it overwhelms"), answer, confidence))


@pytest.mark.parametrize(
    ("answer", "confidence", "expected"),
    [
        ("awe", 0.8, 1 + 1 + math.log(0.8)),
        ("fear", 0.8, 1 + math.log(0.2)),
        ("awe", 1.0, 2 + math.log(0.99)),
        ("fear", 1.0, 1 + math.log(0.01)),
    ],
)
def test_equation_4_by_hand(answer: str, confidence: float, expected: float) -> None:
    assert reward(text(answer, confidence), CANDIDATES, "awe")[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "confidence", "expected"), [("awe", 0.8, 2 - 0.04), ("fear", 0.8, 1 - 0.64), ("awe", 1.0, 2.0), ("fear", 1.0, 0.0)]
)
def test_equation_6_by_hand(answer: str, confidence: float, expected: float) -> None:
    assert reward(text(answer, confidence), CANDIDATES, "awe", BRIER)[0] == pytest.approx(expected)


@BOTH
@pytest.mark.parametrize("p", np.linspace(0.01, 0.99, 50).round(2))
def test_stating_the_true_probability_earns_most(settings: RewardSettings, p: float) -> None:
    grid = np.arange(0, 101) / 100
    expected = [p * confidence_reward(True, c, settings) + (1 - p) * confidence_reward(False, c, settings) for c in grid]
    assert abs(grid[int(np.argmax(expected))] - p) <= 0.01 + 1e-9  # at 0.01 and 0.99 the clip makes neighbours equal


@BOTH
@given(answer=st.sampled_from(CANDIDATES), k=st.integers(0, 100))
def test_a_malformed_text_never_beats_a_well_formed_one(settings: RewardSettings, answer: str, k: int) -> None:
    good = text(answer, k / 100)
    elsewhere, unsure, garbled = good.replace(f">{answer}<", ">joy<"), text(answer, None), good.replace("<confidence>", "<confidence>x")
    for bad in ("", "awe", good[:-5], elsewhere, unsure, garbled, good + good):
        assert reward(bad, CANDIDATES, "awe", settings)[0] <= reward(good, CANDIDATES, "awe", settings)[0]


@BOTH
@given(st.one_of(st.text(), st.builds(text, st.sampled_from(CANDIDATES), st.integers(0, 100).map(lambda k: k / 100))))
def test_the_reward_is_the_sum_of_its_parts(settings: RewardSettings, said: str) -> None:
    total, parts = reward(said, CANDIDATES, "awe", settings)
    assert tuple(parts) == PARTS
    assert total == pytest.approx(sum(parts.values()))
    assert math.isfinite(total)


@BOTH
def test_being_right_is_always_worth_more_than_being_wrong_at_the_same_confidence_from_a_half_on(settings: RewardSettings) -> None:
    for k in range(50, 101):
        assert reward(text("awe", k / 100), CANDIDATES, "awe", settings)[0] > reward(text("fear", k / 100), CANDIDATES, "awe", settings)[0]


def test_the_papers_zero_for_malformed_texts_can_be_chosen() -> None:
    assert reward("no tags", CANDIDATES, "awe", RewardSettings(malformed=0.0)) == (0.0, {"format": 0.0, "correct": 0.0, "confidence": 0.0})


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="no confidence reward 'entropy'; choose one of log_likelihood, brier"):
        RewardSettings(confidence="entropy")  # type: ignore[arg-type]
    for clip in (0.0, 0.5, -1.0, math.nan):
        with pytest.raises(UserError, match="clip must lie between"):
            RewardSettings(clip=clip)
