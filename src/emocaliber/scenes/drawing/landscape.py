"""What several contexts are painted with: skies, ridges, clouds, flames, broken outlines."""

from __future__ import annotations

import math

import numpy as np

from emocaliber.scenes.drawing.pen import Colour, Pen, Point


def between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(rng.integers(len(colours)))]


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
