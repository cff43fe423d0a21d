"""Elements of fear and of power."""

from __future__ import annotations

import numpy as np

from emocaliber.scenes.drawing.outlines import INK, PALE, WHITE, mirrored, outlined, oval, pick, smooth, stroke, turned
from emocaliber.scenes.drawing.pen import Pen, Point, shade, tint


def snake(pen: Pen, rng: np.random.Generator) -> None:
    skin = tint(pick(rng, [(74, 156, 58), (110, 150, 40), (60, 140, 100), (190, 150, 50)]), rng, 14)
    mark, thick = shade(skin, 0.5), rng.uniform(0.13, 0.155)
    sway = rng.uniform(-0.03, 0.03)
    tail = smooth([(0.8, 0.86), (0.92, 0.78), (0.98, 0.62)], steps=4)
    stroke(pen, tail, 0.05, skin)
    coils = [oval(0.5, 0.82, 0.37, 0.1), oval(0.5, 0.68, 0.28, 0.075)]
    neck = smooth([(0.72, 0.64), (0.74, 0.5), (0.54, 0.42), (0.5 + sway, 0.28), (0.5, 0.16), (0.38, 0.13)])
    for body in (*coils, neck):
        stroke(pen, body, thick, skin)
        for i in range(1, len(body) - 2, 3):
            pen.ellipse(*body[i], thick * 0.27, thick * 0.3, mark)
    tongue = tint((220, 30, 40), rng, 10)
    for fork in ((0.02, 0.14), (0.03, 0.28)):
        stroke(pen, [(0.25, 0.18), (0.13, 0.2), fork], 0.026, tongue, edge=0.012)
    outlined(pen, (smooth([(0.52, 0.06), (0.36, 0.03), (0.2, 0.13), (0.2, 0.2), (0.36, 0.26), (0.52, 0.24)], closed=True, steps=4), skin))
    pen.ellipse(0.36, 0.12, 0.045, 0.042, (252, 236, 80))
    pen.ellipse(0.355, 0.12, 0.016, 0.038, INK)


def spider(pen: Pen, rng: np.random.Generator) -> None:
    fur, eye = tint((34, 28, 36), rng, 12), tint(pick(rng, [(226, 30, 36), (250, 200, 40), (120, 220, 60)]), rng, 16)
    mid, knee = 0.6 + rng.uniform(-0.03, 0.03), rng.uniform(0.0, 0.05)
    pen.line([(0.5, 0.0), (0.5, mid)], 0.036, INK)
    pen.line([(0.5, 0.0), (0.5, mid)], 0.016, WHITE)
    legs: list[list[Point]] = []
    bends, feet = ((0.28, -0.34), (0.36, -0.18), (0.36, 0.0), (0.26, 0.14)), ((0.38, -0.5), (0.48, -0.06), (0.47, 0.2), (0.34, 0.37))
    for s in (-1, 1):
        for bend, foot in zip(bends, feet, strict=True):
            legs.append([(0.5 + s * x, mid + y) for x, y in ((0.08, 0.0), (bend[0], bend[1] - knee), foot)])
    for leg in legs:
        pen.line(leg, 0.085, PALE)
    for leg in legs:
        pen.line(leg, 0.048, fur)
    outlined(pen, (oval(0.5, mid - 0.06, 0.21, 0.2), fur), (oval(0.5, mid + 0.2, 0.15, 0.13), fur), rim=PALE)
    for s in (-1, 1):
        pen.polygon([(0.5, mid - 0.08), (0.5 - 0.07, mid - 0.08 + s * 0.1), (0.5 + 0.07, mid - 0.08 + s * 0.1)], eye)
        pen.ellipse(0.5 + s * 0.055, mid + 0.22, 0.04, 0.04, WHITE)
        pen.ellipse(0.5 + s * 0.055, mid + 0.225, 0.018, 0.018, INK)


def ghost(pen: Pen, rng: np.random.Generator) -> None:
    sheet = tint(pick(rng, [(246, 248, 252), (226, 236, 246), (236, 232, 246)]), rng, 8)
    waves, lift = int(rng.integers(3, 5)), rng.uniform(-0.05, 0.05)
    hem = [(x, 0.97 if i % 2 == 0 else 0.83) for i, x in enumerate(np.linspace(0.84, 0.16, 2 * waves - 1).tolist())]
    cloak = [*oval(0.5, 0.38, 0.3, 0.36, start=180, end=360), (0.82, 0.7), *smooth(hem, steps=4), (0.18, 0.7)]
    for s in (-1, 1):
        hand = [(0.5 + s * 0.42, 0.38 + s * lift), (0.5 + s * 0.49, 0.5 + s * lift), (0.5 + s * 0.36, 0.6)]
        outlined(pen, (smooth([(0.5 + s * 0.2, 0.46), *hand, (0.5 + s * 0.2, 0.68)], closed=True, steps=4), sheet))
    outlined(pen, (cloak, sheet))
    pen.rectangle(0.2, 0.48, 0.8, 0.58, sheet)
    for s in (-1, 1):
        pen.polygon(oval(0.5 + s * 0.12, 0.3, 0.065, 0.1, s * 8), INK)
    pen.ellipse(0.5, 0.53, 0.075, rng.uniform(0.08, 0.12), INK)
    for x in (0.37, 0.63):
        pen.line([(x, 0.72), (x, 0.84)], 0.02, shade(sheet, 0.75))


def skull(pen: Pen, rng: np.random.Generator) -> None:
    bone = tint(pick(rng, [(240, 232, 208), (224, 216, 196), (246, 242, 230)]), rng, 8)
    jaw, socket = rng.uniform(0.22, 0.26), rng.uniform(0.115, 0.135)
    chin = mirrored([(0.5 + jaw, 0.6), (0.5 + jaw - 0.02, 0.93), (0.5 + jaw - 0.07, 0.97)])
    dome = smooth(mirrored([(0.5, 0.02), (0.8, 0.12), (0.94, 0.38), (0.88, 0.6), (0.72, 0.72)]), closed=True, steps=4)
    outlined(pen, (chin, bone), (dome, bone))
    for s in (-1, 1):
        pen.polygon(oval(0.5 + s * 0.2, 0.43, socket * 1.1, socket, s * 15), INK)
    pen.polygon([(0.5, 0.53), (0.57, 0.68), (0.43, 0.68)], INK)
    pen.line([(0.5 - jaw + 0.03, 0.8), (0.5 + jaw - 0.03, 0.8)], 0.022, INK)
    for x in np.linspace(0.5 - jaw * 0.6, 0.5 + jaw * 0.6, 4).tolist():
        pen.line([(x, 0.74), (x, 0.93)], 0.022, INK)


def fist(pen: Pen, rng: np.random.Generator) -> None:
    skin = tint(pick(rng, [(240, 196, 160), (204, 146, 104), (150, 98, 64), (112, 72, 48)]), rng, 10)
    cuff = tint(pick(rng, [(200, 40, 44), (50, 80, 170), (60, 120, 70), (220, 160, 40)]), rng)
    outlined(pen, ([(0.3, 0.6), (0.74, 0.6), (0.7, 0.95), (0.34, 0.95)], skin))
    outlined(pen, ([(0.25, 0.85), (0.79, 0.85), (0.81, 0.98), (0.23, 0.98)], cuff))
    outlined(pen, (smooth([(0.14, 0.3), (0.9, 0.3), (0.88, 0.6), (0.74, 0.78), (0.3, 0.78), (0.14, 0.6)], closed=True, steps=4), skin))
    tops = (0.15, 0.11, 0.13, 0.19)
    for i, top in enumerate(tops):
        x, y = 0.2 + i * 0.2, top + rng.uniform(-0.02, 0.02)
        stroke(pen, [(x, y), (x, 0.46)], 0.17, skin)
        pen.line([(x - 0.04, y - 0.02), (x + 0.04, y - 0.02)], 0.022, shade(skin, 1.25))
    tuck = rng.uniform(0.62, 0.68)
    stroke(pen, smooth([(0.14, 0.48), (0.2, 0.62), (0.4, 0.63), (tuck, 0.56)]), 0.15, skin)
    outlined(pen, (oval(tuck, 0.56, 0.045, 0.035, -15), shade(skin, 1.25)), width=0.008)


def swords(pen: Pen, rng: np.random.Generator) -> None:
    steel, gold = tint((206, 214, 224), rng, 12), tint(pick(rng, [(232, 180, 50), (190, 120, 50), (170, 174, 184)]), rng, 14)
    grip, spread = tint(pick(rng, [(120, 40, 36), (60, 44, 34), (40, 60, 110)]), rng, 12), rng.uniform(39, 45)
    for s in (-1, 1):

        def lay(points: list[Point], side: int = s) -> list[Point]:
            return turned(points, (0.5, 0.46), side * spread)

        blade = [(0.44, 0.76), (0.44, 0.0), (0.5, -0.14), (0.56, 0.0), (0.56, 0.76)]
        outlined(pen, (lay(blade), steel))
        pen.polygon(lay([(0.5, 0.76), (0.5, -0.12), (0.56, 0.0), (0.56, 0.76)]), shade(steel, 0.72))
        stroke(pen, lay([(0.5, 0.8), (0.5, 1.02)]), 0.07, grip)
        stroke(pen, lay([(0.36, 0.78), (0.64, 0.78)]), 0.065, gold)
        outlined(pen, (lay(oval(0.5, 1.06, 0.055, 0.055)), gold))


THREAT = {
    "snake": snake,
    "spider": spider,
    "ghost": ghost,
    "skull": skull,
    "fist": fist,
    "swords": swords,
}
