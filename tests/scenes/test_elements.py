"""The drawers of salient elements: complete, reproducible, varied, and filling their square."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from emocaliber.scenes.concepts import ELEMENTS
from emocaliber.scenes.drawing.elements import ELEMENT_DRAWERS
from emocaliber.scenes.drawing.pen import Colour, Pen

SIDE = 120
LIGHT: Colour = (250, 248, 240)
DARK: Colour = (16, 16, 22)
every_element = pytest.mark.parametrize("key", list(ELEMENTS))


def drawn(key: str, seed: int = 0, ground: Colour = LIGHT, mirror: bool = False) -> Image.Image:
    picture = Image.new("RGB", (2 * SIDE, 2 * SIDE), ground)
    ELEMENT_DRAWERS[key](Pen(picture, (SIDE // 2, SIDE // 2, SIDE, SIDE), mirror=mirror), np.random.default_rng(seed))
    return picture


def painted(picture: Image.Image, ground: Colour) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = (np.asarray(picture) != np.array(ground)).any(axis=2)
    return mask


def test_every_element_has_a_drawer_and_no_drawer_is_without_an_element() -> None:
    assert set(ELEMENT_DRAWERS) == set(ELEMENTS)


@every_element
def test_the_same_seed_gives_the_same_picture_and_other_seeds_give_others(key: str) -> None:
    assert drawn(key, seed=1).tobytes() == drawn(key, seed=1).tobytes()
    assert len({drawn(key, seed=seed).tobytes() for seed in range(8)}) == 8


@every_element
@pytest.mark.parametrize("seed", range(4))
def test_an_element_fills_its_square_and_stays_near_it(key: str, seed: int) -> None:
    mask = painted(drawn(key, seed), LIGHT)
    assert 0.15 < mask.sum() / SIDE**2 < 0.95
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    for used in (rows, columns):
        assert used[-1] - used[0] >= 0.75 * SIDE
        assert used[0] >= 0.4 * SIDE and used[-1] <= 1.6 * SIDE


@every_element
@pytest.mark.parametrize("ground", [LIGHT, DARK, (90, 160, 80), (110, 170, 230)])
def test_an_element_stands_out_from_any_ground(key: str, ground: Colour) -> None:
    difference = np.abs(np.asarray(drawn(key, ground=ground)).astype(int) - np.array(ground)).max(axis=2)
    assert (difference > 60).sum() / SIDE**2 > 0.1


@every_element
def test_a_mirrored_pen_flips_the_element(key: str) -> None:
    flipped = np.asarray(ImageOps.mirror(drawn(key, mirror=True))).astype(int)
    difference = np.abs(flipped - np.asarray(drawn(key)).astype(int)).max(axis=2)
    assert (difference > 60).mean() < 0.05  # only edges may fall on other pixels


@pytest.mark.parametrize("key", ["kite", "comet", "snake", "rose", "teacup", "whale"])
def test_lopsided_elements_look_different_when_mirrored(key: str) -> None:
    assert drawn(key).tobytes() != drawn(key, mirror=True).tobytes()


def test_no_two_elements_have_the_same_silhouette() -> None:
    masks = {key: painted(drawn(key), LIGHT) for key in ELEMENTS}
    for a in masks:
        for b in masks:
            overlap = (masks[a] & masks[b]).sum() / (masks[a] | masks[b]).sum()
            assert a == b or overlap < 0.9, f"{a} and {b} cover nearly the same pixels"
