"""What several tests share: models and a folder of strange images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image, ImageDraw

from emocaliber.core.model import Model
from emocaliber.models import TINY, load_model
from stand_ins import ColourModel, blank_png, photo

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


@pytest.fixture
def colour_model() -> ColourModel:
    return ColourModel()


@pytest.fixture(scope="session")
def tiny_model() -> Model:
    """The shipped model."""
    if not (TINY / "config.json").is_file():
        pytest.skip(f"there is no checkpoint in {TINY}")
    return load_model("tiny")


@pytest.fixture
def oddities(tmp_path: Path) -> dict[str, str | None]:
    """A folder `odd` of strange files: each one's path and the error code it deserves, None for those that are images all the same."""
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "text.jpg").write_text("not an image")
    (folder / "zero.png").touch()
    whole = photo(tmp_path / "whole.jpg", "teal", (256, 256)).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    os.mkfifo(folder / "pipe.jpg")
    (folder / "huge.png").write_bytes(blank_png(10_000, 9_000))
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "round").symlink_to(folder)
    name = os.fsdecode(b"caf\xe9.jpg")
    Image.new("RGB", (32, 32), "red").save(os.fsencode(folder / name), "JPEG")
    Image.new("CMYK", (32, 32), (0, 200, 50, 0)).save(folder / "cmyk.jpg")
    Image.new("I;16", (32, 32), 40_000).save(folder / "deep.png")
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("blue", "red")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    upright = Image.new("RGB", (64, 32), "salmon")
    ImageDraw.Draw(upright).rectangle((0, 0, 15, 15), fill="navy")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        # What a camera held that way would store: the inverse of what makes it upright.
        inverse = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
        stored = upright if inverse is None else upright.transpose(Image.Transpose(inverse))
        stored.save(folder / f"turned{orientation}.jpg", exif=exif, quality=95)
    bad = {
        "text.jpg": "unsupported_format",
        "zero.png": "empty",
        "cut.jpg": "truncated",
        "pipe.jpg": "not_regular",
        "huge.png": "too_many_pixels",
        "loop.jpg": "not_found",
    }
    good = [name, "cmyk.jpg", "deep.png", "moving.gif", *(f"turned{n}.jpg" for n in range(1, 9))]
    return {str(folder / each): code for each, code in bad.items()} | {str(folder / each): None for each in good}
