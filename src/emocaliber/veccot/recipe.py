"""A recipe: teacher, judge, their prompts and settings, and the thresholds. Read from a TOML file and the command's flags."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from emocaliber.core.model import Model
from emocaliber.core.prompts import listed
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import TASKS
from emocaliber.errors import UserError
from emocaliber.io.configurations import find_configuration
from emocaliber.io.rows import display_name
from emocaliber.io.settings import read_toml, settings_of, toml_value, typed
from emocaliber.models import LOCAL, kind_of, load_model
from emocaliber.veccot.checks import CHECKS, Check, CheckSettings, name_of
from emocaliber.veccot.teacher import CHECKS_ALONE, MinRatings

if TYPE_CHECKING:
    from emocaliber.veccot.batch import Notes


# Settings of how fast, where and at what price a model is asked. They are no part of the recipe's identity.
_REQUEST_SETTINGS = (
    *("base_url", "concurrency", "retries", "backoff", "timeout", "requests_per_minute", "tokens_per_minute"),
    *("prices", "discount", "poll", "most_requests", "most_bytes", "batch_size", "device", "threads"),
)
_TABLES = ("teacher", "judge", "checks", "least")


@dataclass(frozen=True, kw_only=True)
class RecipeModel:
    """Teacher or judge: the model's name, its prompt, the settings that `load_model` takes, and the environment variable with its key."""

    model: str
    prompt: PromptTemplate
    temperature: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    api_key_env: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the model's texts depend on."""
        settings = {name: value for name, value in self.settings.items() if name not in _REQUEST_SETTINGS}
        return {"model": self.model, "prompt": self.prompt.text, "temperature": self.temperature, "settings": settings}

    @property
    def remote(self) -> bool:
        """Whether the model is behind an API, and may cost money."""
        return self.model.startswith("openai:")

    def load(self, journal: Path, *, budget: float | None = None, batches: Notes | None = None) -> Model:
        """The model. One behind an API keeps what it was paid for in `journal`; with `batches`, where notes on them are kept, it is asked
        through its service's batches. Raises UserError if it cannot be loaded."""
        if not self.remote:
            return load_model(self.model, **self.settings)
        settings = {"logprobs": False} | dict(self.settings) | {"journal": journal}
        if "prices" in settings:
            settings["budget"] = budget
        if self.api_key_env is not None:
            if not (key := os.environ.get(self.api_key_env)):
                raise UserError(f"the key of {self.model} should be in the variable {self.api_key_env}, which is not set")
            settings["api_key"] = key
        if batches is None:
            return load_model(self.model, **settings)
        from emocaliber.veccot.batch_model import BatchModel

        asked_at_once = ("concurrency", "requests_per_minute", "tokens_per_minute")
        kept = {name: value for name, value in settings.items() if name not in asked_at_once}
        return BatchModel(self.model.removeprefix("openai:"), notes=batches, **kept)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Teacher and judge (None: the checks alone), the checks and their settings, and the judge's minimum ratings."""

    teacher: RecipeModel
    judge: RecipeModel | None
    limits: CheckSettings = field(default_factory=CheckSettings)
    min_ratings: MinRatings = field(default_factory=MinRatings)
    checks: Sequence[Check] = field(default_factory=lambda: tuple(CHECKS))

    def check_budget(self) -> None:
        """Raises UserError unless every model that may cost money has prices."""
        for role, part in (("teacher", self.teacher), ("judge", self.judge)):
            if part and part.remote and "prices" not in part.settings:
                raise UserError(
                    f"a budget needs prices: give [{role}] prices = [READ, WRITTEN], in dollars per million tokens, or "
                    f"'{role}.prices=[READ, WRITTEN]'; [0, 0] for a server of your own"
                )

    def with_local_settings(self, settings: Mapping[str, Any]) -> Recipe:
        """The recipe with further settings for those of its models that run here."""

        def extended(part: RecipeModel) -> RecipeModel:
            return replace(part, settings={**part.settings, **settings}) if kind_of(part.model) == LOCAL else part

        return replace(self, teacher=extended(self.teacher), judge=self.judge and extended(self.judge))

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that a verdict depends on; the ledger identifies the recipe by it."""
        judge = self.judge.identity | {"least": asdict(self.min_ratings)} if self.judge else {"model": CHECKS_ALONE}
        checks = {"made": [name_of(check) for check in self.checks], "limits": asdict(self.limits)}
        return {"teacher": self.teacher.identity, "judge": judge, "checks": checks}


def read_recipe(file: str | Path | None = None, flags: Mapping[str, Mapping[str, Any]] = {}, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of a TOML file with the tables [teacher], [judge], [checks] and [least], with `flags` (which has the same tables) and then
    `changes` ("teacher.concurrency=32") in place of what it says.

    Raises UserError, naming the file, the table and the key, for what cannot be read or is no setting, and if a model is not named.
    """
    file = find_configuration(file, "cot") if file else None
    where = display_name(file) if file else "the command"
    tables = _read(file, where) if file else {}
    tables = {name: {**tables.get(name, {}), **flags.get(name, {})} for name in _TABLES}
    for change in changes:
        name, _, rest = change.partition(".")
        key, equals, value = rest.partition("=")
        if name not in _TABLES or not equals:
            raise UserError(f"the setting {change!r} must look like TABLE.KEY=VALUE, where the table is one of {', '.join(_TABLES)}")
        tables[name][key.strip()] = toml_value(value.strip())
    for role in ("teacher", "judge"):
        if not isinstance(tables[role].get("model"), str):
            raise UserError(f"no {role} is named; give --{role}, or --config with a file that has a table [{role}] with a model")
    return Recipe(
        teacher=_part("teacher", tables["teacher"], where),
        judge=None if tables["judge"]["model"] == CHECKS_ALONE else _part("judge", tables["judge"], where),
        limits=settings_of(CheckSettings, tables["checks"], f"{where}, [checks]"),
        min_ratings=settings_of(MinRatings, tables["least"], f"{where}, [least]"),
    )


def _read(file: Path, where: str) -> dict[str, dict[str, Any]]:
    tables = read_toml(file, where, f"{where}: cannot be read ({{reason}}); give a TOML file with [teacher] and [judge]")
    for name, table in tables.items():
        if name not in _TABLES or not isinstance(table, dict):
            raise UserError(f"{where}: there is no table [{name}] in a recipe; its tables are {', '.join(f'[{each}]' for each in _TABLES)}")
        if isinstance(table.get("prompt"), str):
            table["prompt"] = str(file.parent / table["prompt"])  # relative to the file; a flag's is relative to the working directory
    return tables


_PART = {"prompt": "str", "api_key_env": "str", "temperature": "float"}  # the others are checked by `load_model`


def _part(role: Role, table: Mapping[str, Any], where: str) -> RecipeModel:
    settings = dict(table)
    where = f"{where}, [{role}]"
    if "api_key" in settings:
        raise UserError(f"{where}: a key does not belong in a file; name the variable of the environment that holds it, as api_key_env")
    settings |= typed({key: settings[key] for key in _PART if key in settings}, _PART, where)
    prompt = settings.pop("prompt", None)
    return RecipeModel(
        model=settings.pop("model"),
        prompt=PromptTemplate.load(role, None if prompt is None else Path(prompt)),
        # A retry after a rejection must be able to give another text, so the teacher samples by default.
        temperature=settings.pop("temperature", 0.7 if role == "teacher" else 0.0),
        api_key_env=settings.pop("api_key_env", None),
        settings=settings,
    )


# Prompt templates: text files with slots, which users may replace.

Role = Literal["teacher", "judge"]

_FOLDER = Path(__file__).parent / "prompts"
_NEEDED: dict[Role, Sequence[str]] = {"teacher": ("label", "candidates"), "judge": ("label", "response")}


@dataclass(frozen=True)
class PromptTemplate:
    """A prompt with the slots {label}, {candidates}, {noun} ("emotion" or "sentiment") and, for a judge, {response}."""

    text: str

    @classmethod
    def load(cls, role: Role, file: Path | None = None) -> Self:
        """The prompt in a file, or the default of the package. Raises UserError if it cannot be read or lacks a slot."""
        path = file or _FOLDER / f"{role}.txt"
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{display_name(path)}: cannot be read as a prompt ({error})") from error
        for place in _NEEDED[role]:
            if f"{{{place}}}" not in text:
                raise UserError(f"{display_name(path)}: the prompt of a {role} must have {{{place}}} in it, where that goes")
        return cls(text)

    def fill(self, sample: Sample, response: str = "") -> str:
        """The prompt for one sample. Slots inside the filled-in texts are left as they are."""
        known = TASKS.get(sample.task)
        values = {
            "label": sample.ground_truth,
            "candidates": listed(sample.candidates),
            "noun": known.kind if known else "emotion",
            "response": response,
        }
        return re.sub(r"\{(label|candidates|noun|response)\}", lambda place: values[place.group(1)], self.text)
