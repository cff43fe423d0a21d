"""Drawers of the eight human figures, each filling the unit square."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emocaliber.scenes.drawing.pen import Colour, Pen, Point, shade, tint

SKINS: tuple[Colour, ...] = ((250, 215, 185), (232, 180, 140), (195, 135, 95), (150, 98, 66), (105, 68, 48))
HAIRS: tuple[Colour, ...] = ((32, 24, 22), (88, 52, 28), (150, 84, 36), (225, 180, 90), (120, 118, 122))
CLOTHES: tuple[Colour, ...] = ((220, 50, 60), (40, 110, 205), (50, 160, 85), (245, 190, 40), (150, 70, 180), (235, 120, 40), (45, 55, 85))
INK: Colour = (25, 18, 22)
WHITE: Colour = (252, 252, 252)
TEAR: Colour = (70, 165, 250)


@dataclass(frozen=True)
class Look:
    """Colours of one person."""

    skin: Colour
    hair: Colour
    top: Colour
    legs: Colour


def _look(rng: np.random.Generator) -> Look:
    skin, hair = SKINS[int(rng.integers(len(SKINS)))], HAIRS[int(rng.integers(len(HAIRS)))]
    top, legs = (CLOTHES[int(i)] for i in rng.choice(len(CLOTHES), 2, replace=False))
    return Look(tint(skin, rng, 8), tint(hair, rng, 12), tint(top, rng, 18), tint(shade(legs, 0.7), rng, 12))


def _head(pen: Pen, x: float, y: float, r: float, look: Look) -> None:
    """A head with short hair and no face."""
    pen.ellipse(x, y - 0.15 * r, 1.08 * r, 1.0 * r, look.hair)
    pen.ellipse(x, y + 0.12 * r, 0.95 * r, 0.88 * r, look.skin)


def _eyes(pen: Pen, x: float, y: float, gap: float, r: float) -> None:
    for side in (-1, 1):
        pen.ellipse(x + side * gap, y, r, r, INK)


def _heart(pen: Pen, x: float, y: float, s: float, fill: Colour) -> None:
    for side in (-1, 1):
        pen.ellipse(x + side * 0.5 * s, y, 0.56 * s, 0.52 * s, fill)
    pen.polygon([(x - 1.02 * s, y + 0.18 * s), (x + 1.02 * s, y + 0.18 * s), (x, y + 1.3 * s)], fill)


def _drop(pen: Pen, x: float, y: float, s: float) -> None:
    pen.polygon([(x, y - 1.9 * s), (x - 0.9 * s, y - 0.2 * s), (x + 0.9 * s, y - 0.2 * s)], TEAR)
    pen.ellipse(x, y, s, s, TEAR)


def child(pen: Pen, rng: np.random.Generator) -> None:
    look = _look(rng)
    shirt = tint(CLOTHES[int(rng.integers(6))], rng, 15)
    for side in (-1, 1):
        pen.line([(0.5 + side * 0.08, 0.78), (0.5 + side * 0.13, 0.94)], 0.11, look.legs)
        pen.ellipse(0.5 + side * 0.17, 0.965, 0.1, 0.045, INK)
        pen.line([(0.5 + side * 0.12, 0.62), (0.5 + side * 0.3, 0.5)], 0.11, shirt)
        pen.line([(0.5 + side * 0.3, 0.5), (0.5 + side * 0.41, 0.2)], 0.085, look.skin)
        pen.ellipse(0.5 + side * 0.42, 0.13, 0.07, 0.07, look.skin)
    pen.polygon([(0.36, 0.58), (0.64, 0.58), (0.68, 0.82), (0.32, 0.82)], shirt)
    _head(pen, 0.5, 0.33, 0.26, look)
    for side in (-1, 1):
        pen.ellipse(0.5 + side * 0.15, 0.42, 0.045, 0.035, (245, 130, 130))
        pen.ellipse(0.5 + side * 0.1, 0.3, 0.03, 0.042, INK)
    pen.polygon([(0.37, 0.39), (0.63, 0.39), (0.6, 0.48), (0.5, 0.535), (0.4, 0.48)], (150, 20, 35))
    pen.rectangle(0.38, 0.385, 0.62, 0.42, WHITE)


def woman(pen: Pen, rng: np.random.Generator) -> None:
    look = _look(rng)
    pen.ellipse(0.5, 0.22, 0.22, 0.21, look.hair)
    pen.polygon([(0.28, 0.22), (0.72, 0.22), (0.78, 0.64), (0.22, 0.64)], look.hair)
    pen.polygon([(0.4, 0.4), (0.6, 0.4), (0.66, 0.62), (0.84, 0.99), (0.16, 0.99), (0.34, 0.62)], look.top)
    pen.polygon([(0.34, 0.62), (0.66, 0.62), (0.68, 0.66), (0.32, 0.66)], shade(look.top, 0.65))
    pen.ellipse(0.5, 0.25, 0.155, 0.175, look.skin)
    pen.polygon([(0.34, 0.2), (0.5, 0.05), (0.66, 0.2), (0.5, 0.13)], look.hair)
    for side in (-1, 1):
        pen.line([(0.5 + side * 0.12, 0.245), (0.5 + side * 0.045, 0.215)], 0.024, INK)
        pen.line([(0.5 + side * 0.12, 0.45), (0.5 + side * 0.3, 0.56), (0.5 + side * 0.16, 0.37)], 0.085, shade(look.top, 0.75))
        pen.ellipse(0.5 + side * 0.13, 0.32, 0.065, 0.06, shade(look.skin, 0.88))
    pen.arc(0.5, 0.39, 0.06, 0.05, 200, 340, 0.024, (120, 20, 35))
    for side in (-1, 1):  # tears spring to both sides, clear of the hair, so that they stay visible at 50 pixels
        pen.arc(0.5 + side * 0.2, 0.26, 0.16, 0.13, -90 - side * 80, -90 + side * 70, 0.036, TEAR)
        _drop(pen, 0.5 + side * 0.37, 0.36, 0.062)
        _drop(pen, 0.5 + side * 0.44, 0.56, 0.055)


def couple(pen: Pen, rng: np.random.Generator) -> None:
    left, right = _look(rng), _look(rng)
    for x in (0.3, 0.41):
        pen.line([(x, 0.62), (x, 0.95)], 0.095, left.legs)
    for x in (0.6, 0.69):
        pen.line([(x, 0.8), (x, 0.96)], 0.06, right.skin)
    pen.polygon([(0.27, 0.42), (0.5, 0.42), (0.5, 0.7), (0.24, 0.7)], left.top)
    pen.polygon([(0.5, 0.44), (0.72, 0.44), (0.86, 0.86), (0.46, 0.86)], right.top)
    pen.polygon([(0.6, 0.22), (0.8, 0.22), (0.84, 0.56), (0.68, 0.56)], right.hair)
    _head(pen, 0.38, 0.28, 0.14, left)
    pen.ellipse(0.64, 0.28, 0.145, 0.15, right.hair)
    pen.ellipse(0.605, 0.31, 0.11, 0.115, right.skin)
    for x in (0.44, 0.56):  # closed eyes
        pen.arc(x, 0.29, 0.028, 0.02, 0, 180, 0.016, INK)
    for x in (0.43, 0.57):
        pen.arc(x, 0.35, 0.03, 0.025, 10, 170, 0.016, (160, 30, 45))
    pen.line([(0.66, 0.5), (0.46, 0.58), (0.27, 0.53)], 0.075, shade(right.top, 0.75))
    pen.ellipse(0.25, 0.52, 0.045, 0.045, right.skin)
    pen.line([(0.33, 0.48), (0.54, 0.67), (0.73, 0.63)], 0.075, shade(left.top, 0.75))
    pen.ellipse(0.75, 0.62, 0.045, 0.045, left.skin)
    _heart(pen, 0.5, 0.065, 0.075, (235, 40, 85))


def man(pen: Pen, rng: np.random.Generator) -> None:
    look = _look(rng)
    red = tint((225, 50, 40), rng, 12)
    pen.line([(0.38, 0.62), (0.24, 0.8), (0.12, 0.95)], 0.12, look.legs)
    pen.line([(0.46, 0.62), (0.6, 0.78), (0.68, 0.95)], 0.12, look.legs)
    for x in (0.15, 0.72):
        pen.ellipse(x, 0.965, 0.09, 0.04, INK)
    pen.line([(0.27, 0.44), (0.1, 0.56), (0.22, 0.7)], 0.1, shade(look.top, 0.8))
    pen.ellipse(0.23, 0.7, 0.06, 0.06, red)
    pen.polygon([(0.2, 0.38), (0.62, 0.38), (0.55, 0.68), (0.3, 0.68)], look.top)
    pen.line([(0.58, 0.44), (0.84, 0.46)], 0.11, shade(look.top, 0.8))
    pen.ellipse(0.9, 0.46, 0.09, 0.085, red)
    pen.line([(0.88, 0.42), (0.95, 0.42)], 0.02, shade(red, 0.6))
    pen.line([(0.88, 0.49), (0.95, 0.49)], 0.02, shade(red, 0.6))
    pen.ellipse(0.39, 0.16, 0.18, 0.15, look.hair)
    pen.ellipse(0.41, 0.22, 0.175, 0.18, red)
    pen.line([(0.33, 0.1), (0.42, 0.16)], 0.035, INK)
    pen.line([(0.56, 0.1), (0.48, 0.16)], 0.035, INK)
    _eyes(pen, 0.45, 0.18, 0.065, 0.02)
    pen.ellipse(0.47, 0.3, 0.085, 0.075, INK)
    pen.rectangle(0.42, 0.235, 0.52, 0.258, WHITE)
    for start, end in (((0.66, 0.19), (0.86, 0.06)), ((0.68, 0.25), (0.95, 0.2)), ((0.68, 0.31), (0.92, 0.33))):
        pen.line([start, end], 0.034, (255, 225, 60))


def dancer(pen: Pen, rng: np.random.Generator) -> None:
    look = _look(rng)
    tutu = tint(((255, 150, 200), (235, 235, 250), (190, 160, 245))[int(rng.integers(3))], rng, 12)
    pen.line([(0.42, 0.6), (0.4, 0.78), (0.38, 0.9)], 0.075, look.skin)
    pen.line([(0.38, 0.9), (0.37, 0.99)], 0.045, shade(tutu, 0.7))
    pen.line([(0.46, 0.58), (0.7, 0.44), (0.88, 0.3)], 0.075, look.skin)
    pen.line([(0.88, 0.3), (0.97, 0.22)], 0.045, shade(tutu, 0.7))
    pen.arc(0.38, 0.27, 0.25, 0.26, 110, 250, 0.055, look.skin)
    pen.arc(0.38, 0.27, 0.25, 0.26, -70, 55, 0.055, look.skin)
    pen.polygon([(0.34, 0.34), (0.46, 0.34), (0.48, 0.58), (0.36, 0.58)], look.top)
    pen.ellipse(0.42, 0.6, 0.34, 0.075, tutu)
    pen.ellipse(0.42, 0.575, 0.24, 0.05, shade(tutu, 0.85))
    pen.ellipse(0.38, 0.08, 0.05, 0.045, look.hair)
    _head(pen, 0.39, 0.2, 0.095, look)
    _eyes(pen, 0.4, 0.2, 0.035, 0.014)
    pen.arc(0.4, 0.23, 0.035, 0.025, 10, 170, 0.016, (170, 30, 50))


def crowd(pen: Pen, rng: np.random.Generator) -> None:
    # Back row first, so that the front row stands before it.
    for row, (count, y, r) in enumerate(((4, 0.36, 0.085), (4, 0.58, 0.105))):
        for i in range(count):
            look = _look(rng)
            x = (i + 0.5 + (0.16 if row else -0.16)) / count
            y_head = y + float(rng.uniform(-0.03, 0.03))
            pen.rectangle(x - 1.15 * r, y_head + 0.9 * r, x + 1.15 * r, 1, look.top)
            pen.ellipse(x, y_head + 1.4 * r, 1.15 * r, 0.6 * r, look.top)
            reach = y_head - float(rng.uniform(2.2, 3.0)) * r
            for side in (-1, 1):
                wrist: Point = (x + side * 1.25 * r, max(0.05, reach))
                pen.line([(x + side * 0.95 * r, y_head + 1.4 * r), (x + side * 1.3 * r, y_head), wrist], 0.042, look.top)
                pen.ellipse(*wrist, 0.036, 0.042, look.skin)
            _head(pen, x, y_head, r, look)
            _eyes(pen, x, y_head, 0.4 * r, 0.016)
            pen.ellipse(x, y_head + 0.5 * r, 0.4 * r, 0.28 * r, (130, 20, 35))


def sleeper(pen: Pen, rng: np.random.Generator) -> None:
    look = _look(rng)
    pen.rectangle(0.0, 0.82, 1.0, 0.92, shade(look.legs, 0.9))
    for x in (0.05, 0.95):
        pen.line([(x, 0.86), (x, 0.97)], 0.05, (90, 58, 36))
    pen.line([(0.1, 0.76), (0.28, 0.76)], 0.15, WHITE)
    _head(pen, 0.22, 0.63, 0.15, look)
    for x in (0.16, 0.27):
        pen.arc(x, 0.64, 0.03, 0.022, 0, 180, 0.02, INK)
    pen.arc(0.215, 0.71, 0.03, 0.018, 10, 170, 0.018, (150, 40, 50))
    pen.ellipse(0.62, 0.77, 0.34, 0.15, look.top)
    pen.ellipse(0.88, 0.72, 0.09, 0.13, look.top)
    pen.rectangle(0.33, 0.76, 0.98, 0.88, look.top)
    for x in (0.46, 0.62, 0.78):
        pen.line([(x, 0.66), (x, 0.86)], 0.04, shade(look.top, 1.35))
    pen.line([(0.36, 0.76), (0.5, 0.8)], 0.07, look.skin)
    for x, y, s in ((0.42, 0.46, 0.06), (0.6, 0.29, 0.08), (0.83, 0.1, 0.1)):
        letter = [(x - s, y - s), (x + s, y - s), (x - s, y + s), (x + s, y + s)]
        pen.line(letter, 0.036, (120, 130, 235))


def runner(pen: Pen, rng: np.random.Generator) -> None:
    look = _look(rng)
    for y, start in ((0.36, 0.02), (0.5, 0.0), (0.62, 0.06)):
        pen.line([(start, y), (start + 0.2, y)], 0.028, WHITE)
    pen.line([(0.4, 0.6), (0.26, 0.74), (0.05, 0.78)], 0.1, shade(look.legs, 0.8))
    pen.line([(0.05, 0.78), (0.03, 0.69)], 0.065, INK)
    pen.line([(0.44, 0.6), (0.7, 0.68), (0.62, 0.92)], 0.1, look.legs)
    pen.line([(0.62, 0.95), (0.74, 0.96)], 0.065, INK)
    pen.line([(0.6, 0.4), (0.4, 0.34), (0.32, 0.16)], 0.075, shade(look.top, 0.75))
    pen.ellipse(0.32, 0.13, 0.055, 0.055, look.skin)
    pen.polygon([(0.54, 0.3), (0.74, 0.42), (0.5, 0.68), (0.34, 0.58)], look.top)
    pen.line([(0.68, 0.42), (0.84, 0.52), (0.95, 0.38)], 0.075, shade(look.top, 0.85))
    pen.ellipse(0.95, 0.34, 0.055, 0.055, look.skin)
    pen.ellipse(0.74, 0.17, 0.145, 0.14, look.hair)
    pen.ellipse(0.7, 0.2, 0.13, 0.13, look.skin)
    for x in (0.63, 0.73):  # eyes wide open, looking back
        pen.ellipse(x, 0.17, 0.04, 0.046, WHITE)
        pen.ellipse(x - 0.014, 0.17, 0.02, 0.024, INK)
    pen.ellipse(0.67, 0.275, 0.045, 0.04, INK)
    _drop(pen, 0.92, 0.12, 0.035)
    _drop(pen, 0.5, 0.09, 0.03)


FIGURE_DRAWERS: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    "child": child,
    "woman": woman,
    "couple": couple,
    "man": man,
    "dancer": dancer,
    "crowd": crowd,
    "sleeper": sleeper,
    "runner": runner,
}
