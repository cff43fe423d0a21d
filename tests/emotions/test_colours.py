"""Each emotion has one colour, which can be seen on light and dark pages, and told from others by people who see no red or green."""

from __future__ import annotations

import re
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from emocaliber.emotions import BUILT_IN, VAD, Taxonomy, taxonomy
from emocaliber.emotions.colours import contrast, emotion_colour, emotion_styles

Array = NDArray[np.float64]

# What people without red or green cones see of linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
}
# From linear RGB to OKLab, in which a distance of 0.02 is just visible.
LMS = np.array([[0.412221, 0.536333, 0.051446], [0.211903, 0.680700, 0.107397], [0.088302, 0.281719, 0.629979]])
LAB = np.array([[0.210454, 0.793618, -0.004072], [1.977998, -2.428592, 0.450594], [0.025904, 0.782772, -0.808676]])


def seen(colour: str, sight: str) -> Array:
    rgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.asarray(LAB @ np.cbrt(LMS @ np.clip(SIGHTS[sight] @ linear, 0, 1)))


def distance(a: str, b: str, sight: str) -> float:
    return min(
        float(np.linalg.norm(seen(one, sight) - seen(other, sight)))
        for one, other in zip(emotion_colour(a), emotion_colour(b), strict=True)
    )


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize(("name", "least"), [("mikels-8", 0.07), ("webemo-7", 0.055), ("unbiasedemo-6", 0.055), ("polarity-2", 0.15)])
def test_no_two_emotions_of_a_small_taxonomy_look_alike(name: str, least: float, sight: str) -> None:
    apart = {(a, b): distance(a, b, sight) for a, b in combinations(taxonomy(name).labels, 2)}
    assert min(apart.values()) >= least, min(apart, key=apart.__getitem__)


@pytest.mark.parametrize("sight", SIGHTS)
def test_neighbours_on_the_loop_of_25_can_be_told_apart(sight: str) -> None:
    order = taxonomy("webemo-25").loop().order
    assert min(distance(a, b, sight) for a, b in pairwise([*order, order[0]])) > 0.02


@given(st.one_of(st.sampled_from([label for name in BUILT_IN for label in taxonomy(name).labels]), st.text(min_size=1)))
def test_every_colour_can_be_seen_on_its_page(label: str) -> None:
    light, dark = emotion_colour(label)
    assert re.fullmatch("(#[0-9a-f]{6}){2}", light + dark)
    assert min(contrast(light, "#ffffff"), contrast(light, "#eceef2"), contrast(dark, "#191d24"), contrast(dark, "#262c36")) >= 3


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21) == contrast("#ffffff", "#000000")
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_a_colour_depends_on_the_emotion_alone_and_not_on_its_taxonomy_or_spelling() -> None:
    assert emotion_colour(" Sad.") == emotion_colour("sadness") == emotion_colour("sadness", taxonomy("webemo-25"))
    mine = Taxonomy("mine", ("qualm", "glee"), vad={"qualm": VAD(-0.896, -0.424, -0.672)})
    hues = [seen(emotion_colour(word, mine).light, "normal")[1:] for word in ("qualm", "sadness")]
    assert np.linalg.norm(hues[0] - hues[1]) < 0.02 and emotion_colour("qualm", mine) != emotion_colour("qualm")
    assert emotion_colour("glee", mine) == emotion_colour("glee")


def test_styles_set_the_shade_of_each_label_in_both_modes() -> None:
    styles = emotion_styles(["awe", "fear"])
    assert re.findall(r"\.shade(\d)\{--shade:(#\w+)\}", styles) == [
        (place, emotion_colour(label)[mode]) for mode in (0, 1) for place, label in (("0", "awe"), ("1", "fear"))
    ]
