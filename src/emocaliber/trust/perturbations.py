"""Changes of a picture for which the right reaction of a confidence is known: some take away what it shows, some leave it.

Each is a pure function of an RGB image and a seed, and returns an RGB image of the same size (`crop`: slightly smaller).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from emocaliber.core.model import mixed_seed

Perturbation = Callable[[Image.Image, int], Image.Image]

BLUR = 1 / 16  # standard deviation of the blur, as a share of the longer side
BLOCKS = 6  # of a mosaic, along the longer side
KEPT = 0.95  # of width and height, by a crop
QUALITY = 50  # of the JPEG


def blank(image: Image.Image, seed: int = 0) -> Image.Image:
    """The mean colour of the image."""
    return Image.new("RGB", image.size, image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)))


def noise(image: Image.Image, seed: int = 0) -> Image.Image:
    """Independent uniform pixels, the same for the same size and seed."""
    pixels = np.random.default_rng(mixed_seed(seed)).integers(0, 256, (image.height, image.width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def blurred(image: Image.Image, seed: int = 0) -> Image.Image:
    """The image under a Gaussian blur with a standard deviation of `BLUR` of its longer side."""
    return image.filter(ImageFilter.GaussianBlur(BLUR * max(image.size)))


def mosaic(image: Image.Image, seed: int = 0) -> Image.Image:
    """The image as blocks of their mean colours, `BLOCKS` along its longer side."""
    longer = max(image.size)
    blocks = (max(1, round(BLOCKS * image.width / longer)), max(1, round(BLOCKS * image.height / longer)))
    return image.resize(blocks, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def flip(image: Image.Image, seed: int = 0) -> Image.Image:
    """The mirror image, left and right exchanged."""
    return ImageOps.mirror(image)


def crop(image: Image.Image, seed: int = 0) -> Image.Image:
    """`KEPT` of the width and of the height, at a place drawn with the seed; at least one pixel."""
    width, height = (max(1, round(KEPT * side)) for side in image.size)
    random = np.random.default_rng(mixed_seed(seed))
    left, top = int(random.integers(image.width - width + 1)), int(random.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def jpeg(image: Image.Image, seed: int = 0) -> Image.Image:
    """The image after encoding as a JPEG of quality `QUALITY`."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return Image.open(file).convert("RGB")


PERTURBATIONS: Mapping[str, Perturbation] = {each.__name__: each for each in (blank, noise, blurred, mosaic, flip, crop, jpeg)}
