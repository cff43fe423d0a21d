"""Argument types and help texts shared by several commands."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

MODELS = "tiny, a checkpoint folder, a hub id, vllm:ID, openai:MODEL (key and address in OPENAI_API_KEY, OPENAI_BASE_URL), or recorded:FILE"
SHORT_MODELS = "tiny, a checkpoint folder, a hub id, vllm:ID, openai:MODEL, or recorded:FILE"

FEWEST_REPLICATES = 200

DEVICES = ("cpu", "cuda", "mps")
_LOCAL_SETTINGS = ("threads", "device", "free")


def add_local_settings(group: argparse._ArgumentGroup, *, free: bool = True) -> None:
    """Adds the settings of local models, with `free` also that of their decoding; `local_settings` reads them."""
    group.add_argument("--threads", type=positive, metavar="N", help="threads of a model on the CPU (default: chosen for the model)")
    group.add_argument("--device", choices=DEVICES, help="where the model runs (default: a GPU if there is one, else the CPU)")
    if free:
        text = "let the model write any answer, not only one of the candidates"
        group.add_argument("--free", action="store_true", default=None, help=text)


def local_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of `add_local_settings` that were given, as keyword arguments of `load_model`."""
    return {name: value for name in _LOCAL_SETTINGS if (value := getattr(args, name, None)) is not None}


def positive(text: str) -> int:
    """The argument type of whole numbers from 1 on."""
    return _at_least(1, text)


def replicates(text: str) -> int:
    """The argument type of bootstrap replicates: whole numbers from 200 on."""
    return _at_least(FEWEST_REPLICATES, text, "; fewer do not show where 95 % of them lie")


def at_most(most: int) -> Callable[[str], int]:
    """The argument type of whole numbers from 0 to `most`."""

    def whole(text: str) -> int:
        if natural(text) > most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {most}")
        return int(text)

    return whole


def natural(text: str) -> int:
    """The argument type of whole numbers from 0 on."""
    return _at_least(0, text)


def non_negative(text: str) -> float:
    """The argument type of finite numbers from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return value


def fraction(text: str) -> float:
    """The argument type of numbers from 0 to 1."""
    value = non_negative(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _at_least(least: int, text: str, why: str = "") -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on{why}")
    return value
