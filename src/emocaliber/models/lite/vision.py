"""The vision encoder of a lite model: EfficientNet-Lite's last feature map, each cell of it projected to one image token."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLPreTrainedModel

from emocaliber.models.lite.configuration import LiteVisionConfig
from emocaliber.models.lite.efficientnet import EfficientNetLite, SameConv

AFFECT = ("valence", "arousal", "dominance", "spread of valence", "spread of arousal", "spread of dominance")  # the spreads are logarithms
CONTENT = ("person", "animal", "place", "thing", "somebody", "photograph")  # about 1 if it is, -1 if not
READOUT = (*AFFECT, *CONTENT)  # what is read off a whole image
# What a readout's values are among photographs, about: they are standardised by it before tokens are written from them.
_MEAN = (0.1, -0.15, 0.13, -1.0, -0.6, -1.67, *(0.0 for _ in CONTENT))
_SD = (0.15, 0.12, 0.1, 0.1, 0.1, 1.0, *(0.6 for _ in CONTENT))
_AT_ONCE = 1  # images of a CPU's forward pass: their features fit its caches, and more at once take longer each


@dataclass
class LiteVisionOutput(BaseModelOutputWithPooling):  # type: ignore[misc]
    """`pooler_output` (tokens, D) are the image tokens of all images, `last_hidden_state` (cells, C) the features behind them, and
    `readout` (n, 12) the values of `READOUT`, None without a readout row."""

    readout: torch.Tensor | None = None


class TokenNorm(nn.LayerNorm):
    """The normalisation of image tokens, at first to the root mean square `token_scale`."""


class TokenWriter(nn.Linear):
    """A linear layer that writes image tokens, at first of about the same root mean square."""


class Projector(nn.Module):
    """Features (..., C) to image tokens (..., D), both normalised over their last axis."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.entering = nn.LayerNorm(channels, elementwise_affine=False)
        self.linear = nn.Linear(channels, width)
        self.leaving = TokenNorm(width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.leaving(self.linear(self.entering(features)))
        return tokens


class ReadoutHead(nn.Module):
    """Reads the values of `READOUT` off the whole image, and writes them as a row of image tokens.

    `read` is linear on the mean and the maximum of the features over all cells, so that a ridge regression can be put into it; `write`
    gives one token for each column of the feature map.
    """

    def __init__(self, channels: int, width: int, row: int) -> None:
        super().__init__()
        self.row = row
        self.read = nn.Linear(2 * channels, len(READOUT))
        self.write = TokenWriter(len(READOUT), row * width)

    def forward(self, features: torch.Tensor, given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (n, 12) and tokens (n, row, D) of features (n, cells, C). `given` values (n, 12) replace those read, unless all are 0."""
        values = torch.where((given != 0).any(-1, keepdim=True), given, self.read(pooled(features)))
        return values, self.write(standardised(values)).unflatten(-1, (self.row, -1))


def standardised(values: torch.Tensor) -> torch.Tensor:
    """Values of `READOUT`, (n, 12), in SDs from their means among photographs."""
    return (values - values.new_tensor(_MEAN)) / values.new_tensor(_SD)


def pooled(features: torch.Tensor) -> torch.Tensor:
    """Mean and maximum over the cells, (n, 2 C), of features (n, cells, C)."""
    return torch.cat([features.mean(1), features.amax(1)], -1)


class LiteVision(Qwen2_5_VLPreTrainedModel):  # type: ignore[misc]
    """Takes Qwen2.5-VL's image inputs, and gives what its vision encoder gives.

    `pixel_values` are either 32 x 32 pixels (3 x 32 x 32 numbers) for each cell of `grid_thw`, or C numbers, the features themselves (see
    `features`): a model whose eyes are frozen can be trained on features computed once. With a readout row, the last row of the grid holds
    zeros; behind features, its first twelve numbers may be the values to write, in place of those read. So the model can be
    trained on cross-fitted values, which err as much as those of unseen images do.
    """

    config: LiteVisionConfig
    config_class = LiteVisionConfig
    _no_split_modules = ["Block"]  # noqa: RUF012
    _input_embed_layer = "eyes"

    def __init__(self, config: LiteVisionConfig, *inputs: Any, **kwargs: Any) -> None:
        super().__init__(config, *inputs, **kwargs)
        self.spatial_merge_size = config.spatial_merge_size
        self.eyes = EfficientNetLite(config.eyes_width, config.eyes_depth, config.eyes_channels)
        self.projector = Projector(config.eyes_channels, config.out_hidden_size)
        # Augmentation in training, set by who trains: shares of cells whose features are set to 0, and of images that get another's cells.
        self.token_dropout = self.feature_swap = 0.0
        self.readout = ReadoutHead(config.eyes_channels, config.out_hidden_size, config.row) if config.readout_row else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        scale = self.config.token_scale
        if isinstance(module, SameConv):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)
        elif isinstance(module, TokenNorm):
            init.constant_(module.weight, scale)
            init.zeros_(module.bias)
        elif isinstance(module, TokenWriter):
            init.normal_(module.weight, std=scale / module.in_features**0.5)
            init.normal_(module.bias, std=scale)
        else:
            super()._init_weights(module)

    @property
    def frozen_part(self) -> nn.Module:
        """What stays as it is while the vision encoder is frozen: the pre-trained eyes, not what joins them to the language model."""
        return self.eyes

    def forward(self, pixel_values: torch.Tensor, grid_thw: torch.Tensor, **_: Any) -> LiteVisionOutput:
        """The image tokens of all images, in the order of their cells (row by row)."""
        grids = [tuple(grid) for grid in grid_thw.tolist()]
        images = torch.split(pixel_values, [math.prod(grid) for grid in grids])
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, grid in enumerate(grids):
            alike[grid].append(place)
        seen: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]] = {}
        for grid, places in alike.items():
            features, tokens, readout = self._of_one_shape(torch.stack([images[place] for place in places]), grid)
            seen |= {place: (features[row], tokens[row], None if readout is None else readout[row]) for row, place in enumerate(places)}
        ordered = [seen[place] for place in range(len(grids))]
        readouts = [readout for _, _, readout in ordered if readout is not None]
        return LiteVisionOutput(
            last_hidden_state=torch.cat([features for features, _, _ in ordered]),
            pooler_output=torch.cat([tokens for _, tokens, _ in ordered]),
            readout=torch.stack(readouts) if readouts else None,
        )

    def _of_one_shape(self, images: torch.Tensor, grid: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Features (n, cells, C), tokens (n, tokens, D) and readout (n, 12) of images (n, tokens, F) of one grid."""
        _, rows, columns = grid
        if self.readout is not None:
            if grid != self.config.grid:
                raise ValueError(f"an image has the grid {list(grid)}, and with a readout row all have {list(self.config.grid)}")
            images, last, rows = images[:, :-columns], images[:, -columns], rows - 1
        features = images if images.shape[-1] == self.config.eyes_channels else self.features(images, rows, columns)
        tokens = self.projector(self._augmented(features) if self.training else features)
        if self.readout is None:
            return features, tokens, None
        values, row = self.readout(features, last[:, : len(READOUT)].to(features.dtype))
        return features, torch.cat([tokens, row.to(tokens.dtype)], 1), values

    def _augmented(self, features: torch.Tensor) -> torch.Tensor:
        """Features (n, cells, C) after `feature_swap` and `token_dropout`. The readout row stays an image's own."""
        if self.feature_swap:
            swapped = torch.rand(len(features), 1, 1, device=features.device) < self.feature_swap
            features = torch.where(swapped, features.roll(1, 0), features)
        if self.token_dropout:
            features = features * (torch.rand(features.shape[:2], device=features.device) >= self.token_dropout)[..., None]
        return features

    def features(self, patches: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """The last feature map (n, rows * columns, C) of images (n, rows * columns, 3 * 32 * 32), cut into the cells' pixels."""
        side = self.config.patch_size
        grid = patches.view(len(patches), rows, columns, self.config.in_channels, side, side)
        images = grid.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), self.config.in_channels, rows * side, columns * side)
        images = images.contiguous(memory_format=torch.channels_last)  # faster on CPUs
        parts = torch.split(images, _AT_ONCE) if images.device.type == "cpu" else (images,)
        return torch.cat([self.eyes(part).flatten(2).transpose(1, 2) for part in parts])
