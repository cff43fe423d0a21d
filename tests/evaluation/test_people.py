"""Scores of a share of people, against plain numpy and scipy, and what has none."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

import emocaliber as ec
from emocaliber.core.scoring import Outcome, outcome
from emocaliber.errors import UserError
from emocaliber.evaluation.summary import summarise
from emocaliber.evaluation.tables import markdown

LABELS = ["awe", "fear"]


def outcomes(n: int, people: int | None = None, seed: int = 0, error: float = 0.0, half: float = 0.2) -> list[Outcome]:
    """Answers "awe" with a true share s, posterior or votes, and an expected share s ± error with an interval of ± `half`."""
    random = np.random.default_rng(seed)
    found = []
    for number, share in enumerate(random.uniform(0.3, 0.7, n).tolist()):
        said = share + error * random.choice([-1, 1])
        votes = int(random.binomial(people, share)) if people else 0
        known: dict[str, Any] = (
            {"votes": {"awe": votes, "fear": people - votes}} if people else {"posterior": {"awe": share, "fear": 1 - share}}
        )
        interval = {"people": said, "people_low": said - half, "people_high": said + half}
        found.append(Outcome(f"{number}", "mine", "awe", "awe", True, None, 0.0, {"verb": 0.5}, people=interval, **known))
    return found


def scored(given: list[Outcome]) -> dict[str, Any]:
    found: dict[str, Any] = summarise(given, replicates=200)["overall"]["people"]
    return found


def test_against_posteriors_the_numbers_are_those_of_numpy() -> None:
    random = np.random.default_rng(3)
    given = [
        Outcome(
            *(f"{number}", "mine", "awe", "awe", True, None, 0.0, {}),
            posterior={"awe": share, "fear": 1 - share},
            people={"people": said, "people_low": max(said - width, 0), "people_high": min(said + width, 1)},
        )
        for number, (share, said, width) in enumerate(random.uniform(0.05, 0.95, (400, 3)).tolist())
    ]
    said, low, high = np.array([list((each.people or {}).values()) for each in given]).T
    true = np.array([(each.posterior or {})["awe"] for each in given])
    found = scored(given)
    assert found["n"] == 400
    assert found["mae"] == pytest.approx(np.abs(said - true).mean())
    assert found["rms"] == pytest.approx(math.sqrt(((said - true) ** 2).mean()))
    assert found["brier"] == pytest.approx((true * (1 - said) ** 2 + (1 - true) * said**2).mean())
    assert found["correlation"] == pytest.approx(spearmanr(said, true).statistic)
    assert found["interval_coverage"] == pytest.approx(((true >= low) & (true <= high)).mean())
    assert found["interval_width"] == pytest.approx((high - low).mean())
    assert found["ignorance_spearman"] == pytest.approx(spearmanr(high - low, np.abs(said - true)).statistic)
    for name in ("mae", "rms", "brier", "correlation", "interval_coverage", "interval_width", "ignorance_spearman"):
        below, above = found[f"{name}_ci"]
        assert below <= found[name] <= above and below < above


def test_the_scatter_of_votes_is_no_error_of_the_model() -> None:
    exact, off = scored(outcomes(3000, people=11)), scored(outcomes(3000, people=11, error=0.1))
    assert exact["mae"] > 0.1, "seven of eleven votes are not the share that they were drawn from"
    assert exact["rms"] < 0.04 and off["rms"] == pytest.approx(0.1, abs=0.02)


def test_one_vote_each_cannot_tell_scatter_from_error() -> None:
    found = scored(outcomes(100, people=1))
    assert found["rms"] is None and "one vote only" in found["undefined"]["rms"]
    assert found["mae"] is not None


def test_an_interval_covers_votes_as_it_covers_the_shares_behind_them() -> None:
    """Expected shares are off by 0.1 always: a Beta distribution whose central 80 % is ± 0.128 has that standard deviation."""
    right, narrow = (scored(outcomes(4000, people=11, error=0.1, half=half))["interval_coverage"] for half in (0.13, 0.03))
    assert right == pytest.approx(0.8, abs=0.03)
    assert narrow < right - 0.03


def test_answers_without_a_share_of_people_have_no_such_numbers() -> None:
    bare = [Outcome(each.id, "mine", "awe", "awe", True, None, 0.0, {}, posterior=each.posterior) for each in outcomes(20)]
    summary = summarise(bare, replicates=200)
    assert "people" not in summary["overall"] and "Share of people" not in markdown(summary)
    assert "Share of people" in markdown(summarise(outcomes(20), replicates=200))


ROW = {"id": "a", "task": "mine", "candidates": LABELS, "ground_truth": "awe", "response": "<answer>awe</answer>"}
SHARE = {"people": 0.5, "people_low": 0.4, "people_high": 0.7}


def test_a_row_has_all_three_numbers_or_none() -> None:
    assert outcome(ROW | SHARE).people == SHARE
    assert outcome(ROW | {"people": 0.5}).people is None
    assert outcome(ROW | SHARE | {"response": "nothing"}).people is None, "without an answer there is nothing that people could say"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"people": 1.5}, "field 'people' is 1.5; give it a number between 0 and 1"),
        ({"people": 0.2}, "field 'people' is not between people_low and people_high"),
        ({"posterior": {"awe": 0.9, "fear": 0.9}}, "field 'posterior' sums to 1.8; give it probabilities that sum to 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused_in_a_sentence(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        outcome(ROW | SHARE | wrong)


def test_the_score_of_a_table_of_predictions_has_them_too(tmp_path: Path) -> None:
    header = "image,task,emotion,confidence,confidence_source,people,people_low,people_high,error.code,label"
    lines = [f"{number}.png,mine,awe,0.5,verb,0.5,0.4,0.7,,awe" for number in range(4)]
    (tmp_path / "p.csv").write_text("\n".join([header, *lines, "x.png,mine,fear,0.5,verb,,,,,fear"]) + "\n")
    found = ec.score(tmp_path / "p.csv", columns="truth=label", labels=LABELS, replicates=200)
    assert [each.people for each in found.outcomes] == [SHARE] * 4 + [None]
    assert any("4 of 4 shares of people have neither votes nor a posterior, and are not scored" in note for note in found.notes)


def test_the_page_and_the_frame_show_them(tmp_path: Path) -> None:
    rows = [
        ROW | {"id": each.id, "posterior": dict(each.posterior or {}), "confidence": {"verb": 0.5}} | dict(each.people or {})
        for each in outcomes(30, error=0.05)
    ]
    found = ec.score(rows, replicates=200)
    assert found.to_frame().loc["overall", "people.mae"] == pytest.approx(0.05, abs=1e-6)
    page = found.save(tmp_path / "out")
    assert "Share of people" in page.read_text() and "Share of people" in (tmp_path / "out" / "tables.md").read_text()
