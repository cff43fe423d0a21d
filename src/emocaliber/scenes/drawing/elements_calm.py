"""Elements of rest, nature and wonder."""

from __future__ import annotations

import numpy as np

from emocaliber.scenes.drawing.outlines import INK, WHITE, outlined, oval, pick, smooth, stroke, turned
from emocaliber.scenes.drawing.pen import Colour, Pen, Point, shade, tint

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
