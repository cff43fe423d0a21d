"""Views of a photograph: crops, reflections and other light, as further pictures of the same thing for training."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

_AREA = (0.6, 1.0)  # of the crop, as a share of the photograph
_ASPECT = 0.12  # its sides' ratio changes by this factor at most
_LIGHT = 0.15  # brightness, contrast and saturation likewise


def random_view(photograph: Image.Image, rng: np.random.Generator, side: int) -> Image.Image:
    """A view of an RGB photograph: a random crop, reflected in half of all cases, in slightly other light, `side` x `side` pixels."""
    width, height = photograph.size
    area, aspect = rng.uniform(*_AREA), float(np.exp(rng.uniform(-_ASPECT, _ASPECT)))
    crop_width, crop_height = min(width, width * (area * aspect) ** 0.5), min(height, height * (area / aspect) ** 0.5)
    left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    view = photograph.resize((side, side), Image.Resampling.BICUBIC, box=box)
    if rng.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = enhance(view).enhance(float(rng.uniform(1 - _LIGHT, 1 + _LIGHT)))
    return view


def light_of(image: Image.Image) -> tuple[float, float]:
    """Mean brightness and mean saturation of an RGB image, both in [0, 1] (of HSV)."""
    small = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR).convert("HSV"), dtype=float) / 255
    return float(small[..., 2].mean()), float((small[..., 1] * small[..., 2]).mean())
