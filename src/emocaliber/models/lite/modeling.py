"""The lite model: Qwen2.5-VL whose vision encoder is EfficientNet-Lite. Positions, language model and generation are transformers' own."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel, Qwen2_5_VLPreTrainedModel, Qwen2_5_VLTextModel

from emocaliber.models.lite.configuration import LITE, LiteConfig
from emocaliber.models.lite.vision import LiteVision


class LiteModel(Qwen2_5_VLModel):  # type: ignore[misc]
    """`Qwen2_5_VLModel` with `LiteVision` as its `visual`."""

    config: LiteConfig
    config_class = LiteConfig
    _no_split_modules = ["Qwen2_5_VLDecoderLayer", "Block"]  # noqa: RUF012

    def __init__(self, config: LiteConfig) -> None:
        Qwen2_5_VLPreTrainedModel.__init__(self, config)  # not the parent's, which would build Qwen's own encoder
        self.visual = LiteVision._from_config(config.vision_config)
        self.language_model = Qwen2_5_VLTextModel._from_config(config.text_config)
        self.rope_deltas: Any = None
        self.post_init()


class LiteForConditionalGeneration(Qwen2_5_VLForConditionalGeneration):  # type: ignore[misc]
    """`Qwen2_5_VLForConditionalGeneration` around a `LiteModel`."""

    config: LiteConfig
    config_class = LiteConfig
    _no_split_modules = ["Qwen2_5_VLDecoderLayer", "Block"]  # noqa: RUF012

    def __init__(self, config: LiteConfig) -> None:
        Qwen2_5_VLPreTrainedModel.__init__(self, config)
        self.model = LiteModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()


AutoConfig.register(LITE, LiteConfig, exist_ok=True)
AutoModelForImageTextToText.register(LiteConfig, LiteForConditionalGeneration, exist_ok=True)
