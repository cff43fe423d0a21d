"""Processors of Qwen2.5-VL, Qwen3-VL, InternVL and lite checkpoints: they turn an image and chat text into model inputs.

Transformers' own processors of these families need torchvision (for videos, which nothing here uses). Where torchvision is missing, and for
the checkpoints trained here, the same inputs come from the image-only processors below, built on transformers' PIL image processors.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, PreTrainedConfig
from transformers.image_utils import SizeDict
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin

from emocaliber.errors import UserError
from emocaliber.models.lite import LITE, LiteImageProcessor

IMAGE_TOKEN = "<|image_pad|>"
PAPER_PIXELS = (256 * 28 * 28, 576 * 28 * 28)  # the paper's min_pixels and max_pixels, in training and inference
_QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
_THEIRS = {  # transformers' own processor of each family, and its part for videos
    "qwen2_vl": ("Qwen2VLProcessor", "Qwen2VLVideoProcessor"),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor"),
    "qwen3_vl": ("Qwen3VLProcessor", "Qwen3VLVideoProcessor"),
    "qwen3_vl_moe": ("Qwen3VLProcessor", "Qwen3VLVideoProcessor"),
    "internvl": ("InternVLProcessor", "InternVLVideoProcessor"),
}
_OURS = "images_only"  # stands in the saved settings of the processors below


class _Typed(ProcessingKwargs, total=False):  # type: ignore[misc, call-arg]
    """Requests token type ids, from which positions are computed. Transformers before 5.20, which vLLM needs, reads them from here."""

    _defaults = {"text_kwargs": {"return_mm_token_type_ids": True}}  # noqa: RUF012


class _Tiled(ProcessingKwargs, total=False):  # type: ignore[misc, call-arg]
    """Requests tiles, likewise."""

    _defaults = {"images_kwargs": {"crop_to_patches": True}}  # noqa: RUF012


class ImageTextProcessor(ProcessorMixin):  # type: ignore[misc]
    """`Qwen2_5_VLProcessor` for images alone: one placeholder becomes as many image tokens as the merged patch grid has cells."""

    valid_processor_kwargs = _Typed
    return_mm_token_type_ids = True
    family = "qwen2_5_vl"

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token = IMAGE_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        super().__init__(image_processor, tokenizer, chat_template=chat_template or tokenizer.chat_template)

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **_: Any) -> str:
        cells: int = int(image_inputs["image_grid_thw"][image_idx].prod()) // self.image_processor.merge_size**2
        return IMAGE_TOKEN * cells

    def to_dict(self) -> dict[str, Any]:
        """The settings to save, under the class name of transformers' own processor, so that vLLM and other servers load the checkpoint."""
        if self.family not in _THEIRS:
            return {**super().to_dict(), _OURS: True}
        name, videos = _THEIRS[self.family]
        return {**super().to_dict(), "processor_class": name, "video_processor": {"video_processor_type": videos}, _OURS: True}


class TileTextProcessor(ImageTextProcessor):
    """`InternVLProcessor` for images alone: the image is cut into tiles, and one placeholder becomes 256 image tokens for each."""

    valid_processor_kwargs = _Tiled
    return_mm_token_type_ids = False
    images_kwargs = {"crop_to_patches": True}  # noqa: RUF012
    family = "internvl"
    tokens_per_tile = 256

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(image_processor, tokenizer, chat_template)
        self.image_token = "<IMG_CONTEXT>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)

    @property
    def unused_input_names(self) -> list[str]:
        return ["num_patches"]

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **_: Any) -> str:
        return f"<img>{self.image_token * (self.tokens_per_tile * int(image_inputs['num_patches'][image_idx]))}</img>"

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"image_seq_length": self.tokens_per_tile}


def load_processor(folder: str | Path, *, min_pixels: int | None = None, max_pixels: int | None = None) -> Any:
    """The processor saved in `folder` (or of a hub id).

    Images are scaled to between `min_pixels` and `max_pixels`; for InternVL these limit the number of tiles. By default, checkpoints
    trained here and InternVL keep their own limits, and other Qwen checkpoints get the paper's.
    Raises UserError for limits that contradict each other and for checkpoints that need remote code, OSError or ValueError for broken ones.
    """
    config, _ = PreTrainedConfig.get_config_dict(folder)
    family = config.get("model_type")
    if family == "internvl_chat":
        raise UserError(f"{folder} needs remote code, which is never run here; give the same checkpoint under its name that ends in -HF")
    ours = _our_settings(folder) is not None
    if family == LITE:
        processor: Any = ImageTextProcessor(LiteImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
        processor.family = family
    elif family in _THEIRS and (ours or not importlib.util.find_spec("torchvision")):
        images, tokenizer = AutoImageProcessor.from_pretrained(folder, backend="pil"), AutoTokenizer.from_pretrained(folder)
        processor = TileTextProcessor(images, tokenizer) if family == "internvl" else ImageTextProcessor(images, tokenizer)
        processor.family = family
        if family == "internvl":
            processor.tokens_per_tile = config.get("image_seq_length", TileTextProcessor.tokens_per_tile)
    else:
        processor = AutoProcessor.from_pretrained(folder)
        processor.tokenizer.chat_template = processor.chat_template or processor.tokenizer.chat_template
    if not processor.tokenizer.chat_template:
        raise UserError(f"{folder} has no chat template; give a checkpoint trained for chat, usually one named Instruct")
    if family in _QWEN:
        size = processor.image_processor.size
        least, most = _limits(min_pixels, max_pixels, (size.shortest_edge, size.longest_edge) if ours else PAPER_PIXELS)
        processor.image_processor.size = SizeDict(shortest_edge=least, longest_edge=most)
    elif family == "internvl":
        images = processor.image_processor
        tile = images.size.height * images.size.width
        least, most = _limits(min_pixels, max_pixels, (images.min_patches * tile, images.max_patches * tile))
        images.min_patches, images.max_patches = max(1, least // tile), max(1, most // tile)
    elif min_pixels or max_pixels:
        raise UserError(f"{folder} is a {family} checkpoint, for which min_pixels and max_pixels are not supported; leave them out")
    return processor


def usual_max_pixels(folder: str | Path) -> int:
    """The default `max_pixels` of a Qwen checkpoint, read without loading it."""
    ours = _our_settings(folder)
    return int(ours["image_processor"]["size"]["longest_edge"]) if ours else PAPER_PIXELS[1]


def _our_settings(folder: str | Path) -> dict[str, Any] | None:
    """The saved settings of a processor of this module; None for any other."""
    saved = Path(folder) / "processor_config.json"
    settings: dict[str, Any] = json.loads(saved.read_text(encoding="utf-8")) if saved.is_file() else {}
    ours = _OURS in settings or settings.get("processor_class") == ImageTextProcessor.__name__
    return settings if ours else None


def _limits(least: int | None, most: int | None, usual: tuple[int, int]) -> tuple[int, int]:
    """The limits given, completed by the usual ones; a given limit moves the usual other one where they would cross."""
    if least and most and least > most:
        raise UserError(f"min_pixels ({least:,}) must not be above max_pixels ({most:,})")
    return least or min(usual[0], most or usual[0]), most or max(usual[1], least or usual[1])


def collate(prompts: Sequence[Mapping[str, torch.Tensor]], pad_token_id: int) -> dict[str, torch.Tensor]:
    """One batch from the inputs of single prompts. Texts are padded on the left, so that all answers start at the same position."""
    padding = {"input_ids": pad_token_id, "attention_mask": 0, "mm_token_type_ids": 0}

    def joined(name: str) -> torch.Tensor:
        parts = [prompt[name] for prompt in prompts]
        if name not in padding:
            return torch.cat(parts)
        return pad_sequence([part[0] for part in parts], batch_first=True, padding_value=padding[name], padding_side="left")

    return {name: joined(name) for name in prompts[0]}
