"""Features of many images, computed once and kept in files, for training behind frozen eyes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emocaliber.errors import UserError
from emocaliber.inference.plan import sha256_of
from emocaliber.io.images import ImageError, open_image
from emocaliber.models.lite.vision import READOUT, LiteVision
from emocaliber.render.progress import Progress


def eyes_hash(visual: LiteVision, image_processor: Any) -> str:
    """What features depend on besides the image: SHA-256 (hex) of the eyes' weights and of the image processor's settings."""
    settings = {name: value for name, value in image_processor.to_dict().items() if name != "readout_row"}  # which is not read from images
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weight in sorted(visual.eyes.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class FeatureCache:
    """The last feature maps (rows, columns, C) of image files, float16, in a folder.

    Each is kept under the eyes' hash and the SHA-256 of the image's file, so that it is computed once, and again when the eyes change.
    """

    def __init__(self, visual: LiteVision, image_processor: Any, folder: str | Path) -> None:
        self._visual, self._image_processor = visual, image_processor
        self._folder = Path(folder) / eyes_hash(visual, image_processor)[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        config = visual.config
        self.shape: tuple[int, int, int] = (config.row, config.row, config.eyes_channels)
        self._readout_row = bool(config.readout_row)

    def fill(self, images: Sequence[str | Path]) -> None:
        """Computes what is missing, with a progress bar on stderr. Raises UserError for an image that cannot be opened."""
        missing = [Path(image) for image in dict.fromkeys(map(str, images)) if not self._place(Path(image)).is_file()]
        if missing:
            with Progress("image features", "images", len(missing)) as bar:
                for image in missing:
                    self.of(image)
                    bar.advance()

    def of(self, image: str | Path) -> np.ndarray:
        """The feature map of an image file, computed if it is missing. Raises UserError for an image that cannot be opened."""
        kept = self._place(Path(image))
        if kept.is_file() and (read := _read(kept, self.shape)) is not None:
            return read
        computed = self._computed(Path(image))
        half = kept.with_suffix(f".{os.getpid()}")
        with half.open("wb") as file:
            np.save(file, computed)
        half.replace(kept)  # a reader, or the next run after a kill, finds whole files alone
        return computed

    def inputs(self, images: Sequence[tuple[str, Sequence[float]]]) -> dict[str, torch.Tensor]:
        """The image inputs of a batch, each image a file and the values that the model is told (empty: it reads its own)."""
        features = torch.from_numpy(np.stack([self.of(image) for image, _ in images]))
        told = [values or (0.0,) * len(READOUT) for _, values in images] if self._readout_row else None
        return image_inputs(features, readout_row=self._readout_row, told=None if told is None else torch.tensor(told))

    def _place(self, image: Path) -> Path:
        try:
            return self._folder / f"{sha256_of(image)}.npy"
        except OSError as error:
            raise UserError(f"{image} cannot be read: {error.strerror}. Leave the image out, or put it back") from error

    def _computed(self, image: Path) -> np.ndarray:
        try:
            opened = open_image(image).image
        except ImageError as error:
            raise UserError(f"{error} Leave the image out, or replace it") from error
        inputs, (rows, columns, _) = self._image_processor([opened], return_tensors="pt"), self.shape
        cells = inputs["pixel_values"][: rows * columns].to(self._visual.device, self._visual.dtype)
        with torch.no_grad():
            features = self._visual.features(cells[None], rows, columns)
        computed: np.ndarray = features[0].view(self.shape).half().cpu().numpy()
        return computed


def cached_features(
    images: Sequence[str | Path],
    visual: LiteVision,
    image_processor: Any,
    cache: str | Path,
    *,
    done: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """The last feature maps of image files, (n, rows, columns, C) float16, by way of a `FeatureCache` in the folder `cache`.

    `done` is called with 1 for every image. Raises UserError for an image that cannot be opened.
    """
    kept = FeatureCache(visual, image_processor, cache)
    found = np.empty((len(images), *kept.shape), np.float16)
    for number, image in enumerate(images):
        found[number] = kept.of(image)
        done(1)
    return found


def _read(file: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The features in a file; None if it holds anything else."""
    try:
        held: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return held if held.shape == shape and held.dtype == np.float16 else None


def image_inputs(features: torch.Tensor, *, readout_row: bool = False, told: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    """The image inputs of a model whose eyes have seen: `pixel_values` (tokens, C) and `image_grid_thw` (n, 3) of features (n, h, w, C).

    `told` (n, 12) are the values to tell a model with a readout row; it reads its own where they are zeros.
    """
    count, rows, columns, channels = features.shape
    features = features.float()
    if readout_row:
        row = features.new_zeros(count, 1, columns, channels)
        if told is not None:
            row[:, 0, 0, : told.shape[-1]] = told
        features = torch.cat([features, row], 1)
    grid = torch.tensor([[1, rows + readout_row, columns]]).repeat(count, 1)
    return {"pixel_values": features.reshape(-1, channels), "image_grid_thw": grid}
