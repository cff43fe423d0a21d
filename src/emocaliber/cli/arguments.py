"""Argument types, help texts and arguments shared by several commands."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emocaliber.io.images import ImageLimits

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


# Settings: KEY=VALUE, anywhere on the command line.

SETTINGS = "KEY=VALUE"
_SETTING = re.compile(r"[A-Za-z_][\w.-]*=")


class IntermixedParser(argparse.ArgumentParser):
    """A parser whose positional arguments, such as KEY=VALUE, may stand before, between and after the options."""

    _inside = False

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        # After `--`, all words are positional anyway, and argparse's intermixed parsing does not know it.
        literal = "--" in (sys.argv[1:] if args is None else args)
        if (
            self._inside
            or literal
            or any(action.nargs in (argparse.PARSER, argparse.REMAINDER) for action in self._get_positional_actions())
        ):
            return super().parse_known_args(args, namespace)
        self._inside = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._inside = False


def split_settings(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """The words that are no settings, and those that are: KEY=VALUE. The name of an existing file is never a setting."""
    others: list[str] = []
    settings: list[str] = []
    for word in words:
        (settings if _SETTING.match(word) and not Path(word).exists() else others).append(word)
    return others, settings


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """The values of settings KEY=VALUE by key, values as in TOML. Raises UserError for a word that is none."""
    from emocaliber.io.settings import with_overrides

    return with_overrides({}, words)


# Options under a new name.


class _Renamed(argparse.Action):
    """An option under its earlier name: a hidden alias of `target` that says the name of today."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, *, target: argparse.Action, names: Mapping[str, str], **kwargs: Any
    ) -> None:
        super().__init__(option_strings, dest, help=argparse.SUPPRESS, **kwargs)
        self._target, self._names = target, names

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        print(f"emocaliber: {option} is now {self._names[option or '']}", file=sys.stderr)
        self._target(parser, namespace, values, self._names[option or ""])


def also_called(parser: argparse.ArgumentParser | argparse._ArgumentGroup, target: argparse.Action, *old: str) -> None:
    """Keeps the earlier names of the option `target` as hidden aliases, one for each of its names, in order."""
    names = dict(zip(old, target.option_strings, strict=False))
    like: dict[str, Any] = {"dest": target.dest, "nargs": target.nargs, "type": target.type, "default": argparse.SUPPRESS}
    parser.add_argument(*names, action=_Renamed, target=target, names=names, **like)


# Limits of the images that are opened.


def add_image_limits(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `image_limits` reads."""
    group = parser.add_argument_group("limits of the images, which may be anybody's; larger ones get an error row")
    group.add_argument(
        "--max-megapixels",
        type=_at_least_a_little,
        metavar="M",
        help="millions of pixels to decode, at up to 16 bytes each; a JPEG may have four times as many, a progressive one twice as many "
        "(default: 64)",
    )
    group.add_argument("--max-megabytes", type=_at_least_a_little, metavar="MB", help="size of a file (default: 100)")


def image_limits(args: argparse.Namespace) -> ImageLimits:
    """The limits given, or the usual ones."""
    from dataclasses import replace

    from emocaliber.io.images import DEFAULT_LIMITS

    given = {"max_pixels": args.max_megapixels, "max_bytes": args.max_megabytes}
    return replace(DEFAULT_LIMITS, **{name: int(1e6 * value) for name, value in given.items() if value is not None})


def _at_least_a_little(text: str) -> float:
    value = non_negative(text)
    if value < 0.01:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.01 on")
    return value
