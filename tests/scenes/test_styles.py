"""Finishes change how a picture looks, and leave what it shows."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from emocaliber.scenes.drawing.compose import draw_scene
from emocaliber.scenes.drawing.styles import Finish, artistic, everyday, lit, posted, snapshot

SIZE = 96
every_finish = pytest.mark.parametrize("finish", [everyday, snapshot, posted, artistic])


def plain(seed: int = 0) -> Image.Image:
    return draw_scene("teddy", "child", "meadow", "close", np.random.default_rng(seed), SIZE, finish=lambda picture, rng: picture)


def outlines(picture: Image.Image) -> np.ndarray:
    """Light and dark within a frame's width of the rim, coarsely."""
    inside = ImageOps.crop(picture.convert("L"), SIZE // 16)
    return np.asarray(inside.resize((24, 24), Image.Resampling.BOX)).ravel()


@every_finish
def test_a_finish_keeps_size_and_mode_and_leaves_its_input_alone(finish: Finish) -> None:
    picture = plain()
    before = picture.tobytes()
    for seed in range(12):
        finished = finish(picture, np.random.default_rng(seed))
        assert (finished.size, finished.mode) == (picture.size, picture.mode)
        assert finished.tobytes() == finish(picture, np.random.default_rng(seed)).tobytes()
    assert picture.tobytes() == before


@every_finish
def test_what_is_shown_can_still_be_made_out(finish: Finish) -> None:
    """Outlines stay: light and dark of the finished picture go with those of the plain one, but for a tilt and some dabs."""
    picture = plain()
    for seed in range(12):
        lights = [outlines(picture), outlines(finish(picture, np.random.default_rng(seed)))]
        assert np.corrcoef(lights)[0, 1] > 0.6


def test_photographs_have_darker_corners_and_no_empty_ones() -> None:
    white = Image.new("RGB", (SIZE, SIZE), (200, 200, 200))
    for seed in range(20):
        grey = np.asarray(snapshot(white, np.random.default_rng(seed)).convert("L")).astype(float)
        corner, middle = grey[:8, :8].mean(), grey[44:52, 44:52].mean()
        assert 0.4 * middle < corner < middle


def test_works_of_art_have_other_colours_than_the_world_they_show() -> None:
    picture = np.asarray(plain()).astype(float)
    changes = [abs(np.asarray(artistic(plain(), np.random.default_rng(seed))) - picture).mean() for seed in range(12)]
    ordinary = [abs(np.asarray(everyday(plain(), np.random.default_rng(seed))) - picture).mean() for seed in range(12)]
    assert np.median(changes) > 1.5 * np.median(ordinary)


def test_coloured_light_colours_the_dark_too() -> None:
    night = lit(Image.new("RGB", (4, 4)), (1.3, 0.6, 0.5), (255, 20, 10))
    red, green, blue = night.getpixel((0, 0))  # type: ignore[misc]
    assert red > 50 and green < 10 and blue < 10
