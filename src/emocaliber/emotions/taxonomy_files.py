"""Reading taxonomies: the built-in ones by name, anyone's own from a TOML file of the same format."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from emocaliber.emotions.taxonomy import Taxonomy
from emocaliber.emotions.vad import VAD
from emocaliber.errors import UserError

BUILT_IN = ("mikels-8", "webemo-25", "webemo-7", "polarity-2", "unbiasedemo-6")

# The two-class subtasks of VECBench share one taxonomy.
_ALSO_CALLED = {"webemo-2": "polarity-2", "fi-2": "polarity-2"}

_KEYS = ("name", "labels", "loop", "parents", "aliases", "vad")
_LOOPS = ("flat", "hierarchical")


def taxonomy(name_or_path: str | Path) -> Taxonomy:
    """The built-in taxonomy of that name (in any case), or the one in that TOML file.

    Raises UserError naming file, field and remedy for a file that is not a taxonomy, or a name nobody knows.
    """
    name = str(name_or_path).casefold()
    name = _ALSO_CALLED.get(name, name)
    if name in BUILT_IN:
        return _built_in(name)
    path = Path(name_or_path)
    if path.is_file():
        return parse_taxonomy(_text(path), str(path))
    if path.suffix == ".toml":
        raise UserError(f"{path}: no such file; give the path of a taxonomy file or one of {', '.join(BUILT_IN)}")
    raise UserError(f"unknown taxonomy '{name_or_path}'; give one of {', '.join(BUILT_IN)}, or the path of a TOML file")


def parse_taxonomy(text: str, source: str) -> Taxonomy:
    """The taxonomy that a TOML text describes. Raises UserError, its message beginning with `source`, where it is faulty."""
    try:
        return _from_table(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source}: not valid TOML: {error}") from None
    except UserError as error:
        raise UserError(f"{source}: {error}") from None


@cache
def _built_in(name: str) -> Taxonomy:
    file = resources.files("emocaliber.emotions") / "data" / f"{name}.toml"
    return parse_taxonomy(file.read_text("utf-8"), str(file))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a UTF-8 text file ({error})") from None


def _from_table(table: dict[str, Any]) -> Taxonomy:
    if unknown := [key for key in table if key not in _KEYS]:
        raise UserError(f"{unknown[0]}: unknown key; a taxonomy file has {', '.join(_KEYS)}")
    name = table.get("name")
    if not isinstance(name, str) or not name.strip():
        raise UserError('name: missing or not a text; write name = "my-taxonomy"')
    labels = table.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UserError('labels: missing or not a list of texts; write labels = ["joy", "fear"]')
    loop = table.get("loop", "flat")
    if loop not in _LOOPS:
        raise UserError(f"loop: {loop!r} is not a kind of loop; write one of {', '.join(_LOOPS)}")
    return Taxonomy(
        name=name,
        labels=tuple(labels),
        parents=_texts(table, "parents"),
        aliases=_texts(table, "aliases"),
        vad={label: _vad(label, value) for label, value in _table(table, "vad").items()},
        hierarchical=loop == "hierarchical",
    )


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    inner = table.get(key, {})
    if not isinstance(inner, dict):
        raise UserError(f"{key}: not a table; write [{key}] and one line for each label below it")
    return inner


def _texts(table: dict[str, Any], key: str) -> dict[str, str]:
    inner = _table(table, key)
    for word, value in inner.items():
        if not isinstance(value, str):
            raise UserError(f"{key}: the value of '{word}' is {value!r}, not a text; write {word} = \"...\"")
    return inner


def _vad(label: str, value: object) -> VAD:
    if not isinstance(value, list) or len(value) != 3 or not all(type(x) in (int, float) for x in value):
        raise UserError(f"vad: '{label}' has {value!r}, not three numbers; write {label} = [valence, arousal, dominance]")
    return VAD(*map(float, value))
