"""What the eyes of a lite model see of an image: a square, as they saw those of ImageNet."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from emocaliber.models.lite.configuration import LiteVisionConfig
from emocaliber.models.lite.efficientnet import STRIDE


class LiteImageProcessor(Qwen2VLImageProcessorPil):  # type: ignore[misc]
    """Scales the whole image to `image_side` x `image_side` pixels (bicubic; its shape is not kept), and pixels x to (x - 127) / 128.

    `pixel_values` (cells, 3 * 32 * 32) and `image_grid_thw` are as Qwen2.5-VL's, with one image token for each cell of 32 x 32 pixels;
    with a readout row, the last row of cells is 0.
    """

    resample = PILImageResampling.BICUBIC
    do_rescale = False
    image_mean = (127.0,) * 3
    image_std = (128.0,) * 3
    patch_size = STRIDE
    temporal_patch_size = 1
    merge_size = 1
    readout_row = False

    def __init__(self, *, image_side: int | None = None, **kwargs: Any) -> None:
        if image_side is not None:
            kwargs["size"] = {"shortest_edge": image_side**2, "longest_edge": image_side**2}  # of pixels, as in Qwen2.5-VL's
        self.readout_row = kwargs.pop("readout_row", False)
        super().__init__(**kwargs)

    @classmethod
    def of(cls, config: LiteVisionConfig) -> LiteImageProcessor:
        """The processor of a model with that configuration."""
        return cls(image_side=config.image_side, readout_row=config.readout_row)

    @property
    def tokens(self) -> int:
        """Image tokens of every image."""
        row: int = round(self.size["longest_edge"] ** 0.5) // self.patch_size
        return row * (row + self.readout_row)

    def resize(self, image: np.ndarray, size: SizeDict, resample: PILImageResampling | int | None, factor: int, **_: Any) -> np.ndarray:
        side = round(size.longest_edge**0.5) // factor * factor
        square: np.ndarray = PilBackend.resize(self, image, SizeDict(height=side, width=side), resample)
        return square

    def patchify(self, image: np.ndarray, patch_size: int, merge_size: int, temporal_patch_size: int) -> tuple[np.ndarray, int, int]:
        cells, rows, columns = super().patchify(image, patch_size, merge_size, temporal_patch_size)
        if self.readout_row:
            return np.pad(cells, ((0, columns), (0, 0))), rows + 1, columns
        return cells, rows, columns
