"""Built contexts (a fairground, a living room, a prison cell), and the shapes that several contexts share."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from emocaliber.scenes.drawing.pen import Colour, Pen, Point, between, pick, shade, tint

PARTY: tuple[Colour, ...] = ((235, 50, 70), (255, 205, 40), (50, 170, 235), (70, 200, 95), (240, 90, 190), (250, 135, 30))


def fair(pen: Pen, rng: np.random.Generator) -> None:
    top = pick(rng, ((255, 150, 190), (125, 120, 235), (90, 205, 235)))
    gradient(pen, 0, 0.85, tint(top, rng, 14), tint((250, 220, 215), rng, 10))
    _ferris_wheel(pen, rng, between(rng, 0.66, 0.8), between(rng, 0.38, 0.46), between(rng, 0.26, 0.33))
    _tent(pen, rng, between(rng, 0.12, 0.28), between(rng, 0.24, 0.34))
    pen.rectangle(0, 0.82, 1, 1, tint((170, 200, 110), rng, 14))
    for row in range(2):
        sag, start, flags = between(rng, 0.03, 0.08), 0.02 + 0.09 * row, 11
        rope = [(i / flags, start + sag * math.sin(math.pi * i / flags)) for i in range(flags + 1)]
        pen.line(rope, 0.006, (90, 70, 90))
        for (x0, y0), (x1, y1) in pairwise(rope):
            pen.polygon([(x0, y0), (x1, y1), ((x0 + x1) / 2, max(y0, y1) + 0.065)], pick(rng, PARTY))
    for _ in range(50):
        x, y, s = between(rng, 0, 1), between(rng, 0.84, 1), between(rng, 0.006, 0.012)
        pen.rectangle(x - s, y - s, x + s, y + s, pick(rng, PARTY))


def _ferris_wheel(pen: Pen, rng: np.random.Generator, x: float, y: float, r: float) -> None:
    steel = tint((110, 60, 140), rng, 25)
    pen.line([(x - 0.6 * r, 0.86), (x, y), (x + 0.6 * r, 0.86)], 0.024, shade(steel, 0.8))
    start, spokes = between(rng, 0, 1), int(rng.integers(8, 11))
    rim = [(x + r * math.cos(start + 2 * math.pi * i / spokes), y + r * math.sin(start + 2 * math.pi * i / spokes)) for i in range(spokes)]
    pen.arc(x, y, r, r, 0, 360, 0.016, steel)
    for cx, cy in rim:
        pen.line([(x, y), (cx, cy)], 0.009, steel)
    for i, (cx, cy) in enumerate(rim):
        pen.ellipse(cx, cy + 0.02, 0.042, 0.042, PARTY[i % len(PARTY)])
    pen.ellipse(x, y, 0.035, 0.035, (255, 225, 90))


def _tent(pen: Pen, rng: np.random.Generator, x: float, top: float) -> None:
    colour, half = pick(rng, PARTY[:3]), between(rng, 0.2, 0.26)
    eaves = top + 0.2
    for i in range(8):
        left, right = x - half + half * i / 4, x - half + half * (i + 1) / 4
        stripe = (252, 250, 245) if i % 2 else colour
        pen.polygon([(x, top), (left, eaves), (right, eaves)], stripe)
        pen.rectangle(x + 0.86 * (left - x), eaves, x + 0.86 * (right - x), 0.86, stripe)
    pen.line([(x, top), (x, top - 0.08)], 0.01, (90, 70, 90))
    pen.polygon([(x, top - 0.08), (x + 0.07, top - 0.055), (x, top - 0.03)], colour)


def room(pen: Pen, rng: np.random.Generator) -> None:
    wall = tint(pick(rng, ((245, 200, 150), (240, 185, 165), (235, 210, 160))), rng, 12)
    pen.rectangle(0, 0, 1, 1, wall)
    stripes = int(rng.integers(9, 13))
    for i in range(stripes):
        pen.rectangle((i + 0.3) / stripes, 0, (i + 0.7) / stripes, 0.75, shade(wall, 0.91))
    floor = between(rng, 0.72, 0.78)
    wood = tint((160, 98, 55), rng, 14)
    pen.rectangle(0, floor, 1, 1, wood)
    for i in range(1, 4):
        pen.line([(0, floor + 0.07 * i), (1, floor + 0.07 * i)], 0.006, shade(wood, 0.78))
    pen.rectangle(0, floor - 0.025, 1, floor, (250, 240, 225))
    _window(pen, rng, between(rng, 0.16, 0.3), between(rng, 0.2, 0.26))
    for _ in range(int(rng.integers(1, 3))):
        x, y = between(rng, 0.48, 0.66), between(rng, 0.1, 0.26)
        pen.rectangle(x - 0.07, y - 0.06, x + 0.07, y + 0.06, (115, 70, 40))
        pen.rectangle(x - 0.05, y - 0.042, x + 0.05, y + 0.042, tint((150, 180, 150), rng, 40))
    pen.ellipse(between(rng, 0.4, 0.6), 0.93, 0.44, 0.08, tint((185, 60, 60), rng, 25))
    sofa = tint(pick(rng, ((190, 70, 60), (70, 110, 120), (120, 85, 130))), rng, 18)
    x = between(rng, 0.36, 0.56)
    pen.ellipse(x, floor - 0.16, 0.32, 0.14, sofa)
    pen.rectangle(x - 0.32, floor - 0.16, x + 0.32, floor + 0.06, sofa)
    pen.rectangle(x - 0.3, floor - 0.06, x + 0.3, floor, shade(sofa, 1.2))
    for side in (-1, 1):
        pen.ellipse(x + side * 0.32, floor - 0.03, 0.06, 0.1, shade(sofa, 0.8))
    x, top = between(rng, 0.86, 0.94), between(rng, 0.2, 0.3)
    pen.ellipse(x, top + 0.08, 0.2, 0.2, shade(wall, 1.12))
    pen.line([(x, top + 0.1), (x, floor + 0.06)], 0.016, (80, 55, 40))
    pen.ellipse(x, floor + 0.07, 0.06, 0.02, (80, 55, 40))
    pen.polygon([(x - 0.06, top), (x + 0.06, top), (x + 0.12, top + 0.16), (x - 0.12, top + 0.16)], (255, 236, 140))


def _window(pen: Pen, rng: np.random.Generator, x: float, y: float) -> None:
    pen.rectangle(x - 0.14, y - 0.15, x + 0.14, y + 0.16, (252, 248, 240))
    sky = tint(pick(rng, ((150, 210, 245), (250, 190, 130), (45, 60, 120))), rng, 12)
    for column in (-1, 1):
        for row in (-1, 1):
            cx, cy = x + column * 0.062, y + row * 0.07
            pen.rectangle(cx - 0.05, cy - 0.058, cx + 0.05, cy + 0.058, sky)
    curtain = tint((205, 75, 70), rng, 25)
    for side in (-1, 1):
        drape = [(0.19, -0.17), (0.04, -0.17), (0.14, 0.19), (0.19, 0.19)]
        pen.polygon([(x + side * dx, y + dy) for dx, dy in drape], curtain)


def cell(pen: Pen, rng: np.random.Generator) -> None:
    mortar = tint((62, 62, 68), rng, 10)
    brick = tint((108, 98, 100), rng, 12)
    bricks = tuple(shade(brick, factor) for factor in (0.86, 0.94, 1.0, 1.08))
    floor = between(rng, 0.8, 0.88)
    pen.rectangle(0, 0, 1, 1, mortar)
    height, width = between(rng, 0.075, 0.095), between(rng, 0.17, 0.21)
    for row in range(int(floor / height) + 1):
        for column in range(-1, int(1 / width) + 2):
            x, y = (column + 0.5 * (row % 2)) * width, row * height
            pen.rectangle(x + 0.006, y + 0.006, x + width - 0.006, y + height - 0.006, pick(rng, bricks))
    pen.rectangle(0, floor, 1, 1, shade(mortar, 0.62))
    x, y = between(rng, 0.25, 0.75), between(rng, 0.12, 0.17)
    pen.rectangle(x - 0.17, y - 0.1, x + 0.17, y + 0.11, shade(mortar, 0.6))
    pen.rectangle(x - 0.14, y - 0.07, x + 0.14, y + 0.08, tint((195, 212, 225), rng, 14))
    iron = tint((28, 29, 34), rng, 6)
    bars = int(rng.integers(7, 10))
    offset = between(rng, 0.3, 0.7)
    for i in range(bars):
        at = (i + offset) / bars
        pen.rectangle(at - 0.016, 0, at + 0.016, 1, iron)
        pen.rectangle(at - 0.01, 0, at - 0.003, 1, (135, 138, 145))
    for rail in (0.03, 0.94):
        pen.rectangle(0, rail - 0.018, 1, rail + 0.018, iron)


# Shared shapes: skies, ridges, clouds, flames, broken outlines.


def gradient(pen: Pen, y0: float, y1: float, top: Colour, bottom: Colour, bands: int = 24) -> None:
    """Fills the whole width from `y0` down to `y1`."""
    step = (y1 - y0) / bands
    for i in range(bands):
        t = i / (bands - 1)
        r, g, b = (round(p + (q - p) * t) for p, q in zip(top, bottom, strict=True))
        pen.rectangle(0, y0 + i * step, 1, y0 + (i + 1) * step + 0.01, (r, g, b))


def ridge(pen: Pen, rng: np.random.Generator, y: float, height: float, fill: Colour, waves: float = 1.5) -> None:
    """A rolling line of hills, dunes or water at `y`, filled down to the picture's lower edge."""
    start, second = between(rng, 0, 6.3), between(rng, 0, 6.3)
    xs = np.linspace(0, 1, 33)
    ys = y + height * (0.7 * np.sin(2 * math.pi * waves * xs + start) + 0.3 * np.sin(5.3 * math.pi * waves * xs + second))
    pen.polygon([(0.0, 1.0), *zip(xs.tolist(), ys.tolist(), strict=True), (1.0, 1.0)], fill)


def cloud(pen: Pen, x: float, y: float, size: float, fill: Colour) -> None:
    for dx, dy, r in ((-0.9, 0.15, 0.5), (-0.3, -0.15, 0.65), (0.35, -0.05, 0.6), (0.95, 0.18, 0.45)):
        pen.ellipse(x + dx * size, y + dy * size, r * size * 1.3, r * size, fill)


def flame(pen: Pen, x: float, y: float, size: float, lean: float) -> None:
    """A flame standing on `(x, y)`, three colours inside each other."""
    for scale, colour in ((1.0, (225, 60, 20)), (0.68, (255, 140, 20)), (0.36, (255, 230, 90))):
        s = size * scale
        tongue: list[Point] = [
            (x - 0.36 * s, y), (x - 0.42 * s, y - 0.4 * s), (x - 0.16 * s, y - 0.62 * s), (x + lean * s, y - 1.15 * s),
            (x + 0.2 * s, y - 0.7 * s), (x + 0.44 * s, y - 0.4 * s), (x + 0.34 * s, y),
        ]  # fmt: skip
        pen.polygon(tongue, colour)


def fir(pen: Pen, x: float, y: float, height: float, fill: Colour) -> None:
    """A fir tree standing on `(x, y)`."""
    for level in range(3):
        top, half = y - height * (1 - 0.22 * level), height * (0.16 + 0.07 * level)
        pen.polygon([(x, top), (x - half, top + height * 0.48), (x + half, top + height * 0.48)], fill)
