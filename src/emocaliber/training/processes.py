"""The processes that train together, one for each device, as `accelerate launch` and `torchrun` start them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from emocaliber.errors import UserError

T = TypeVar("T")


def devices() -> int:
    """The number of processes that train together, as accelerate and torchrun tell each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def processes() -> Any:
    """Accelerate's `PartialState`: how many processes there are, which of them this is, and where they wait for each other.

    They do so for an hour at most: shares of scaffold answers are equal in number, not in length.
    """
    from accelerate import PartialState

    return PartialState(cpu=on_cpu(), timeout=timedelta(hours=1))


def in_first(action: Callable[[], T]) -> T:
    """Runs `action` in the first process alone, while the others wait. What it returns, or the UserError that it raises, is that of all."""
    team = processes()
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


def say(text: str, *, warning: bool = False) -> None:
    """Prints, in the first process alone; a warning goes to stderr."""
    if processes().is_main_process:
        print(text, file=sys.stderr if warning else sys.stdout)


def on_cpu() -> bool:
    """Whether there is nothing but a CPU, which accelerate and transformers must be told, or processes there would train on their own."""
    import torch

    return not torch.accelerator.is_available()


@contextmanager
def ready_to_generate(model: Any) -> Iterator[None]:
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
