"""Elements of celebration and play."""

from __future__ import annotations

import math

import numpy as np

from emocaliber.scenes.drawing.outlines import INK, WHITE, mirrored, outlined, oval, pick, smooth, stroke, turned
from emocaliber.scenes.drawing.pen import Colour, Pen, Point, shade, tint

RED: Colour = (226, 48, 52)
BLUE: Colour = (48, 112, 224)
YELLOW: Colour = (252, 208, 48)
GREEN: Colour = (60, 178, 84)
PINK: Colour = (244, 116, 172)
VIOLET: Colour = (148, 84, 208)
ORANGE: Colour = (246, 138, 40)
BRIGHT = (RED, BLUE, YELLOW, GREEN, PINK, VIOLET, ORANGE)
GOLD: Colour = (240, 184, 44)


def _brights(rng: np.random.Generator, count: int) -> list[Colour]:
    """`count` bright colours, all different."""
    return [tint(BRIGHT[i], rng, 16) for i in rng.permutation(len(BRIGHT))[:count]]


def balloons(pen: Pen, rng: np.random.Generator) -> None:
    knot = (0.5 + rng.uniform(-0.05, 0.05), 0.97)
    places = [(0.19, 0.38), (0.81, 0.36), (0.36, 0.23), (0.65, 0.2), (0.5, 0.47)]
    if rng.random() < 0.5:
        places = [(0.2, 0.3), (0.8, 0.28), (0.5, 0.2), (0.5, 0.46)]
    tops = [(x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03)) for x, y in places]
    for x, y in tops:
        stroke(pen, smooth([(x, y + 0.18), ((x + knot[0]) / 2 + 0.03, 0.72), knot]), 0.014, WHITE, edge=0.014)
    for (x, y), colour in zip(tops, _brights(rng, len(tops)), strict=True):
        outlined(pen, ([(x, y + 0.16), (x - 0.04, y + 0.24), (x + 0.04, y + 0.24)], colour), (oval(x, y, 0.16, 0.19), colour))
        pen.polygon(oval(x - 0.06, y - 0.07, 0.03, 0.055, 25), shade(WHITE, 0.98))


def cake(pen: Pen, rng: np.random.Generator) -> None:
    sponge = tint(pick(rng, [(214, 150, 84), (126, 74, 44), (240, 204, 130)]), rng)
    icing = tint(pick(rng, [(250, 176, 204), WHITE, (184, 224, 244)]), rng, 10)
    candles, flames = int(rng.integers(3, 6)), _brights(rng, 3)
    xs = np.linspace(0.28, 0.72, candles)
    for i, x in enumerate(xs.tolist()):
        stroke(pen, [(x, 0.2), (x, 0.38)], 0.05, flames[i % 3])
        outlined(pen, (smooth([(x, 0.01), (x + 0.045, 0.12), (x, 0.17), (x - 0.045, 0.12)], closed=True), (255, 190, 30)))
    outlined(pen, (oval(0.5, 0.9, 0.48, 0.08), tint((206, 214, 224), rng, 12)))
    for x0, x1, top, bottom in ((0.08, 0.92, 0.62, 0.9), (0.2, 0.8, 0.38, 0.64)):
        outlined(pen, ([(x0, top), (x1, top), (x1, bottom), (x0, bottom)], sponge))
        drips = np.linspace(x0, x1, 2 * round((x1 - x0) / 0.13) + 1).tolist()
        hang = [(x, top + (0.16 if i % 2 else 0.07) + rng.uniform(-0.015, 0.015)) for i, x in enumerate(drips)]
        outlined(pen, ([(x0 - 0.01, top - 0.03), (x1 + 0.01, top - 0.03), *reversed(smooth(hang, steps=3))], icing), width=0.012)
    for x in np.linspace(0.16, 0.84, 5).tolist():
        pen.ellipse(x, 0.835, 0.03, 0.03, flames[0])


def clown(pen: Pen, rng: np.random.Generator) -> None:
    hair, hat, nose = _brights(rng, 2)[0], tint(pick(rng, [BLUE, VIOLET, GREEN]), rng), tint((232, 30, 36), rng, 14)
    puffs = [(0.14, 0.4), (0.1, 0.56), (0.17, 0.7)]
    curls = [(x if left else 1 - x, y) for x, y in puffs for left in (True, False)]
    outlined(pen, *((oval(x, y, 0.13, 0.12), hair) for x, y in curls))
    outlined(pen, (oval(0.5, 0.6, 0.33, 0.37), tint((252, 232, 216), rng, 6)))
    lean = rng.uniform(-0.06, 0.06)
    outlined(pen, ([(0.5 + lean, 0.05), (0.72, 0.34), (0.28, 0.34)], hat))
    outlined(pen, (oval(0.5 + lean, 0.055, 0.055, 0.055), YELLOW))
    for x in (0.43, 0.57):
        pen.ellipse(x, 0.25, 0.03, 0.03, YELLOW)
    for x in (0.37, 0.63):
        pen.ellipse(x, 0.47, 0.075, 0.1, tint((96, 170, 240), rng, 12))
        pen.ellipse(x, 0.485, 0.042, 0.055, INK)
        pen.ellipse(x - 0.012, 0.465, 0.014, 0.018, WHITE)
    grin = rng.uniform(0.15, 0.19)
    outlined(pen, ([*oval(0.5, 0.7, 0.23, grin, end=180), *oval(0.5, 0.7, 0.23, 0.05, start=180, end=0)], nose), width=0.016)
    pen.polygon([*oval(0.5, 0.74, 0.15, grin - 0.08, end=180), *oval(0.5, 0.74, 0.15, 0.03, start=180, end=0)], WHITE)
    outlined(pen, (oval(0.5, 0.6, 0.1, 0.1), nose), width=0.016)
    pen.ellipse(0.465, 0.565, 0.025, 0.025, WHITE)


def kite(pen: Pen, rng: np.random.Generator) -> None:
    colours, middle = _brights(rng, 4), (0.58, 0.3)
    tilt = rng.uniform(15, 38)
    top, right, bottom, left = turned([(0.58, 0.0), (0.86, 0.27), (0.58, 0.74), (0.3, 0.27)], (0.58, 0.34), tilt)
    middle = turned([middle], (0.58, 0.34), tilt)[0]
    bend = rng.uniform(0.04, 0.1)
    tail = smooth([bottom, (bottom[0] + bend, 0.84), (0.28 - bend, 0.82), (0.14, 0.93), (0.03, 0.98)])
    stroke(pen, tail, 0.02, WHITE, edge=0.014)
    for i in (4, 10, 15):
        x, y = tail[i]
        bow = [[(x, y), (x + s * 0.075, y - 0.055), (x + s * 0.075, y + 0.055)] for s in (-1, 1)]
        outlined(pen, *((half, colours[i % 3]) for half in bow), width=0.014)
    corners = (top, right, bottom, left)
    outlined(pen, *(([middle, corners[i], corners[(i + 1) % 4]], colours[i]) for i in range(4)))
    for i in (0, 1):
        pen.line([corners[i], corners[i + 2]], 0.018, INK)


def rocket(pen: Pen, rng: np.random.Generator) -> None:
    hull, fins = tint((234, 236, 242), rng, 12), tint(pick(rng, [RED, BLUE, ORANGE]), rng)
    reach = rng.uniform(0.95, 1.0)
    for half, tip, colour in ((0.17, reach, ORANGE), (0.1, reach - 0.1, YELLOW)):
        flame = [(0.5, 0.6), (0.5 + half * 0.8, 0.62), (0.5 + half, 0.8), (0.5 + half * 0.6, 0.84), (0.5, tip)]
        outlined(pen, (mirrored(flame), colour), rim=RED, width=0.016)
    for s in (-1, 1):
        outlined(pen, ([(0.5 + s * 0.15, 0.38), (0.5 + s * 0.38, 0.6), (0.5 + s * 0.38, 0.78), (0.5 + s * 0.12, 0.66)], fins))
    wide = rng.uniform(0.18, 0.22)
    side = [(0.5 + wide * 0.62, 0.14), (0.5 + wide, 0.32), (0.5 + wide * 0.95, 0.5), (0.5 + wide * 0.65, 0.68)]
    body = smooth(mirrored([(0.5, 0.0), *side]), closed=True, steps=4)
    outlined(pen, (body, hull))
    nose = [(x, y) for x, y in body if y < 0.19]
    pen.polygon(sorted(nose, key=lambda p: math.atan2(p[1] - 0.12, p[0] - 0.5)), fins)
    outlined(pen, (oval(0.5, 0.35, 0.09, 0.09), tint((92, 190, 240), rng, 16)))
    outlined(pen, ([(0.47, 0.52), (0.53, 0.52), (0.53, 0.74), (0.47, 0.74)], fins), width=0.014)


def fireworks(pen: Pen, rng: np.random.Generator) -> None:
    colours = _brights(rng, 3)
    lift = rng.uniform(-0.03, 0.03)
    bursts = [(0.36, 0.38 + lift, 0.34), (0.79, 0.24 - lift, 0.2), (0.76, 0.75 + lift, 0.22)]
    for (x, y, size), colour in zip(bursts, colours, strict=True):
        count, phase = (12 if size > 0.3 else 8), rng.uniform(0, 360)
        rays: list[tuple[Point, Point]] = []
        for i in range(count):
            start, end = turned([(x + size * 0.3, y), (x + size * (1 if i % 2 else 0.8), y)], (x, y), phase + 360 * i / count)
            rays.append((start, end))
        wide = 0.05 if size > 0.3 else 0.038
        for ray in rays:
            pen.line(ray, wide + 0.03, INK)
        for start, end in rays:
            pen.line((start, end), wide, colour)
            pen.ellipse(*end, wide * 0.8, wide * 0.8, YELLOW if colour != colours[0] else WHITE)
        outlined(pen, (oval(x, y, size * 0.14, size * 0.14), WHITE), width=0.014)
    trail = smooth([(0.36, 0.74 + lift), (0.38, 0.86), (0.44, 1.0)])
    stroke(pen, trail, 0.03, ORANGE, edge=0.014)


def trophy(pen: Pen, rng: np.random.Generator) -> None:
    gold = tint(GOLD, rng, 16)
    out = rng.uniform(0.4, 0.45)
    for s in (-1, 1):
        handle = smooth([(0.5 + s * 0.26, 0.14), (0.5 + s * out, 0.15), (0.5 + s * (out - 0.04), 0.36), (0.5 + s * 0.18, 0.48)])
        stroke(pen, handle, 0.06, shade(gold, 0.88))
    cup = smooth([(0.78, 0.06), (0.75, 0.3), (0.65, 0.5), (0.55, 0.58), (0.45, 0.58), (0.35, 0.5), (0.25, 0.3), (0.22, 0.06)])
    stem = [(0.46, 0.55), (0.54, 0.55), (0.57, 0.7), (0.68, 0.8), (0.32, 0.8), (0.43, 0.7)]
    outlined(pen, (stem, shade(gold, 0.8)), (cup, gold))
    outlined(pen, (oval(0.5, 0.07, 0.29, 0.05), shade(gold, 0.7)))
    base = tint(pick(rng, [(96, 52, 32), (60, 60, 72), (120, 40, 44)]), rng, 12)
    outlined(pen, ([(0.26, 0.8), (0.74, 0.8), (0.78, 0.97), (0.22, 0.97)], base))
    pen.rectangle(0.4, 0.85, 0.6, 0.92, gold)
    star = [turned([(0.5, 0.3 - (0.13 if i % 2 == 0 else 0.055))], (0.5, 0.3), 36 * i)[0] for i in range(10)]
    pen.polygon(star, tint((255, 246, 190), rng, 8))
    pen.line([(0.31, 0.17), (0.33, 0.33)], 0.035, (255, 240, 170))


JOYFUL = {
    "balloons": balloons,
    "cake": cake,
    "clown": clown,
    "kite": kite,
    "rocket": rocket,
    "fireworks": fireworks,
    "trophy": trophy,
}
