"""Shapes with a rim, so that an element stands out from any background, and the curves they are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from emocaliber.scenes.drawing.pen import Colour, Pen, Point

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
