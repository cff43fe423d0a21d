from __future__ import annotations

from typing import Any

import pytest

from emocaliber.core.released import filled_in
from emocaliber.emotions.taxonomy import taxonomy

CONVERSATIONS: list[dict[str, Any]] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": [{"type": "text", "text": "Which?", "image": None}, {"type": "image", "text": None, "image": "b/a.jpg"}]},
    {"role": "assistant", "content": "awe"},
]


def test_the_image_of_the_conversation_becomes_the_rows() -> None:
    assert filled_in({"conversations": CONVERSATIONS})["image"] == "b/a.jpg"


@pytest.mark.parametrize("image", ["mine.jpg"])
def test_an_image_of_its_own_stays(image: str) -> None:
    assert filled_in({"image": image, "conversations": CONVERSATIONS})["image"] == image


@pytest.mark.parametrize("conversations", [None, "text", [], [None], [{"role": "user"}], [{"content": [{"image": None}, "x"]}]])
def test_without_an_image_there_is_none(conversations: object) -> None:
    assert "image" not in filled_in({"conversations": conversations})


def test_candidates_left_out_are_the_labels_of_the_task_and_the_truth_is_spelt_like_them() -> None:
    filled = filled_in({"task": "UnbaisedEmo-6", "ground_truth": "Joy"})
    assert filled["candidates"] == list(taxonomy("unbiasedemo-6").labels)
    assert filled["ground_truth"] == "joy"


def test_the_misspelt_labels_of_webemo_are_understood() -> None:
    assert filled_in({"task": "WebEmo-25", "ground_truth": "cheerfullness", "candidates": None})["ground_truth"] == "cheerfulness"


@pytest.mark.parametrize("row", [{"task": "Moods"}, {"task": 7}, {}, {"task": "FI-8", "candidates": ["a", "b"], "ground_truth": "A"}])
def test_what_is_said_or_cannot_be_known_stays(row: dict[str, Any]) -> None:
    assert filled_in(row) == row
