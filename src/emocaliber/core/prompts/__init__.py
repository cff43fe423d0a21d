"""Prompts: EmoCaliber's own question, and those of other methods, one TOML file each in this folder.

A prompt file has `question`, with the placeholders `{noun}` ("emotion" or "sentiment") and `{candidates}`; `confidence`, the text appended
to ask for a stated confidence; `lenient`, true for models that were not trained on the five steps; and `source`, its reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from emocaliber.core import response
from emocaliber.core.tasks import TASKS, canonical_task
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.io.plugins import Registry
from emocaliber.io.rows import display_name
from emocaliber.io.settings import read_toml, typed

_FOLDER = Path(__file__).parent
_SETTINGS = {"question": "str", "confidence": "str", "lenient": "bool", "source": "str"}

Write = Callable[[Sequence[str], str, bool], str]  # candidates, noun, whether a confidence is wanted


@dataclass(frozen=True)
class Prompt:
    """A prompt; `lenient` says that answers to it need not be in the five steps, and `source` where it comes from."""

    name: str
    source: str
    lenient: bool
    write: Write

    def question(self, task: str, candidates: Sequence[str], *, confidence: bool = True) -> str:
        """The question of a task: about sentiment for VSA tasks and custom tasks with their labels, about emotion for all others."""
        known = TASKS.get(canonical_task(task))
        own = "sentiment" if set(candidates) == set(taxonomy("polarity-2").labels) else "emotion"
        return self.write(candidates, known.kind if known else own, confidence)


def _emocaliber(candidates: Sequence[str], noun: str, confidence: bool) -> str:
    return response.question(candidates, kind="sentiment" if noun == "sentiment" else "emotion", confidence=confidence)


PROMPTS: Registry[Prompt] = Registry("prompt")  # those made in code; others are TOML files
EMOCALIBER = PROMPTS.add("emocaliber", Prompt("emocaliber", "the released model card", False, _emocaliber))


def listed(candidates: Sequence[str]) -> str:
    """The candidates in quotes, separated by commas, as in every question."""
    return ", ".join(f"'{label}'" for label in candidates)


def prompt_names() -> list[str]:
    """The names of the built-in prompts, and of those that plug-ins have added."""
    return [*PROMPTS, *sorted(file.stem for file in _FOLDER.glob("*.toml"))]


@cache
def load_prompt(name: str) -> Prompt:
    """The prompt called `name`, or the one in that TOML file. Raises UserError for an unknown name or an invalid file."""
    if name in PROMPTS:
        return PROMPTS[name]
    file = Path(name) if name.endswith(".toml") else _FOLDER / f"{name}.toml"
    where = display_name(file)
    unknown = f"there is no prompt {name!r}; there are {', '.join(prompt_names())}, or give a TOML file of your own"
    values = typed(read_toml(file, where, unknown), _SETTINGS, where)
    question = str(values.get("question", ""))
    if "{candidates}" not in question:
        raise UserError(f"{where}: question must be a text with {{candidates}} in it, where the labels go")

    def write(candidates: Sequence[str], noun: str, confidence: bool) -> str:
        text = question + (values.get("confidence", "") if confidence else "")
        return text.replace("{noun}", noun).replace("{candidates}", listed(candidates)).strip()

    return Prompt(Path(name).stem, values.get("source", ""), values.get("lenient", True), write)
