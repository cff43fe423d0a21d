"""Drawers of the pleasant elements: celebration and play (`JOYFUL`), rest, nature and wonder (`CALM`)."""

from __future__ import annotations

import math

import numpy as np

from emocaliber.scenes.drawing.pen import (
    INK,
    WHITE,
    Colour,
    Pen,
    Point,
    mirrored,
    outlined,
    oval,
    pick,
    shade,
    smooth,
    stroke,
    tint,
    turned,
)

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


# Elements of rest, nature and wonder.

LEAF: Colour = (70, 152, 62)


def teacup(pen: Pen, rng: np.random.Generator) -> None:
    cup = tint(pick(rng, [(244, 244, 240), (120, 184, 220), (240, 176, 180), (170, 208, 160)]), rng, 14)
    band = tint(pick(rng, [(206, 60, 64), (40, 92, 170), (220, 150, 40)]), rng)
    for x, sway in zip((0.28, 0.43, 0.58), rng.uniform(0.03, 0.06, 3).tolist(), strict=True):
        steam = smooth([(x, 0.38), (x - sway, 0.28), (x + sway, 0.16), (x, 0.03)])
        stroke(pen, steam, 0.034, WHITE, rim=(150, 150, 160), edge=0.014)
    outlined(pen, (oval(0.45, 0.9, 0.44, 0.075), shade(cup, 0.86)))
    stroke(pen, smooth([(0.74, 0.53), (0.93, 0.53), (0.92, 0.7), (0.68, 0.77)]), 0.065, cup)
    bowl = smooth([(0.1, 0.47), (0.13, 0.66), (0.24, 0.84), (0.34, 0.89), (0.54, 0.89), (0.64, 0.84), (0.75, 0.66), (0.78, 0.47)])
    outlined(pen, (bowl, cup))
    pen.polygon([(0.128, 0.62), (0.752, 0.62), (0.72, 0.72), (0.16, 0.72)], band)
    outlined(pen, (oval(0.44, 0.47, 0.34, 0.085), shade(cup, 1.08)))
    pen.ellipse(0.44, 0.485, 0.28, 0.055, tint((150, 84, 36), rng, 14))


def teddy(pen: Pen, rng: np.random.Generator) -> None:
    fur = tint(pick(rng, [(170, 110, 60), (198, 146, 92), (136, 84, 48)]), rng, 14)
    pale, ribbon = shade(fur, 1.38), tint(pick(rng, [(210, 40, 50), (50, 90, 200), (60, 150, 80)]), rng)
    reach = rng.uniform(0.0, 0.06)
    arms = [oval(0.5 + s * 0.33, 0.62 - reach, 0.15, 0.09, s * -38) for s in (-1, 1)]
    legs = [oval(0.5 + s * 0.26, 0.87, 0.14, 0.11) for s in (-1, 1)]
    outlined(pen, *((limb, shade(fur, 0.92)) for limb in arms + legs))
    outlined(pen, (oval(0.5, 0.72, 0.26, 0.24), fur))
    pen.ellipse(0.5, 0.74, 0.16, 0.15, pale)
    for s in (-1, 1):
        pen.ellipse(0.5 + s * 0.27, 0.88, 0.07, 0.06, pale)
        outlined(pen, (oval(0.5 + s * 0.24, 0.13, 0.12, 0.11), fur))
        pen.ellipse(0.5 + s * 0.24, 0.13, 0.065, 0.06, pale)
    outlined(pen, (oval(0.5, 0.3, 0.31, 0.26), fur))
    pen.ellipse(0.5, 0.39, 0.16, 0.125, pale)
    pen.ellipse(0.5, 0.34, 0.06, 0.042, INK)
    pen.arc(0.5, 0.4, 0.075, 0.05, 20, 160, 0.02, INK)
    for s in (-1, 1):
        pen.ellipse(0.5 + s * 0.13, 0.24, 0.036, 0.04, INK)
        pen.ellipse(0.5 + s * 0.13 - 0.01, 0.227, 0.012, 0.012, WHITE)
        outlined(pen, ([(0.5, 0.57), (0.5 + s * 0.14, 0.51), (0.5 + s * 0.14, 0.63)], ribbon), width=0.012)


def sunflower(pen: Pen, rng: np.random.Generator) -> None:
    petal, seeds, leaf = tint((252, 200, 24), rng, 14), tint((98, 58, 26), rng, 14), tint(LEAF, rng)
    stroke(pen, smooth([(0.5, 0.4), (0.5 + rng.uniform(-0.05, 0.05), 0.75), (0.5, 0.98)]), 0.055, leaf)
    for s in (-1, 1):
        y = 0.87 + rng.uniform(-0.04, 0.03)
        blade = [(0.5, y + 0.03), (0.5 + s * 0.14, y - 0.1), (0.5 + s * 0.36, y - 0.12), (0.5 + s * 0.24, y + 0.05)]
        outlined(pen, (smooth(blade, closed=True), leaf))
    count, phase = int(rng.integers(12, 16)), rng.uniform(0, 30)
    petals: list[list[Point]] = []
    for i in range(count):
        leaflet = [(0.52, 0.3), (0.57, 0.2), (0.565, 0.1), (0.5, 0.0), (0.435, 0.1), (0.43, 0.2), (0.48, 0.3)]
        petals.append(turned(leaflet, (0.5, 0.36), phase + 360 * i / count))
    outlined(pen, *((points, shade(petal, 1.0 if i % 2 else 0.9)) for i, points in enumerate(petals)))
    outlined(pen, (oval(0.5, 0.36, 0.17, 0.17), seeds), width=0.014)
    for i in range(8):
        x, y = turned([(0.6, 0.36)], (0.5, 0.36), 45 * i)[0]
        pen.ellipse(x, y, 0.018, 0.018, shade(seeds, 1.7))


def sailboat(pen: Pen, rng: np.random.Generator) -> None:
    sail = tint(pick(rng, [WHITE, (250, 230, 170), (240, 110, 90)]), rng, 12)
    hull = tint(pick(rng, [(170, 60, 44), (130, 80, 44), (40, 70, 140), (190, 40, 50)]), rng)
    sea = tint((44, 124, 190), rng)
    mast = 0.44 + rng.uniform(-0.03, 0.03)
    stroke(pen, [(mast, 0.04), (mast, 0.75)], 0.03, (120, 80, 46))
    outlined(pen, (smooth([(mast + 0.04, 0.04), (0.78, 0.34), (0.92, 0.62), (mast + 0.04, 0.64)], steps=4), sail))
    outlined(pen, ([(mast - 0.04, 0.14), (mast - 0.04, 0.64), (0.1, 0.64)], shade(sail, 0.9)))
    pen.polygon([(mast + 0.045, 0.4), (0.8, 0.4), (0.86, 0.49), (mast + 0.045, 0.49)], shade(hull, 1.25))
    outlined(pen, ([(0.05, 0.7), (0.95, 0.7), (0.82, 0.9), (0.2, 0.9)], hull))
    pen.line([(0.1, 0.755), (0.9, 0.755)], 0.03, WHITE)
    phase = rng.uniform(-0.02, 0.02)
    crests = smooth([(x, 0.86 + (phase if i % 2 else 0.05)) for i, x in enumerate(np.linspace(0.0, 1.0, 9).tolist())], steps=3)
    outlined(pen, ([*crests, (0.96, 0.98), (0.04, 0.98)], sea), rim=shade(sea, 0.6))


def whale(pen: Pen, rng: np.random.Generator) -> None:
    skin = tint(pick(rng, [(64, 116, 176), (84, 100, 130), (50, 90, 150)]), rng, 16)
    water = tint((170, 220, 250), rng, 8)
    jet = rng.uniform(0.02, 0.06)
    for s in (-1, 1):
        stroke(pen, smooth([(0.3, 0.4), (0.3, 0.2), (0.3 + s * 0.1, jet), (0.3 + s * 0.2, 0.12), (0.3 + s * 0.22, 0.2)]), 0.05, water)
    back = [(0.03, 0.62), (0.1, 0.46), (0.3, 0.38), (0.5, 0.42), (0.68, 0.54), (0.8, 0.52), (0.83, 0.36)]
    keel = [(0.92, 0.36), (0.95, 0.56), (0.88, 0.74), (0.7, 0.89), (0.44, 0.95), (0.17, 0.91), (0.05, 0.79)]
    body = smooth([*back, *keel], closed=True, steps=4)
    fluke = [(0.88, 0.42), (0.73, 0.34), (0.66, 0.17), (0.8, 0.2), (0.87, 0.29), (0.9, 0.18), (1.0, 0.1), (1.0, 0.28)]
    outlined(pen, (smooth(fluke, closed=True, steps=3), skin), (body, skin))
    belly = smooth([(0.045, 0.72), (0.3, 0.77), (0.56, 0.76), (0.74, 0.84), (0.44, 0.94), (0.17, 0.9), (0.06, 0.8)], closed=True, steps=3)
    pen.polygon(belly, tint((226, 234, 240), rng, 8))
    for y in (0.81, 0.86):
        pen.line([(0.09, y), (0.5, y + 0.01)], 0.014, shade(skin, 0.9))
    pen.ellipse(0.2, 0.62, 0.045, 0.045, WHITE)
    pen.ellipse(0.2, 0.62, 0.028, 0.03, INK)
    outlined(pen, (smooth([(0.4, 0.72), (0.52, 0.72), (0.62, 0.92), (0.48, 0.88)], closed=True, steps=4), shade(skin, 0.78)), width=0.012)


def rainbow(pen: Pen, rng: np.random.Generator) -> None:
    bands: list[Colour] = [(230, 40, 44), (248, 144, 36), (252, 224, 56), (72, 184, 84), (52, 116, 224), (136, 72, 190)]
    wide, high = 0.05, rng.uniform(0.6, 0.7)
    arches = [oval(0.5, 0.82, 0.475 - i * wide, high - i * wide, start=180, end=360) for i in range(len(bands) + 1)]
    outlined(pen, ([*arches[0], *reversed(arches[-1])], INK))
    for outside, inside, colour in zip(arches, arches[1:], bands, strict=False):
        pen.polygon([*outside, *reversed(inside)], tint(colour, rng, 12))
    cloud = tint((244, 246, 250), rng, 6)
    for x in (0.21, 0.79):
        size = rng.uniform(0.9, 1.1)
        puffs = [(-0.11, 0.03, 0.085), (0.11, 0.03, 0.085), (0.0, -0.03, 0.12), (0.0, 0.06, 0.1)]
        outlined(pen, *((oval(x + dx * size, 0.84 + dy, r * size, r * size), cloud) for dx, dy, r in puffs))


def comet(pen: Pen, rng: np.random.Generator) -> None:
    outer, inner = ((232, 70, 26), (254, 186, 40)) if rng.random() < 0.6 else ((60, 110, 230), (130, 214, 250))
    x, y = 0.27, 0.73
    spikes = int(rng.integers(3, 5))
    for reach, half, colour in ((1.0, 0.25, outer), (0.78, 0.17, inner), (0.55, 0.09, (255, 246, 200))):
        edge = [(x, y - half)]
        for i in range(2 * spikes - 1):
            along = 0.98 * reach * (1.0 - 0.1 * abs(i - spikes + 1)) if i % 2 == 0 else 0.55 * reach
            edge.append((x + along, y + half * ((i + 0.5) / (spikes - 0.5) - 1) * 0.9 + rng.uniform(-0.02, 0.02)))
        tail = turned([*edge, (x, y + half)], (x, y), -45)
        outlined(pen, (tail, tint(colour, rng, 14)), width=0.022 if colour == outer else 0.0)
    outlined(pen, (oval(x, y, 0.25, 0.25), outer))
    pen.ellipse(x, y, 0.2, 0.2, inner)
    pen.ellipse(x - 0.01, y + 0.01, 0.13, 0.13, (255, 252, 232))


CALM = {
    "teacup": teacup,
    "teddy": teddy,
    "sunflower": sunflower,
    "sailboat": sailboat,
    "whale": whale,
    "rainbow": rainbow,
    "comet": comet,
}
