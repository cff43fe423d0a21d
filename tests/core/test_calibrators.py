"""Calibrators as plain numbers: what each map computes, which questions they are for, and that their file is checked."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.calibrators import (
    CLIP,
    FORMAT,
    Beta,
    CalibrationMap,
    Calibrators,
    Isotonic,
    Logistic,
    QuestionCalibrator,
    map_from_json,
    map_to_json,
)
from emocaliber.errors import UserError

MAPS: list[CalibrationMap] = [
    Logistic(("verb",), (0.5,), -0.2),
    Logistic(("verb", "commit"), (0.5, -1.5), 0.25),
    Beta(("verb",), 0.5, 2.0, 0.1),
    Isotonic(("verb",), (0.2, 0.4, 0.8), (0.1, 0.1, 0.9)),
]
MIKELS = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")


@pytest.mark.parametrize("each", MAPS, ids=lambda each: each.method)
def test_a_map_is_the_same_after_a_round_trip_through_json(each: CalibrationMap) -> None:
    assert map_from_json(json.loads(json.dumps(map_to_json(each)))) == each


def test_the_maps_are_their_formulas() -> None:
    c = 0.7
    assert MAPS[0]({"verb": c}) == pytest.approx(1 / (1 + np.exp(0.2) * ((1 - c) / c) ** 0.5))
    assert MAPS[2]({"verb": c}) == pytest.approx(1 / (1 + 1 / (np.exp(0.1) * c**0.5 / (1 - c) ** 2)))
    assert [MAPS[3]({"verb": x}) for x in (0.0, 0.3, 0.6, 0.8, 1.0)] == pytest.approx([0.1, 0.1, 0.5, 0.9, 0.9])


@given(st.floats(0, 1), st.floats(0, 1))
def test_maps_of_one_source_keep_the_order_of_confidences_and_stay_within_0_and_1(first: float, second: float) -> None:
    low, high = sorted((first, second))
    for each in (MAPS[0], MAPS[2], MAPS[3]):
        assert 0 <= each({"verb": low}) <= each({"verb": high}) <= 1


def test_a_stated_one_is_clipped_so_that_it_can_be_corrected() -> None:
    assert MAPS[0]({"verb": 1.0}) == MAPS[0]({"verb": 1 - CLIP}) < 1


def test_a_map_refuses_a_confidence_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="commit"):
        MAPS[1]({"verb": 0.5, "commit": None})


def calibrators(**model: str | None) -> Calibrators:
    questions = (QuestionCalibrator("EmoSet-8", MIKELS, MAPS[0]), QuestionCalibrator("FI-2", ("positive", "negative"), MAPS[1]))
    return Calibrators(questions, model or None)


def test_a_question_is_a_task_with_its_labels_in_any_order_and_spelling() -> None:
    found = calibrators()
    assert found.apply("emoset-8", MIKELS[::-1], {"verb": 0.7})[0] == pytest.approx(MAPS[0]({"verb": 0.7}), abs=1e-6)
    assert found.find("FI-2", ("NEGATIVE", "Positive!")) is not None


def test_nothing_borrows_the_calibrator_of_another_question() -> None:
    found = calibrators()
    assert found.apply("Abstract-8", MIKELS, {"verb": 0.7}) == (None, "it was not fitted for Abstract-8, but for EmoSet-8, FI-2")
    assert found.apply("custom", MIKELS, {"verb": 0.7})[1] == "it was not fitted for labels of your own, but for EmoSet-8, FI-2"
    value, why = found.apply("FI-2", ("positive", "negative", "neutral"), {"verb": 0.7, "commit": 0.2})
    assert value is None and why is not None and "other labels (positive, negative)" in why


def test_a_missing_source_is_named() -> None:
    assert calibrators().apply("FI-2", ("positive", "negative"), {"verb": 0.7, "commit": None}) == (
        None,
        "the answer has no confidence of the source commit, which the calibrator needs",
    )


def test_the_same_files_are_the_same_model_and_other_names_are_another() -> None:
    by_name, by_hash = calibrators(name="a"), calibrators(name="a", sha256="12")
    assert (
        by_name.for_model("a").refused is None and by_name.for_model(None).refused is None and calibrators().for_model("b").refused is None
    )
    assert by_name.for_model("b").refused == "it was fitted on answers of a, not of b"
    assert by_hash.for_model("renamed", "12").refused is None
    other = by_hash.for_model("a", "34")
    assert other.apply("EmoSet-8", MIKELS, {"verb": 0.7}) == (None, "it was fitted on answers of a with other files")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([], "is not a calibrator as"),
        ({"temperature": 1.0}, "is not a calibrator as"),
        ({"format": FORMAT, "questions": [{"task": "t"}]}, "question 1 cannot be read"),
        ({"format": FORMAT, "questions": [{"task": "t", "labels": ["a", "b"], "map": {"method": "magic"}}]}, "question 1 cannot be read"),
        (
            {"format": FORMAT, "questions": [{"task": "t", "labels": ["a"], "map": map_to_json(Logistic(("v",), (float("nan"),), 0.0))}]},
            "must be finite",
        ),
    ],
)
def test_a_file_of_another_form_is_refused_by_name(content: Any, why: str) -> None:
    with pytest.raises(UserError, match=rf"^c\.json: .*{why}"):
        Calibrators.from_json(content, "c.json")
