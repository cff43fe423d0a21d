"""Drawers of the unpleasant elements: fear and power (`THREAT`), loss and disgust (`DARK`)."""

from __future__ import annotations

import math

import numpy as np

from emocaliber.scenes.drawing.pen import INK, PALE, WHITE, Pen, Point, mirrored, outlined, oval, pick, shade, smooth, stroke, tint, turned


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


# Elements of loss and disgust.


def gravestone(pen: Pen, rng: np.random.Generator) -> None:
    stone = tint(pick(rng, [(150, 150, 156), (124, 130, 136), (168, 160, 150)]), rng, 12)
    half, arch = rng.uniform(0.29, 0.34), rng.uniform(0.24, 0.34)
    slab = [*oval(0.5, 0.02 + arch, half, arch, start=180, end=360), (0.5 + half, 0.86), (0.5 - half, 0.86)]
    outlined(pen, ([(x + 0.07, y) for x, y in slab], shade(stone, 0.6)), (slab, stone))
    cut = shade(stone, 0.35)
    pen.line([(0.5, 0.18), (0.5, 0.52)], 0.07, cut)
    pen.line([(0.38, 0.29), (0.62, 0.29)], 0.07, cut)
    for y in (0.62, 0.71):
        pen.line([(0.34, y), (0.66, y)], 0.03, cut)
    grass = tint((74, 110, 54), rng, 16)
    blades = [(x, (0.8 if i % 2 else 0.9) + rng.uniform(-0.02, 0.02)) for i, x in enumerate(np.linspace(0.02, 0.98, 17).tolist())]
    outlined(pen, ([*blades, (0.98, 0.98), (0.02, 0.98)], grass), width=0.014)


def rose(pen: Pen, rng: np.random.Generator) -> None:
    petal, stem = tint(pick(rng, [(176, 28, 50), (156, 34, 74), (190, 46, 44)]), rng, 14), tint((104, 112, 50), rng, 12)
    droop = rng.uniform(0.42, 0.48)
    stroke(pen, smooth([(0.62, 0.98), (0.64, 0.6), (0.62, 0.24), (0.46, 0.07), (0.3, 0.14), (0.27, 0.26)]), 0.05, stem)
    for x0, y0, x1, y1 in ((0.64, 0.66, 0.95, 0.82), (0.64, 0.46, 0.9, 0.54)):
        leaf = [(x0, y0), ((x0 + x1) / 2 + 0.04, y0 - 0.02), (x1, y1), ((x0 + x1) / 2 - 0.04, y1 + 0.02)]
        outlined(pen, (smooth(leaf, closed=True, steps=4), tint((130, 116, 52), rng, 14)), width=0.016)
    frayed = [(0.04, droop), (0.13, 0.56), (0.2, droop + 0.02), (0.27, 0.62), (0.35, droop + 0.02), (0.43, 0.55), (0.5, droop)]
    skirt = [(0.16, 0.28), *frayed, (0.38, 0.28)]
    outlined(pen, (smooth(skirt, closed=True, steps=4), shade(petal, 0.75)))
    outlined(pen, (oval(0.27, 0.37, 0.19, 0.15), petal), width=0.014)
    pen.arc(0.27, 0.37, 0.11, 0.09, -40, 230, 0.024, shade(petal, 0.45))
    pen.arc(0.28, 0.36, 0.045, 0.035, 20, 320, 0.024, shade(petal, 0.45))
    outlined(pen, ([(0.13, 0.28), (0.2, 0.21), (0.34, 0.21), (0.42, 0.29), (0.33, 0.27), (0.27, 0.34), (0.21, 0.27)], stem), width=0.014)
    for x in (0.12, 0.33):
        outlined(pen, (oval(x + rng.uniform(-0.04, 0.04), 0.91 + rng.uniform(-0.03, 0.03), 0.1, 0.05, rng.uniform(-30, 30)), petal))
    outlined(pen, (oval(0.26, 0.75 + rng.uniform(-0.02, 0.02), 0.07, 0.04, 55), petal), width=0.016)


def heart(pen: Pen, rng: np.random.Generator) -> None:
    red = tint(pick(rng, [(216, 30, 50), (196, 24, 40), (228, 50, 90)]), rng, 14)
    right: list[Point] = []
    for i in range(17):
        t = math.pi * i / 16
        height = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        right.append((0.5 + 0.44 * math.sin(t) ** 3, 0.46 - 0.0285 * height))
    left = [(1 - x, y) for x, y in right]
    tip = right[-1]
    jag = rng.uniform(0.07, 0.1)
    crack = [(0.5 + (jag if i % 2 else -jag), y) for i, y in enumerate(np.linspace(0.4, 0.76, 4).tolist())]
    gape = rng.uniform(5, 8)
    for half, side in ((left, -1), (right, 1)):
        piece = turned([*half, *reversed(crack)], tip, side * gape)
        outlined(pen, (piece, shade(red, 1.0 if side < 0 else 0.86)))
    shine = turned([(0.15, 0.36), (0.18, 0.25), (0.27, 0.19)], tip, -gape)
    pen.line(smooth(shine), 0.04, shade(red, 1.6))


def apple(pen: Pen, rng: np.random.Generator) -> None:
    skin = tint(pick(rng, [(150, 140, 50), (168, 92, 40), (140, 110, 46)]), rng, 14)
    rot, worm = shade(skin, 0.5), tint((168, 226, 84), rng, 16)
    side = [(0.5, 0.3), (0.66, 0.22), (0.84, 0.28), (0.91, 0.5), (0.82, 0.78), (0.64, 0.95), (0.5, 0.91)]
    stroke(pen, smooth([(0.5, 0.32), (0.48, 0.18), (0.56, 0.05)]), 0.05, (86, 56, 34))
    leaf = smooth([(0.5, 0.2), (0.36, 0.05), (0.16, 0.06), (0.3, 0.18)], closed=True, steps=4)
    outlined(pen, (leaf, tint((128, 110, 44), rng, 12)), width=0.016)
    outlined(pen, (smooth(mirrored(side), closed=True, steps=4), skin))
    for x, y, r in ((0.3, 0.74, 0.13), (0.27, 0.42, 0.09), (0.52, 0.84, 0.06)):
        r *= rng.uniform(0.85, 1.15)
        pen.ellipse(x, y, r * 1.15, r, rot)
        pen.ellipse(x, y, r * 0.6, r * 0.5, shade(rot, 0.6))
    pen.ellipse(0.6, 0.57, 0.13, 0.11, shade(rot, 0.4))
    lift = rng.uniform(-0.05, 0.03)
    crawl = smooth([(0.58, 0.59), (0.68, 0.47), (0.8, 0.56), (0.9, 0.42 + lift), (0.9, 0.24 + lift)], steps=4)
    stroke(pen, crawl, 0.11, worm)
    for x, y in crawl[3::3]:
        pen.ellipse(x, y, 0.018, 0.018, shade(worm, 0.65))
    pen.ellipse(0.88, 0.21 + lift, 0.028, 0.032, INK)
    pen.ellipse(0.945, 0.21 + lift, 0.02, 0.026, INK)


def garbage(pen: Pen, rng: np.random.Generator) -> None:
    fish, peel = tint((232, 232, 218), rng, 10), tint((248, 206, 50), rng, 12)
    for x, y, rx, ry in ((0.74, 0.64, 0.24, 0.27), (0.37, 0.56, 0.34, 0.36)):
        x, top = x + rng.uniform(-0.02, 0.02), y - ry
        bag = tint(pick(rng, [(46, 48, 56), (40, 62, 52), (56, 54, 82)]), rng, 10)
        ears = [(x - 0.13, top - 0.1), (x - 0.02, top - 0.06), (x + 0.05, top - 0.15), (x + 0.12, top - 0.06)]
        knot = [(x - 0.03, top + 0.05), *ears, (x + 0.03, top + 0.05)]
        lumps = [(x, top), (x + rx * 0.7, y - ry * 0.7), (x + rx, y + ry * 0.3), (x + rx * 0.85, y + ry * 0.95), (x, y + ry)]
        outlined(pen, (knot, shade(bag, 1.7)), (smooth(mirrored(lumps, x), closed=True, steps=4), bag), rim=PALE)
        for dx in (-0.3, 0.0, 0.3):
            pen.line([(x + dx * rx, top + 0.1), (x + dx * rx * 2, top + 0.22)], 0.028, shade(bag, 2.0))
    for x, y in ((0.66, 0.14), (0.84, 0.06), (0.93, 0.22)):
        x += rng.uniform(-0.04, 0.04)
        for s in (-1, 1):
            outlined(pen, (oval(x + s * 0.035, y - 0.025, 0.035, 0.02, s * -35), WHITE), width=0.01)
        pen.ellipse(x, y, 0.028, 0.028, INK)
    for tip in ((0.03, 0.97), (0.18, 0.97), (0.33, 0.95)):
        stroke(pen, smooth([(0.19, 0.68), ((0.19 + tip[0]) / 2, 0.78), tip], steps=3), 0.075, peel)
    stroke(pen, [(0.5, 0.88), (0.8, 0.86)], 0.045, fish)
    for x in (0.58, 0.68):
        stroke(pen, [(x, 0.77), (x + 0.02, 0.96)], 0.045, fish)
    outlined(pen, (oval(0.85, 0.86, 0.12, 0.1), fish), ([(0.54, 0.88), (0.42, 0.76), (0.42, 0.98)], fish))
    pen.ellipse(0.89, 0.84, 0.03, 0.03, INK)


def cockroach(pen: Pen, rng: np.random.Generator) -> None:
    shell = tint(pick(rng, [(112, 56, 24), (92, 44, 26), (134, 70, 30)]), rng, 10)
    dark, bend = shade(shell, 0.55), rng.uniform(0.0, 0.06)
    legs: list[list[Point]] = []
    for s in (-1, 1):
        ends = [((0.3, 0.34), (0.4, 0.14 + bend)), ((0.34, 0.53), (0.47, 0.6 + bend)), ((0.32, 0.74), (0.42, 0.97))]
        starts = [(0.12, 0.4), (0.14, 0.52), (0.12, 0.6)]
        legs += [[(0.5 + s * x, y) for x, y in (start, knee, foot)] for start, (knee, foot) in zip(starts, ends, strict=True)]
        legs.append([(0.5 + s * x, y) for x, y in smooth([(0.05, 0.16), (0.12, 0.04), (0.3, 0.02 + bend), (0.46, 0.02)])])
    for leg in legs:
        pen.line(leg, 0.078 if len(leg) == 3 else 0.06, PALE)
    for leg in legs:
        pen.line(leg, 0.044 if len(leg) == 3 else 0.028, dark)
    wings = smooth(mirrored([(0.5, 0.3), (0.68, 0.36), (0.72, 0.6), (0.64, 0.88), (0.5, 0.98)]), closed=True, steps=4)
    outlined(pen, (oval(0.5, 0.17, 0.1, 0.07), dark), (wings, shell), (oval(0.5, 0.3, 0.2, 0.12), dark), rim=PALE)
    pen.line([(0.5, 0.42), (0.5, 0.96)], 0.022, dark)
    for s in (-1, 1):
        pen.line([(0.5, 0.44), (0.5 + s * 0.12, 0.56)], 0.02, dark)
        pen.arc(0.5, 0.56, 0.17, 0.32, 90 - s * 25, 90 - s * 80, 0.024, shade(shell, 1.5))
        pen.ellipse(0.5 + s * 0.09, 0.3, 0.06, 0.055, shade(shell, 1.7))
        pen.ellipse(0.5 + s * 0.05, 0.15, 0.022, 0.022, WHITE)


DARK = {
    "gravestone": gravestone,
    "rose": rose,
    "heart": heart,
    "apple": apple,
    "garbage": garbage,
    "cockroach": cockroach,
}
