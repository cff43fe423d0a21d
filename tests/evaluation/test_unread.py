from __future__ import annotations

import re
from typing import Any

import pytest

from emocaliber.core.scoring import outcome
from emocaliber.evaluation.unread import unread

ROW = {"task": "mine", "candidates": ["awe", "fear"], "ground_truth": "awe"}


def told(*rows: dict[str, Any], strict: bool = False) -> str | None:
    placed: list[dict[str, Any]] = [ROW | {"id": str(number)} | row for number, row in enumerate(rows)]
    return unread([outcome(row, strict=strict) for row in placed], placed, strict=strict)


GOOD, UNTAGGED, FREE = {"response": "<answer>awe</answer>"}, {"response": "awe"}, {"response": "Grand. <answer>awe</answer>"}


@pytest.mark.parametrize(
    ("rows", "strict", "sentence"),
    [
        ([GOOD, UNTAGGED], False, "1 of 2 answers cannot be read and count as wrong: a tag such as <answer> is missing. Write the answer"),
        ([GOOD, {"plain_answer": "happy"}], False, "such as 'happy'. Give all labels with --labels"),
        ([GOOD, {"response": "<answer>glad</answer><confidence>1</confidence>"}], False, "none of the labels, such as 'glad'. Give"),
        ([UNTAGGED, UNTAGGED, {"response": None}], False, "3 of 3 .*; 2 of them because a tag"),
        ([FREE, FREE], True, "2 can be read without the five steps: leave out --strict"),
        ([FREE | {"lenient": False}, GOOD], False, "1 can be read without the five steps: add --lenient"),
        ([{"response": None}], False, "there is no answer"),
    ],
)
def test_it_says_how_many_why_and_what_helps(rows: list[dict[str, Any]], strict: bool, sentence: str) -> None:
    assert re.search(sentence, told(*rows, strict=strict) or "")


def test_a_few_are_not_worth_a_line() -> None:
    assert told(*[GOOD] * 20, UNTAGGED) is None
    assert told(GOOD) is None
