"""Pictures that are no photographs: drawings, screens, printed pages, noise and blanks, of which nothing is known but that.

`lite` learns from them to say that a picture is unfamiliar, and to answer with the confidence of a guess.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from emocaliber.scenes.subtasks import SCENE_SUBTASKS

Colour = tuple[int, int, int]
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "sta", "gre", "ing", "er")


def drawn_sheet(rng: np.random.Generator, side: int, photograph: Image.Image | None = None) -> Image.Image:
    """A picture that is no photograph, RGB, `side` x `side` pixels; with a `photograph`, sometimes a line drawing after it."""
    looks: list[Callable[[np.random.Generator, int], Image.Image]] = [blank, gradient, noise, page, page, screen, screen, chart]
    looks += [scribble, scribble, cartoon, cartoon, icon, _scene, _scene, _scene]
    if photograph is not None and rng.random() < 0.15:
        return sketch(photograph, rng, side)
    return looks[int(rng.integers(len(looks)))](rng, side)


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> Colour:
    red, green, blue = rng.integers(low, high, 3).tolist()
    return red, green, blue


def _paper(rng: np.random.Generator) -> Colour:
    """A ground: mostly white or nearly so, sometimes dark or coloured."""
    kind = rng.random()
    return _colour(rng, 240) if kind < 0.55 else _colour(rng, 0, 60) if kind < 0.75 else _colour(rng)


def _ink(rng: np.random.Generator, paper: Colour) -> Colour:
    return _colour(rng, 0, 90) if sum(paper) > 380 else _colour(rng, 170)


def blank(rng: np.random.Generator, side: int) -> Image.Image:
    """One colour, at most with a frame."""
    image = Image.new("RGB", (side, side), _paper(rng) if rng.random() < 0.7 else (int(rng.integers(256)),) * 3)
    if rng.random() < 0.2:
        edge = int(rng.integers(4, side // 5))
        ImageDraw.Draw(image).rectangle((edge, edge, side - edge, side - edge), outline=_colour(rng), width=int(rng.integers(1, 6)))
    return image


def gradient(rng: np.random.Generator, side: int) -> Image.Image:
    """From one colour to another, along a line or from a middle."""
    ramp = Image.linear_gradient("L").rotate(float(rng.uniform(0, 360))) if rng.random() < 0.6 else Image.radial_gradient("L")
    return ImageOps.colorize(ramp.resize((side, side)), _colour(rng), _colour(rng))


def noise(rng: np.random.Generator, side: int) -> Image.Image:
    """Random pixels, grey or coloured, coarse or fine, sharp or smooth."""
    cells = int(rng.choice([8, 16, 32, 64, 128, side]))
    shape = (cells, cells, 3) if rng.random() < 0.6 else (cells, cells)
    levels = (
        rng.integers(0, 256, shape) if rng.random() < 0.5 else rng.normal(rng.uniform(60, 200), rng.uniform(10, 70), shape).clip(0, 255)
    )
    smooth = Image.Resampling.NEAREST if rng.random() < 0.5 else Image.Resampling.BICUBIC
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB").resize((side, side), smooth)


def _words(rng: np.random.Generator, count: int) -> str:
    return " ".join("".join(rng.choice(_SYLLABLES, int(rng.integers(1, 4)))) for _ in range(count))


def _text(pen: ImageDraw.ImageDraw, rng: np.random.Generator, box: tuple[int, int, int, int], size: int, ink: Colour) -> None:
    """Lines of words in a box."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = box
    for y in range(top, max(top + 1, bottom - size), int(size * 1.4)):
        words = _words(rng, 40)
        while words and pen.textlength(words, font=font) > right - left:
            words = words.rpartition(" ")[0]
        pen.text((left, y), words, fill=ink, font=font)


def page(rng: np.random.Generator, side: int) -> Image.Image:
    """A printed page: a heading and columns of text, or a few large words."""
    paper = _paper(rng)
    image, ink = Image.new("RGB", (side, side), paper), _ink(rng, paper)
    pen, margin = ImageDraw.Draw(image), int(rng.integers(6, side // 6))
    if rng.random() < 0.35:
        _text(pen, rng, (margin, int(rng.integers(margin, side // 2)), side - margin, side - margin), int(rng.integers(24, 60)), ink)
        return image
    pen.text((margin, margin), _words(rng, 3), fill=ink, font=ImageFont.load_default(int(rng.integers(12, 30))))
    columns, top, size = int(rng.integers(1, 4)), margin + int(rng.integers(30, 50)), int(rng.integers(6, 14))
    width = (side - 2 * margin) // columns
    for column in range(columns):
        left = margin + column * width
        _text(pen, rng, (left, top, left + width - 8, side - margin), size, ink)
    return image


def screen(rng: np.random.Generator, side: int) -> Image.Image:
    """A window of a program or a web page: bars, panels, buttons, text."""
    paper = _paper(rng)
    image = Image.new("RGB", (side, side), paper)
    pen, ink, accent = ImageDraw.Draw(image), _ink(rng, paper), _colour(rng)
    bar = int(rng.integers(10, 40))
    pen.rectangle((0, 0, side, bar), fill=accent)
    pen.text((6, 2), _words(rng, 3), fill=_ink(rng, accent), font=ImageFont.load_default(max(8, bar - 8)))
    panel = int(rng.integers(0, side // 3))
    pen.rectangle((0, bar, panel, side), fill=_colour(rng, 180) if sum(paper) > 380 else _colour(rng, 20, 80))
    for _ in range(int(rng.integers(3, 12))):
        left, top = int(rng.integers(panel, side - 30)), int(rng.integers(bar, side - 20))
        right, bottom = left + int(rng.integers(20, side // 2)), top + int(rng.integers(10, side // 3))
        if rng.random() < 0.5:
            pen.rounded_rectangle((left, top, right, bottom), radius=int(rng.integers(0, 8)), fill=_colour(rng), outline=ink)
        else:
            _text(pen, rng, (left, top, min(right, side), min(bottom, side)), int(rng.integers(7, 14)), ink)
    return image


def chart(rng: np.random.Generator, side: int) -> Image.Image:
    """A diagram: bars, lines or a pie, with axes."""
    paper = _colour(rng, 235) if rng.random() < 0.8 else _colour(rng, 0, 50)
    image, ink = Image.new("RGB", (side, side), paper), _ink(rng, paper)
    pen, edge, count = ImageDraw.Draw(image), int(rng.integers(15, 40)), int(rng.integers(3, 12))
    kind = rng.integers(3)
    if kind == 2:
        angles = np.append(np.sort(rng.uniform(0, 360, count)), 360.0)
        for start, end in zip(np.append(0.0, angles[:-1]), angles, strict=True):
            pen.pieslice((edge, edge, side - edge, side - edge), float(start), float(end), fill=_colour(rng), outline=paper)
        return image
    pen.line((edge, edge, edge, side - edge, side - edge, side - edge), fill=ink, width=2)
    at, heights = np.linspace(edge + 8, side - edge - 8, count), rng.uniform(edge, side - edge, count)
    if kind == 0:
        colour, width = _colour(rng), max(2, int((side - 2 * edge) / count * 0.35))
        for x, y in zip(at, heights, strict=True):
            pen.rectangle((x - width, y, x + width, side - edge), fill=colour if rng.random() < 0.8 else _colour(rng))
    else:
        for _ in range(int(rng.integers(1, 4))):
            shifted = (heights + rng.normal(0, 20, count)).clip(edge, side - edge)
            pen.line([(float(x), float(y)) for x, y in zip(at, shifted, strict=True)], fill=_colour(rng), width=int(rng.integers(1, 4)))
    pen.text((edge, 2), _words(rng, 3), fill=ink, font=ImageFont.load_default(int(rng.integers(8, 18))))
    return image


def scribble(rng: np.random.Generator, side: int) -> Image.Image:
    """A drawing in lines: curves, closed shapes and hatching, by pen, pencil or crayon."""
    paper = _colour(rng, 225) if rng.random() < 0.85 else _colour(rng, 0, 60)
    image = Image.new("RGB", (side, side), paper)
    pen, ink = ImageDraw.Draw(image), _ink(rng, paper)
    coloured, width = rng.random() < 0.4, int(rng.integers(1, 7))
    for _ in range(int(rng.integers(3, 30))):
        steps = np.cumsum(rng.normal(0, rng.uniform(3, 25), (int(rng.integers(4, 40)), 2)), 0) + rng.uniform(0, side, 2)
        points = [(float(x), float(y)) for x, y in steps]
        pen.line(points + (points[:1] if rng.random() < 0.3 else []), fill=_colour(rng) if coloured else ink, width=width, joint="curve")
    for _ in range(int(rng.integers(0, 6))):
        x, y, wide, high = rng.uniform(0, side, 2).tolist() + rng.uniform(10, side / 2, 2).tolist()
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((x, y, x + wide, y + high), outline=_colour(rng) if coloured else ink, width=width)
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 1.2))))


def cartoon(rng: np.random.Generator, side: int) -> Image.Image:
    """Flat shapes with outlines before a flat ground, as in cartoons and clip art."""
    image = Image.new("RGB", (side, side), _paper(rng) if rng.random() < 0.6 else _colour(rng))
    pen, outlined = ImageDraw.Draw(image), rng.random() < 0.7
    if rng.random() < 0.5:
        pen.rectangle((0, int(rng.integers(side // 3, side)), side, side), fill=_colour(rng))
    for _ in range(int(rng.integers(2, 14))):
        x, y = rng.uniform(0, side, 2)
        radius, corners = rng.uniform(8, side / 3), int(rng.integers(3, 9))
        fill, outline, width = _colour(rng), (0, 0, 0) if outlined else None, int(rng.integers(1, 5))
        if rng.random() < 0.5:
            flat = rng.uniform(0.5, 1)
            pen.ellipse((x - radius, y - radius * flat, x + radius, y + radius * flat), fill=fill, outline=outline, width=width)
        else:
            angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
            points = [(float(x + radius * np.cos(a)), float(y + radius * np.sin(a))) for a in angles]
            pen.polygon(points, fill=fill, outline=outline, width=width)
    return image


def icon(rng: np.random.Generator, side: int) -> Image.Image:
    """One simple sign in the middle of a plain ground: a face of circles, a ring, a cross, a letter."""
    paper = _paper(rng)
    image, ink = Image.new("RGB", (side, side), paper), _colour(rng)
    pen, half = ImageDraw.Draw(image), side / 2
    radius = float(rng.uniform(side / 6, side / 2.2))
    around = (half - radius, half - radius, half + radius, half + radius)
    kind = rng.integers(4)
    if kind == 0:
        pen.ellipse(around, fill=ink, outline=(0, 0, 0), width=int(rng.integers(1, 5)))
        for sign in (-1, 1):
            x, y, eye = half + sign * radius * 0.4, half - radius * 0.25, radius * float(rng.uniform(0.08, 0.2))
            pen.ellipse((x - eye, y - eye, x + eye, y + eye), fill=(0, 0, 0))
        mouth = (half - radius * 0.5, half - radius * 0.1, half + radius * 0.5, half + radius * 0.6)
        pen.arc(mouth, *((20, 160) if rng.random() < 0.5 else (200, 340)), fill=(0, 0, 0), width=int(rng.integers(2, 8)))
    elif kind == 1:
        pen.ellipse(around, outline=ink, width=int(rng.integers(3, 40)))
    elif kind == 2:
        width = int(rng.integers(4, 40))
        pen.line((*around[:2], *around[2:]), fill=ink, width=width)
        pen.line((around[0], around[3], around[2], around[1]), fill=ink, width=width)
    else:
        pen.text((half, half), str(rng.choice(list("AbCdEfG?!#&7285"))), fill=ink, font=ImageFont.load_default(radius * 2), anchor="mm")
    return image


def sketch(photograph: Image.Image, rng: np.random.Generator, side: int) -> Image.Image:
    """A line drawing after a photograph: its edges, dark on white or light on black."""
    grey = (
        photograph.convert("L").resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2))))
    )
    edges = ImageOps.autocontrast(ImageChops.difference(grey, grey.filter(ImageFilter.GaussianBlur(3))), cutoff=1)
    if rng.random() < 0.5:
        threshold = int(rng.integers(60, 140))
        edges = edges.point([255 if level > threshold else 0 for level in range(256)])
    return (ImageOps.invert(edges) if rng.random() < 0.8 else edges).convert("RGB")


def _scene(rng: np.random.Generator, side: int) -> Image.Image:
    """A drawn scene of the known-answer world, in the style of any of its subtasks."""
    subtask = SCENE_SUBTASKS[str(rng.choice(sorted(SCENE_SUBTASKS)))]
    return subtask.draw(subtask.choose(int(rng.integers(1000)), rng), rng, min(side, 224)).resize((side, side), Image.Resampling.BICUBIC)
