"""Perturbations take away what a picture shows, or leave it, and are the same each time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops

from emocaliber.trust.perturbations import BLOCKS, KEPT, PERTURBATIONS, blank, blurred, crop, flip, jpeg, mosaic, noise


def photograph(width: int = 90, height: int = 60, seed: int = 0) -> Image.Image:
    """Smooth colour with some detail, as in photographs."""
    random = np.random.default_rng(seed)
    rough = Image.fromarray(random.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    return rough.resize((width, height), Image.Resampling.BICUBIC)


def spread(image: Image.Image) -> float:
    return float(np.asarray(image, dtype=float).std(axis=(0, 1)).mean())


@given(width=st.integers(1, 70), height=st.integers(1, 70), seed=st.integers(0, 2**63 - 1), name=st.sampled_from(sorted(PERTURBATIONS)))
def test_any_picture_gives_an_rgb_picture_the_same_each_time_and_is_left_as_it_is(width: int, height: int, seed: int, name: str) -> None:
    picture = photograph(width, height)
    before = picture.tobytes()
    changed = PERTURBATIONS[name](picture, seed)
    assert changed.mode == "RGB"
    assert changed.size == (picture.size if name != "crop" else tuple(max(1, round(KEPT * side)) for side in picture.size))
    assert changed.tobytes() == PERTURBATIONS[name](picture, seed).tobytes()
    assert picture.tobytes() == before


def test_a_blank_picture_has_the_mean_colour_alone() -> None:
    picture = photograph()
    [(count, colour)] = blank(picture).getcolors() or []
    assert count == 90 * 60
    assert colour == pytest.approx(np.asarray(picture, dtype=float).mean(axis=(0, 1)), abs=1)


def test_noise_depends_on_the_seed_and_on_nothing_of_the_picture_but_its_size() -> None:
    assert noise(photograph(seed=1), 5).tobytes() == noise(photograph(seed=2), 5).tobytes()
    assert noise(photograph(), 5).tobytes() != noise(photograph(), 6).tobytes()


def test_a_blur_takes_detail_and_a_mosaic_leaves_few_colours() -> None:
    random = noise(photograph(120, 80))
    assert spread(blurred(random)) < spread(random) / 5
    assert len(mosaic(random).getcolors(10_000) or []) <= BLOCKS * BLOCKS
    assert len(mosaic(photograph(2, 60)).getcolors() or []) <= BLOCKS


def test_a_mirror_image_of_a_mirror_image_is_the_picture() -> None:
    picture = photograph()
    assert flip(picture).tobytes() != picture.tobytes()
    assert flip(flip(picture)).tobytes() == picture.tobytes()


def test_a_crop_is_a_part_of_the_picture_at_a_place_that_the_seed_draws() -> None:
    picture = photograph(200, 100)
    whole, parts = np.asarray(picture), {seed: np.asarray(crop(picture, seed)) for seed in range(20)}
    places = {
        (x, y) for part in parts.values() for x in range(11) for y in range(6) if np.array_equal(whole[y : y + 95, x : x + 190], part)
    }
    assert len(places) > 5


def test_a_jpeg_of_low_quality_is_nearly_the_picture() -> None:
    difference = np.asarray(ImageChops.difference(jpeg(photograph()), photograph()), dtype=float)
    assert 0 < difference.mean() < 6
