"""The options of decisions: which labels they stand for, and the numbers of an answer, against the formulas of transformers."""

from __future__ import annotations

from math import fsum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.tasks import TASKS
from emocaliber.errors import UserError
from emocaliber.predict.prediction import Prediction
from emocaliber.serving.standards.options import (
    Options,
    choice_confidence,
    choice_options,
    label_options,
    own_fields,
    score_confidence,
    score_of,
    shares,
)
from emocaliber.trust.acceptance import Acceptance

MIKELS = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")


def prediction(options: Options, **fields: Any) -> Prediction:
    """A prediction for a query, as a model with these probabilities would give it."""
    usual: dict[str, Any] = {
        "image": "-",
        "task": options.query.task,
        "emotion": options.query.candidates[0],
        "confidence": 0.7,
        "confidence_source": "calibrated",
        "calibrated": 0.7,
        "accepted": None,
        "unfamiliar": None,
        "untaught": False,
        "reasoning": None,
        "alternatives": {},
        "response": None,
        "model": "one",
        "seconds": None,
        "error": None,
    }
    return Prediction(**usual | fields)


weights = st.lists(st.floats(0, 1), min_size=2, max_size=40).filter(lambda found: sum(found) > 0.01)


@given(weights)
def test_the_standard_fields_are_those_of_transformers(values: list[float]) -> None:
    from transformers.decision import Question

    shown = [value / fsum(values) for value in values]
    names = [f"option {number}" for number in range(len(shown))]
    theirs = Question("q", "choice", None, names, names, [None] * len(names)).answer(shown)
    assert choice_confidence(shown) == pytest.approx(theirs["confidence"], abs=1e-9)
    levels = [str(number) for number in range(len(shown))]
    theirs = Question("q", "score", None, levels, levels, levels).answer(shown)
    assert score_confidence(shown) == pytest.approx(theirs["confidence"], abs=1e-9)
    assert score_of(shown) == pytest.approx(theirs["score"], abs=1e-9)


@given(weights)
def test_probabilities_sum_to_one_and_keep_the_order_of_the_options(values: list[float]) -> None:
    names = [f"label {number}" for number in range(len(values))]
    options = choice_options(names)
    found = shares(prediction(options, alternatives=dict(zip(reversed(names), reversed(values), strict=True))), options)
    assert found is not None and not found.spread
    assert fsum(found.values) == pytest.approx(1, abs=1e-12)
    assert found.values == pytest.approx([value / fsum(values) for value in values])
    assert found.values[found.best] == max(found.values)


def test_options_that_are_the_labels_of_a_task_are_its_question_in_any_order_and_case() -> None:
    shouted = [label.upper() for label in reversed(MIKELS)]
    options = choice_options(shouted)
    assert options.query.task == "EmoSet-8"
    assert tuple(options.query.candidates) == tuple(choice_options(MIKELS).query.candidates)
    assert options.names == tuple(shouted)
    assert options.labels == tuple(reversed(MIKELS))


def test_the_tasks_that_the_model_was_taught_come_first() -> None:
    assert choice_options(MIKELS, taught=("Artphoto-8",)).query.task == "Artphoto-8"
    assert choice_options(("negative", "positive")).query.task == next(
        name for name, task in TASKS.items() if task.taxonomy == "polarity-2"
    )


def test_other_options_are_labels_of_ones_own_and_come_back_byte_for_byte() -> None:
    names = (" calm ", "¡sí, señor!", "👩‍🚒 proud", "두려움")
    options = choice_options(names)
    assert options.names == names
    assert options.query.task == "custom"
    assert set(options.labels) == set(options.query.candidates)


@pytest.mark.parametrize(
    "names",
    [("Awe", "awe"), ("awe", "..."), ("awe", ""), ("awe", "fe\nar"), ("awe", "\ud83d"), ("awe", "x" * 257)],
    ids=["same", "nothing but points", "empty", "line break", "half a character", "long"],
)
def test_options_that_cannot_be_told_apart_or_written_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(UserError):
        choice_options(names)


def test_the_largest_choice_has_255_options() -> None:
    assert len(choice_options([f"feeling {number}" for number in range(255)]).labels) == 255


def test_levels_must_be_labels_of_one_task() -> None:
    found = label_options(("sadness", "contentment"))
    assert found is not None and tuple(found.query.candidates) == ("sadness", "contentment")
    assert label_options(("calm", "mild", "strong")) is None
    assert label_options(("awe", "Awe")) is None


def test_a_single_label_is_asked_for_among_all_of_its_task() -> None:
    found = label_options(("Awe",))
    assert found is not None and set(found.query.candidates) == set(MIKELS) and found.labels == ("awe",)
    answer = shares(prediction(found, alternatives={"awe": 0.25, "fear": 0.75}), found)
    assert answer is not None and answer.values == (0.25,)


def test_a_model_without_probabilities_has_its_confidence_spread() -> None:
    options = choice_options(("calm", "tense", "joyful"))
    found = shares(prediction(options, emotion="tense", confidence=0.5), options)
    assert found is not None and found.spread
    assert found.values == (0.25, 0.5, 0.25)
    assert shares(prediction(options, confidence=None), options) is None


def test_a_guess_among_labels_that_were_not_taught_is_even_odds() -> None:
    options = choice_options(("cat", "dog"))
    fields = {"confidence": 0.5, "confidence_source": "chance", "untaught": True, "calibrated": None}
    found = shares(prediction(options, emotion="dog", alternatives={"dog": 0.9, "cat": 0.1}, **fields), options)
    assert found is not None and found.values == (0.5, 0.5) and found.spread
    assert options.names[found.best] == "dog", "what the model wrote, of equal ones"
    assert choice_confidence(found.values) == 0


def test_where_the_likeliest_is_not_what_was_written_nothing_is_said_of_its_being_right() -> None:
    options = choice_options(("calm", "tense"), acceptance=Acceptance.of(0.5))
    given = prediction(options, emotion="calm", alternatives={"calm": 0.4, "tense": 0.6}, accepted=True, people=0.6)
    found = shares(given, options)
    assert found is not None
    fields = own_fields(given, options, found)
    assert fields["x_answer"] == "calm"
    assert fields["x_calibrated"] is fields["x_people"] is fields["x_confidence"] is None
    assert "'tense' is likelier" in fields["x_uncalibrated"]
    assert fields["x_abstain"] is True


def test_our_own_fields_are_those_of_the_prediction() -> None:
    options = choice_options(("Calm", "tense"))
    given = prediction(options, emotion="Calm", alternatives={"Calm": 0.9, "tense": 0.1}, accepted=False, certificate="c1", untaught=True)
    found = shares(given, options)
    assert found is not None
    fields = own_fields(given, options, found)
    assert (fields["x_answer"], fields["x_calibrated"], fields["x_source"]) == ("Calm", 0.7, "calibrated")
    assert (fields["x_abstain"], fields["x_certificate"], fields["x_untaught"]) == (True, "c1", True)
    assert all(name.startswith("x_") for name in fields)
