"""The incentives of each preset, against closed forms and the reward function itself."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.__main__ import main
from emocaliber.confidence.incentives import Incentives
from emocaliber.confidence.rewards import PRESETS, RewardSettings, parse_reward, reward
from emocaliber.core.response import Reasoning, Response, render

CHECKS = {name: Incentives(settings) for name, settings in PRESETS.items()}
PROPER = [name for name in PRESETS if name != "correctness"]


def text(answer: str, confidence: float) -> str:
    return render(Response(Reasoning("a storm", "nobody", "the sea", "close", "it overwhelms"), answer, confidence))


@pytest.mark.parametrize("name", PROPER)
def test_with_a_score_the_true_probability_maximises_the_expected_reward(name: str) -> None:
    check = CHECKS[name]
    assert check.honest
    inside = slice(1, -1) if check.settings.open_interval else slice(None)
    assert check.best_confidence[inside] == pytest.approx(check.probabilities[inside], abs=0.011)


@pytest.mark.parametrize("name", PRESETS)
def test_the_rewards_are_those_of_the_reward_function(name: str) -> None:
    check = CHECKS[name]
    for place in range(0, len(check.stated), 7):
        said = float(check.stated[place].round(2))
        paid = [reward(text(answer, said), ("awe", "fear"), "awe", check.settings)[0] for answer in ("fear", "awe")]
        assert check.rewards[:, place] == pytest.approx(paid)
    assert check.settings.floor == reward("no tags", ("awe", "fear"), "awe", check.settings)[0]


def test_without_a_score_the_confidence_does_not_matter() -> None:
    check = CHECKS["correctness"]
    assert (check.honest, check.indifferent) == (False, True)
    assert check.warnings() == ["the expected reward does not depend on the stated confidence: nothing rewards calibration"]


def test_equation_4_rewards_a_deliberately_wrong_answer_over_an_uncertain_one() -> None:
    # Being wrong for sure and saying so earns about 0 beside the format; honesty at p earns p - H(p), which is below 0 up to p = 0.64.
    def gain(p: float) -> float:
        return p + p * math.log(p) + (1 - p) * math.log(1 - p) - math.log(0.99)

    limit = CHECKS["paper"].sandbagging_threshold
    assert limit == CHECKS["default"].sandbagging_threshold == pytest.approx(0.64)
    assert gain(0.64) < 0 < gain(0.65)


@pytest.mark.parametrize("name", ["brier", "rlcr", "spherical", "correctness"])
def test_a_bounded_score_never_rewards_a_deliberately_wrong_answer(name: str) -> None:
    assert CHECKS[name].sandbagging_threshold is None


@pytest.mark.parametrize(("name", "start"), [("default", None), ("paper", 0.64), ("released", 0.96), ("brier", None), ("rlcr", None)])
def test_the_confidence_from_which_a_wrong_answer_earns_less_than_a_malformed_one(name: str, start: float | None) -> None:
    assert CHECKS[name].malformed_beats_wrong_from == (None if start is None else pytest.approx(start))


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_rewards_a_malformed_answer_over_an_honest_one(name: str) -> None:
    assert CHECKS[name].malformed_beats_honesty_below is None


def test_too_high_a_floor_is_found() -> None:
    check = Incentives(parse_reward("paper malformed=1"))
    # The best at p pays 1 + p - H(p), which is below 1 up to p = 0.64.
    assert check.malformed_beats_honesty_below == pytest.approx(0.64)
    assert any("a malformed answer earns more than an honest one" in warning for warning in check.warnings())


@given(st.floats(0.1, 5), st.floats(0, 5), st.floats(0, 3))
def test_weights_change_no_ones_best_confidence(confidence: float, correct: float, form: float) -> None:
    settings = RewardSettings(confidence_weight=confidence, correct_weight=correct, format_weight=form)
    assert np.array_equal(Incentives(settings).best_confidence, CHECKS["default"].best_confidence)


def test_the_command_prints_a_table_what_is_wrong_and_json(capsys: pytest.CaptureFixture[str], tmp_path: object) -> None:
    assert main(["rewards", "--preset", "paper", "--preset", "brier"]) == 0
    out = capsys.readouterr().out
    assert "Reward: paper" in out and "! a deliberately wrong answer at confidence 0.00 earns more" in out
    assert "The honest answer with the honest confidence has the highest expected reward." in out
    assert main(["rewards", "--preset", "released", "malformed=-8", "--json", "--figure", f"{tmp_path}/f.png"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["reward"], row["settings"]["malformed"], row["malformed_beats_wrong_from"]) == ("released malformed=-8", -8, 0.99)
    assert main(["rewards", "--preset", "luck"]) == 2
