"""Argument types, help texts and arguments shared by several commands."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emocaliber.models import SHIPPED

if TYPE_CHECKING:
    from emocaliber.io.images import ImageLimits

_LOCAL = f"{', '.join(SHIPPED)}, a checkpoint folder, a hub id, vllm:ID"
MODELS = f"{_LOCAL}, openai:MODEL (key and address in OPENAI_API_KEY, OPENAI_BASE_URL), or recorded:FILE"
SHORT_MODELS = f"{_LOCAL}, openai:MODEL, or recorded:FILE"

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
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1, such as {_as_share(text)}")
    return value


def _as_share(text: str) -> str:
    """The share that a text in percent means, such as 0.6 for "60%"; 0.6 for any other."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = math.nan
    return f"{share:g}" if 0 < share <= 1 else "0.6"


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


class _Refused(argparse.Action):
    """An option that does not exist, answered with a hint, in which "{value}" stands for the word after it."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, hint: str, **kwargs: Any) -> None:
        super().__init__(option_strings, dest, nargs="?", default=argparse.SUPPRESS, help=argparse.SUPPRESS, **kwargs)
        self._hint = hint

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        parser.error(f"there is no {option}; {self._hint.replace('{value}', str(values or 'VALUE'))}")


def answer_option(parser: argparse.ArgumentParser, option: str, hint: str) -> None:
    """Answers an option that does not exist, but that other commands have, with a hint."""
    parser.add_argument(option, action=_Refused, dest=option.strip("-"), hint=hint)


def refuse_as_options(parser: argparse.ArgumentParser, settings: Iterable[str]) -> None:
    """Answers `--setting VALUE` with `setting=VALUE`. Names that are options of the parser too remain options."""
    taken = parser._option_string_actions
    for name in settings:
        spellings = [each for each in dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")) if each not in taken]
        if spellings:
            parser.add_argument(*spellings, action=_Refused, dest=name, hint=f"settings are given without dashes: {name}={{value}}")


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
