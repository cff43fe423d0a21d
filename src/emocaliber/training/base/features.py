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
from emocaliber.models.lite.vision import LiteVision


def eyes_hash(visual: LiteVision, image_processor: Any) -> str:
    """What features depend on besides the image: SHA-256 (hex) of the eyes' weights and of the image processor's settings."""
    digest = hashlib.sha256(json.dumps(image_processor.to_dict(), sort_keys=True, default=str).encode())
    for name, weight in sorted(visual.eyes.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def cached_features(
    images: Sequence[str | Path],
    visual: LiteVision,
    image_processor: Any,
    cache: str | Path,
    *,
    done: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """The last feature maps of image files, (n, rows, columns, C) float16.

    Each is kept in `cache`, under the eyes' hash and the SHA-256 of the image's file, so that it is computed once, and again when the eyes
    change. `done` is called with 1 for every image. Raises UserError for an image that cannot be opened.
    """
    folder = Path(cache) / eyes_hash(visual, image_processor)[:16]
    folder.mkdir(parents=True, exist_ok=True)
    config = visual.config
    found = np.empty((len(images), config.row, config.row, config.eyes_channels), np.float16)
    for number, image in enumerate(images):
        found[number] = _features(Path(image), visual, image_processor, folder, found.shape[1:])
        done(1)
    return found


def _features(image: Path, visual: LiteVision, image_processor: Any, folder: Path, shape: tuple[int, ...]) -> np.ndarray:
    kept = folder / f"{sha256_of(image)}.npy"
    if kept.is_file() and (read := _read(kept, shape)) is not None:
        return read
    try:
        opened = open_image(image).image
    except ImageError as error:
        raise UserError(f"{error} Leave the image out, or replace it") from error
    inputs = image_processor([opened], return_tensors="pt")
    cells = inputs["pixel_values"][: shape[0] * shape[1]].to(visual.device, visual.dtype)
    with torch.no_grad():
        features = visual.features(cells[None], *shape[:2])
    computed: np.ndarray = features[0].view(shape).half().cpu().numpy()
    half = kept.with_suffix(f".{os.getpid()}")
    with half.open("wb") as file:
        np.save(file, computed)
    half.replace(kept)  # a reader, or the next run after a kill, finds whole files alone
    return computed


def _read(file: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The features in a file; None if it holds anything else."""
    try:
        held: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return held if held.shape == shape and held.dtype == np.float16 else None


def image_inputs(features: torch.Tensor, *, affect_row: bool = False) -> dict[str, torch.Tensor]:
    """The image inputs of a model whose eyes have seen: `pixel_values` (tokens, C) and `image_grid_thw` (n, 3) of features (n, h, w, C)."""
    count, rows, columns, channels = features.shape
    if affect_row:
        features = torch.cat([features, features.new_zeros(count, 1, columns, channels)], 1)
    grid = torch.tensor([[1, rows + affect_row, columns]]).repeat(count, 1)
    return {"pixel_values": features.reshape(-1, channels), "image_grid_thw": grid}
