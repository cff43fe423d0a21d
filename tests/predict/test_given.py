"""What Python programs give as images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import emocaliber as ec
from emocaliber.errors import UserError
from emocaliber.predict.predictor import Predictor
from stand_ins import ColourModel, photo

pytestmark = pytest.mark.filterwarnings("ignore:It sees colours only")
PICTURE = np.zeros((6, 8, 3), np.uint8) + np.array([200, 100, 50], np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        PICTURE,
        PICTURE.astype(np.int64),
        PICTURE / 255,
        (PICTURE / 255).astype(np.float32),
        np.moveaxis(PICTURE, -1, 0),
        np.dstack([PICTURE, np.full((6, 8), 255, np.uint8)]),
        torch.tensor(PICTURE),
        torch.tensor(PICTURE).permute(2, 0, 1) / 255,
        Image.fromarray(PICTURE),
    ],
    ids=lambda image: f"{type(image).__name__}-{getattr(image, 'dtype', '')}-{getattr(image, 'shape', '')}",
)
def test_arrays_and_tensors_are_the_picture_that_they_hold(colour_model: ColourModel, image: Any) -> None:
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "PNG")
    predictor = Predictor(colour_model)
    expected = predictor.predict(file.getvalue()).response
    assert predictor.predict(image).response == expected
    file.seek(0)
    assert predictor.predict(file).response == expected
    assert predictor.predict_many(image)[0].response == expected


@pytest.mark.parametrize("image", [None, 3, ["a.png"], {"a": 1}, object(), Image])
def test_what_is_no_image_is_a_type_error(colour_model: ColourModel, image: Any) -> None:
    with pytest.raises(TypeError, match="an image must be a path"):
        Predictor(colour_model).predict(image)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        ("https://example.org/a.jpg", "is an address, and nothing is downloaded here"),
        (np.zeros((3, 4, 5, 6)), r"shape \(3, 4, 5, 6\) holds several images; use predict_many"),
        (np.zeros((0, 4)), "is no image"),
        (PICTURE * 1.0, "float64 with values from 50 to 200"),
        (np.full((4, 4), -1), "values from -1 to -1"),
        (np.full((4, 4), np.nan), "is no image"),
    ],
)
def test_an_image_of_the_right_type_but_wrong_content_is_refused(colour_model: ColourModel, image: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Predictor(colour_model).predict(image)


def test_many_images_are_a_folder_a_glob_a_list_a_stream_or_a_batch(tmp_path: Path, colour_model: ColourModel) -> None:
    paths = [photo(tmp_path / "in" / f"{n}.png", colour) for n, colour in enumerate(("red", "green", "blue", "orange", "teal"))]
    predictor = Predictor(colour_model)
    expected = [predictor.predict(path).response for path in paths]
    batch = np.stack([np.asarray(Image.open(path)) for path in paths])
    for images in (tmp_path / "in", str(tmp_path / "in" / "*.png"), paths, (p for p in paths), batch, iter(map(Image.open, paths))):
        assert [each.response for each in predictor.predict_many(images)] == expected
    with pytest.raises(TypeError, match="or an iterable of these, not int"):
        predictor.predict_many(3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="holds no images"):
        (tmp_path / "empty").mkdir()
        predictor.predict_many(tmp_path / "empty")


def test_predictions_are_computed_when_they_are_needed_and_kept(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(ColourModel):
        def _reply(self, request):  # type: ignore[no-untyped-def]
            asked.append(request.key)
            return super()._reply(request)

    paths = [str(photo(tmp_path / f"{n}.png", "orange")) for n in range(20)]
    predictions = Predictor(Counting(window=4)).predict_many(paths)
    assert predictions[0].image == paths[0] and len(asked) < 8
    assert [each.image for each in predictions] == paths == [each.image for each in predictions]
    assert len(predictions) == len(asked) == 20 and predictions[-1].image == paths[-1]
    assert predictions.to_rows()[3]["emotion"] == predictions[3].emotion


def test_predictions_are_shown_and_made_a_table(tmp_path: Path, colour_model: ColourModel) -> None:
    name = tmp_path / "<b>&.png"
    predictions = Predictor(colour_model).predict_many([photo(name), tmp_path / "none.png"])
    assert repr(predictions[0]).endswith("(verb)>") and "not_found" in repr(predictions[1])
    shown = predictions._repr_html_()
    assert "&lt;b&gt;&amp;.png" in shown and "<b>&.png" not in shown and "not_found" in shown
    assert predictions[0]._repr_html_() in shown or predictions[0].emotion in shown  # type: ignore[operator]
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = predictions.to_frame()
    assert isinstance(frame, pandas.DataFrame) and list(frame["error"].fillna("")) == ["", "not_found"]
    assert frame.filter(like="p_").iloc[0].sum() == pytest.approx(1, abs=1e-4) and frame["human"][0] == "nobody"


def test_the_models_notice_comes_once_as_a_warning(colour_model: ColourModel) -> None:
    predictor, picture = Predictor(colour_model), Image.new("RGB", (8, 8), "red")
    with pytest.warns(UserWarning, match="It sees colours only") as seen:
        predictor.predict(picture)
        predictor.predict_many([picture])
    assert len(seen) == 1


def test_the_package_lists_its_names() -> None:
    assert {"load", "Prediction", "UserError"} <= set(dir(ec))
    assert all(getattr(ec, name) is not None for name in dir(ec))
    with pytest.raises(AttributeError, match=r"it has .*load.*; did you mean load\?$"):
        ec.laod  # noqa: B018


def test_a_column_of_paths_is_a_list_and_a_table_is_none(tmp_path: Path, colour_model: ColourModel) -> None:
    paths = [str(photo(tmp_path / f"{n}.png", colour)) for n, colour in enumerate(("red", "teal"))]
    predictor = Predictor(colour_model)
    assert [each.image for each in predictor.predict_many(np.array(paths))] == paths
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"path": paths})
    assert [each.image for each in predictor.predict_many(frame["path"])] == paths
    with pytest.raises(TypeError, match=r"give the column that holds their paths, such as df"):
        predictor.predict_many(frame)
    with pytest.raises(TypeError, match="for several images, use predict_many"):
        predictor.predict(frame["path"])


@pytest.mark.parametrize(
    ("asked", "error", "complaint"),
    [
        ({"labels": ["calm", 3]}, TypeError, "labels must be text, not int"),
        ({"labels": ["calm", "tense"], "task": "FI-2"}, UserError, "the task 'FI-2' or labels of your own, not both"),
        ({"min_confidence": "0.6"}, TypeError, "must be a number from 0 to 1"),
    ],
)
def test_wrong_arguments_are_told(colour_model: ColourModel, asked: dict[str, Any], error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        Predictor(colour_model).predict(Image.new("RGB", (8, 8)), **asked)
    with pytest.raises(UserError, match="did you mean verb"):
        Predictor(colour_model, "vreb")
