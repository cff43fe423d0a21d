from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from emocaliber.vecbench.duplicates import FARTHEST, hamming_distance, near_duplicate_groups, near_pairs, perceptual_hash


def picture(seed: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def apart(a: Image.Image, b: Image.Image) -> int:
    left, right = perceptual_hash(a), perceptual_hash(b)
    assert left is not None and right is not None
    return (left ^ right).bit_count()


def test_a_picture_keeps_its_hash_when_it_is_scaled_or_made_brighter() -> None:
    whole = picture()
    assert apart(whole, whole.resize((160, 120), Image.Resampling.LANCZOS)) <= 4
    assert apart(whole, ImageEnhance.Brightness(whole).enhance(0.8)) <= 4


def test_different_pictures_are_far_apart() -> None:
    assert min(apart(picture(a), picture(b)) for a, b in combinations(range(12), 2)) > FARTHEST


@pytest.mark.parametrize("noise", [0, 2])
def test_a_plain_picture_has_no_hash(noise: int) -> None:
    pixels = 120 + np.random.default_rng(0).integers(-noise, noise + 1, (256, 256, 3))
    assert perceptual_hash(Image.fromarray(pixels.astype(np.uint8))) is None


@pytest.mark.slow
@settings(max_examples=25)  # a large distance takes a thousand sorts
@given(
    st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 2**64 - 1, 0xFF, 0xF0F0]), max_size=40),
    st.lists(st.tuples(st.integers(0, 39), st.sets(st.integers(0, 63), max_size=18)), max_size=20),
    st.integers(0, FARTHEST),
)
def test_every_near_pair_is_found_once_and_no_other(hashes: list[int], copies: list[tuple[int, set[int]]], distance: int) -> None:
    if hashes:
        hashes = hashes + [hashes[place % len(hashes)] ^ sum(1 << bit for bit in bits) for place, bits in copies]
    expected = [[i, j] for i, j in combinations(range(len(hashes)), 2) if (hashes[i] ^ hashes[j]).bit_count() <= distance]
    assert near_pairs(np.array(hashes, np.uint64), distance).tolist() == expected


def test_bits_are_counted_elementwise_and_against_one() -> None:
    hashes = np.array([0, 1, 2**64 - 1], np.uint64)
    assert hamming_distance(hashes, hashes[::-1]).tolist() == [64, 0, 64]
    assert hamming_distance(hashes, hashes[:1]).tolist() == [0, 1, 64]


def test_a_chain_of_near_hashes_is_one_group() -> None:
    groups = near_duplicate_groups(np.array([0, 0b1111, 2**64 - 1, 0b11111111, 0], np.uint64), 4)
    assert groups[0] == groups[1] == groups[3] == groups[4] != groups[2]


def test_no_hashes_make_no_groups() -> None:
    assert near_duplicate_groups(np.array([], np.uint64)).size == 0


def test_many_equal_hashes_are_grouped_without_comparing_each_with_each() -> None:
    assert set(near_duplicate_groups(np.zeros(300_000, np.uint64)).tolist()) == {0}


@pytest.mark.parametrize("distance", [-1, FARTHEST + 1])
def test_a_distance_at_which_everything_matches_is_refused(distance: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.16"):
        near_pairs(np.zeros(2, np.uint64), distance)
