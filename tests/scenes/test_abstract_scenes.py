"""Abstract pictures hold colour and texture only, and their VAD follows the psychology of colour."""

from __future__ import annotations

import ast
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from emocaliber.scenes.annotators import GAIN
from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, NOBODY
from emocaliber.scenes.drawing import abstract, compose
from emocaliber.scenes.drawing import abstract as marks
from emocaliber.scenes.drawing.abstract import MARK_DRAWERS, draw_abstract
from emocaliber.scenes.drawing.styles import perceived
from emocaliber.scenes.out_of_domain import (
    ABSTRACT_WEIGHTS,
    COLOUR_TONES,
    MARKS,
    SURFACES,
    AbstractScene,
    abstract_vad,
    colour_vad,
    random_abstract,
)
from emocaliber.scenes.subtasks import SCENE_SUBTASKS

SIZE = 64
SUBTASK = SCENE_SUBTASKS["Abstract-8"]


def pixels(marks: str, colour: str, ground: str, surface: str, seed: int = 0) -> np.ndarray:
    return np.asarray(draw_abstract(marks, colour, ground, surface, np.random.default_rng(seed), SIZE)).astype(float)


def test_no_drawer_of_things_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("ELEMENT_DRAWERS", "FIGURE_DRAWERS", "CONTEXT_DRAWERS"):
        monkeypatch.setattr(compose, table, {})
    for index in range(30):
        rng = SUBTASK.generator(0, index)
        SUBTASK.draw(SUBTASK.choose(index, rng), rng, SIZE)


def test_the_drawing_of_abstract_pictures_knows_no_element_figure_or_context() -> None:
    for module in (abstract, marks):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name for name in imported if name and re.search(r"elements|figures|contexts|interiors|compose", name)}


def test_the_template_teacher_invents_no_thing() -> None:
    things = [concept.bare for kind in (ELEMENTS, HUMANS, CONTEXTS) for concept in kind.values() if concept.key != NOBODY]
    rng = np.random.default_rng(0)
    for index in range(200):
        said = str(SUBTASK.write(SUBTASK.choose(index, rng), "awe", rng))
        assert not [thing for thing in things if thing in said]


def test_every_mark_and_surface_can_be_drawn_and_seen() -> None:
    assert set(MARK_DRAWERS) == set(MARKS)
    plain = pixels("bands", "dark vivid", "bright greyish", "smooth")
    for surface in set(SURFACES) - {"smooth"}:
        assert abs(pixels("bands", "dark vivid", "bright greyish", surface) - plain).max() > 30


@pytest.mark.parametrize("name", MARKS)
def test_marks_are_seen_on_a_ground_of_their_own_tone(name: str) -> None:
    for tone in COLOUR_TONES:
        light = pixels(name, tone, tone, "smooth") @ (0.3, 0.59, 0.11)
        assert np.ptp(light) > 8, tone


def test_brightness_and_saturation_are_drawn_as_they_are_named() -> None:
    for strength in ("greyish", "muted", "vivid"):
        levels = [np.mean([pixels("dots", f"{at} {strength}", f"{at} {strength}", "smooth", s).mean() for s in range(6)])
                  for at in ("dark", "mid-toned", "bright")]  # fmt: skip
        assert levels == sorted(levels) and min(np.diff(levels)) > 25
    for light in ("dark", "mid-toned", "bright"):
        spreads = [np.mean([np.ptp(pixels("dots", f"{light} {at}", f"{light} {at}", "smooth", s), axis=2).mean() for s in range(6)])
                   for at in ("greyish", "muted", "vivid")]  # fmt: skip
        assert spreads == sorted(spreads) and min(np.diff(spreads)) > 12


def test_colours_feel_as_valdez_and_mehrabian_measured() -> None:
    assert colour_vad(2, 0) == pytest.approx((0.69, -0.31, -0.76))
    assert colour_vad(0, 2) == pytest.approx((0.22, 0.60, 0.32))
    assert colour_vad(1, -1) == pytest.approx(((0.69 - 0.22) / 2, (-0.31 - 0.60) / 2, (-0.76 - 0.32) / 2))


def test_the_vad_is_the_weighted_mean_of_the_four_parts() -> None:
    assert sum(ABSTRACT_WEIGHTS) == pytest.approx(1)
    felt = abstract_vad(AbstractScene("shards", "dark vivid", "bright greyish", "cracked"))
    valences = (-0.75, (-0.69 + 0.22) * 1.4 / 2, (0.69 - 0.22) * 1.4 / 2, -0.85)
    assert felt.valence == pytest.approx(GAIN * sum(w * v for w, v in zip(ABSTRACT_WEIGHTS, valences, strict=True)))


def test_the_four_parts_are_drawn_independently() -> None:
    rng = np.random.default_rng(0)
    scenes = [random_abstract(rng) for _ in range(20_000)]
    for first, second in product(range(4), repeat=2):
        if first < second:
            table = np.unique(np.array([[scene[first], scene[second]] for scene in scenes]), axis=0, return_counts=True)[1]
            assert abs(table - table.mean()).max() < 5 * np.sqrt(table.mean())


def test_perceived_colours_by_hand() -> None:
    assert perceived(1.0, 0.0, 0) == (255, 255, 255)
    assert perceived(0.0, 0.0, 0) == (0, 0, 0)
    red, green, blue = perceived(0.628, 1.0, 29.23)  # sRGB red, by Ottosson's own table: L 0.628, h 29.23
    assert red >= 250 and green < 30 and blue < 30
    greys = perceived(0.6, 0.0, 123)
    assert len(set(greys)) == 1
