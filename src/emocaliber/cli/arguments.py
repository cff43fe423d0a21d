"""Argument types and help texts shared by several commands."""

from __future__ import annotations

import argparse
import math

MODELS = "tiny, a checkpoint folder, a hub id, vllm:ID, openai:MODEL (key and address in OPENAI_API_KEY, OPENAI_BASE_URL), or recorded:FILE"
SHORT_MODELS = "tiny, a checkpoint folder, a hub id, vllm:ID, openai:MODEL, or recorded:FILE"

FEWEST_REPLICATES = 200


def positive(text: str) -> int:
    """The argument type of whole numbers from 1 on."""
    return _at_least(1, text)


def replicates(text: str) -> int:
    """The argument type of bootstrap replicates: whole numbers from 200 on."""
    return _at_least(FEWEST_REPLICATES, text, "; fewer do not show where 95 % of them lie")


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
