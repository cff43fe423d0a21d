from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.core.scoring import outcome
from emocaliber.evaluation.answers.reader import read_answers
from emocaliber.evaluation.answers.texts import told_in


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"emotion": "awe", "confidence": 0.8, "why": "a cliff"}', ("awe", 0.8)),
        ('```json\n{"Answer": "awe"}\n```', ("awe", None)),
        ("The cliff is high.\n\n**Answer:** awe\n**Confidence:** 85%", ("awe", "85%")),
        ("Answer: fear\nNo, wait.\nFinal answer: awe", ("awe", None)),
        ("It is awe.", None),
        ('{"emotion": ["awe", "fear"]}', None),
        ('{"emotion": ', None),
    ],
)
def test_json_and_lines_tell_an_answer_and_perhaps_a_confidence(text: str, told: tuple[str, Any] | None) -> None:
    found = told_in([text])
    assert (None if found is None else found[1][0]) == told


def test_the_form_is_that_of_most_texts() -> None:
    lines = ["Answer: awe", "Answer: fear", "Hm."]
    assert told_in(lines) == ("lines such as 'Answer: ...'", [("awe", None), ("fear", None), None])
    assert told_in(["Answer: awe", "Hm.", "I see."]) is None


def test_texts_in_json_are_scored_with_their_confidences(tmp_path: Path) -> None:
    said = ['{"emotion": "Awe", "confidence": 85}', '{"emotion": "fear", "confidence": 100}', '{"emotion": "joy", "confidence": "high"}']
    rows = [{"truth": truth, "output": text} for truth, text in zip(("awe", "awe", "joy"), said, strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = read_answers(tmp_path / "a.jsonl")
    found = [outcome(row) for _, row in answers.rows]
    assert [(each.answer, each.confidence["verb"]) for each in found] == [("awe", 0.85), ("fear", 1.0), ("joy", None)]
    assert answers.rows[0][1]["response"] == said[0], "the page shows the text"
    assert any("in the form of JSON" in note for note in answers.notes)


def test_confidences_that_are_not_alike_are_read_one_by_one(tmp_path: Path) -> None:
    said = ["Answer: awe\nConfidence: 0.7", "Answer: fear\nConfidence: 90%", "Answer: awe\nConfidence: 7"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"truth": "awe", "output": text}) + "\n" for text in said))
    assert [outcome(row).confidence["verb"] for _, row in read_answers(tmp_path / "a.jsonl").rows] == [0.7, 0.9, None]
