"""Finishes: light, lens and style applied to a rendered scene. Only `lit` changes its VAD; the others carry no meaning."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

from emocaliber.scenes.drawing.pen import Colour

Finish = Callable[[Image.Image, np.random.Generator], Image.Image]


def everyday(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light, colour cast, blur and noise."""
    picture = _gained(picture, rng.uniform(0.75, 1.15) * rng.uniform(0.95, 1.05, 3))
    if _coin(rng, 0.15):
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9) * picture.width / 224))
    if _coin(rng, 0.2):
        picture = _grain(picture, rng, 3, 9)
    return picture


def snapshot(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """An amateur's photograph, as on Flickr: often askew, light falling off to the corners, too dark or too bright, warm or cold."""
    if _coin(rng, 0.5):
        picture = _tilted(picture, rng.uniform(-5, 5))
    warmth = rng.uniform(-0.12, 0.12)
    gains = rng.uniform(0.65, 1.2) * np.array([1 + warmth, 1.0, 1 - warmth])
    picture = _gained(_vignetted(picture, rng.uniform(0.1, 0.45)), gains)
    return _grain(picture, rng, 2, 8) if _coin(rng, 0.15) else picture


def posted(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A picture from the web: paler or gaudier, flatter or harder than life, some in a frame."""
    picture = _gained(_saturated(picture, rng.uniform(0.35, 1.6)), rng.uniform(0.7, 1.15) * rng.uniform(0.9, 1.1, 3))
    lift, contrast = rng.uniform(-12, 30), rng.uniform(0.7, 1.15)
    picture = picture.point((lift + contrast * np.arange(256)).round().clip(0, 255).astype(int).tolist() * 3)
    if _coin(rng, 0.25):
        width = max(1, round(picture.width * rng.uniform(0.02, 0.04)))
        picture = ImageOps.expand(ImageOps.crop(picture, width), width, _FRAMES[rng.integers(2)])
    return picture


def artistic(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A work of art: painted in dabs, printed in four inks, or an old brown print; hung a little askew."""
    looks = (_painted, _printed, _browned)
    picture = looks[rng.integers(len(looks))](_tilted(picture, rng.uniform(-6, 6)), rng)
    return _vignetted(picture, rng.uniform(0.15, 0.6))


def lit(picture: Image.Image, gains: tuple[float, float, float], veil: Colour) -> Image.Image:
    """The picture in coloured light: channels multiplied by `gains`, and a quarter of `veil` laid over, which shows in the dark too."""
    return Image.blend(_gained(picture, np.array(gains)), Image.new("RGB", picture.size, veil), 0.25)


_FRAMES: tuple[Colour, Colour] = ((250, 250, 250), (12, 12, 12))
# Four inks from shadow to paper for each print.
_INKS: tuple[tuple[Colour, ...], ...] = (
    ((20, 40, 75), (200, 45, 45), (110, 150, 160), (250, 230, 180)),
    ((40, 20, 60), (150, 40, 120), (240, 130, 70), (255, 225, 150)),
    ((15, 45, 50), (20, 110, 105), (235, 165, 60), (245, 235, 205)),
    ((25, 25, 25), (105, 95, 90), (190, 60, 45), (240, 232, 215)),
)


def _coin(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _gained(picture: Image.Image, gains: npt.NDArray[np.float64]) -> Image.Image:
    levels = np.minimum(np.outer(gains, np.arange(256)).round(), 255).astype(int)
    return picture.point(levels.ravel().tolist())


def _grain(picture: Image.Image, rng: np.random.Generator, least: float, most: float) -> Image.Image:
    """Noise with a standard deviation, in levels of 255, between these two."""
    noise = rng.standard_normal(np.asarray(picture).shape, dtype=np.float32) * rng.uniform(least, most)
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _tilted(picture: Image.Image, degrees: float) -> Image.Image:
    """Turned about the centre, and enlarged just so much that no corner is left empty."""
    angle, half = math.radians(degrees), picture.width / 2
    zoom = math.cos(angle) + abs(math.sin(angle))
    c, s = math.cos(angle) / zoom, math.sin(angle) / zoom
    inverse = (c, s, half - c * half - s * half, -s, c, half + s * half - c * half)
    return picture.transform(picture.size, Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)


@cache
def _distance(side: int) -> Image.Image:
    """Squared distance from the centre of a square, 255 in the corners."""
    across = np.linspace(-1, 1, side, dtype=np.float32) ** 2
    return Image.fromarray((255 * (across[:, None] + across) / 2).astype(np.uint8))


def _vignetted(picture: Image.Image, strength: float) -> Image.Image:
    shadow = _distance(picture.width).point([round(strength * level) for level in range(256)])
    return Image.composite(Image.new("RGB", picture.size), picture, shadow)


def _saturated(picture: Image.Image, factor: float) -> Image.Image:
    return Image.blend(picture.convert("L").convert("RGB"), picture, factor)


def _greyed(picture: Image.Image) -> Image.Image:
    """Light and dark alone, using the whole range."""
    return ImageOps.autocontrast(picture.convert("L"), cutoff=1)


def _inked(grey: Image.Image, ramp: npt.NDArray[np.float64]) -> Image.Image:
    """Every grey replaced by the colour that `ramp` (256, 3) holds for it."""
    grey.putpalette(ramp.round().astype(np.uint8).tobytes())
    return grey.convert("RGB")


def _painted(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Covered about once over in slanting dabs of the colour below each one's middle."""
    side = picture.width
    length, width = max(2, side // 30), max(1, side // 100)
    slants = rng.uniform(0, math.pi) + np.linspace(-0.5, 0.5, 5)
    along, across = (grid.ravel() for grid in np.meshgrid(np.arange(length) - length / 2, np.arange(width) - width / 2))
    stamps = np.stack([np.outer(np.sin(slants), along) + np.outer(np.cos(slants), across),
                       np.outer(np.cos(slants), along) - np.outer(np.sin(slants), across)])  # fmt: skip
    count = side**2 // (length * width)
    middles, slant = rng.integers(0, side, (2, count)), rng.integers(0, len(slants), count)
    rows, columns = (middles[..., None] + stamps[:, slant].round().astype(int)).clip(0, side - 1)
    canvas = np.array(picture)
    paint = canvas[middles[0], middles[1]] + rng.normal(0, 9, (count, 1))
    canvas[rows, columns] = paint.clip(0, 255).astype(np.uint8)[:, None]
    return Image.fromarray(canvas)


def _printed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    inks = np.array(_INKS[rng.integers(len(_INKS))], dtype=float)
    return _inked(_greyed(picture), inks[np.searchsorted([70, 130, 190], np.arange(256))])


def _browned(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    stops = np.array([(40, 24, 14), (150, 110, 72), (244, 226, 190)]) * rng.uniform(0.9, 1.04, 3)
    ramp = np.stack([np.interp(np.arange(256), (0, 128, 255), channel) for channel in stops.T], axis=1)
    return _inked(_grain(_greyed(picture), rng, 4, 10), ramp)


# Colours by perceived lightness, saturation and hue: the OKLab space of Ottosson (2020).

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
