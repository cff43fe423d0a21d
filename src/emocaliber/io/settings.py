"""Settings in TOML: read from a file or the command line, and checked by name and type before anything uses them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError


def read_toml(file: Path, where: str, unreadable: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises UserError, naming it as `where`, if it is not TOML.

    If the file cannot be read, the message is `unreadable`, in which "{reason}" stands for the error of the operating system.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(unreadable.replace("{reason}", str(error.strerror))) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{where} is not TOML: {error}") from error


def toml_value(text: str) -> Any:
    """The TOML value in a text; text that is not TOML is a string, so that quotes can be omitted on the command line."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def typed(values: Mapping[str, Any], kinds: Mapping[str, str], where: str) -> dict[str, Any]:
    """The values, with whole numbers converted to floats where a float is expected.

    `kinds` maps every allowed name to its types, such as "str | list". Raises UserError, naming `where`, for an unknown name or a value of
    another type.
    """
    checked = dict(values)
    for name, value in values.items():
        if name not in kinds:
            raise UserError(f"{where}: there is no setting {name!r} here; the settings are {', '.join(kinds)}")
        wanted = kinds[name].split(" | ")
        if "float" in wanted and type(value) is int:
            checked[name] = value = float(value)
        if type(value).__name__ not in wanted:
            raise UserError(f"{where}: {name} must be of type {' or '.join(wanted).replace('dict', 'table')}, not {value!r}")
    return checked
