"""Draws abstract pictures: a washed ground, marks on it, and a surface over both."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from emocaliber.scenes.drawing.pen import SUPERSAMPLING, Colour, Pen, Point, between, oval, pick, smooth
from emocaliber.scenes.drawing.styles import perceived

LIGHTNESS = {"dark": 0.34, "mid-toned": 0.58, "bright": 0.82}
SATURATION = {"greyish": 0.10, "muted": 0.45, "vivid": 0.95}
STAND_OUT = 0.09  # marks as bright as their ground are moved this much in lightness, or nobody could see them


def draw_abstract(marks: str, colour: str, ground: str, surface: str, rng: np.random.Generator, size: int = 224) -> Image.Image:
    """The picture as RGB, `size` x `size` pixels; the same `rng` state gives the same one. Raises KeyError for a key that does not exist.

    Hues are random, as they carry no meaning. Lightness and saturation do, so no finish is applied.
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


# The drawers of marks. Each scatters its marks over the whole picture, in a palette's colours; none shows an object.

Palette = Sequence[Colour]
MarkDrawer = Callable[[Pen, np.random.Generator, Palette], None]


def _around(x: float, y: float, radii: Sequence[float], start: float = 0.0) -> list[Point]:
    """A closed outline at these distances from a centre, in equal steps round it."""
    turn = 2 * math.pi / len(radii)
    return [(x + r * math.cos(start + turn * i), y + r * math.sin(start + turn * i)) for i, r in enumerate(radii)]


def dots(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    for _ in range(int(rng.integers(45, 75))):
        r = between(rng, 0.012, 0.04)
        pen.ellipse(between(rng, 0, 1), between(rng, 0, 1), r, r, pick(rng, palette))


def rays(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    for _ in range(int(rng.integers(1, 3))):
        x, y = between(rng, 0.25, 0.75), between(rng, 0.25, 0.75)
        count = int(rng.integers(16, 26))
        for i in range(count):
            at = 2 * math.pi * (i + between(rng, -0.25, 0.25)) / count
            near, far, half = between(rng, 0.05, 0.1), between(rng, 0.3, 0.6), between(rng, 0.02, 0.05)
            tip = [(x + far * math.cos(at + side), y + far * math.sin(at + side)) for side in (-half, half)]
            pen.polygon([(x + near * math.cos(at), y + near * math.sin(at)), *tip], pick(rng, palette))


def blobs(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    for _ in range(int(rng.integers(7, 11))):
        size = between(rng, 0.08, 0.18)
        outline = _around(between(rng, 0.05, 0.95), between(rng, 0.05, 0.95), (size * rng.uniform(0.75, 1.15, 8)).tolist())
        pen.polygon(smooth(outline, closed=True), pick(rng, palette))


def waves(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    xs = np.linspace(-0.02, 1.02, 28)
    length, phase = between(rng, 0.8, 1.6), between(rng, 0, 6)
    y = between(rng, 0.05, 0.12)
    while y < 1:
        height = between(rng, 0.03, 0.06)
        ys = y + height * np.sin(2 * math.pi * length * xs + phase)
        pen.line(zip(xs.tolist(), ys.tolist(), strict=True), between(rng, 0.025, 0.06), pick(rng, palette))
        phase += between(rng, 0.2, 0.7)
        y += between(rng, 0.1, 0.16)


def bands(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    y = between(rng, 0.04, 0.14)
    while y < 0.96:
        height = between(rng, 0.05, 0.14)
        pen.polygon([(0, y), (1, y + between(rng, -0.01, 0.01)), (1, y + height), (0, y + height)], pick(rng, palette))
        y += height + between(rng, 0.05, 0.12)


def spiral(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    x, y, arms = between(rng, 0.35, 0.65), between(rng, 0.35, 0.65), int(rng.integers(2, 4))
    start, turns = between(rng, 0, 6), between(rng, 1.6, 2.4)
    for arm in range(arms):
        colour = pick(rng, palette)
        previous: Point | None = None
        for i in range(40):
            t = i / 39
            at = start + 2 * math.pi * (arm / arms + turns * t)
            point = (x + 0.75 * t * math.cos(at), y + 0.75 * t * math.sin(at))
            if previous is not None:
                pen.line([previous, point], 0.01 + 0.05 * t, colour)
            previous = point


def shards(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    for _ in range(int(rng.integers(11, 17))):
        x, y, at, reach = between(rng, 0, 1), between(rng, 0, 1), between(rng, 0, 2 * math.pi), between(rng, 0.15, 0.34)
        tip = (x + reach * math.cos(at), y + reach * math.sin(at))
        base = _around(x, y, rng.uniform(0.04, 0.11, 3).tolist(), at + math.pi / 3)
        pen.polygon([tip, *base], pick(rng, palette))


def scratches(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    for _ in range(int(rng.integers(9, 14))):
        x, y, at, reach = between(rng, 0, 1), between(rng, 0, 1), between(rng, 0, math.pi), between(rng, 0.12, 0.3)
        colour, dx, dy = pick(rng, palette), math.cos(at), math.sin(at)
        for _ in range(int(rng.integers(4, 8))):
            sideways, along, width = between(rng, -0.07, 0.07), between(rng, -0.05, 0.05), between(rng, 0.003, 0.009)
            middle = (x + sideways * -dy + along * dx, y + sideways * dx + along * dy)
            ends = [(middle[0] + side * reach * dx, middle[1] + side * reach * dy) for side in (-0.5, 0.5)]
            pen.line(ends, width, colour)


def stains(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    for _ in range(int(rng.integers(4, 7))):
        x, y, size, colour = between(rng, 0.1, 0.9), between(rng, 0.1, 0.9), between(rng, 0.08, 0.17), pick(rng, palette)
        pen.polygon(smooth(_around(x, y, (size * rng.uniform(0.5, 1.35, 17)).tolist()), closed=True, steps=3), colour)
        for _ in range(int(rng.integers(8, 16))):
            at, far, r = between(rng, 0, 2 * math.pi), size * between(rng, 1.15, 2.0), size * between(rng, 0.04, 0.16)
            pen.polygon(oval(x + far * math.cos(at), y + far * math.sin(at), r * 1.5, r, math.degrees(at)), colour)


def drips(pen: Pen, rng: np.random.Generator, palette: Palette) -> None:
    x = between(rng, -0.02, 0.03)
    while x < 1.02:
        width, end, colour = between(rng, 0.012, 0.04), between(rng, 0.25, 0.95), pick(rng, palette)
        top = between(rng, -0.05, 0.12)
        pen.line([(x, top), (x + between(rng, -0.008, 0.008), end)], width, colour)
        pen.ellipse(x, end, 0.8 * width, 1.3 * width, colour)
        x += width + between(rng, 0.02, 0.09)


MARK_DRAWERS: dict[str, MarkDrawer] = {
    paint.__name__: paint for paint in (dots, rays, blobs, waves, bands, spiral, shards, scratches, stains, drips)
}
