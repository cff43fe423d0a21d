"""Composes a scene's picture: the context, and in front of it the element and the human figure, near each other or apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageOps, ImageStat

from emocaliber.scenes.concepts import CLOSE, INTERACTIONS, NOBODY
from emocaliber.scenes.drawing.contexts import CONTEXT_DRAWERS
from emocaliber.scenes.drawing.elements import ELEMENT_DRAWERS
from emocaliber.scenes.drawing.figures import FIGURE_DRAWERS
from emocaliber.scenes.drawing.pen import SUPERSAMPLING, Colour, Pen
from emocaliber.scenes.drawing.styles import Finish, everyday

Drawer = Callable[[Pen, np.random.Generator], None]
T = TypeVar("T")

MARGIN = 0.1  # drawers may leave their unit square by this much
RIM = 0.012  # width of the outline round element and figure, as a fraction of the picture's side
LIGHT_RIM: Colour = (248, 248, 245)
DARK_RIM: Colour = (24, 22, 28)


def draw_scene(
    element: str,
    human: str,
    context: str,
    interaction: str,
    rng: np.random.Generator,
    size: int = 224,
    *,
    finish: Finish = everyday,
    supersampling: int = SUPERSAMPLING,
) -> Image.Image:
    """The scene as an RGB picture of `size` x `size` pixels; the same `rng` state gives the same picture.

    Shapes are drawn `supersampling` times larger and reduced, and the picture then gets its `finish`.

    Raises KeyError naming the first key that does not exist.
    """
    paint_context = _known("context", context, CONTEXT_DRAWERS)
    paint_element = _known("element", element, ELEMENT_DRAWERS)
    paint_human = None if human == NOBODY else _known("human", human, FIGURE_DRAWERS)
    close = _known("interaction", interaction, {key: key == CLOSE for key in INTERACTIONS})

    side = size * supersampling
    picture = Image.new("RGB", (side, side))
    paint_context(Pen(picture, (0, 0, side, side), mirror=_coin(rng)), rng)
    if paint_human is None:
        _place_alone(picture, paint_element, close, rng)
    else:
        _place_pair(picture, paint_element, paint_human, close, rng)
    return finish(picture.reduce(supersampling), rng)


def _known(kind: str, key: str, table: Mapping[str, T]) -> T:
    if key not in table:
        raise KeyError(f"no {kind} is called {key!r}; there are: {', '.join(table)}")
    return table[key]


def _coin(rng: np.random.Generator, probability: float = 0.5) -> bool:
    return bool(rng.random() < probability)


def _part(paint: Drawer, side: float, rng: np.random.Generator) -> Image.Image:
    """The part on a transparent ground, `side` pixels for its unit square, cropped to what was painted."""
    margin = MARGIN * side
    layer = Image.new("RGBA", (round(side + 2 * margin),) * 2)
    paint(Pen(layer, (margin, margin, side, side), mirror=_coin(rng)), rng)
    return layer.crop(layer.getbbox())


def _paste(picture: Image.Image, part: Image.Image, x: float, y: float) -> None:
    """Pastes the part with its upper left corner at `(x, y)`, kept inside the picture, with a rim that stands out there."""
    left, top = (round(min(max(at, 0), picture.width - length)) for at, length in ((x, part.width), (y, part.height)))
    ground = picture.crop((left, top, left + part.width, top + part.height)).convert("L")
    colour = LIGHT_RIM if ImageStat.Stat(ground).mean[0] < 128 else DARK_RIM
    mask, reach = part.getchannel("A"), max(1, round(RIM * picture.width))
    picture.paste(colour, (left - reach, top - reach), _grown(mask, reach))
    picture.paste(part, (left, top), mask)


def _grown(mask: Image.Image, reach: int) -> Image.Image:
    """The mask grown by `reach` pixels to every side, and larger by as much."""
    padded = ImageOps.expand(mask, reach)
    diagonal = round(0.7 * reach)
    grown = padded
    for dx, dy in ((reach, 0), (0, reach), (diagonal, diagonal), (diagonal, -diagonal)):
        for sign in (-1, 1):
            grown = ImageChops.lighter(grown, ImageChops.offset(padded, sign * dx, sign * dy))
    return grown


def _place_alone(picture: Image.Image, paint: Drawer, close: bool, rng: np.random.Generator) -> None:
    """Without a figure, near means that the element fills the picture, and far that it is small and anywhere."""
    side = picture.width
    part = _part(paint, side * rng.uniform(*((0.68, 0.85) if close else (0.32, 0.40))), rng)
    edge = 0.03 * side
    x, y = (rng.uniform(edge, max(edge, side - edge - length)) for length in part.size)  # some parts reach beyond their square
    _paste(picture, part, x, y)


def _place_pair(picture: Image.Image, element: Drawer, human: Drawer, close: bool, rng: np.random.Generator) -> None:
    side = picture.width
    if close:
        element_side = rng.uniform(0.42, 0.52)
        human_side = rng.uniform(0.45, min(0.58, 1.02 - element_side))
    else:
        element_side, human_side = rng.uniform(0.36, 0.42, 2)
    element_part, human_part = _part(element, side * element_side, rng), _part(human, side * human_side, rng)

    element_left = _coin(rng)
    left, right = (element_part, human_part) if element_left else (human_part, element_part)
    if close:
        overlap = rng.uniform(0.02, 0.12) * element_part.width
        free = side - (left.width + right.width - overlap)
        left_x = free * rng.uniform(0.3, 0.7)
        right_x = left_x + left.width - overlap
    else:
        left_x, right_x = rng.uniform(0.0, 0.02) * side, rng.uniform(0.98, 1.0) * side - right.width
    ground = rng.uniform(0.8, 0.97) * side
    left_y, right_y = (ground - part.height - rng.uniform(0.0, 0.06 if close else 0.2) * side for part in (left, right))

    # The figure goes first: it never hides the element, and the element hides at most a narrow strip of it.
    order = [(left, left_x, left_y), (right, right_x, right_y)]
    for part, x, y in reversed(order) if element_left else order:
        _paste(picture, part, x, y)
