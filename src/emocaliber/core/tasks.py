"""The tasks: the nine subtasks of VECBench, the three groups the paper reports them in, and what plug-ins add."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.io.plugins import Registry

CUSTOM_TASK = "custom"  # the task of labels of one's own
GROUPS = ("ID VER", "ID VSA", "OOD VER")


@dataclass(frozen=True)
class Task:
    """A task: its group in the paper's tables (None for one of your own), its taxonomy (a built-in one by name, a TOML file, or one made in
    code), and the kind of its question."""

    name: str
    group: str | None
    taxonomy: str | Path | Taxonomy
    kind: Literal["emotion", "sentiment"] = "emotion"


TASKS: Registry[Task] = Registry("task")
_SPELLINGS = {"unbaisedemo-6": "UnbiasedEmo-6"}  # some released files carry the misspelling


def add_task(task: Task) -> Task:
    """Adds a task to `TASKS`, and returns it. Its answers are then read with the spellings of its taxonomy, and have distances on its loop.

    Raises UserError for a name that is taken in any case, a group that is not the paper's, and a taxonomy that cannot be read.
    """
    if task.name.casefold() in _SPELLINGS:
        raise UserError(f"there is a task {_SPELLINGS[task.name.casefold()]!r} already; give this one another name")
    if task.group is not None and task.group not in GROUPS:
        raise UserError(f"task {task.name!r}: there is no group {task.group!r}; give one of {', '.join(GROUPS)}, or None")
    taxonomy(task.taxonomy)
    TASKS.add(task.name, task)
    _SPELLINGS[task.name.casefold()] = task.name
    return task


for _task in (
    Task("EmoSet-8", "ID VER", "mikels-8"),
    Task("FI-8", "ID VER", "mikels-8"),
    Task("WebEmo-7", "ID VER", "webemo-7"),
    Task("WebEmo-25", "ID VER", "webemo-25"),
    Task("FI-2", "ID VSA", "polarity-2", "sentiment"),
    Task("WebEmo-2", "ID VSA", "polarity-2", "sentiment"),
    Task("Abstract-8", "OOD VER", "mikels-8"),
    Task("Artphoto-8", "OOD VER", "mikels-8"),
    Task("UnbiasedEmo-6", "OOD VER", "unbiasedemo-6"),
):
    add_task(_task)


def canonical_task(name: str) -> str:
    """The name of a known task in its own spelling, from any case; any other name (a custom task) unchanged."""
    return _SPELLINGS.get(name.casefold(), name)


def taxonomy_of(name: str) -> Taxonomy | None:
    """The taxonomy of a task's labels; None for a custom task."""
    known = TASKS.get(canonical_task(name))
    return taxonomy(known.taxonomy) if known else None


def labels_of(name: str, candidates: Sequence[str]) -> Labels:
    """The candidates of a task, with the other spellings of its taxonomy; a custom task has no taxonomy."""
    return Labels.of(candidates, taxonomy_of(name))


def group_of(name: str) -> str | None:
    """The group that the paper reports a task in; None for a custom task."""
    known = TASKS.get(canonical_task(name))
    return known.group if known else None


def nearly(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that `name` may be a misspelling of, ignoring case and punctuation; None if none is close."""
    by_letters = {_letters(each): each for each in names}
    close = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=0.85)
    return by_letters[close[0]] if close else None


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def task_order(name: str) -> tuple[int, str]:
    """Sort key of tasks: those of VECBench first, in its order, then custom ones by name."""
    return list(TASKS).index(name) if name in TASKS else len(TASKS), name


def task(name: str) -> Task:
    """The subtask called `name`, in any case and with the spellings of the released files. Raises UserError for any other name."""
    known = TASKS.get(canonical_task(name))
    if known is None:
        meant = f"; did you mean {close}?" if (close := nearly(name, TASKS)) else ""
        raise UserError(f"there is no task {name!r}; the tasks of VECBench are {', '.join(TASKS)}{meant}")
    return known


@cache
def paper_counts() -> Mapping[str, Mapping[str, int]]:
    """The numbers of samples in the paper's splits (Figure 3) and VEC-CoT's stages (Table 1): counts[split][task], without zeros.

    Numbers are as printed. WebEmo-7 in stage 2 is printed as 7,806, but both totals it is part of are right only with 7,896.
    """
    folder = resources.files("emocaliber.core") / "paper_counts"
    rows = [row for name in ("splits", "vec_cot") for row in csv.DictReader((folder / f"{name}.csv").read_text("utf-8").splitlines())]
    return MappingProxyType({row.pop("split"): {task: int(count) for task, count in row.items() if int(count)} for row in rows})
