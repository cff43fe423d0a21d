"""EfficientNet-Lite (Tan & Le, ICML 2019; "Lite": ReLU6, no squeeze-and-excitation), up to its last feature map.

Batch norms are folded into the convolutions before them. So the features of an image depend on that image alone, in training too, and an
answer has the same log-probability whatever it is batched with.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.functional import pad, relu6

STRIDE = 32  # pixels of a side for each cell of the last feature map
STEM = 32  # channels


class Stage(NamedTuple):
    """Blocks of one shape: how many, and their kernel, the stride of the first one, expansion and output channels, at width and depth 1."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def scaled_channels(channels: int, width: float) -> int:
    """`channels` times `width`, as the nearest multiple of 8 that is not more than a tenth below it, at least 8."""
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def stages(width: float, depth: float) -> list[Stage]:
    """The stages of a network of that width and depth. The first and the last stage have one block at any depth."""
    return [
        stage._replace(
            repeats=stage.repeats if stage.repeats == 1 else math.ceil(stage.repeats * depth),
            channels=scaled_channels(stage.channels, width),
        )
        for stage in STAGES
    ]


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow's "SAME" does: ceil(side / stride) outputs, the odd row of padding at the end."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stride, kernel = self.stride[0], self.kernel_size[0]
        missing = [max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in image.shape[-2:]]
        if missing[0] == missing[1] and missing[0] % 2 == 0:
            return nn.functional.conv2d(image, self.weight, self.bias, self.stride, missing[0] // 2, self.dilation, self.groups)
        top, left = missing[0] // 2, missing[1] // 2
        padded = pad(image, (left, missing[1] - left, top, missing[0] - top))
        return nn.functional.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class Block(nn.Module):
    """An inverted bottleneck: expand 1 x 1, filter each channel, project 1 x 1; added to its input where shapes allow."""

    def __init__(self, entering: int, leaving: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = entering * expansion
        self.expand = SameConv(entering, inner, 1) if expansion > 1 else None
        self.filter = SameConv(inner, inner, kernel, stride, groups=inner)
        self.project = SameConv(inner, leaving, 1)
        self.residual = stride == 1 and entering == leaving

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = image if self.expand is None else relu6(self.expand(image))
        leaving: torch.Tensor = self.project(relu6(self.filter(inner)))
        return leaving + image if self.residual else leaving


class EfficientNetLite(nn.Module):
    """Images (n, 3, H, W), scaled as (x - 127) / 128, to their last feature map (n, `channels`, H / 32, W / 32), sides rounded up.

    Width and depth are 1.1 and 1.2 for Lite2; the features are at least 0 and at most 6.
    """

    def __init__(self, width: float = 1.1, depth: float = 1.2, channels: int = 1280) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        entering = STEM
        for stage in stages(width, depth):
            for number in range(stage.repeats):
                stride = stage.stride if number == 0 else 1
                self.blocks.append(Block(entering, stage.channels, kernel=stage.kernel, stride=stride, expansion=stage.expansion))
                entering = stage.channels
        self.head = SameConv(entering, channels, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = relu6(self.stem(images))
        for block in self.blocks:
            hidden = block(hidden)
        return relu6(self.head(hidden))
