"""A row of any form that is spoilt in one of ten ways is named in a sentence before a model is loaded or a step is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from drawn_rows import drawn_rows
from emocaliber.errors import UserError
from emocaliber.training.checks import check_images
from emocaliber.training.config import Stage1Config
from emocaliber.training.samples import numbered_sample_rows
from emocaliber.training.stage1 import teacher_response
from forms import FORMS_OF_OTHERS, in_form, written

ROWS = list(drawn_rows(3))
TEXT, TRUTH = ROWS[1]["response"], ROWS[1]["ground_truth"]
OTHER = next(label for label in ROWS[1]["candidates"] if label != TRUTH)

SPOILS: dict[str, tuple[dict[str, Any], str]] = {
    "the image is gone": ({"image": "gone.png"}, r"1 of 3 images cannot be opened.*line 2, sample .*scene-0-000001: .*gone\.png"),
    "no image is named": ({"image": ""}, "line 2: .*(no image|not the path|field 'image' is '')"),
    "an unknown label": ({"ground_truth": "boredom"}, "line 2: .*'boredom', which is not (one of the candidates|a candidate)"),
    "two labels that are one": ({"candidates": ["Awe", "awe"]}, "line 2: .*'Awe' and 'awe' are the same label"),
    "one candidate": ({"candidates": [TRUTH]}, "line 2: field 'candidates' is .*two or more different labels"),
    "an id twice": ({"id": ROWS[0]["id"]}, "line 2: field 'id' is .* on line 1; every row needs its own id"),
    "of the test split": ({"split": "test"}, "line 2: split is 'test'; training and validation must not see the test split"),
    "another answer": ({"response": TEXT.replace(f"<answer>{TRUTH}", f"<answer>{OTHER}")}, f"row 2: response answers '{OTHER}', but"),
    "no five steps": (
        {"response": f"<answer>{TRUTH}</answer>"},
        r"row 2: response cannot be a training target \(missing_tag\): there is no",
    ),
    "a confidence": ({"response": f"{TEXT}<confidence>0.90</confidence>"}, r"row 2: response cannot be .*unexpected_confidence"),
}


def stage_1_reads(file: Path, out: Path) -> None:
    """What stage 1 does with a file before it loads a model."""
    rows = [row for _, row in numbered_sample_rows(file)]
    for number, row in enumerate(rows, 1):
        teacher_response(row, f"{file}, row {number}")
    check_images(Stage1Config(model="tiny", out=str(out), samples=str(file), learning_rate=1e-3, batch_size=1))


def shaped(form: str, rows: list[dict[str, Any]], folder: Path) -> Path:
    return written(folder / "rows.jsonl", rows if form == "our own" else [in_form(form, row) for row in rows])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for row in ROWS:
        Image.new("RGB", (4, 4)).save(tmp_path / row["image"])
    return tmp_path


@pytest.mark.parametrize("form", ("our own", *FORMS_OF_OTHERS))
def test_rows_that_are_not_spoilt_pass(form: str, images: Path) -> None:
    stage_1_reads(shaped(form, ROWS, images), images / "out")


@pytest.mark.parametrize("form", ("our own", *FORMS_OF_OTHERS))
@pytest.mark.parametrize(("change", "complaint"), SPOILS.values(), ids=SPOILS)
def test_a_spoilt_row_gets_a_sentence(form: str, change: dict[str, Any], complaint: str, images: Path) -> None:
    rows = [ROWS[0], ROWS[1] | change, ROWS[2]]
    with pytest.raises(UserError, match=f"(?s){complaint}"):
        stage_1_reads(shaped(form, rows, images), images / "out")
