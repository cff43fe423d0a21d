"""The processes that train together, one for each device, as `accelerate launch` and `torchrun` start them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from emocaliber.errors import UserError
from emocaliber.training.config import ModelConfig

T = TypeVar("T")


def world_size() -> int:
    """The number of processes that train together, as accelerate and torchrun tell each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def partial_state() -> Any:
    """Accelerate's `PartialState`: how many processes there are, which of them this is, and where they wait for each other.

    They do so for an hour at most: shares of scaffold answers are equal in number, not in length.
    """
    from accelerate import PartialState

    return PartialState(cpu=cpu_only(), timeout=timedelta(hours=1))


def on_main_process(action: Callable[[], T]) -> T:
    """Runs `action` in the first process alone, while the others wait. What it returns, or the UserError that it raises, is that of all."""
    team = partial_state()
    if team.num_processes == 1:
        return action()
    from accelerate.utils import broadcast_object_list

    outcome: list[Any] = [None, None]
    if team.is_main_process:
        try:
            outcome[0] = action()
        except UserError as error:
            outcome[1] = str(error)
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise UserError(outcome[1])
    value: T = outcome[0]
    return value


def print_once(text: str, *, warning: bool = False) -> None:
    """Prints, in the first process alone; a warning goes to stderr."""
    if partial_state().is_main_process:
        print(text, file=sys.stderr if warning else sys.stdout)


def cpu_only() -> bool:
    """Whether there is nothing but a CPU, which accelerate and transformers must be told, or processes there would train on their own."""
    import torch

    return not torch.accelerator.is_available()


@contextmanager
def unsharded_for_generation(model: Any) -> Iterator[None]:
    """Within it, a model that FSDP2 has sharded can `generate`. FSDP2 gathers weights when a module is called, but `generate` encodes
    images before it calls the model as a whole, to which the weights outside layers belong.
    """
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(model, FSDPModule):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


# LoRA: small adapters learn in place of the weights (Hu et al. 2022), and are merged into them when a stage has finished.


def lora_config(config: ModelConfig) -> Any | None:
    """PEFT's settings for the adapters of a stage; None if all weights learn."""
    if not config.lora_rank:
        return None
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise UserError("lora_rank is set, and LoRA needs PEFT: pip install 'emocaliber[train]'") from error
    return LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=config.lora_targets, task_type="CAUSAL_LM")


def with_adapters(model: Any, config: ModelConfig) -> Any:
    """`model` with new adapters, which alone learn; `model` itself without LoRA. Raises UserError if no layer has a name that matches."""
    if (settings := lora_config(config)) is None:
        return model
    from peft import get_peft_model

    try:
        return get_peft_model(model, settings)
    except ValueError as error:
        raise UserError(f"lora_targets = {config.lora_targets!r} matches no linear layer of {config.model}") from error


def merge_adapters(base: Any, adapter: str | Path) -> Any:
    """`base`, the model that training began with, with the adapters saved in a folder added to its weights, in float32."""
    import torch
    from peft import PeftModel

    return PeftModel.from_pretrained(base.to(torch.float32), adapter).merge_and_unload()
