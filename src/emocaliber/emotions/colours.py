"""The colour of an emotion: the same on every page and in every figure, by its place on the emotion loop.

The eight emotions of Mikels et al. are spaced evenly round the wheel of hues, in the order of their loop: anger is red, sadness blue,
amusement gold. Any other word with a VAD value has the hue of its nearest place on that loop, so that rage is a red and relief a green. A
word without one gets a colour by its name. Emotions also differ in lightness: the depths below were chosen so that no two of a small
taxonomy look alike to those who do not see red or green (see the tests).

Colours are made in OKLCH (Ottosson 2020, https://bottosson.github.io/posts/oklab/), in which equal steps look equal.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, label_key, taxonomy

_WHEEL = "mikels-8"
# Of each emotion on the wheel, in the order of the loop: how deep its colour is, from 0 (lightest) to 1. The first is red.
_DEPTHS = {
    **{"anger": 1.0, "fear": 1.0, "disgust": 1.0, "sadness": 1 / 3},
    **{"awe": 0.0, "contentment": 1 / 3, "excitement": 2 / 3, "amusement": 0.0},
}
_FIRST_HUE = 36.0  # degrees
_OTHER_DEPTHS = {"joy": 0.5, "love": 0.25, "surprise": 0.75, "confusion": 0.75}
_DEPTH_OFF_LOOP = 2.9  # for all other words: depth added for each VAD unit from the loop, so that words with the same nearest place differ
_CHROMA = 0.15
_LIGHT, _DARK = (0.64, 0.40), (0.88, 0.64)  # lightness at depths 0 and 1, on light and on dark pages
_LEAST_CONTRAST = 3.0  # of marks, by WCAG 2.2, 1.4.11
_GROOVES = ("#eceef2", "#262c36")  # the darkest background of a light page, the lightest of a dark one
_NAMED = 24  # colours for words without a VAD value


class Colour(NamedTuple):
    """A colour as "#rrggbb", for a light page and for a dark one. Both have a contrast of at least 3 to the page's backgrounds."""

    light: str
    dark: str


def emotion_colour(label: str, known: Taxonomy | None = None) -> Colour:
    """The colour of a label, the same in all taxonomies. `known`, if given, adds its VAD values to those of the built-in words."""
    point = known.vad.get(known.canonical(label) or label) if known else None
    return _colour(label_key(label), point)


def emotion_styles(labels: Iterable[str], known: Taxonomy | None = None) -> str:
    """CSS that sets `--shade` of the classes `shade0`, `shade1` .. to the colours of the labels, in their order."""
    colours = [emotion_colour(label, known) for label in labels]
    light, dark = (
        "".join(f".shade{place}{{--shade:{colour[mode]}}}" for place, colour in enumerate(colours)) for mode in range(len(Colour._fields))
    )
    return f"{light}\n@media (prefers-color-scheme: dark) {{{dark}}}\n"


def contrast(one: str, other: str) -> float:
    """The contrast of two colours "#rrggbb", from 1 to 21, as WCAG 2.2 defines it."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@cache
def _colour(key: str, point: VAD | None) -> Colour:
    point = point or _points().get(key)
    if point is None:
        number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:4]) % _NAMED
        hue, depth = 360 * number / _NAMED, (number % 3) / 2
    else:
        hue, depth = _place(point)
        depth = _OTHER_DEPTHS.get(key, depth)
    ranges = zip((_LIGHT, _DARK), _GROOVES, strict=True)
    return Colour(*(_readable(hue, high + (low - high) * depth, ground) for (high, low), ground in ranges))


@cache
def _points() -> dict[str, VAD]:
    """The VAD values of all built-in words, and of their other spellings."""
    found: dict[str, VAD] = {}
    for known in map(taxonomy, BUILT_IN):
        found |= {label_key(label): value for label, value in known.vad.items()}
        found |= {label_key(alias): known.vad[label] for alias, label in known.aliases.items() if label in known.vad}
    return found


def _place(point: VAD) -> tuple[float, float]:
    """Hue in degrees and depth at a point's nearest place on the loop of the eight emotions."""
    known = taxonomy(_WHEEL).vad
    nearest = []
    for number, (one, other) in enumerate(pairwise([*_DEPTHS, next(iter(_DEPTHS))])):
        along = [b - a for a, b in zip(known[one], known[other], strict=True)]
        share = sum((p - a) * d for p, a, d in zip(point, known[one], along, strict=True)) / sum(d * d for d in along)
        share = min(max(share, 0.0), 1.0)
        distance = point.distance(VAD(*(a + share * d for a, d in zip(known[one], along, strict=True))))
        nearest.append((distance, number + share, _DEPTHS[one] + share * (_DEPTHS[other] - _DEPTHS[one])))
    distance, place, depth = min(nearest)
    folded = (depth + _DEPTH_OFF_LOOP * distance) % 2
    return _FIRST_HUE - 360 / len(_DEPTHS) * place, min(folded, 2 - folded)


def _readable(hue: float, lightness: float, ground: str) -> str:
    """The colour of that hue whose lightness is nearest to the one asked for, among those with enough contrast to the background."""
    step = -0.01 if _luminance(ground) > 0.5 else 0.01
    colour = _rgb(hue, lightness)
    while contrast(colour, ground) < _LEAST_CONTRAST:
        lightness += step
        colour = _rgb(hue, lightness)
    return colour


def _rgb(hue: float, lightness: float) -> str:
    """An OKLCH colour as "#rrggbb", with as much of the chroma as the screen can show."""
    chroma = _CHROMA
    while True:
        a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
        long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        linear = (
            4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
            -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
            -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
        )
        if chroma <= 0 or all(-1e-4 <= x <= 1 + 1e-4 for x in linear):
            return "#" + "".join(f"{round(255 * _encoded(min(max(x, 0.0), 1.0))):02x}" for x in linear)
        chroma = max(chroma - 0.005, 0.0)


def _encoded(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


def _luminance(colour: str) -> float:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
