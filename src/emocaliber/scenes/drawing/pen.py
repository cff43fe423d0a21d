"""A pen for drawing in a unit square, wherever that square lies in the picture."""

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
