"""How fast a model answers on this machine."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from emocaliber.predict.predictor import Predictor, load

SIDE = 448  # pixels


@dataclass(frozen=True)
class Speed:
    """Seconds that a model takes: to be loaded, for the first image, for each further image alone, and for each of a batch of `images`."""

    model: str
    loading: float
    first: float
    alone: float
    batched: float
    images: int


def measure(model: str, images: int = 16, *, clock: Callable[[], float] = time.perf_counter) -> Speed:
    """The speed of the model called `model` on pictures of noise, `images` of them at once and a quarter of them one by one.

    Pictures of noise take about as long as others of `SIDE` x `SIDE` pixels: all are scaled to what the model sees.
    Raises UserError for a model that cannot be loaded.
    """
    start = clock()
    predictor = load(model)
    loading = clock() - start
    pictures = [_noise(seed) for seed in range(images)]
    first = _seconds(predictor, pictures[:1], clock)
    few = pictures[: max(images // 4, 1)]
    alone = sum(_seconds(predictor, [each], clock) for each in few) / len(few)
    return Speed(model, loading, first, alone, _seconds(predictor, pictures, clock) / images, images)


def _seconds(predictor: Predictor, pictures: Sequence[Image.Image], clock: Callable[[], float]) -> float:
    start = clock()
    with warnings.catch_warnings(action="ignore"):  # what the answers are worth does not matter here
        list(predictor.predict_many(pictures))
    return clock() - start


def _noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
