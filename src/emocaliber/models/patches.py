"""The patch embedding of Qwen's vision encoders as the matrix product that it is.

There it is a convolution over pixels that are cut into patches already, each as large as the kernel; PyTorch computes that as a convolution
in three dimensions, several times slower than the product. Parameters and their names stay as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear


class PatchProduct(nn.Conv3d):
    """A convolution whose inputs (n, C, frames, height, width) are as large as its kernel: n outputs (n, out, 1, 1, 1)."""

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        if patches.shape[2:] != self.weight.shape[2:] or self.groups != 1 or any(self.padding):
            return super().forward(patches)
        return linear(patches.flatten(1), self.weight.flatten(1), self.bias)[..., None, None, None]


def embed_patches_by_product(model: Any) -> Any:
    """The same model, whose patch embeddings are computed as products; one without a convolution of that kind is left as it is."""
    for name, module in model.named_modules():
        if type(module) is nn.Conv3d and name.endswith("patch_embed.proj"):
            module.__class__ = PatchProduct
    return model
