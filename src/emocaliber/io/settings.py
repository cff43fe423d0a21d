"""Settings in TOML: read from a file or the command line, and checked by name and type before anything uses them."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from emocaliber.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ON_LINE = "on the command line"

C = TypeVar("C", bound="DataclassInstance")


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


def with_overrides(values: Mapping[str, Any], overrides: Iterable[str], where: str = "") -> dict[str, Any]:
    """The values with those of the texts KEY=VALUE, read as in TOML, in their place. Raises UserError, naming `where`, for another text."""
    place = f"{where}: " if where else ""
    joined = dict(values)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{place}the setting {text!r} must look like KEY=VALUE")
        joined[key.strip()] = toml_value(value.strip())
    return joined


def typed(values: Mapping[str, Any], kinds: Mapping[str, str], where: str) -> dict[str, Any]:
    """The values, with whole numbers converted to floats where a float is expected, and lists of texts to tuples.

    `kinds` maps every allowed name to its types, such as "str | list"; "tuple[str, ...]" is a list of texts, none of them blank. Raises
    UserError, naming `where`, for an unknown name or a value of another type.
    """
    place = f"{where}: " if where else ""
    checked = dict(values)
    for name, value in values.items():
        if name not in kinds:
            close = did_you_mean(name, kinds)
            raise UserError(f"{place}there is no setting {name!r} here; the settings are {', '.join(kinds)}{close}")
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


def settings_of(kind: type[C], values: Mapping[str, Any], where: str, overrides: Iterable[str] = (), given: str = ON_LINE) -> C:
    """An instance of the dataclass `kind` with these values, checked by `typed` against its fields; what a list or a table holds is not.

    The texts KEY=VALUE of `overrides` replace values. Raises UserError, naming `where` for a value and `given` for an override, as `typed`
    does and for fields without a default that are missing.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    types = {name: str(field.type) for name, field in fields.items()}
    types = {name: text if text.startswith("tuple") else text.partition("[")[0] for name, text in types.items()}
    values = typed(values, types, where) | typed(with_overrides({}, overrides, given), types, given)
    missing = [n for n, field in fields.items() if field.default is field.default_factory is dataclasses.MISSING and n not in values]
    if missing:
        raise UserError(f"{where}: {', '.join(missing)} must be given")
    return kind(**values)
