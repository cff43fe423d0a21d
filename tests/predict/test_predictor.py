"""One prediction for every image, and what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from emocaliber import emotions
from emocaliber.core.calibrators import Calibrators, Isotonic, Logistic, QuestionCalibrator
from emocaliber.core.model import Model, Reply, Request
from emocaliber.core.response import STEPS
from emocaliber.core.sources import SOURCES
from emocaliber.errors import UserError
from emocaliber.io.images import CODES
from emocaliber.predict.predictor import Predictor, Query
from stand_ins import ColourModel, photo


def test_a_prediction_says_what_why_and_how_sure(tmp_path: Path, colour_model: ColourModel) -> None:
    path = photo(tmp_path / "a.png", "orange")
    prediction = Predictor(colour_model).predict(path)
    assert prediction.image == str(path)
    assert prediction.task == "EmoSet-8"
    assert prediction.emotion in emotions.taxonomy("mikels-8").labels
    assert prediction.confidence == 1.0
    assert prediction.accepted is None and prediction.error is None
    assert prediction.reasoning is not None and prediction.reasoning.human == "nobody"
    assert next(iter(prediction.alternatives)) == prediction.emotion
    assert sum(prediction.alternatives.values()) == pytest.approx(1, abs=1e-4)


def test_a_row_has_the_fields_of_the_contract(tmp_path: Path, colour_model: ColourModel) -> None:
    row = Predictor(colour_model).predict(photo(tmp_path / "a.png")).to_row()
    first = "image task emotion confidence confidence_source calibrated uncalibrated accepted certificate uncertified"
    second = "people people_low people_high unfamiliar untaught"
    assert " ".join(row) == f"{first} {second} reasoning alternatives response model seconds error"
    assert tuple(row["reasoning"]) == STEPS
    assert set(row["alternatives"][0]) == {"emotion", "probability"}


def test_a_path_its_bytes_and_the_open_image_are_predicted_alike(tmp_path: Path, colour_model: ColourModel) -> None:
    path, predictor = photo(tmp_path / "a.png", "teal"), Predictor(colour_model)
    by_path, by_bytes, by_image = (predictor.predict(source) for source in (path, path.read_bytes(), Image.open(path)))
    assert by_path.response == by_bytes.response == by_image.response
    assert (by_bytes.image, by_image.image) == ("-", "-")


@pytest.mark.parametrize(
    "image",
    [
        *(Image.new("RGB", (20, 20), "salmon").convert(mode) for mode in ("1", "L", "P", "RGBA", "CMYK", "YCbCr")),
        *(Image.new(mode, (20, 20), 40_000) for mode in ("I", "I;16")),
        Image.new("F", (20, 20), 0.8),
    ],
    ids=lambda image: image.mode,
)
def test_a_pillow_image_may_have_any_mode(colour_model: ColourModel, image: Image.Image) -> None:
    assert Predictor(colour_model).predict(image).emotion is not None


def test_a_pillow_image_is_turned_upright() -> None:
    sizes: list[tuple[int, int]] = []

    class Watching(ColourModel):
        def answer(self, requests):  # type: ignore[no-untyped-def]
            for request in requests:
                sizes.append(request.image.size)
                yield self._reply(request)

    image = Image.new("RGB", (40, 20), "pink")
    image.getexif()[0x0112] = 6
    Predictor(Watching()).predict(image)
    assert sizes == [(20, 40)]


def test_odd_files_get_a_code_and_a_sentence_and_others_a_prediction(oddities: dict[str, str | None], colour_model: ColourModel) -> None:
    predictions = list(Predictor(colour_model).predict_many(oddities))
    assert {each.image: each.error and each.error.code for each in predictions} == oddities
    for each in predictions:
        if each.error:
            assert each.error.code in CODES and each.error.message.endswith(".")
            assert each.emotion is None and each.response is None
    assert len({each.response for each in predictions if "turned" in each.image}) == 1
    moving = next(each for each in predictions if each.image.endswith("moving.gif"))
    assert "first" in moving.notes[0]


@pytest.mark.parametrize(("least", "accepted"), [(None, None), (0.0, True), (0.5, True), (0.51, False)])
def test_an_answer_is_accepted_from_the_least_confidence_on(colour_model: ColourModel, least: float | None, accepted: bool | None) -> None:
    image = Image.new("RGB", (8, 8), (128, 255, 0))
    assert Predictor(colour_model).predict(image, min_confidence=least).accepted is accepted


def test_the_confidence_is_read_where_one_says_or_the_models_card(colour_model: ColourModel) -> None:
    image = Image.new("RGB", (8, 8), (128, 255, 0))
    found = [Predictor(colour_model, source).predict(image, min_confidence=0.6) for source in (None, "norm")]
    assert [(each.confidence, each.confidence_source, each.accepted) for each in found] == [(0.5, "verb", False), (0.8, "norm", True)]
    colour_model.confidence_source = "norm"
    assert [Predictor(colour_model, source).predict(image).confidence for source in (None, "verb")] == [0.8, 0.5]
    with pytest.raises(UserError, match="there is no confidence source 'gut'; the sources are verb, ans, avg"):
        Predictor(colour_model, "gut")


def test_an_answer_is_accepted_by_the_confidence_in_its_row(colour_model: ColourModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "norm", lambda evidence: 0.49999996)  # type: ignore[arg-type]
    prediction = Predictor(colour_model, "norm").predict(Image.new("RGB", (8, 8), (128, 255, 0)), min_confidence=0.5)
    assert (prediction.confidence, prediction.accepted) == (0.5, True), "or resuming would take the row for one of another threshold"


def test_a_confidence_that_cannot_be_read_is_none_and_a_note_says_so() -> None:
    class Mute(ColourModel):
        def _reply(self, request: Request) -> Reply:
            return Reply(super()._reply(request).text, 0.01)

    prediction = Predictor(Mute(), "verb_mean").predict(Image.new("RGB", (8, 8), (128, 255, 0)), min_confidence=0.1)
    assert (prediction.emotion is not None, prediction.confidence, prediction.accepted) == (True, None, False)
    assert prediction.notes == ("0.5 is stated, but verb_mean cannot be read from this model's replies",)


def test_a_chosen_answer_of_k_is_never_less_sure_than_by_chance(tmp_path: Path, colour_model: ColourModel) -> None:
    dark = photo(tmp_path / "dark.png", "teal")  # about which the stand-in states 0
    for labels, least in (("calm,panic", 0.5), ("calm,panic,joy,awe", 0.25)):
        prediction = Predictor(colour_model).predict(dark, labels=labels)
        assert prediction.confidence == least
        assert any(f"a confidence of 0 was read; as {prediction.emotion} was chosen" in note for note in prediction.notes)
    assert Predictor(colour_model).predict(photo(tmp_path / "red.png", "red"), labels="calm,panic").notes == ()


def test_a_calibrator_speaks_for_the_questions_it_was_fitted_for_alone(tiny_model: Model) -> None:
    labels = Query.of("FI-2").candidates
    two = Calibrators((QuestionCalibrator("FI-2", tuple(labels), Logistic(("verb",), (1.0,), 0.0)),))
    predictor = Predictor(tiny_model, calibrators=two)
    assert predictor.confidence_source == "calibrated"
    assert predictor.source_for(Query.of("FI-2")) == "calibrated" and predictor.warnings(Query.of("FI-2")) == ()
    for other, source in (
        *((Query.of(task), "verb_mean") for task in ("EmoSet-8", "WebEmo-2")),
        *((Query.of(labels=["NEGATIVE", "Positive!"]), "verb_mean"), (Query.of(labels="calm,tense"), "chance")),
    ):
        assert predictor.source_for(other) == source
        assert predictor.warnings(other)
    (warning,) = predictor.warnings(Query.of("WebEmo-2"))
    assert warning.endswith(
        "is not calibrated on WebEmo-2, so its confidence there may be far off: it was not fitted for WebEmo-2, but for FI-2"
    )
    assert Predictor(tiny_model, "calibrated", two).source_for(Query.of("WebEmo-2")) == "calibrated", "as it was asked for by name"


def test_a_prediction_has_its_calibrated_confidence_or_the_reason_for_none(tmp_path: Path, colour_model: ColourModel) -> None:
    red = photo(tmp_path / "red.png", "red")
    halved = Calibrators((QuestionCalibrator("custom", ("calm", "panic"), Isotonic(("verb",), (0.0, 1.0), (0.5, 0.6))),))
    row = Predictor(colour_model, calibrators=halved).predict(red, labels="calm,panic").to_row()
    assert 0.5 <= row["calibrated"] <= 0.6 and row["confidence"] == row["calibrated"]
    assert (row["confidence_source"], row["uncalibrated"]) == ("calibrated", None)
    other = Predictor(colour_model, calibrators=halved).predict(red, labels="calm,joy").to_row()
    assert (other["confidence_source"], other["calibrated"]) == ("verb", None)
    assert other["uncalibrated"].startswith("it was fitted for labels of your own with other labels (calm, panic)")
    assert Predictor(colour_model).predict(red).uncalibrated == "the model has no calibrator"


def test_an_answer_that_cannot_be_read_is_an_error_and_not_accepted(colour_model: ColourModel) -> None:
    prediction = Predictor(colour_model).predict(Image.new("RGB", (8, 8)), min_confidence=0)
    assert prediction.error is not None and prediction.error.code == "malformed"
    assert "the text ends without <human>" in prediction.error.message
    assert (prediction.emotion, prediction.accepted) == (None, False)
    assert prediction.response == "<think><element>darkness</element>"


@pytest.mark.parametrize("labels", ["calm, panic", ["calm", "panic"]])
def test_labels_of_ones_own_replace_the_task(colour_model: ColourModel, labels: str | list[str]) -> None:
    prediction = Predictor(colour_model).predict(Image.new("RGB", (8, 8), "red"), labels=labels)
    assert prediction.task == "custom"
    assert set(prediction.alternatives) == {"calm", "panic"}


@pytest.mark.parametrize("labels", ["calm", "", [], "calm,"])
def test_labels_that_leave_no_choice_are_refused(colour_model: ColourModel, labels: str | list[str]) -> None:
    with pytest.raises(UserError, match=r"two or more|is empty; leave it out"):
        Predictor(colour_model).predict_many([], labels=labels)


@pytest.mark.parametrize("labels", ["calm,Calm", ["Happy", "Happy!"]])
def test_labels_that_are_the_same_one_are_refused_by_name(colour_model: ColourModel, labels: str | list[str]) -> None:
    with pytest.raises(UserError, match="are the same label; leave one out"):
        Predictor(colour_model).predict_many([], labels=labels)


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_a_least_confidence_outside_0_to_1_is_refused(colour_model: ColourModel, least: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        Predictor(colour_model).predict_many([], min_confidence=least)


def test_what_is_done_is_not_asked_again(tmp_path: Path, colour_model: ColourModel) -> None:
    paths = [str(photo(tmp_path / f"{n}.png")) for n in range(6)]
    assert [each.image for each in Predictor(colour_model).predict_many(paths, done=paths[1:5])] == [paths[0], paths[5]]


def test_the_package_is_imported_without_torch_and_offers_load() -> None:
    code = "import sys, emocaliber as ec; first = 'torch' in sys.modules; print(first, callable(ec.load), ec.Prediction.__name__)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False True Prediction\n"


def test_the_shipped_model_answers_the_example_pictures(tiny_model: Model) -> None:
    pictures = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.png"))
    assert len(pictures) == 12
    for prediction in Predictor(tiny_model).predict_many(pictures):
        assert prediction.error is None
        assert prediction.confidence is not None and 0 <= prediction.confidence <= 1
        assert prediction.emotion == max(prediction.alternatives, key=lambda emotion: prediction.alternatives[emotion])
        assert sum(prediction.alternatives.values()) == pytest.approx(1, abs=1e-4)


def test_a_guess_about_an_unfamiliar_picture_has_the_confidence_of_chance(tmp_path: Path) -> None:
    class Lost(ColourModel):
        unfamiliar = "rgb"
        guesses_unfamiliar = True

    calibrators = Calibrators((QuestionCalibrator("EmoSet-8", emotions.taxonomy("mikels-8").labels, Logistic(("verb",), (1.0,), 0.0)),))
    orange = photo(tmp_path / "a.png", "orange")
    guess = Predictor(Lost(), calibrators=calibrators).predict(orange, min_confidence=0.5)
    assert (guess.unfamiliar, guess.confidence, guess.confidence_source) == (True, 0.125, "chance")
    assert guess.calibrated is None and "familiar" in str(guess.uncalibrated)
    assert guess.accepted is False
    assert Predictor(Lost(), "verb").predict(orange).confidence == 1.0, "a source that is named is read as it is"
    Lost.guesses_unfamiliar = False
    assert Predictor(Lost(), calibrators=calibrators).predict(orange).confidence_source == "calibrated"
