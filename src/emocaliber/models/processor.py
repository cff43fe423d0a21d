"""The processor of a Qwen2.5-VL checkpoint: images and chat text in, model inputs out.

Transformers' own `Qwen2_5_VLProcessor` needs torchvision (for videos, which nothing here uses). Where torchvision is missing, and for the
checkpoints trained here, the same inputs come from the image-only processor below, built on transformers' PIL image processor.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

IMAGE_TOKEN = "<|image_pad|>"


class ImageTextProcessor(ProcessorMixin):  # type: ignore[misc]
    """`Qwen2_5_VLProcessor` for images alone: one placeholder becomes as many image tokens as the merged patch grid has cells."""

    return_mm_token_type_ids = True

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token = IMAGE_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        super().__init__(image_processor, tokenizer, chat_template=chat_template or tokenizer.chat_template)

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **_: Any) -> str:
        cells: int = int(image_inputs["image_grid_thw"][image_idx].prod()) // self.image_processor.merge_size**2
        return IMAGE_TOKEN * cells


def load_processor(folder: str | Path, **image_settings: Any) -> Any:
    """The processor saved in `folder` (or of a hub id); `image_settings` such as `max_pixels` override the saved ones."""
    saved = Path(folder) / "processor_config.json"
    ours = saved.is_file() and json.loads(saved.read_text(encoding="utf-8")).get("processor_class") == ImageTextProcessor.__name__
    if not ours and importlib.util.find_spec("torchvision"):
        from transformers import AutoProcessor

        return AutoProcessor.from_pretrained(folder, **image_settings)
    images = Qwen2VLImageProcessorPil.from_pretrained(folder, **image_settings)
    return ImageTextProcessor(images, AutoTokenizer.from_pretrained(folder))
