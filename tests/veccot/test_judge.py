"""A judgement is read tolerantly where it stands, and strictly in what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.veccot.teacher import CRITERIA, MinRatings, UnreadableJudgement, low_ratings, read_judgement

FINE = {criterion: {"rating": 5, "reason": "It is fine."} for criterion in CRITERIA}


@pytest.mark.parametrize("form", ["{}", " \n{}\n", "```json\n{}\n```", "Here it is:\n```\n{}\n```\nI hope that helps."])
def test_a_judgement_may_stand_alone_or_in_a_fenced_block(form: str) -> None:
    assert read_judgement(form.replace("{}", json.dumps(FINE))) == FINE


def changed(criterion: str, **what: Any) -> str:
    return json.dumps(FINE | {criterion: FINE[criterion] | what})


@pytest.mark.parametrize(
    "text, problem",
    [
        ("", "it is empty"),
        ("It is good.", "is not JSON"),
        ("[5, 5, 5, 5]", "must rate exactly"),
        (json.dumps({"hallucination": FINE["hallucination"]}), "must rate exactly"),
        (json.dumps(FINE | {"style": FINE["hallucination"]}), "must rate exactly"),
        (json.dumps(FINE | {"conformity": 5}), "conformity must have a rating and a reason"),
        (changed("conformity", rating=6), "rating of conformity must be a whole number from 1 to 5, not 6"),
        (changed("conformity", rating=0), "not 0"),
        (changed("conformity", rating=4.0), "not 4.0"),
        (changed("conformity", rating=True), "not True"),
        (changed("conformity", rating="5"), "not '5'"),
        (changed("inconsistency", reason=" "), "no reason for its rating of inconsistency"),
        (json.dumps(FINE)[:-1], "is not JSON"),
    ],
)
def test_anything_else_is_no_judgement(text: str, problem: str) -> None:
    with pytest.raises(UnreadableJudgement, match=problem):
        read_judgement(text)


@given(
    st.text()
    | st.recursive(st.none() | st.integers() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part)).map(json.dumps)
)
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(UnreadableJudgement):
        read_judgement(text)


def test_a_text_is_rejected_for_each_criterion_below_its_threshold() -> None:
    judgement = read_judgement(json.dumps(FINE | {"hallucination": {"rating": 3, "reason": "There is no kite."}}))
    [found] = low_ratings(judgement, MinRatings())
    assert (found.check, found.detail) == ("hallucination", "rated 3 of 5: There is no kite.")
    assert not low_ratings(judgement, MinRatings(hallucination=3))
