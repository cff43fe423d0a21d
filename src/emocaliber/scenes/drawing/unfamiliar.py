"""A picture of nothing in particular, yet as varied as photographs are: textures, heaps of shapes, and one laid over the other.

Shapes of all sizes that hide each other ("dead leaves", Lee, Mumford & Huang 2001, Int. J. Comput. Vision 41:35) and noise that weakens
with its frequency have the statistics of natural images, and teach networks much of what photographs do (Baradad et al. 2021, "Learning
to see by looking at noise").
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from emocaliber.scenes.drawing.landscape import between
from emocaliber.scenes.drawing.pen import SUPERSAMPLING, Colour, tint
from emocaliber.scenes.drawing.styles import everyday, posted, snapshot

Floats = npt.NDArray[np.float64]

_FINISHES = (everyday, snapshot, posted)
_LARGEST = 0.45  # radius of a leaf, in sides of the picture


def draw_unfamiliar(rng: np.random.Generator, size: int = 224) -> Image.Image:
    """The picture as RGB, `size` x `size` pixels; the same `rng` state gives the same one."""
    looks = (_textured, _littered, _joined)
    picture = looks[rng.integers(len(looks))](rng, size)
    return _FINISHES[rng.integers(len(_FINISHES))](picture, rng)


def _textured(rng: np.random.Generator, size: int) -> Image.Image:
    """Clouds of colour, from coarse and smooth to fine and rough, some drawn out in one direction."""
    steepness, stretch = between(rng, 0.8, 2.2), 2 ** between(rng, -2, 2)
    across, down = np.fft.rfftfreq(size), np.fft.fftfreq(size)
    frequency = np.hypot(across[None, :] * stretch, down[:, None] / stretch)
    frequency[0, 0] = np.inf  # the mean is set below
    waves = np.fft.rfft2(rng.standard_normal((3, size, size))) / frequency**steepness
    fields = np.fft.irfft2(waves, s=(size, size))
    fields /= fields.std(axis=(1, 2), keepdims=True)
    mixture = np.eye(3) * between(rng, 0.2, 1) + between(rng, 0.3, 1)  # channels that go together are greyer
    levels = np.tensordot(mixture, fields, 1) * between(rng, 12, 45) + rng.uniform(50, 205, 3)[:, None, None]
    return Image.fromarray(np.moveaxis(levels, 0, -1).clip(0, 255).astype(np.uint8))


def _littered(rng: np.random.Generator, size: int) -> Image.Image:
    """Leaves of every size on top of one another: the count of a radius r falls with its cube, so no size is special."""
    side = size * SUPERSAMPLING
    palette = _palette(rng)
    picture = Image.new("RGB", (side, side), palette[0])
    pen = ImageDraw.Draw(picture)
    smallest, corners = between(rng, 0.015, 0.12), int(rng.integers(2, 8))
    radii = smallest / np.sqrt(rng.uniform((smallest / _LARGEST) ** 2, 1, 40 + int(3 / smallest)))
    for radius in radii * side:
        middle, slim, turn = rng.uniform(0, side, 2), between(rng, 0.3, 1), between(rng, 0, math.pi)
        colour = tint(palette[rng.integers(len(palette))], rng)
        pen.polygon(_leaf(middle, radius, slim, turn, corners), fill=colour)
    return Image.blend(picture.reduce(SUPERSAMPLING), _textured(rng, size), between(rng, 0, 0.4))  # light and surface of things


def _leaf(middle: Floats, radius: float, slim: float, turn: float, corners: int) -> list[tuple[float, float]]:
    """A turned ellipse, or with more than two corners that polygon, squeezed."""
    angles = np.linspace(0, 2 * math.pi, corners if corners > 2 else 24, endpoint=False)
    x, y = radius * np.cos(angles), radius * slim * np.sin(angles)
    c, s = math.cos(turn), math.sin(turn)
    return list(zip((middle[0] + c * x - s * y).tolist(), (middle[1] + s * x + c * y).tolist(), strict=True))


def _joined(rng: np.random.Generator, size: int) -> Image.Image:
    """Two such pictures, one showing through where a third is bright: things before a ground."""
    mask = _textured(rng, size).convert("L").point([255 if level > 127 else 0 for level in range(256)])
    over, under = (_textured, _littered) if rng.random() < 0.5 else (_littered, _textured)
    return Image.composite(over(rng, size), under(rng, size), mask)


def _palette(rng: np.random.Generator) -> list[Colour]:
    """Three to eight colours, all of them as pale or as gaudy as the first."""
    colours = rng.uniform(0, 255, (int(rng.integers(3, 9)), 3))
    grey = colours.mean(1, keepdims=True)
    return [(red, green, blue) for red, green, blue in (grey + between(rng, 0.1, 1) * (colours - grey)).astype(int).tolist()]
