"""transformers' `pipeline("visual-emotion")`: the output of an image classification, with the numbers of `emocaliber predict`."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers.pipelines.pt_utils import KeyDataset

import emocaliber as ec
from emocaliber.integrations.visual_emotion import VisualEmotionPipeline, entries_of, pipeline, spread
from emocaliber.io.images import CODES
from emocaliber.models import DEFAULT_MODEL, TINY
from emocaliber.predict.predictor import Predictor
from stand_ins import ColourModel, photo

IMAGES = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.png"))[:3]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def classify() -> Any:
    return pipeline("visual-emotion", model=str(TINY), device="cpu")


@pytest.fixture(scope="module")
def predicted() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ec.load("tiny")
        return [model.predict(image) for image in IMAGES]


def test_the_answer_comes_first_with_its_calibrated_score_and_the_rest_of_the_row(classify: Any, predicted: Any) -> None:
    for image, prediction in zip(IMAGES, predicted, strict=True):
        first, *others = classify(str(image))
        row = prediction.to_row()
        assert first["label"] == row["emotion"]
        assert first["score"] == pytest.approx(row["confidence"], abs=1e-5), "up to rounding, as the loaded model takes leaner steps"
        assert first["score"] == first["calibrated"] and first["confidence_source"] == "calibrated"
        for name in ("reasoning", "accepted", "unfamiliar", "untaught", "response"):
            assert first[name] == row[name]
        for name in ("people", "people_low", "people_high"):
            assert first[name] == pytest.approx(row[name], abs=1e-5)
        assert len(others) == 4 and all(set(each) == {"label", "score", "probability"} for each in others)
        assert all(each["score"] <= first["score"] for each in others)


def test_many_images_are_answered_as_one_by_one(classify: Any, predicted: Any) -> None:
    def paths() -> Iterator[str]:
        yield from map(str, IMAGES)

    listed = classify(list(map(str, IMAGES)), top_k=8)
    assert [each[0]["label"] for each in listed] == [each.emotion for each in predicted]
    assert [each[0]["score"] for each in listed] == pytest.approx([each.confidence for each in predicted], abs=2e-6)
    assert [math.fsum(entry["score"] for entry in each) for each in listed] == pytest.approx([1.0] * len(IMAGES))
    labels = [each[0]["label"] for each in listed]
    assert [each[0]["label"] for each in classify(paths(), batch_size=2)] == labels
    column = KeyDataset([{"file": str(image)} for image in IMAGES[:2]], "file")
    assert [each[0]["label"] for each in classify(column)] == labels[:2]


def test_an_image_may_be_anything_that_predict_takes(classify: Any, predicted: Any) -> None:
    with Image.open(IMAGES[0]) as image:
        upright = image.convert("RGB")
    for given_as in (upright, np.asarray(upright), IMAGES[0].read_bytes()):
        assert classify(given_as)[0]["label"] == predicted[0].emotion


def test_a_call_may_ask_another_question_and_decide(classify: Any) -> None:
    polarity = classify(str(IMAGES[0]), subtask="FI-2")
    assert {each["label"] for each in polarity} == {"positive", "negative"} and math.fsum(each["score"] for each in polarity) == 1.0
    own = classify(str(IMAGES[0]), labels=["awe", "fear", "boredom"], top_k=2)
    assert len(own) == 2 and own[0]["untaught"] is True and own[0]["score"] == pytest.approx(1 / 3, abs=1e-6)
    assert classify(str(IMAGES[0]), min_confidence=0.99)[0]["accepted"] is False


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"subtask": "EmoSet-9"}, "there is no task 'EmoSet-9'"),
        ({"labels": ["awe"]}, "two or more"),
        ({"errors": "ignore"}, "give 'raise' or 'return'"),
        ({"top_k": 0}, "give 1 or more"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(classify: Any, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ec.UserError, match=complaint):
        classify(str(IMAGES[0]), **arguments)


def test_an_image_that_cannot_be_used_raises_or_is_an_entry_with_the_error(classify: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(ec.UserError, match=r"broken\.png"):
        classify(str(broken))
    whole, entry = classify([str(IMAGES[0]), str(broken)], errors="return")
    assert whole[0]["label"] and entry[0]["label"] is None and entry[0]["score"] is None
    assert entry[0]["error"]["code"] in CODES
    with pytest.raises(ec.UserError, match="nothing is downloaded"):
        classify("https://example.org/a.png")


def test_a_saved_pipeline_is_found_by_those_who_trust_it(classify: Any, tmp_path: Path) -> None:
    classify.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "emocaliber.json").read_text())["name"] == "tiny"
    code = (
        "import warnings; warnings.simplefilter('ignore'); from transformers import pipeline\n"
        f"first = pipeline(model={str(tmp_path / 'saved')!r}, trust_remote_code=True, device='cpu')({str(IMAGES[0])!r})[0]\n"
        "print(first['label'], first['score'])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    first = classify(str(IMAGES[0]))[0]
    assert shown[0] == first["label"] and float(shown[1]) == pytest.approx(first["score"], abs=2e-6)
    del classify.model.config.custom_pipelines


def test_without_a_model_it_is_the_one_that_ships() -> None:
    shipped = pipeline("visual-emotion", device="cpu")
    assert isinstance(shipped, VisualEmotionPipeline) and shipped.predictor.model.name == DEFAULT_MODEL


def test_a_checkpoint_without_a_card_has_the_confidence_that_it_states(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY, tmp_path / "plain", ignore=shutil.ignore_patterns("emocaliber.json"))
    first = pipeline("visual-emotion", model=str(folder), device="cpu")(str(IMAGES[0]))[0]
    assert first["confidence_source"] == "verb" and first["calibrated"] is None and first["uncalibrated"]


def test_without_a_confidence_no_score_is_made_up(tmp_path: Path) -> None:
    prediction = Predictor(ColourModel()).predict(photo(tmp_path / "a.png"))
    silent = type(prediction)(**{**vars(prediction), "confidence": None})
    (only,) = entries_of(silent)
    assert only["label"] == prediction.emotion and only["score"] is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0, 1))
def test_the_others_share_the_rest_and_none_is_above_the_answer(own: list[float], above: float) -> None:
    least = 1 / (len(own) + 1)
    score = least + above * (1 - least)
    shares = spread(score, {str(place): value for place, value in enumerate(own)})
    assert math.fsum([score, *shares.values()]) == pytest.approx(1)
    assert all(0 <= share <= score + 1e-9 for share in shares.values())
    order = sorted(range(len(own)), key=lambda place: own[place])
    assert all(shares[str(a)] <= shares[str(b)] + 1e-9 for a, b in pairwise(order))


def test_where_nothing_is_capped_the_others_keep_their_proportions() -> None:
    assert spread(0.6, {"fear": 0.3, "joy": 0.1}) == pytest.approx({"fear": 0.3, "joy": 0.1})
    assert spread(0.5, {"fear": 0.9, "joy": 0.05, "awe": 0.05}) == pytest.approx({"fear": 0.45, "joy": 0.025, "awe": 0.025})
    assert spread(0.4, {"fear": 0.9, "joy": 0.1}) == pytest.approx({"fear": 0.4, "joy": 0.2})
