"""Drawers of the twelve contexts, each covering the whole picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from emocaliber.scenes.drawing.interiors import cell, cloud, fair, fir, flame, gradient, ridge, room
from emocaliber.scenes.drawing.pen import Colour, Pen, between, pick, shade, tint

WHITE: Colour = (250, 250, 252)
# A breaking wave's outline: x in wave lengths, y in the picture's height. Points 2 to 5, from 0, carry the foam.
WAVE = ((0, 0.08), (0.15, 0.055), (0.32, 0.02), (0.46, -0.04), (0.62, -0.065), (0.8, -0.045), (0.7, -0.01), (0.76, 0.05), (1, 0.08))


def meadow(pen: Pen, rng: np.random.Generator) -> None:
    horizon = between(rng, 0.42, 0.56)
    gradient(pen, 0, horizon + 0.1, tint((95, 185, 250), rng), tint((205, 238, 255), rng, 12))
    x, y, r = between(rng, 0.08, 0.92), between(rng, 0.08, 0.16), between(rng, 0.07, 0.11)
    for i in range(12):
        t = 2 * np.pi * i / 12
        pen.line([(x, y), (x + 1.7 * r * float(np.cos(t)), y + 1.7 * r * float(np.sin(t)))], 0.014, (255, 215, 60))
    pen.ellipse(x, y, r, r, (255, 225, 50))
    for _ in range(int(rng.integers(1, 4))):
        cloud(pen, between(rng, 0, 1), between(rng, 0.06, 0.26), between(rng, 0.05, 0.09), WHITE)
    green = tint((95, 190, 60), rng, 18)
    for i, factor in enumerate((1.12, 1.0, 0.86)):
        ridge(pen, rng, horizon + 0.14 * i, between(rng, 0.03, 0.07), shade(green, factor), between(rng, 0.6, 1.3))
    for _ in range(int(rng.integers(28, 46))):
        fx, fy = between(rng, 0, 1), between(rng, horizon + 0.2, 1)
        s = 0.007 + 0.016 * (fy - horizon)
        petals = pick(rng, ((250, 70, 90), (255, 225, 60), WHITE, (200, 90, 230), (255, 140, 190)))
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            pen.ellipse(fx + dx * s, fy + dy * s, s, s, petals)
        pen.ellipse(fx, fy, s * 0.8, s * 0.8, (250, 180, 30))


def beach(pen: Pen, rng: np.random.Generator) -> None:
    horizon = between(rng, 0.3, 0.42)
    shore = horizon + between(rng, 0.16, 0.26)
    gradient(pen, 0, horizon, tint((70, 180, 245), rng), tint((190, 235, 255), rng, 12))
    gradient(pen, horizon, shore + 0.08, tint((10, 110, 190), rng, 18), tint((60, 215, 215), rng, 18))
    for _ in range(8):
        x, y = between(rng, 0, 1), between(rng, horizon + 0.03, shore)
        pen.line([(x, y), (x + between(rng, 0.06, 0.14), y)], 0.008, (215, 250, 250))
    sand = tint((245, 215, 150), rng, 14)
    state, waves = rng.integers(2**32), between(rng, 0.6, 1.2)
    # The same seed twice: the wet edge and the foam follow the sand's line.
    for offset, colour in ((0.0, WHITE), (0.03, shade(sand, 0.86)), (0.07, sand)):
        ridge(pen, np.random.default_rng(state), shore + offset, 0.025, colour, waves)
    _palm(pen, rng, between(rng, 0.02, 0.16), shore + between(rng, 0.2, 0.36))
    _umbrella(pen, rng, between(rng, 0.8, 0.94), between(rng, 0.34, 0.46))
    for _ in range(int(rng.integers(3, 8))):
        x, y = between(rng, 0, 1), between(rng, shore + 0.15, 0.98)
        pen.ellipse(x, y, 0.018, 0.012, tint((240, 130, 110), rng))


def _palm(pen: Pen, rng: np.random.Generator, x: float, foot: float) -> None:
    top = between(rng, 0.16, 0.24)
    crown = x + between(rng, 0.04, 0.1)
    pen.line([(x, foot), (x + 0.01, (foot + top) / 2 + 0.1), (crown, top)], 0.035, tint((135, 90, 45), rng, 15))
    leaf = tint((30, 145, 60), rng, 18)
    for dx, dy in ((-0.2, 0.1), (-0.2, -0.03), (-0.09, -0.13), (0.09, -0.13), (0.2, -0.03), (0.2, 0.1)):
        bend = (crown + 0.55 * dx, top + 0.2 * dy - 0.06)
        pen.polygon([(crown, top + 0.01), bend, (crown + dx, top + dy), (crown + 0.5 * dx, top + 0.5 * dy + 0.02)], leaf)


def _umbrella(pen: Pen, rng: np.random.Generator, x: float, top: float) -> None:
    pen.line([(x, top), (x, top + 0.42)], 0.014, WHITE)
    colour = pick(rng, ((235, 60, 60), (250, 140, 30), (240, 80, 160)))
    for i in range(6):
        left = x - 0.18 + 0.06 * i
        pen.polygon([(x, top - 0.02), (left, top + 0.13), (left + 0.06, top + 0.13)], WHITE if i % 2 else colour)


def mountains(pen: Pen, rng: np.random.Generator) -> None:
    gradient(pen, 0, 0.8, tint((125, 165, 215), rng, 22), tint((222, 232, 245), rng, 10))
    rock = tint((95, 110, 140), rng, 16)
    back = [(x + between(rng, -0.06, 0.06), between(rng, 0.08, 0.26)) for x in (0.02, 0.34, 0.66, 0.98)]
    front = [(x + between(rng, -0.07, 0.07), between(rng, 0.24, 0.42)) for x in (0.18, 0.52, 0.84)]
    for peaks, colour in ((back, shade(rock, 1.3)), (front, rock)):
        for x, y in peaks:
            foot, half = 0.8, (0.8 - y) * 0.52
            pen.polygon([(x - half, foot), (x, y), (x + half, foot)], colour)
            pen.polygon([(x, y), (x + half, foot), (x + 0.12 * half, foot)], shade(colour, 0.78))
            snow = between(rng, 0.36, 0.5)
            depth, reach = snow * (foot - y), snow * half
            jag = [(x - reach, y + depth), (x - 0.5 * reach, y + 0.72 * depth), (x - 0.1 * reach, y + 1.05 * depth),
                   (x + 0.35 * reach, y + 0.7 * depth), (x + reach, y + depth)]  # fmt: skip
            pen.polygon([(x, y), *jag], WHITE)
    ridge(pen, rng, between(rng, 0.7, 0.78), 0.03, tint((228, 236, 248), rng, 8))
    ridge(pen, rng, between(rng, 0.86, 0.92), 0.03, WHITE)
    for _ in range(int(rng.integers(4, 8))):
        fir(pen, between(rng, 0, 1), between(rng, 0.8, 0.98), between(rng, 0.12, 0.2), tint((30, 75, 70), rng, 14))


def stars(pen: Pen, rng: np.random.Generator) -> None:
    gradient(pen, 0, 1, tint((8, 10, 45), rng, 8), tint((50, 40, 115), rng, 18))
    for _ in range(int(rng.integers(70, 110))):
        x, y, s = between(rng, 0, 1), between(rng, 0, 0.82), between(rng, 0.003, 0.008)
        pen.ellipse(x, y, s, s, pick(rng, (WHITE, (255, 238, 190), (190, 210, 255))))
    for _ in range(int(rng.integers(6, 11))):
        x, y, s = between(rng, 0.02, 0.98), between(rng, 0.02, 0.7), between(rng, 0.018, 0.034)
        pen.polygon([(x, y - s), (x + s / 4, y), (x, y + s), (x - s / 4, y)], WHITE)
        pen.polygon([(x - s, y), (x, y + s / 4), (x + s, y), (x, y - s / 4)], WHITE)
    x, y, r = between(rng, 0.1, 0.9), between(rng, 0.1, 0.18), between(rng, 0.065, 0.095)
    pen.ellipse(x, y, r, r, (255, 240, 185))
    pen.ellipse(x + 0.45 * r, y - 0.2 * r, 0.85 * r, 0.85 * r, (20, 20, 62))
    for i in range(2):
        ridge(pen, rng, between(rng, 0.78, 0.84) + 0.09 * i, 0.04, shade((22, 24, 52), 1 - 0.5 * i), between(rng, 0.8, 1.6))


def storm(pen: Pen, rng: np.random.Generator) -> None:
    gradient(pen, 0, 0.65, tint((38, 46, 58), rng, 10), tint((105, 120, 130), rng, 16))
    horizon = between(rng, 0.48, 0.58)
    for _ in range(int(rng.integers(1, 4))):
        x, y = between(rng, 0.06, 0.94), 0.12
        bolt = [(x, y)]
        while y < horizon:
            x, y = x + between(rng, -0.08, 0.08), y + between(rng, 0.07, 0.12)
            bolt.append((x, y))
        pen.line(bolt, 0.022, (255, 250, 170))
    for _ in range(9):
        grey = int(rng.integers(40, 72))
        cloud(pen, between(rng, 0, 1), between(rng, 0.0, 0.14), between(rng, 0.08, 0.13), (grey, grey + 4, grey + 14))
    water = tint((28, 74, 88), rng, 14)
    for row in range(4):
        y = horizon + row * (1 - horizon) / 4
        length = 0.16 + 0.05 * row
        start = between(rng, -length, 0)
        colour = shade(water, 1.25 - 0.22 * row)
        pen.rectangle(0, y + 0.05, 1, 1, colour)
        for i in range(9):
            x = start + i * length
            wave = [(x + u * length, y + v) for u, v in WAVE]
            pen.polygon(wave, colour)
            pen.line(wave[2:6], 0.016, (215, 232, 236))
    for _ in range(40):
        x, y = between(rng, 0, 1.1), between(rng, 0.1, 0.95)
        pen.line([(x, y), (x - 0.03, y + 0.08)], 0.004, (150, 168, 180))


def fire(pen: Pen, rng: np.random.Generator) -> None:
    gradient(pen, 0, 0.9, tint((75, 12, 18), rng, 12), tint((250, 105, 25), rng, 18))
    for _ in range(5):
        cloud(pen, between(rng, 0, 1), between(rng, 0.0, 0.14), between(rng, 0.06, 0.12), tint((45, 25, 28), rng, 8))
    x = between(rng, -0.1, 0)
    while x < 1:
        width, top = between(rng, 0.11, 0.19), between(rng, 0.26, 0.52)
        for _ in range(2):
            flame(pen, x + between(rng, 0.1, 0.9) * width, top + 0.02, between(rng, 0.12, 0.2), between(rng, -0.15, 0.15))
        roof = [(x, top + between(rng, 0, 0.05)), (x + width * 0.5, top), (x + width, top + 0.04)]
        pen.polygon([(x, 1), *roof, (x + width, 1)], (28, 14, 18))
        for row in range(5):
            for column in range(2):
                if rng.random() < 0.6:
                    wx, wy = x + width * (0.18 + 0.4 * column), top + 0.09 + 0.1 * row
                    pen.rectangle(wx, wy, wx + width * 0.22, wy + 0.05, (255, 170, 40))
        x += width + between(rng, 0.0, 0.03)
    pen.rectangle(0, 0.9, 1, 1, (35, 16, 16))
    for i in range(8):
        flame(pen, (i + between(rng, 0.2, 0.8)) / 8, 1.01, between(rng, 0.14, 0.26), between(rng, -0.2, 0.2))
    for _ in range(25):
        s = between(rng, 0.003, 0.007)
        pen.ellipse(between(rng, 0, 1), between(rng, 0, 0.9), s, s, (255, 210, 90))


def forest(pen: Pen, rng: np.random.Generator) -> None:
    glow = tint((84, 130, 102), rng, 18)
    gradient(pen, 0, 0.82, shade(glow, 0.35), glow)
    pen.rectangle(0, 0.8, 1, 1, shade(glow, 0.3))
    for depth, (count, colour) in enumerate(((9, shade(glow, 0.6)), (6, shade(glow, 0.32)), (4, (12, 17, 14)))):
        for i in range(count):
            x = (i + between(rng, 0.15, 0.85)) / count
            half, foot = (0.012 + 0.013 * depth) * between(rng, 0.8, 1.3), 0.8 + 0.07 * depth
            lean = between(rng, -0.03, 0.03)
            pen.polygon([(x - half + lean, 0), (x + half + lean, 0), (x + 1.2 * half, foot), (x + 2 * half, foot + 0.03),
                         (x - 2 * half, foot + 0.03), (x - 1.2 * half, foot)], colour)  # fmt: skip
            for side in (-1, 1):
                y = between(rng, 0.22, 0.5)
                tip = (x + side * between(rng, 0.09, 0.15), y - between(rng, 0.08, 0.14))
                pen.line([(x, y), (x + side * 0.06, y - 0.05), tip], 0.008 + 0.006 * depth, colour)
    for _ in range(14):
        leaves = tint((10, 26, 16), rng, 8)
        pen.ellipse(between(rng, 0, 1), between(rng, -0.02, 0.08), between(rng, 0.08, 0.14), between(rng, 0.04, 0.08), leaves)
    ridge(pen, rng, 0.93, 0.02, (9, 16, 11), 3)


def ruins(pen: Pen, rng: np.random.Generator) -> None:
    sky = int(rng.integers(150, 190))
    gradient(pen, 0, 0.8, (sky - 40, sky - 38, sky - 36), (sky + 40, sky + 40, sky + 38))
    far = (sky - 22, sky - 22, sky - 20)
    x, half = between(rng, 0.2, 0.8), between(rng, 0.14, 0.2)
    pen.polygon([(x - half, 0.8), (x - half, 0.2), (x - 0.4 * half, 0.14), (x + 0.2 * half, 0.2), (x + half, 0.34), (x + half, 0.8)], far)
    pen.rectangle(x - 0.45 * half, 0.44, x + 0.45 * half, 0.8, (sky + 25, sky + 25, sky + 24))
    pen.ellipse(x, 0.44, 0.45 * half, 0.1, (sky + 25, sky + 25, sky + 24))
    pen.rectangle(0, 0.78, 1, 1, (sky - 65, sky - 66, sky - 66))
    for _ in range(3):  # fog before the far wall
        pen.ellipse(between(rng, 0, 1), between(rng, 0.68, 0.78), between(rng, 0.2, 0.4), 0.035, (sky + 34, sky + 34, sky + 33))
    columns = int(rng.integers(4, 6))
    for i in range(columns):
        _column(pen, rng, (i + between(rng, 0.3, 0.7)) / columns, sky)
    for _ in range(int(rng.integers(9, 15))):
        x, y, s, grey = between(rng, 0, 1), between(rng, 0.8, 1), between(rng, 0.025, 0.06), int(rng.integers(80, 150))
        block = [(x - s, y + 0.5 * s), (x - 0.5 * s, y - 0.5 * s), (x + 0.4 * s, y - 0.6 * s), (x + s, y + 0.5 * s)]
        pen.polygon(block, (grey, grey, grey))


def _column(pen: Pen, rng: np.random.Generator, x: float, sky: int) -> None:
    whole = rng.random() < 0.4
    top = between(rng, 0.08, 0.16) if whole else between(rng, 0.2, 0.6)
    half, foot, slope = between(rng, 0.042, 0.056), between(rng, 0.8, 0.9), 0.0 if whole else between(rng, -0.05, 0.05)
    stone = sky - int(rng.integers(45, 75))
    light, dark = (stone + 22, stone + 21, stone + 18), (stone - 30, stone - 30, stone - 30)
    pen.polygon([(x - half, foot), (x - half, top + slope), (x + half, top - slope), (x + half, foot)], light)
    for groove in (-0.5, 0.05, 0.6):
        pen.line([(x + groove * half, top - groove * slope + 0.02), (x + groove * half, foot)], 0.011, dark)
    pen.rectangle(x - 1.5 * half, foot - 0.03, x + 1.5 * half, foot + 0.01, dark)
    if whole:
        pen.rectangle(x - 1.6 * half, top - 0.03, x + 1.6 * half, top + 0.02, dark)
        pen.rectangle(x - 1.3 * half, top + 0.02, x + 1.3 * half, top + 0.045, light)


def desert(pen: Pen, rng: np.random.Generator) -> None:
    horizon = between(rng, 0.38, 0.5)
    gradient(pen, 0, horizon + 0.1, tint((250, 205, 120), rng, 12), tint((255, 240, 200), rng, 8))
    x, y, r = between(rng, 0.1, 0.9), between(rng, 0.1, 0.18), between(rng, 0.07, 0.1)
    pen.ellipse(x, y, 1.5 * r, 1.5 * r, (255, 236, 180))
    pen.ellipse(x, y, r, r, (255, 253, 235))
    sand = tint((215, 140, 70), rng, 16)
    for i in range(4):
        base = horizon + 0.14 * i
        crest, height = between(rng, 0.1, 0.9), between(rng, 0.08, 0.14)
        pen.rectangle(0, base + 0.04, 1, 1, shade(sand, 1.12 - 0.06 * i))
        pen.polygon([(crest - 0.7, base + 0.06), (crest, base - height + 0.04), (crest + 0.1, base + 0.06)], shade(sand, 1.12 - 0.06 * i))
        pen.polygon([(crest, base - height + 0.04), (crest + 0.1, base + 0.06), (crest + 0.7, base + 0.06)], shade(sand, 0.72 - 0.03 * i))
    for side in ((0.03, 0.16), (0.84, 0.97), (0.3, 0.7))[: int(rng.integers(2, 4))]:
        x, foot, height = between(rng, *side), between(rng, 0.66, 0.92), between(rng, 0.26, 0.4)
        green = tint((65, 120, 60), rng, 14)
        pen.line([(x, foot), (x, foot - height)], 0.06, green)
        for arm, rise in ((-0.08, 0.45), (0.08, 0.6)):
            elbow = foot - height * rise
            pen.line([(x, elbow), (x + arm, elbow), (x + arm, elbow - 0.1)], 0.036, green)


CONTEXT_DRAWERS: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    "meadow": meadow,
    "beach": beach,
    "mountains": mountains,
    "stars": stars,
    "storm": storm,
    "fire": fire,
    "forest": forest,
    "ruins": ruins,
    "fair": fair,
    "room": room,
    "cell": cell,
    "desert": desert,
}
