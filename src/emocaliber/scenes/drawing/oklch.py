"""Colours by what the eye calls brightness, saturation and hue: the OKLab space of Ottosson (2020)."""

from __future__ import annotations

import math

from emocaliber.scenes.drawing.pen import Colour

_STEPS = 9  # halvings in the search for the strongest colour; 0.4 / 2**9 is below a step of 1/255


def perceived(lightness: float, saturation: float, hue: float) -> Colour:
    """The sRGB colour of a lightness in 0..1, a saturation in 0..1 of the strongest that a screen shows there, and a hue in degrees."""
    low, high = 0.0, 0.4
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if all(0 <= c <= 1 for c in _linear(lightness, middle, hue)) else (low, middle)
    r, g, b = (_encoded(c) for c in _linear(lightness, saturation * low, hue))
    return r, g, b


def _linear(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """Linear sRGB, outside 0..1 where no screen shows the colour."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _encoded(channel: float) -> int:
    channel = min(max(channel, 0.0), 1.0)
    return round(255 * (12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055))
