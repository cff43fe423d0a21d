"""Brightness, contrast, saturation and size of pictures, and their cells."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from emocaliber.trust.picture_statistics import CELLS, picture_cells, picture_statistics


@pytest.mark.parametrize(
    ("colour", "brightness", "saturation"), [("black", 0, 0), ("white", 1, 0), ("red", 76 / 255, 1), ((128, 128, 128), 128 / 255, 0)]
)
def test_a_plain_picture_has_the_brightness_and_saturation_of_its_colour(colour: object, brightness: float, saturation: float) -> None:
    found = picture_statistics(Image.new("RGB", (64, 32), colour))  # type: ignore[arg-type]
    assert found == pytest.approx({"brightness": brightness, "contrast": 0, "saturation": saturation, "size": 11})


def test_half_black_half_white_has_the_highest_contrast() -> None:
    picture = Image.new("RGB", (64, 64), "black")
    picture.paste("white", (0, 0, 32, 64))
    assert picture_statistics(picture)["contrast"] == pytest.approx(0.5)


def test_every_picture_has_a_cell_and_one_that_cannot_be_opened_the_last(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), "white").save(tmp_path / "white.png")
    Image.new("RGB", (3000, 2000), "black").save(tmp_path / "black.png")
    white, black = picture_cells(tmp_path / "white.png"), picture_cells(tmp_path / "black.png")
    assert white["brightness"] == CELLS["brightness"] - 2 and black["brightness"] == 0
    assert white["size"] < black["size"] < CELLS["size"] - 1
    (tmp_path / "text.png").write_text("none")
    last = {name: cells - 1 for name, cells in CELLS.items()}
    assert picture_cells(tmp_path / "text.png") == picture_cells(tmp_path / "missing.png") == picture_cells(None) == last
