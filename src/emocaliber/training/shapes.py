"""Shapes of models without their weights: configurations that ship as numbers, weights counted on the meta device, activations counted on
fake tensors.

Activations are counted, not estimated: one layer of the real class runs on tensors without data, and those that autograd keeps are added
up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from emocaliber.errors import UserError
from emocaliber.io.configurations import configs_folder
from emocaliber.models.available import why_unavailable
from emocaliber.models.lite import LITE, LiteForConditionalGeneration
from emocaliber.models.lite.efficientnet import EfficientNetLite
from emocaliber.models.processor import usual_max_pixels

QWEN = "qwen2_5_vl"


def published_shape(name: str) -> Path | None:
    """The file with the published shape of a model of the hub, if it ships with the package and no folder of that name is here."""
    shape = configs_folder() / "shapes" / f"{name}.json"
    return shape if shape.is_file() and not Path(name).exists() else None


def model_config(name: str) -> Any:
    """The configuration of a model: of a folder, of a shape that ships, or from the hub.

    Raises UserError for one that cannot be read, or of another family than Qwen2.5-VL and lite.
    """
    advice = "Give model=FOLDER with its config.json; weights are not needed"
    shape = published_shape(name)
    if shape is None and (reason := why_unavailable(name)):
        raise UserError(f"cannot read the configuration of the model {name}: {reason}. {advice}")
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(shape or name)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the configuration of the model {name}: {str(error).splitlines()[0]} {advice}") from error
    if config.model_type not in (QWEN, LITE):
        raise UserError(f"{name} is a {config.model_type} model; plans are made for {QWEN} and {LITE}")
    return config


def image_tokens(config: Any, name: str, max_pixels: int = 0) -> int:
    """The tokens of the largest image that a model is given: of `max_pixels`, or with 0 of the model's own limit."""
    if config.model_type == LITE:
        _, rows, columns = config.vision_config.grid
        return int(rows * columns)
    side = int(config.vision_config.patch_size * config.vision_config.spatial_merge_size)
    return (max_pixels or usual_max_pixels(name)) // side**2


def build_on_meta(config: Any) -> Any:
    """The model of a configuration on the meta device, without data."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        return (LiteForConditionalGeneration if config.model_type == LITE else Qwen2_5_VLForConditionalGeneration)(config)


@dataclass(frozen=True)
class WeightCounts:
    """Numbers of weights: `all`; `trained`, without adapters; `adapters`; `block`, the largest that FSDP gathers at once; and `root`
    (embeddings, output layer), which FSDP holds from the forward pass to the end of the backward pass.
    """

    all: int
    trained: int
    adapters: int
    block: int
    root: int


def count_weights(model: Any, *, freeze_vision: bool, lora_rank: int, lora_targets: str) -> WeightCounts:
    """The weight counts of a model on the meta device. An adapter has rank x (in + out) weights per layer."""
    inner = model.model
    visual = inner.visual

    def size(module: nn.Module) -> int:
        return sum(weight.numel() for weight in module.parameters())

    linear = [layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and re.fullmatch(lora_targets, name)]
    adapters = sum(lora_rank * (layer.in_features + layer.out_features) for layer in linear)
    everything, blocks = size(model), [*inner.language_model.layers, *getattr(visual, "eyes", visual).blocks]
    return WeightCounts(
        all=everything,
        trained=0 if lora_rank else everything - (size(getattr(visual, "frozen_part", visual)) if freeze_vision else 0),
        adapters=adapters,
        block=max(map(size, blocks)),
        root=everything - sum(map(size, blocks)),
    )


def language_layer_bytes(config: Any, rows: int, tokens: int, *, bf16: bool, tree: bool = False) -> int:
    """Bytes that autograd keeps of one language layer for `rows` sequences of `tokens`, with a tree mask or a causal one."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLDecoderLayer

    text = config.text_config
    text._attn_implementation = "sdpa"

    def run(length: int, tree: bool = False) -> int:
        layer = Qwen2_5_VLDecoderLayer(text, 0)
        hidden = torch.empty(rows, length, text.hidden_size, requires_grad=True)
        angles = torch.empty(rows, length, text.hidden_size // text.num_attention_heads)
        mask = torch.empty(rows, 1, length, length) if tree else None
        return _kept([*layer.parameters(), mask], bf16, lambda: layer(hidden, position_embeddings=(angles, angles), attention_mask=mask))

    with FakeTensorMode():
        return run(tokens, tree) - _weight_copies(run)


def vision_bytes(config: Any, images: int, tokens: int, *, bf16: bool) -> tuple[int, int]:
    """Bytes that autograd keeps of a vision encoder that is trained, for images of `tokens` tokens each: of all its blocks, and with
    checkpointing. A lite model's eyes have none."""
    vision = config.vision_config
    if config.model_type == LITE:
        whole = images * eyes_bytes(vision, bf16=bf16)
        return whole, whole
    patches = images * tokens * vision.spatial_merge_size**2
    block = vision_block_bytes(config, patches, bf16=bf16)
    return block * vision.depth, patches * vision.hidden_size * 4 * vision.depth


def eyes_bytes(vision: Any, *, bf16: bool) -> int:
    """Bytes that autograd keeps of a lite model's eyes for one image."""

    def run(images: int) -> int:
        eyes = EfficientNetLite(vision.eyes_width, vision.eyes_depth, vision.eyes_channels)
        pixels = torch.empty(images, vision.in_channels, vision.image_side, vision.image_side)
        return _kept([*eyes.parameters(), pixels], bf16, lambda: eyes(pixels))

    with FakeTensorMode():
        return run(2) - run(1)


def vision_block_bytes(config: Any, patches: int, *, bf16: bool) -> int:
    """Bytes that autograd keeps of one vision block for `patches` patches. Windowed attention keeps as much as full attention."""
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionBlock

    vision = config.vision_config
    vision._attn_implementation = "sdpa"

    def run(count: int) -> int:
        block = Qwen2_5_VLVisionBlock(vision)
        hidden = torch.empty(count, vision.hidden_size, requires_grad=True)
        angles = torch.empty(count, vision.hidden_size // vision.num_heads)
        ends: Any = np.array([0, count])  # a fake tensor has no values to split by
        return _kept([*block.parameters()], bf16, lambda: block(hidden, cu_seqlens=ends, position_embeddings=(angles, angles)))

    with FakeTensorMode():
        return run(patches) - _weight_copies(run)


def _weight_copies(run: Callable[[int], int]) -> int:
    """The part that does not grow with the length: the 16-bit weight copies, which are counted separately."""
    return 2 * run(64) - run(128)


def _kept(others: Sequence[torch.Tensor | None], bf16: bool, forward: Callable[[], Any]) -> int:
    """Bytes of the distinct tensors that autograd keeps for the backward pass of `forward`, except the tensors `others`."""
    excluded = {id(tensor) for tensor in others}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in excluded:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
