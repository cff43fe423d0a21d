"""The model that ships for photographs: what is in its folder, and what it says of photographs that it has not seen."""

from __future__ import annotations

from pathlib import Path

import pytest

import emocaliber as ec
from emocaliber.models.card import NOTICE, read_card
from emocaliber.models.shipped import DEFAULT_MODEL, LITE
from emocaliber.photographs.pictures import sheets
from emocaliber.photographs.teacher import content_named, names_a_person
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Predictor

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@pytest.fixture(scope="module")
def lite() -> Predictor:
    return ec.load("lite")


@pytest.fixture(scope="module")
def answers(lite: Predictor) -> dict[str, Prediction]:
    return {Path(each.image).stem: each for each in lite.predict_many(PHOTOS, task="FI-2")}


def test_it_is_the_default_and_small_and_names_whose_weights_it_holds() -> None:
    assert DEFAULT_MODEL == "lite"
    assert sum(file.stat().st_size for file in LITE.iterdir()) < 25_000_000
    assert "Apache" in (LITE / NOTICE).read_text("utf-8")
    assert "research" in read_card(LITE)["notice"]


def test_every_photograph_gets_an_answer_in_five_steps_with_a_calibrated_confidence(answers: dict[str, Prediction]) -> None:
    assert len(answers) == len(list(PHOTOS.glob("*.jpg"))) >= 8
    for each in answers.values():
        assert each.error is None and each.reasoning is not None
        assert each.confidence is not None and 0.5 <= each.confidence <= 1
        assert each.confidence_source in ("calibrated", "chance")
        assert (each.confidence_source == "chance") == bool(each.unfamiliar)


def test_it_sees_the_cat(answers: dict[str, Prediction]) -> None:
    reasoning = answers["cat"].reasoning
    assert reasoning is not None
    content = content_named(reasoning)
    assert content is not None and content.key == "cat"
    assert not names_a_person(reasoning)


def test_it_sees_that_somebody_is_there(answers: dict[str, Prediction]) -> None:
    seen = [answers[name].reasoning for name in ("admiral", "astronaut", "photographer")]
    assert sum(reasoning is not None and names_a_person(reasoning) for reasoning in seen) >= 2


def test_pictures_that_are_no_photographs_are_unfamiliar_and_their_answers_guesses(lite: Predictor, tmp_path: Path) -> None:
    found = list(lite.predict_many(sheets(tmp_path, 30, side=256, seed=77), task="FI-2"))
    unfamiliar = [each for each in found if each.unfamiliar]
    assert len(unfamiliar) >= 24
    assert {(each.confidence, each.confidence_source, each.calibrated) for each in unfamiliar} == {(0.5, "chance", None)}


def test_labels_of_ones_own_are_answered(lite: Predictor) -> None:
    taught = lite.predict(PHOTOS / "cat.jpg", labels=["awe", "fear", "contentment"])
    assert taught.emotion in ("awe", "fear", "contentment") and taught.untaught is False
    other = lite.predict(PHOTOS / "cat.jpg", labels=["cute", "scary"])
    assert other.untaught is True and other.confidence == 0.5
