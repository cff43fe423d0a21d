"""How a run asks: a run file in TOML, with the flags of the command in its place, checked before anything heavy is loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.prompts import EMOCALIBER, Prompt, load_prompt
from emocaliber.rows import display_name
from emocaliber.settings_file import read_toml, typed
from emocaliber.strategies import Strategy

_KEYS = {"model": "str", "prompt": "str", "lenient": "bool", "confidence": "bool", "settings": "dict", "strategy": "dict"}

# The settings that several kinds of models share: their types, and their least values. A kind may have more, which it checks itself.
_SETTINGS: Mapping[str, tuple[str, float]] = {
    "temperature": ("float", 0),
    "seed": ("int", 0),
    "batch_size": ("int", 1),
    "max_new_tokens": ("int", 1),
    "min_pixels": ("int", 1),
    "max_pixels": ("int", 1),
    "concurrency": ("int", 1),
    "requests_per_minute": ("float", 1),
    "tokens_per_minute": ("float", 1),
    "budget": ("float", 0),
    "base_url": ("str | list", 0),
    "prices": ("list", 0),
}
_STRATEGY = {field.name: str(field.type) for field in dataclasses.fields(Strategy)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a run asks: `settings` go to `load_model`, `strategy` to `strategies.apply`, the rest to `answering.respond`."""

    model: str
    prompt: Prompt = EMOCALIBER
    lenient: bool = True
    confidence: bool = True
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    strategy: Strategy = dataclasses.field(default_factory=Strategy)


def make_plan(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Plan:
    """The plan of a run file, with `flags`, which has the same keys, in place of what the file says.

    Raises UserError, naming the file and the key, for a file that cannot be read, a key there is not, or a value of another type.
    """
    values, given = _read(file) if file else {}, flags or {}
    where = display_name(file) if file else "the command"
    settings, strategy = ({**values.pop(part, {}), **given.get(part, {})} for part in ("settings", "strategy"))
    values |= {key: value for key, value in given.items() if key not in ("settings", "strategy")}
    if "model" not in values:
        raise UserError("no model is named; give --model, or --config with a run file that names one")
    prompt = load_prompt(values.get("prompt", EMOCALIBER.name))
    return Plan(
        model=values["model"],
        prompt=prompt,
        lenient=values.get("lenient", True),
        confidence=values.get("confidence", True),
        settings=_settings(settings, where),
        strategy=Strategy(**typed(strategy, _STRATEGY, f"{where}, [strategy]")),
    )


def _read(file: Path) -> dict[str, Any]:
    where = display_name(file)
    values = read_toml(file, where, f"{where}: cannot be read ({{reason}}); give a run file, such as those in configs/baselines")
    return typed(values, _KEYS, where)


def _settings(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    where = f"{where}, [settings]"
    if "api_key" in values:
        raise UserError(f"{where}: a key does not belong in a file; take api_key out, and give it in the environment as OPENAI_API_KEY")
    known = {name: kind for name, (kind, _) in _SETTINGS.items()}
    settings = {**values, **typed({name: value for name, value in values.items() if name in known}, known, where)}
    for name in settings.keys() & _SETTINGS.keys():
        least = _SETTINGS[name][1]
        if isinstance(value := settings[name], int | float) and not value >= least:
            raise UserError(f"{where}: {name} is {value}; it must be at least {least}")
    return settings
