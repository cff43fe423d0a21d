"""What a benchmark is built from: data sets' folders, seed and settings, read from a TOML file (`configs/vecbench.toml` is one)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emocaliber.emotions import taxonomy
from emocaliber.errors import UserError
from emocaliber.rows import display_name
from emocaliber.vecbench.sources import SOURCES
from emocaliber.vecbench.splits import OWN_SPLIT, with_polarity
from emocaliber.vecbench.tasks import TASKS, canonical_task


@dataclass(frozen=True)
class CustomSource:
    """A data set of one's own, as `sources.custom` reads it. `labels` are the candidates, by default those that occur.

    All of it tests, unless `test_size` says how much; then the rest trains.
    """

    path: Path
    labels: tuple[str, ...] | None = None
    taxonomy: str | None = None
    midpoint: float | None = None
    images: Path | None = None
    test_size: int | None = None


@dataclass(frozen=True)
class BuildConfig:
    """`sources`: the folder of each data set, by the names of `SOURCES`. `check_images`: decode every image and leave out the broken.
    `own_split`: the sources whose own split is kept. `polarity`: that of WebEmo's seven emotions where it should be another."""

    sources: Mapping[str, Path] = field(default_factory=dict)
    custom: Mapping[str, CustomSource] = field(default_factory=dict)
    seed: int = 0
    test_size: int = 1000
    check_images: bool = True
    own_split: tuple[str, ...] = OWN_SPLIT
    polarity: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.sources, *self.own_split):
            if name not in SOURCES:
                raise UserError(f"there is no source {name!r}; the data sets of VECBench are {', '.join(SOURCES)}")
        for name in self.custom:
            if canonical_task(name) in TASKS or name in SOURCES:
                raise UserError(f"custom.{name}: VECBench has that name itself; give the task another")
        with_polarity(self.polarity)


def read_config(path: Path) -> BuildConfig:
    """The configuration in a TOML file; paths in it are relative to it. Raises UserError naming file, key and remedy."""
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{display_name(path)}: cannot be read ({error}); give a TOML file such as configs/vecbench.toml") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{display_name(path)}: not valid TOML: {error}") from None
    try:
        return _config(table, path.absolute().parent)
    except UserError as error:
        raise UserError(f"{display_name(path)}: {error}") from None


def _config(table: Mapping[str, Any], folder: Path) -> BuildConfig:
    table = _checked(table, _KEYS, "")
    sources = {name: folder / _as(str, value, f"sources.{name}") for name, value in table.pop("sources", {}).items()}
    custom = {name: _custom(value, f"custom.{name}", folder) for name, value in table.pop("custom", {}).items()}
    if "own_split" in table:
        table["own_split"] = tuple(_as(str, name, "own_split") for name in table["own_split"])
    return BuildConfig(sources=sources, custom=custom, **table)


def _custom(value: object, where: str, folder: Path) -> CustomSource:
    table = _checked(_as(dict, value, where), _CUSTOM_KEYS, f"{where}.")
    if "path" not in table:
        raise UserError(f"{where}: no path; give that of a folder or a CSV file")
    if "labels" in table and "taxonomy" in table:
        raise UserError(f"{where}: labels and a taxonomy; give one of them")
    if "labels" in table:
        table["labels"] = tuple(_as(str, label, f"{where}.labels") for label in table["labels"])
    if "taxonomy" in table:
        name = table["taxonomy"]
        table["taxonomy"] = str(folder / name) if (folder / name).is_file() else name
        taxonomy(table["taxonomy"])
    return CustomSource(**table | {key: folder / table[key] for key in ("path", "images") if key in table})


_NUMBER = (int, float)
_KEYS: dict[str, type | tuple[type, ...]] = {
    **{"sources": dict, "custom": dict, "polarity": dict, "own_split": list},
    **{"seed": int, "test_size": int, "check_images": bool},
}
_CUSTOM_KEYS: dict[str, type | tuple[type, ...]] = {
    **{"path": str, "images": str, "labels": list, "taxonomy": str, "midpoint": _NUMBER, "test_size": int},
}


def _checked(table: Mapping[str, Any], kinds: Mapping[str, type | tuple[type, ...]], prefix: str) -> dict[str, Any]:
    for key, value in table.items():
        if key not in kinds:
            raise UserError(f"{prefix}{key}: unknown key; there are {', '.join(kinds)}")
        _as(kinds[key], value, f"{prefix}{key}")
        if kinds[key] is int and value < 0:
            raise UserError(f"{prefix}{key}: is {value}; it must not be negative")
    return dict(table)


def _as(kind: type | tuple[type, ...], value: Any, key: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = " or ".join(_WORDS[each] for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise UserError(f"{key}: is {value!r}; it must be {names}")
    return value


_WORDS = {dict: "a table", list: "a list", str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
