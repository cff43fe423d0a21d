"""Four numbers of a picture that need no model: brightness, contrast, saturation and size; and the cells in which a watch counts them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from emocaliber.io.images import ImageError, open_image

STATISTICS = ("brightness", "contrast", "saturation", "size")
_SIDE = 64  # pixels, to which a picture is reduced before it is measured


class _Grid(NamedTuple):
    low: float
    high: float
    cells: int


# Fixed, and not quantiles of a reference: a test that must hold for any reference may not choose its cells by it.
_GRIDS: Mapping[str, _Grid] = {
    "brightness": _Grid(0.0, 1.0, 32),
    "contrast": _Grid(0.0, 0.5, 32),
    "saturation": _Grid(0.0, 1.0, 32),
    "size": _Grid(8.0, 28.0, 40),
}
CELLS: Mapping[str, int] = {name: grid.cells + 1 for name, grid in _GRIDS.items()}  # the last one is for pictures that cannot be opened


def picture_statistics(picture: Image.Image) -> dict[str, float]:
    """Mean luma, standard deviation of luma and mean saturation (HSV), each in [0, 1], and the logarithm to base 2 of the pixels."""
    small = picture.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    luma = np.asarray(small.convert("L"), float) / 255
    saturation = np.asarray(small.convert("HSV"), float)[..., 1] / 255
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "saturation": float(saturation.mean()),
        "size": math.log2(picture.width * picture.height),
    }


def picture_cells(path: Path | None) -> dict[str, int]:
    """The cell of each statistic of the picture in a file, counted from 0; the last cells where it cannot be opened or there is none."""
    try:
        measured = picture_statistics(open_image(path).image) if path else None
    except ImageError:
        measured = None
    return {name: grid.cells if measured is None else _cell(measured[name], grid) for name, grid in _GRIDS.items()}


def _cell(value: float, grid: _Grid) -> int:
    return min(max(int((value - grid.low) / (grid.high - grid.low) * grid.cells), 0), grid.cells - 1)
