"""Making a picture dark or bright, greyish or vivid as a whole, whatever it shows."""

from __future__ import annotations

import numpy as np
from PIL import Image

# Mean lightness and mean chroma (largest less smallest channel), as fractions, between which a picture has that tone.
LIGHTNESS = {"dark": (0.12, 0.32), "mid-toned": (0.36, 0.52), "bright": (0.56, 0.78)}
CHROMA = {"greyish": (0.02, 0.09), "muted": (0.13, 0.24), "vivid": (0.28, 0.45)}
_ROUNDS = 4
_MOST = 6.0  # times as much chroma; what is greyer than that stays greyish


def toned(picture: Image.Image, tone: str, rng: np.random.Generator) -> Image.Image:
    """The picture with a lightness and a chroma of that tone: by a gamma for all channels, and by moving each from or to its grey."""
    light, strength = tone.split()
    lightness, chroma = rng.uniform(*LIGHTNESS[light]), rng.uniform(*CHROMA[strength])
    pixels = np.asarray(picture, dtype=np.float32) / 255
    for _ in range(_ROUNDS):  # each undoes a little of the other
        pixels = pixels ** _gamma(pixels, lightness)
        grey = pixels.mean(2, keepdims=True)
        factor = chroma / max(float(np.ptp(pixels, axis=2).mean()), chroma / _MOST)
        pixels = (grey + factor * (pixels - grey)).clip(0, 1)
    return Image.fromarray((255 * pixels).round().astype(np.uint8))


def _gamma(pixels: np.ndarray, lightness: float) -> float:
    """The exponent that gives the pixels this mean, by bisection of its logarithm."""
    low, high = -2.5, 2.5
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if (pixels ** np.exp(middle)).mean() > lightness else (low, middle)
    return float(np.exp((low + high) / 2))
