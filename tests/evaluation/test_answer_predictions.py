"""What `predict` writes, scored against truths of another file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import emocaliber as ec
from emocaliber.core.response import Reasoning
from emocaliber.io.rows import convert, write_rows
from emocaliber.predict.prediction import ROW_FORM, Failure, Prediction, Predictions

LABELS = ("awe", "fear", "joy")


def prediction(image: str, emotion: str | None, confidence: float | None, **others: Any) -> Prediction:
    shares = {label: 0.6 if label == emotion else 0.2 for label in LABELS} if emotion else {}
    values: dict[str, Any] = {"accepted": None, "unfamiliar": False, "untaught": None, "seconds": 0.1, "error": None} | others
    return Prediction(
        *(image, "custom", emotion, confidence, "calibrated"),
        reasoning=Reasoning("a", "b", "c", "d", "e") if emotion else None,
        alternatives=shares,
        response=f"<answer>{emotion}</answer><confidence>0.99</confidence>" if emotion else None,
        model="tiny",
        **values,
    )


MADE = (
    prediction("p/1.jpg", "awe", 0.5),
    prediction("p/2.jpg", "fear", 0.75),
    prediction("p/3.jpg", None, None, error=Failure("corrupt", "cut off")),
)


def forms(folder: Path) -> list[Any]:
    """The predictions in each form that `predict` and `Predictions` give."""
    rows = [each.to_row() for each in MADE]
    write_rows(folder / "p.jsonl", rows)
    for suffix in ("csv", "parquet"):
        convert(folder / "p.jsonl", folder / f"p.{suffix}", ROW_FORM)
    return [rows, Predictions(iter(MADE)).to_frame(), *(folder / f"p.{suffix}" for suffix in ("jsonl", "csv", "parquet"))]


def test_predictions_without_truths_are_refused(tmp_path: Path) -> None:
    for form in forms(tmp_path):
        with pytest.raises(ec.UserError, match=r"these are predictions without truths; give .*truth"):
            ec.score(form)


@pytest.mark.parametrize("folder", ["p/", "elsewhere/", ""])
def test_predictions_are_joined_to_truths_by_image(tmp_path: Path, folder: str) -> None:
    (tmp_path / "t.csv").write_text(
        "image,label\n" + "".join(f"{folder}{name}.jpg,{label}\n" for name, label in zip("321", LABELS, strict=True))
    )
    for form in forms(tmp_path):
        score = ec.score(form, truth=tmp_path / "t.csv")
        assert [(each.ground_truth, each.answer, each.malformed) for each in score.outcomes] == [
            ("joy", "awe", None),
            ("fear", "fear", None),
            ("awe", None, "no_answer"),
        ]
        assert score.outcomes[1].confidence == {"confidence": 0.75, "probability": 0.6}
        assert [row["image"] for row in score.rows] == ["p/1.jpg", "p/2.jpg", "p/3.jpg"]
        assert any("matched by their file names" in note for note in score.notes) == (folder != "p/")


def test_truths_may_be_a_column_beside_the_predictions() -> None:
    frame = Predictions(iter(MADE)).to_frame()
    frame["label"] = ["awe", "awe", "joy"]
    assert ec.score(frame).summary["overall"]["accuracy"] == pytest.approx(1 / 3)
