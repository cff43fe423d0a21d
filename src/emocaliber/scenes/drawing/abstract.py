"""One abstract picture, drawn: a washed ground, marks on it, and a surface over both."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from emocaliber.scenes.drawing.landscape import between
from emocaliber.scenes.drawing.marks import MARK_DRAWERS, Palette
from emocaliber.scenes.drawing.oklch import perceived
from emocaliber.scenes.drawing.pen import SUPERSAMPLING, Colour, Pen

LIGHTNESS = {"dark": 0.34, "mid-toned": 0.58, "bright": 0.82}
SATURATION = {"greyish": 0.10, "muted": 0.45, "vivid": 0.95}
STAND_OUT = 0.09  # marks as bright as their ground are moved this much in lightness, or nobody could see them


def draw_abstract(marks: str, colour: str, ground: str, surface: str, rng: np.random.Generator, size: int = 224) -> Image.Image:
    """The picture as RGB, `size` x `size` pixels; the same `rng` state gives the same one. Raises KeyError for a key that does not exist.

    Hues are drawn at random, since they carry no meaning, and nothing else is done to light or colour, since these do.
    """
    hue = between(rng, 0, 360)
    behind = hue + between(rng, 90, 270)
    apart = 0.0 if colour.split()[0] != ground.split()[0] else STAND_OUT * (1 if ground.startswith("dark") else -1)
    palette = [_tone(colour, hue + turn, rng, apart) for turn in (0, 30, -30)]

    picture = _washed(size * SUPERSAMPLING, [_tone(ground, behind + turn, rng, -apart) for turn in (0, 25)], rng)
    MARK_DRAWERS[marks](Pen(picture, (0, 0, *picture.size), mirror=bool(rng.random() < 0.5)), rng, palette)
    if surface == "cracked":
        _crack(Pen(picture, (0, 0, *picture.size)), rng)
    return _SURFACES[surface](picture.reduce(SUPERSAMPLING), rng)


def _tone(key: str, hue: float, rng: np.random.Generator, lighter: float) -> Colour:
    light, strength = key.split()
    return perceived(LIGHTNESS[light] + lighter + between(rng, -0.03, 0.03), SATURATION[strength] * between(rng, 0.9, 1.05), hue)


def _washed(side: int, palette: Palette, rng: np.random.Generator) -> Image.Image:
    """Two colours running into each other."""
    clouds = Image.fromarray(rng.integers(0, 256, (5, 5), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    first, second = (Image.new("RGB", (side, side), colour) for colour in palette)
    return Image.composite(first, second, clouds)


def _crack(pen: Pen, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(7, 11))):
        x, y, at = between(rng, 0, 1), between(rng, 0, 1), between(rng, 0, 2 * np.pi)
        line = [(x, y)]
        for _ in range(int(rng.integers(8, 16))):
            at += between(rng, -0.8, 0.8)
            x, y = x + 0.06 * float(np.cos(at)), y + 0.06 * float(np.sin(at))
            line.append((x, y))
        pen.line([(x + 0.004, y + 0.004) for x, y in line], 0.008, (225, 222, 215))
        pen.line(line, 0.008, (22, 20, 24))


def _smooth(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return picture


def _hazy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return picture.filter(ImageFilter.BoxBlur(picture.width / 60))


def _relief(picture: Image.Image, cells: tuple[int, int], strength: float, rng: np.random.Generator) -> Image.Image:
    """Lighter and darker flecks on a grid of (across, down) cells, light and dark in equal measure."""
    flecks = rng.normal(128, strength, cells[::-1]).clip(0, 255).astype(np.uint8)
    field = Image.fromarray(flecks).resize(picture.size, Image.Resampling.BILINEAR)
    return ImageChops.add(picture, Image.merge("RGB", [field] * 3), offset=-128)


def _grainy(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _relief(picture, picture.size, 17, rng)


def _rough(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    across, down = picture.size
    return _relief(picture, (max(1, across // 14), max(1, down // 2)), 34, rng)


_SURFACES = {"smooth": _smooth, "hazy": _hazy, "grainy": _grainy, "rough": _rough, "cracked": _smooth}
