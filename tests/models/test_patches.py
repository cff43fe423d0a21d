"""Patches are embedded by a product that gives what the convolution gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from emocaliber.models.patches import PatchProduct, embed_patches_by_product


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_the_convolution(bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(3, 8, (2, 14, 14), (2, 14, 14), bias=bias)
    patches = torch.randn(5, 3, 2, 14, 14)
    plain(patches).square().sum().backward()
    expected, gradient = plain(patches), plain.weight.grad
    plain.weight.grad = None
    plain.__class__ = PatchProduct
    assert torch.allclose(plain(patches), expected, atol=1e-5)
    plain(patches).square().sum().backward()
    assert gradient is not None
    assert plain.weight.grad is not None
    assert torch.allclose(plain.weight.grad, gradient, rtol=1e-4, atol=1e-3)


def test_inputs_larger_than_the_kernel_are_convolved() -> None:
    plain = nn.Conv3d(3, 8, (2, 14, 14), (2, 14, 14))
    image = torch.randn(1, 3, 2, 28, 28)
    expected = plain(image)
    plain.__class__ = PatchProduct
    assert plain(image).shape == (1, 8, 1, 2, 2)
    assert torch.equal(plain(image), expected)


@pytest.mark.parametrize(("family", "changed"), [("qwen2_5_vl", 1), ("qwen3_vl", 1), ("internvl", 0)])
def test_parameters_keep_their_names_and_other_families_are_left_alone(families: Mapping[str, Path], family: str, changed: int) -> None:
    model = AutoModelForImageTextToText.from_pretrained(families[family])
    names = [name for name, _ in model.named_parameters()]
    assert [name for name, _ in embed_patches_by_product(model).named_parameters()] == names
    assert sum(isinstance(each, PatchProduct) for each in model.modules()) == changed
