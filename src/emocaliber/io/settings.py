"""Settings in TOML: read from a file or the command line, and checked by name and type before anything uses them."""

from __future__ import annotations

import dataclasses
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
    """The values, with whole numbers converted to floats where a float is expected, and lists of texts to tuples.

    `kinds` maps every allowed name to its types, such as "str | list"; "tuple[str, ...]" is a list of texts, none of them blank. Raises
    UserError, naming `where`, for an unknown name or a value of another type.
    """
    place = f"{where}: " if where else ""
    checked = dict(values)
    for name, value in values.items():
        if name not in kinds:
            raise UserError(f"{place}there is no setting {name!r} here; the settings are {', '.join(kinds)}")
        wanted = kinds[name].split(" | ")
        if "float" in wanted and type(value) is int:
            checked[name] = value = float(value)
        if "tuple[str, ...]" in wanted and isinstance(value, list) and all(isinstance(each, str) and each.strip() for each in value):
            checked[name] = tuple(value)
        elif type(value).__name__ not in wanted:
            raise UserError(f"{place}{name} must be {' or '.join(_WORDS[each] for each in wanted if each != 'None')}, not {value!r}")
    return checked


_WORDS = {
    **{"str": "a text", "int": "a whole number", "float": "a number", "bool": "true or false"},
    **{"list": "a list", "tuple[str, ...]": "a list of texts", "dict": "a table"},
}


def field_types(kind: type) -> dict[str, str]:
    """The fields of a dataclass with their types, for `typed`; what a list or a table holds is left out."""
    types = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    return {name: wanted if wanted.startswith("tuple") else wanted.partition("[")[0] for name, wanted in types.items()}
