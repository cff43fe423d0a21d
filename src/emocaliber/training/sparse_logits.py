"""Logits only where a loss looks: hidden states are picked before the output layer, which is as wide as the vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel


def backbone(model: torch.nn.Module) -> Any:
    """The transformers model without its output layer, whatever `model` is wrapped in (DDP, FSDP, PEFT)."""
    return next(module for module in model.modules() if isinstance(module, PreTrainedModel)).base_model


@contextmanager
def logits_only_at(model: torch.nn.Module, places: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> Iterator[None]:
    """Forward passes within it see the hidden states at `places` as one row: their logits are (1, number of places, V).

    `places` is (B, L) of bool, or rows and columns, (number of places,) each, in which a place may come more than once.
    """

    def pick(_module: Any, _inputs: Any, outputs: Any) -> Any:
        outputs.last_hidden_state = outputs.last_hidden_state[places][None]
        return outputs

    # A hook, as wrapped models must be called as a whole, and an argument that the model takes for this picks the same columns of all rows.
    handle = backbone(model).register_forward_hook(pick)
    try:
        yield
    finally:
        handle.remove()
