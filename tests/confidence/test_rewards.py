"""Stage 3's reward: by hand, proper, and never better for a malformed text than for a well-formed one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.confidence.rewards import PARTS, PRESETS, RewardSettings, confidence_reward, parse_reward, reward
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.errors import UserError

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
def test_stating_the_true_probability_maximises_the_expected_reward(settings: RewardSettings, p: float) -> None:
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


def test_meaningless_settings_are_refused() -> None:
    with pytest.raises(UserError, match="no confidence reward 'entropy'; there are log_likelihood, brier"):
        RewardSettings(confidence="entropy")
    for clip in (0.0, 0.5, -1.0, math.nan):
        with pytest.raises(UserError, match="clip must lie between"):
            RewardSettings(clip=clip)


def test_the_released_reward_by_hand() -> None:
    released = PRESETS["released"]
    assert reward(text("awe", 0.8), CANDIDATES, "awe", released)[0] == pytest.approx(1 + 1 + 2 * math.log(0.8))
    assert reward(text("fear", 0.8), CANDIDATES, "awe", released)[0] == pytest.approx(1 + 2 * math.log(0.2))
    for said in ("no tags", text("awe", 1.0), text("awe", 0.0)):
        assert reward(said, CANDIDATES, "awe", released)[0] == -5


def test_the_spherical_score_and_rlcr_by_hand() -> None:
    assert reward(text("fear", 0.6), CANDIDATES, "awe", PRESETS["spherical"])[0] == pytest.approx(1 + 0.4 / math.sqrt(0.36 + 0.16))
    assert reward(text("awe", 0.6), CANDIDATES, "awe", PRESETS["rlcr"])[0] == pytest.approx(1 - 0.16)


def test_a_reward_is_a_preset_with_changes() -> None:
    assert parse_reward("default") == RewardSettings()
    changed = parse_reward("paper confidence=brier correct_weight=2 open_interval=true")
    assert changed == RewardSettings(confidence="brier", malformed=0.0, correct_weight=2.0, open_interval=True)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("", "no reward preset ''; there are default, paper"),
        ("hope", "no reward preset 'hope'"),
        ("paper luck=1", "a reward has no setting 'luck'; it has confidence, clip"),
        ("paper clip=small", "clip must be a number, not 'small'"),
        ("paper clip=nan", "clip must be a number"),
        ("paper open_interval=1", "open_interval must be true or false"),
        ("paper correct_weight=-1", "correct_weight must not be negative"),
    ],
)
def test_a_reward_that_does_not_exist_is_refused(said: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        parse_reward(said)
