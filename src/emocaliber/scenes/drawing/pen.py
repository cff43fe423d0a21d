"""A pen that draws in a unit square anywhere in a picture, outlined shapes, and random choices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

SUPERSAMPLING = 2  # shapes are drawn this many times larger and reduced once, which smooths their edges


class Pen:
    """Draws into the box `(left, top, width, height)` of a picture, in coordinates 0..1 (x right, y down).

    Points may lie a little outside 0..1. With `mirror` the drawing is flipped left to right. Line widths are fractions of the box's height.
    """

    def __init__(self, picture: Image.Image, box: tuple[float, float, float, float], mirror: bool = False) -> None:
        self._draw = ImageDraw.Draw(picture)
        self._left, self._top, self._width, self._height = box
        self._mirror = mirror

    def _at(self, x: float, y: float) -> Point:
        x = 1 - x if self._mirror else x
        return self._left + x * self._width, self._top + y * self._height

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        self._draw.polygon([self._at(x, y) for x, y in points], fill=fill)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        (x0, y0), (x1, y1) = self._at(x - rx, y - ry), self._at(x + rx, y + ry)
        self._draw.ellipse([min(x0, x1), y0, max(x0, x1), y1], fill=fill)

    def line(self, points: Iterable[Point], width: float, fill: Colour) -> None:
        """A polyline with round joints and ends."""
        at = [self._at(x, y) for x, y in points]
        thick = max(1, round(width * self._height))
        self._draw.line(at, fill=fill, width=thick)
        if thick > 2:
            r = (thick - 1) / 2
            for x, y in at:
                self._draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)

    def arc(self, x: float, y: float, rx: float, ry: float, start: float, end: float, width: float, fill: Colour) -> None:
        """Part of an ellipse's outline, from `start` to `end` degrees (0 is right, 90 is down)."""
        steps = max(4, int(abs(end - start) / 8))
        angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
        self.line([(x + rx * math.cos(t), y + ry * math.sin(t)) for t in angles], width, fill)


def tint(colour: Colour, rng: np.random.Generator, amount: int = 28) -> Colour:
    """The colour with every channel moved by up to `amount` of 255."""
    r, g, b = (min(max(c + int(rng.integers(-amount, amount + 1)), 0), 255) for c in colour)
    return r, g, b


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (`factor` < 1) or lighter (> 1)."""
    r, g, b = (int(min(max(c * factor, 0), 255)) for c in colour)
    return r, g, b


# Outlined shapes, which stand out from any background, and their curves.

INK: Colour = (28, 24, 34)  # the rim of bright shapes: it shows on light grounds, and on dark ones the shape itself does
PALE: Colour = (238, 232, 214)  # the rim of dark shapes, for the same reason
WHITE: Colour = (252, 252, 252)
RIM = 0.022  # how far a rim reaches beyond its shape

Part = tuple[Sequence[Point], Colour]  # a polygon and its fill


def oval(x: float, y: float, rx: float, ry: float, tilt: float = 0.0, start: float = 0.0, end: float = 360.0) -> list[Point]:
    """The outline of an ellipse turned by `tilt` degrees, or the part of it from `start` to `end` degrees (0 right, 90 down)."""
    steps = max(4, round(abs(end - start) / 15))
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return turned([(x + rx * math.cos(t), y + ry * math.sin(t)) for t in angles], (x, y), tilt)


def turned(points: Sequence[Point], about: Point, degrees: float) -> list[Point]:
    """The points turned clockwise (y points down) about a centre."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(about[0] + c * (x - about[0]) - s * (y - about[1]), about[1] + s * (x - about[0]) + c * (y - about[1])) for x, y in points]


def mirrored(half: Sequence[Point], middle: float = 0.5) -> list[Point]:
    """A closed outline from its right half, which runs from the top middle to the bottom middle."""
    return [*half, *((2 * middle - x, y) for x, y in reversed(half) if x != middle)]


def smooth(points: Sequence[Point], closed: bool = False, steps: int = 5) -> list[Point]:
    """A Catmull-Rom curve through the points."""
    n = len(points)
    around = [points[-1], *points, points[0], points[1]] if closed else [points[0], *points, points[-1]]
    curve: list[Point] = []
    for a, b, c, d in zip(around, around[1:], around[2:], around[3:], strict=False):
        for i in range(steps):
            t = i / steps
            wa, wb, wc, wd = -t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2
            x, y = ((wa * p + wb * q + wc * r + wd * s) / 2 for p, q, r, s in zip(a, b, c, d, strict=True))
            curve.append((x, y))
    return curve if closed else [*curve, points[n - 1]]


def outlined(pen: Pen, *parts: Part, rim: Colour = INK, width: float = RIM) -> None:
    """The parts as one shape: a rim around all of them together, none where they overlap."""
    for points, _ in parts:
        pen.line([*points, points[0]], 2 * width, rim)
    for points, fill in parts:
        pen.polygon(points, fill)


def stroke(pen: Pen, points: Sequence[Point], width: float, fill: Colour, rim: Colour = INK, edge: float = RIM) -> None:
    """A thick line with a rim."""
    pen.line(points, width + 2 * edge, rim)
    pen.line(points, width, fill)


def pick(rng: np.random.Generator, palette: Sequence[Colour]) -> Colour:
    """One colour of the palette."""
    return palette[int(rng.integers(len(palette)))]


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A number drawn uniformly from [low, high)."""
    return float(rng.uniform(low, high))
