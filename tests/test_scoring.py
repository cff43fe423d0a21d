from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.emotions import VAD, Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.response import Reasoning, Response, render
from emocaliber.scoring import is_correct, outcome, read_outcomes

REASONING = Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms")


def say(answer: str, confidence: float | None = None) -> str:
    return render(Response(REASONING, answer, confidence))


def row(response: str | None, **fields: Any) -> dict[str, Any]:
    candidates = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]
    return {"id": "a", "task": "FI-8", "candidates": candidates, "ground_truth": "awe", "response": response} | fields


def test_a_right_answer_is_correct_and_at_no_distance() -> None:
    result = outcome(row(say("awe", 0.85)))
    assert (result.answer, result.correct, result.malformed, result.distance) == ("awe", True, None, 0.0)
    assert result.confidence == {"verb": 0.85}


def test_a_wrong_answer_has_its_distance_on_the_loop() -> None:
    result = outcome(row(say("anger")))
    assert not result.correct
    assert result.distance == taxonomy("mikels-8").loop().distance("awe", "anger") > 0


def test_two_labels_lie_half_a_loop_apart() -> None:
    fields = {"task": "FI-2", "candidates": ["positive", "negative"], "ground_truth": "positive"}
    assert outcome(row(say("negative"), **fields)).distance == 0.5


def test_verbalized_confidence_is_what_the_text_says_and_the_other_sources_come_from_the_row() -> None:
    result = outcome(row(say("awe", 0.85), confidence={"verb": 0.2, "ans": 0.4, "avg": None}))
    assert result.confidence == {"verb": 0.85, "ans": 0.4, "avg": None}
    assert outcome(row(say("awe"), confidence={"verb": 0.2})).confidence == {"verb": None}


def test_a_malformed_text_keeps_the_parsers_reason_and_the_rows_confidences() -> None:
    result = outcome(row(say("joy", 0.9), confidence={"ans": 0.4}))
    assert (result.answer, result.correct, result.malformed, result.distance) == (None, False, "not_a_candidate", None)
    assert result.confidence == {"ans": 0.4, "verb": None}


@pytest.mark.parametrize("silent", [row(None), row(say("awe"), error={"code": "timeout", "message": "no reply in 60 s"})])
def test_without_a_response_there_is_no_answer(silent: dict[str, Any]) -> None:
    result = outcome(silent)
    assert (result.answer, result.correct, result.malformed, result.confidence) == (None, False, "no_answer", {"verb": None})


def test_aliases_of_the_tasks_taxonomy_are_read() -> None:
    alias, label = next(iter(taxonomy("webemo-25").aliases.items()))
    labels = list(taxonomy("webemo-25").labels)
    assert outcome(row(say(alias), task="WebEmo-25", candidates=labels, ground_truth=label)).correct


def test_a_custom_task_has_no_distance_unless_a_taxonomy_with_a_loop_is_lent() -> None:
    custom = row(say("dull"), task="Moods", candidates=["bright", "dull"], ground_truth="bright")
    vad = {"bright": VAD(1, 0, 0), "dull": VAD(-1, 0, 0)}
    assert outcome(custom).distance is None
    assert outcome(custom, Taxonomy("moods", ("bright", "dull"))).distance is None
    assert outcome(custom, Taxonomy("moods", ("bright", "dull"), vad=vad)).distance == 0.5


@pytest.mark.parametrize(("answer", "right"), [("awe", True), (" AWE", True), ("fear", False), ("", False), (None, False)])
def test_correct_means_the_same_label(answer: str | None, right: bool) -> None:
    assert is_correct(answer, "Awe") is right


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"response": 3}, "field 'response' is 3"),
        ({"ground_truth": "joy"}, "field 'ground_truth' is 'joy', which is not a candidate"),
        ({"confidence": {"ans": 1.2}}, r"field 'confidence\.ans' is 1\.2; .*between 0 and 1"),
        ({"confidence": {"ans": float("nan")}}, r"field 'confidence\.ans' is nan"),
        ({"confidence": {"ans": "high"}}, r"field 'confidence\.ans' is 'high'"),
        ({"confidence": 0.9}, r"field 'confidence' is 0\.9"),
    ],
)
def test_a_row_that_is_not_a_response_row_is_refused_by_field(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=f"r.jsonl, line 4: {complaint}"):
        outcome(row(say("awe")) | fields, where="r.jsonl, line 4")


def test_an_answer_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(2 * (json.dumps(row(say("awe"))) + "\n"))
    with pytest.raises(UserError, match=r"r\.jsonl, line 2: field 'id' is 'a', as on line 1"):
        list(read_outcomes(path))


def test_an_outcome_is_a_json_row() -> None:
    result = outcome(row(say("awe", 0.5), posterior={"awe": 0.75, "fear": 0.25}))
    assert json.loads(json.dumps(result.to_row())) == {
        "id": "a",
        "task": "FI-8",
        "ground_truth": "awe",
        "answer": "awe",
        "correct": True,
        "malformed": None,
        "distance": 0.0,
        "confidence": {"verb": 0.5},
        "posterior": {"awe": 0.75, "fear": 0.25},
        "votes": None,
    }
