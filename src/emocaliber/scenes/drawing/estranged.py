"""Scenes of which nothing is left that could be named: the same lines, colours and surfaces, but no thing, no figure and no place.

Without them, lessons on unfamiliar pictures teach that scenes are whatever is drawn in their style, and a photograph with edges as sharp as
theirs is taken for one.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from emocaliber.scenes.drawing.compose import draw
from emocaliber.scenes.drawing.landscape import between
from emocaliber.scenes.scene import random_scene

_TURNS = tuple(Image.Transpose)


def shuffled(rng: np.random.Generator, size: int) -> Image.Image:
    """A scene cut into 25 squares or more, which lie anywhere, turned and mirrored."""
    parts = int(rng.integers(5, 12))
    side = -(-size // parts)
    scene = _scene(rng, size).resize((side * parts, side * parts), Image.Resampling.BICUBIC)
    corners = [(side * column, side * row) for row in range(parts) for column in range(parts)]
    picture = Image.new("RGB", scene.size)
    for (left, top), source in zip(corners, rng.permutation(len(corners)), strict=True):
        x, y = corners[source]
        picture.paste(scene.crop((x, y, x + side, y + side)).transpose(_TURNS[rng.integers(len(_TURNS))]), (left, top))
    return picture.resize((size, size), Image.Resampling.BICUBIC)


def magnified(rng: np.random.Generator, size: int) -> Image.Image:
    """A spot of a scene from close by, in focus or not."""
    scene = _scene(rng, 4 * size)
    side = int(scene.width / between(rng, 7, 14))
    x, y = rng.integers(0, scene.width - side + 1, 2).tolist()
    spot = scene.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.BICUBIC)
    return spot.filter(ImageFilter.GaussianBlur(between(rng, 0, 0.015) * size))


def _scene(rng: np.random.Generator, size: int) -> Image.Image:
    return draw(*random_scene(rng), rng, size, finish=lambda picture, rng: picture, supersampling=1)
