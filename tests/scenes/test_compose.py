from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from emocaliber.scenes.concepts import APART, CLOSE, CONTEXTS, HUMANS, INTERACTIONS, NOBODY
from emocaliber.scenes.drawing import compose
from emocaliber.scenes.drawing.compose import draw_scene
from emocaliber.scenes.drawing.contexts import CONTEXT_DRAWERS
from emocaliber.scenes.drawing.elements import ELEMENT_DRAWERS
from emocaliber.scenes.drawing.figures import FIGURE_DRAWERS
from emocaliber.scenes.drawing.pen import Pen
from emocaliber.scenes.drawing.sheet import contact_sheet

SIZE = 64
GREEN, RED = (0, 255, 0), (255, 0, 0)


def scene(seed: int, element: str = "teddy", human: str = "child", context: str = "meadow", interaction: str = CLOSE) -> Image.Image:
    return draw_scene(element, human, context, interaction, np.random.default_rng(seed), SIZE, finish=even_light)


def even_light(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return picture


@pytest.fixture
def flat_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements are green squares, figures red ones, contexts black."""
    monkeypatch.setattr(compose, "ELEMENT_DRAWERS", {"teddy": lambda pen, rng: pen.rectangle(0, 0, 1, 1, GREEN)})
    monkeypatch.setattr(compose, "FIGURE_DRAWERS", {"child": lambda pen, rng: pen.rectangle(0, 0, 1, 1, RED)})
    monkeypatch.setattr(compose, "CONTEXT_DRAWERS", {"meadow": lambda pen, rng: pen.rectangle(0, 0, 1, 1, (0, 0, 0))})


def covered(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    return (np.asarray(picture) == colour).all(axis=2)


def test_every_concept_has_its_drawer() -> None:
    assert set(CONTEXT_DRAWERS) == set(CONTEXTS)
    assert set(FIGURE_DRAWERS) == set(HUMANS) - {NOBODY}


def test_the_same_seed_gives_the_same_picture_and_another_seed_another() -> None:
    assert scene(3).tobytes() == scene(3).tobytes()
    assert scene(3).tobytes() != scene(4).tobytes()


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_a_picture_is_square_rgb_of_the_size_asked_for(context: str, interaction: str) -> None:
    for human in HUMANS:
        picture = scene(0, human=human, context=context, interaction=interaction)
        assert (picture.mode, picture.size) == ("RGB", (SIZE, SIZE))


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_context_paints_every_pixel(context: str) -> None:
    layer = Image.new("RGBA", (SIZE, SIZE))
    CONTEXT_DRAWERS[context](Pen(layer, (0, 0, SIZE, SIZE)), np.random.default_rng(1))
    assert layer.getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize("key", [*FIGURE_DRAWERS, *ELEMENT_DRAWERS])
@pytest.mark.parametrize("seed", range(3))
def test_a_part_fills_its_unit_square_and_stays_within_the_margin(key: str, seed: int) -> None:
    side, margin = 200, 100
    layer = Image.new("RGBA", (side + 2 * margin,) * 2)
    paint = {**FIGURE_DRAWERS, **ELEMENT_DRAWERS}[key]
    paint(Pen(layer, (margin, margin, side, side)), np.random.default_rng(seed))
    box = layer.getbbox()
    assert box is not None
    allowed = compose.MARGIN * side
    assert min(box) >= margin - allowed and max(box) <= margin + side + allowed
    assert max(box[2] - box[0], box[3] - box[1]) > 0.8 * side


@pytest.mark.parametrize("interaction", INTERACTIONS)
def test_nobody_leaves_no_figure(flat_world: None, interaction: str) -> None:
    picture = scene(0, human=NOBODY, interaction=interaction)
    assert covered(picture, GREEN).any() and not covered(picture, RED).any()


@pytest.mark.parametrize("seed", range(20))
def test_close_parts_touch_and_apart_parts_leave_a_clear_gap(flat_world: None, seed: int) -> None:
    for interaction in INTERACTIONS:
        picture = scene(seed, interaction=interaction)
        element, figure = (np.flatnonzero(covered(picture, colour).any(axis=0)) for colour in (GREEN, RED))
        gap = max(element[0] - figure[-1], figure[0] - element[-1]) / SIZE
        assert gap < 0.05 if interaction == CLOSE else gap > 0.08


@pytest.mark.parametrize("seed", range(20))
def test_neither_part_hides_the_other(flat_world: None, seed: int) -> None:
    picture = scene(seed, interaction=CLOSE)
    assert covered(picture, GREEN).mean() > 0.88 * 0.4**2
    assert covered(picture, RED).mean() > 0.8 * 0.42**2


@pytest.mark.parametrize("seed", range(20))
def test_alone_an_element_is_large_when_close_and_small_when_apart(flat_world: None, seed: int) -> None:
    widths = {key: covered(scene(seed, human=NOBODY, interaction=key), GREEN).any(axis=0).mean() for key in INTERACTIONS}
    assert widths[CLOSE] > 0.6 and widths[APART] < 0.45


@pytest.mark.parametrize("seed", range(20))
def test_an_element_that_uses_all_of_its_margin_finds_a_place(flat_world: None, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(compose, "ELEMENT_DRAWERS", {"teddy": lambda pen, rng: pen.rectangle(-0.1, -0.1, 1.1, 1.1, GREEN)})
    assert covered(scene(seed, human=NOBODY), GREEN).mean() > 0.6


@pytest.mark.parametrize("part", ["element", "human", "context", "interaction"])
def test_an_unknown_key_is_named(part: str) -> None:
    with pytest.raises(KeyError, match=f"no {part} is called 'unicorn'"):
        scene(0, **{part: "unicorn"})


def test_a_contact_sheet_holds_every_picture_in_rows() -> None:
    pictures = [(Image.new("RGB", (30, 20), GREEN), "a caption much longer than its picture")] * 5
    sheet = contact_sheet(pictures, columns=2)
    assert covered(sheet, GREEN).sum() == 5 * 30 * 20
    assert sheet.height > sheet.width
    with pytest.raises(ValueError, match="at least one picture"):
        contact_sheet([], columns=2)
