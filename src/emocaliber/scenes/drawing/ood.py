"""Out-of-distribution (OOD) pictures: textures, piles of shapes, shapeless objects, and scenes perturbed until nothing can be recognised.

Shapes of all sizes that occlude each other ("dead leaves", Lee, Mumford & Huang 2001, Int. J. Comput. Vision 41:35) and noise whose power
falls with frequency have the statistics of natural images (Baradad et al. 2021, "Learning to see by looking at noise").
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from emocaliber.scenes.concepts import random_scene
from emocaliber.scenes.drawing.compose import draw_scene
from emocaliber.scenes.drawing.pen import SUPERSAMPLING, Colour, between, tint
from emocaliber.scenes.drawing.styles import everyday, posted, snapshot

Floats = npt.NDArray[np.float64]

_FINISHES = (everyday, snapshot, posted)
_LARGEST = 0.45  # radius of a leaf, in sides of the picture


def draw_ood(tone: str, rng: np.random.Generator, size: int = 224) -> Image.Image:
    """An OOD picture with this colour tone, RGB, `size` x `size` pixels; the same `rng` state gives the same one."""
    looks = (_textured, _littered, _joined, _staged, _staged, _staged, shuffled, shuffled, magnified, magnified)
    picture = looks[rng.integers(len(looks))](rng, size)
    return with_tone(_FINISHES[rng.integers(len(_FINISHES))](picture, rng), tone, rng)


def _textured(rng: np.random.Generator, size: int) -> Image.Image:
    """Clouds of colour, from coarse and smooth to fine and rough, some drawn out in one direction."""
    fields = _noise(rng, 3, size, between(rng, 0.8, 2.2), 2 ** between(rng, -2, 2))
    mixture = np.eye(3) * between(rng, 0.2, 1) + between(rng, 0.3, 1)  # channels that go together are greyer
    levels = np.tensordot(mixture, fields, 1) * between(rng, 12, 45) + rng.uniform(50, 205, 3)[:, None, None]
    return Image.fromarray(np.moveaxis(levels, 0, -1).clip(0, 255).astype(np.uint8))


def _littered(rng: np.random.Generator, size: int) -> Image.Image:
    """Dead leaves: shapes of every size on top of one another, the density of radius r proportional to r^-3."""
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
    return _turned(radius * np.cos(angles), radius * slim * np.sin(angles), turn, middle)


def _turned(x: Floats, y: Floats, turn: float, middle: Floats) -> list[tuple[float, float]]:
    """The points of a shape about 0, turned and moved to its middle."""
    c, s = math.cos(turn), math.sin(turn)
    return list(zip((middle[0] + c * x - s * y).tolist(), (middle[1] + s * x + c * y).tolist(), strict=True))


def _joined(rng: np.random.Generator, size: int) -> Image.Image:
    """Two OOD pictures, one showing through where a third is bright: objects before a ground."""
    mask = _textured(rng, size).convert("L").point([255 if level > 127 else 0 for level in range(256)])
    looks = (_textured, _littered, _staged)
    over, under = looks[rng.integers(3)], looks[rng.integers(3)]
    return Image.composite(over(rng, size), under(rng, size), mask)


def _staged(rng: np.random.Generator, size: int) -> Image.Image:
    """A few rounded objects before a ground, flat or shaded, in focus or not, none of them recognisable."""
    palette, side = _palette(rng), size * SUPERSAMPLING
    picture = _place(rng, size, palette).resize((side, side), Image.Resampling.BILINEAR)
    outlined, modelled, smallest = rng.random() < 0.4, rng.random() < 0.6, between(rng, 0.04, 0.15)
    for _ in range(int(rng.integers(1, 8))):
        outline = _rounded(rng, between(rng, smallest, 0.4) * side, side)
        mask = Image.new("L", (side, side))
        ImageDraw.Draw(mask).polygon(outline, fill=255)
        thing: Image.Image = Image.new("RGB", (side, side), tint(palette[rng.integers(len(palette))], rng))
        if modelled:
            light = _light(rng, max(8, side // 4)).resize((side, side), Image.Resampling.BILINEAR)
            thing = ImageChops.add(thing, Image.merge("RGB", [light] * 3), offset=-128)
        picture.paste(thing, mask=mask)
        if outlined:
            ImageDraw.Draw(picture).line([*outline, outline[0]], fill=(20, 20, 25), width=max(1, side // 90), joint="curve")
    picture = picture.reduce(SUPERSAMPLING)
    return picture.filter(ImageFilter.GaussianBlur(between(rng, 0, 0.025) * size)) if rng.random() < 0.5 else picture


def _place(rng: np.random.Generator, size: int, palette: list[Colour]) -> Image.Image:
    """A ground: one colour running into another, or a texture, or the one above a horizon and the other below."""
    first, second = palette[0], palette[1]
    fade = Image.composite(
        Image.new("RGB", (size, size), first), Image.new("RGB", (size, size), second), Image.linear_gradient("L").resize((size, size))
    )
    if rng.random() < 0.3:
        return fade
    rough = Image.blend(fade, _textured(rng, size), between(rng, 0.1, 1))
    horizon = int(size * between(rng, 0.15, 0.85))
    if rng.random() < 0.5:
        fade.paste(rough.crop((0, horizon, size, size)), (0, horizon))
        return fade
    return rough


def _rounded(rng: np.random.Generator, radius: float, side: int) -> list[tuple[float, float]]:
    """A closed curve without corners: a circle, squeezed, turned and dented by a few waves."""
    angles, middle, turn = np.linspace(0, 2 * math.pi, 60, endpoint=False), rng.uniform(0, side, 2), between(rng, 0, math.pi)
    waves = np.arange(2, 7)
    dents = (rng.normal(0, 0.3, 5) / waves) @ np.cos(np.outer(waves, angles) + rng.uniform(0, 2 * math.pi, (5, 1)))
    x, y = radius * (1 + dents) * np.array([np.cos(angles), between(rng, 0.3, 1) * np.sin(angles)])
    return _turned(x, y, turn, middle)


def _light(rng: np.random.Generator, size: int) -> Image.Image:
    """Soft light and shadow: grey clouds about 128."""
    field = _noise(rng, 1, size, 2.2, 1.0)[0]
    return Image.fromarray((128 + 35 * field).clip(0, 255).astype(np.uint8))


def _noise(rng: np.random.Generator, channels: int, size: int, steepness: float, stretch: float) -> Floats:
    """Noise (channels, size, size) of unit variance whose amplitude falls with frequency to that power, drawn out across or along."""
    across, down = np.fft.rfftfreq(size), np.fft.fftfreq(size)
    frequency = np.hypot(across[None, :] * stretch, down[:, None] / stretch)
    frequency[0, 0] = np.inf  # the mean is not noise
    waves = np.fft.rfft2(rng.standard_normal((channels, size, size))) / frequency**steepness
    fields = np.fft.irfft2(waves, s=(size, size))
    return np.asarray(fields / fields.std(axis=(1, 2), keepdims=True))


def _palette(rng: np.random.Generator) -> list[Colour]:
    """Three to eight colours, all of them as pale or as gaudy as the first."""
    colours = rng.uniform(0, 255, (int(rng.integers(3, 9)), 3))
    grey = colours.mean(1, keepdims=True)
    return [(red, green, blue) for red, green, blue in (grey + between(rng, 0.1, 1) * (colours - grey)).astype(int).tolist()]


# Perturbed scenes: the lines, colours and surfaces of a scene, without a recognisable object, figure or place. Without them, training on
# OOD pictures teaches that everything drawn in the style of the scenes is a scene, and so is a photograph with edges as sharp as theirs.

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
    return draw_scene(*random_scene(rng), rng, size, finish=lambda picture, rng: picture, supersampling=1)


# Bounds of the mean lightness and mean chroma (largest less smallest channel) of each colour tone, as fractions.
LIGHTNESS = {"dark": (0.12, 0.32), "mid-toned": (0.36, 0.52), "bright": (0.56, 0.78)}
CHROMA = {"greyish": (0.02, 0.09), "muted": (0.13, 0.24), "vivid": (0.28, 0.45)}
_ROUNDS = 4
_MOST = 6.0  # the largest factor for the chroma, so that grey pictures stay grey


def with_tone(picture: Image.Image, tone: str, rng: np.random.Generator) -> Image.Image:
    """The picture with this colour tone's lightness and chroma: by a gamma for all channels and a scaling of each pixel about its grey."""
    light, strength = tone.split()
    lightness, chroma = rng.uniform(*LIGHTNESS[light]), rng.uniform(*CHROMA[strength])
    pixels = np.asarray(picture, dtype=np.float32) / 255
    for _ in range(_ROUNDS):  # each undoes a little of the other
        pixels = pixels ** _gamma(pixels, lightness)
        grey = pixels.mean(2, keepdims=True)
        factor = chroma / max(float(np.ptp(pixels, axis=2).mean()), chroma / _MOST)
        pixels = (grey + factor * (pixels - grey)).clip(0, 1)
    return Image.fromarray((255 * pixels).round().astype(np.uint8))


def _gamma(pixels: np.ndarray, lightness: float) -> float:
    """The exponent that gives the pixels this mean, by bisection of its logarithm."""
    low, high = -2.5, 2.5
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if (pixels ** np.exp(middle)).mean() > lightness else (low, middle)
    return float(np.exp((low + high) / 2))
