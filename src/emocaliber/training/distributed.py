"""Distributed training, one process per device as `accelerate launch` and `torchrun` start them, and LoRA adapters (Hu et al. 2022)."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from emocaliber.errors import UserError, missing_packages
from emocaliber.training.config import ModelConfig

T = TypeVar("T")

PACKAGES = ("accelerate", "datasets", "trl")


def check_packages() -> None:
    """Raises UserError if a package of training is missing."""
    try:
        for name in PACKAGES:
            import_module(name)
    except ImportError as error:
        raise missing_packages("train", "training", error) from error
    from transformers.utils import logging

    logging.disable_progress_bar()  # a bar for each file that is read or written
    warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)  # TRL uses the earlier name


def world_size() -> int:
    """The number of training processes: the environment variable WORLD_SIZE, which accelerate and torchrun set; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def partial_state() -> Any:
    """Accelerate's `PartialState`: the number of processes, the rank of this one, and barriers.

    Barriers time out after an hour, as the ranks' shares of scaffold answers are equal in number but not in length.
    """
    from accelerate import PartialState

    return PartialState(cpu=cpu_only(), timeout=timedelta(hours=1))


def on_main_process(action: Callable[[], T]) -> T:
    """Runs `action` in the main process while the others wait; its return value, or its UserError, is broadcast to all."""
    state = partial_state()
    if state.num_processes == 1:
        return action()
    from accelerate.utils import broadcast_object_list

    outcome: list[Any] = [None, None]
    if state.is_main_process:
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
    """Prints in the main process alone, to stdout, or to stderr for a warning."""
    if partial_state().is_main_process:
        print(text, file=sys.stderr if warning else sys.stdout)


def cpu_only() -> bool:
    """Whether the machine has no accelerator. Accelerate and transformers must be told, or processes on a CPU would train independently."""
    import torch

    return not torch.accelerator.is_available()


@contextmanager
def unsharded_for_generation(model: Any) -> Iterator[None]:
    """Gathers the root weights of an FSDP2 model, so that it can `generate`; does nothing to other models.

    FSDP2 gathers weights when a module is called, but `generate` encodes images before it calls the root module.
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


def lora_config(config: ModelConfig) -> Any | None:
    """PEFT's LoraConfig for a stage; None if `lora_rank` is 0. Raises UserError if PEFT is not installed."""
    if not config.lora_rank:
        return None
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise missing_packages("train", "lora_rank above 0", error) from error
    return LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=config.lora_targets, task_type="CAUSAL_LM")


def with_adapters(model: Any, config: ModelConfig) -> Any:
    """`model` with new LoRA adapters as its only trainable weights; `model` itself without LoRA.

    Raises UserError if `lora_targets` matches no layer.
    """
    if (settings := lora_config(config)) is None:
        return model
    from peft import get_peft_model

    try:
        return get_peft_model(model, settings)
    except ValueError as error:
        raise UserError(f"lora_targets = {config.lora_targets!r} matches no linear layer of {config.model}") from error


def merge_adapters(base: Any, adapter: str | Path) -> Any:
    """`base`, the model that training started from, with the adapters of the folder `adapter` merged into its weights, in float32."""
    import torch
    from peft import PeftModel

    return PeftModel.from_pretrained(base.to(torch.float32), adapter).merge_and_unload()
