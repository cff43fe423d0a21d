"""Samples (an image, the candidate labels and the true one), and the validation of row fields on which they and other rows rest."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from emocaliber.core.tasks import canonical_task, labels_of, taxonomy_of
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import Taxonomy
from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place
from emocaliber.io.rows import Row, numbered_rows


@dataclass(frozen=True)
class Sample:
    """An image with a question and its ground truth.

    `votes`: number of annotators per label. `posterior`: the true probability of each label, known for synthetic scenes only.
    """

    id: str
    image: str
    task: str
    candidates: Labels
    ground_truth: str
    source: str
    split: str
    votes: Mapping[str, int] | None = None
    posterior: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", labels_of(self.task, self.candidates))

    @classmethod
    def from_row(cls, row: Mapping[str, object], where: str) -> Sample:
        """The sample in a row, which may have further fields. Raises UserError, naming `where` (the row's file and line) and the field."""
        fields = Fields(row, where)
        task = canonical_task(fields.text("task"))
        candidates = fields.labels("candidates", taxonomy_of(task))
        return cls(
            id=fields.text("id"),
            image=fields.text("image"),
            task=task,
            candidates=candidates,
            ground_truth=fields.label("ground_truth", candidates),
            source=fields.text("source"),
            split=fields.text("split"),
            votes=fields.votes("votes", candidates),
            posterior=fields.posterior("posterior", candidates),
        )

    def to_row(self, folder: str | Path | None = None) -> dict[str, object]:
        """The sample as a JSON row. With `folder`, the folder of the row file, the image path is relative to it."""
        row: dict[str, object] = {
            "id": self.id,
            "image": self.image if folder is None else Path(os.path.relpath(self.image, folder)).as_posix(),
            "task": self.task,
            "candidates": list(self.candidates),
            "ground_truth": self.ground_truth,
            "source": self.source,
            "split": self.split,
        }
        if self.votes is not None:
            row["votes"] = dict(self.votes)
        if self.posterior is not None:
            row["posterior"] = dict(self.posterior)
        return row


def read_samples(path: str | Path) -> Iterator[Sample]:
    """The samples of a JSONL file, in order, with absolute image paths.

    Raises UserError, naming the file, the line and the field, for the first row that is not a sample or repeats an id. Images are not
    checked here: opening one gives its own error.
    """
    folder = Path(path).absolute().parent
    for where, row in identified_rows(path):
        sample = Sample.from_row(row, where)
        yield replace(sample, image=str(folder / sample.image))


# Validation of the fields of a row.

_SHOWN = 60
_NUMBER = (int, float)


class Fields:
    """A row with checked access to its fields: each method returns a field in its type.

    `where` is the row's file and line, as text or as a place. Every UserError names it, the field and the remedy.
    """

    def __init__(self, row: Mapping[str, object], where: str | Place) -> None:
        self._row = row
        self.where = where

    def error(self, field: str, problem: str, remedy: str) -> UserError:
        """The UserError about a field: "FILE, line N: field 'F' PROBLEM; REMEDY"."""
        return UserError(f"{self.where}: field '{field}' {problem}; {remedy}")

    def text(self, field: str) -> str:
        """A string that is not blank."""
        remedy = "give it a string that is not blank"
        value = self._required(field, remedy)
        if not isinstance(value, str) or not value.strip():
            raise self.error(field, f"is {_shown(value)}", remedy)
        return value

    def optional_text(self, field: str) -> str | None:
        """A string, perhaps empty, or None where the field is null. The field itself must be there."""
        remedy = "give it a string, or null where there is none"
        value = self._required(field, remedy)
        if value is not None and not isinstance(value, str):
            raise self.error(field, f"is {_shown(value)}", remedy)
        return value

    def labels(self, field: str, taxonomy: Taxonomy | None = None) -> Labels:
        """Two or more different labels, with the other spellings in `taxonomy`."""
        remedy = 'give it a list of two or more different labels, such as ["awe", "fear"]'
        value = self._required(field, remedy)
        if not isinstance(value, list) or not all(isinstance(label, str) and label.strip() for label in value):
            raise self.error(field, f"is {_shown(value)}", remedy)
        if len(value) < 2:
            raise self.error(field, f"is {_shown(value)}", remedy)
        try:
            return Labels.of(value, taxonomy)
        except UserError as error:
            raise UserError(f"{self.where}: field '{field}': {error}") from error

    def label(self, field: str, candidates: Labels) -> str:
        """The candidate that the field names in any of its spellings, in the spelling of the candidates."""
        value = self.text(field)
        if (label := candidates.named(value)) is None:
            raise self.error(field, f"is {_shown(value)}, which is not a candidate", f"it must be one of {', '.join(candidates)}")
        return label

    def votes(self, field: str, candidates: Labels) -> dict[str, int] | None:
        """The number of annotators who chose each candidate; None if the field is missing or null."""
        if self._row.get(field) is None:
            return None
        remedy = 'give it whole numbers of people, at least one in all, such as {"awe": 7, "fear": 4}, or leave it out'
        votes = self._table(field, candidates, lambda value: isinstance(value, int) and value >= 0, remedy)
        if votes is None:
            return None
        if not any(votes.values()):
            raise self.error(field, "holds no vote", remedy)
        return {label: int(count) for label, count in votes.items()}

    def posterior(self, field: str, candidates: Labels) -> dict[str, float] | None:
        """The probability of each candidate; None if the field is missing or null. A sum within 0.02 of 1 is accepted as rounding."""
        if self._row.get(field) is None:
            return None
        remedy = 'give it probabilities that sum to 1, such as {"awe": 0.7, "fear": 0.3}, or leave it out'
        posterior = self._table(field, candidates, _is_fraction, remedy)
        if posterior is not None and abs(math.fsum(posterior.values()) - 1) > 0.02:
            raise self.error(field, f"sums to {math.fsum(posterior.values()):.4g}", remedy)
        return posterior

    def fractions(self, field: str) -> dict[str, float | None]:
        """Named numbers in [0, 1], each of which may be null; empty where the field is missing or null."""
        remedy = 'give it numbers between 0 and 1, or null where there is none, such as {"ans": 0.85, "avg": null}'
        return self._mapping(field, _may_be_fraction, remedy) or {}

    def fraction(self, field: str) -> float | None:
        """A number in [0, 1]; None if the field is missing or null."""
        value = self._row.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, _NUMBER) or not _is_fraction(value):
            raise self.error(field, f"is {_shown(value)}", "give it a number between 0 and 1, or null where there is none")
        return float(value)

    def _required(self, field: str, remedy: str) -> object:
        if field not in self._row:
            raise self.error(field, "is missing", remedy)
        return self._row[field]

    def _mapping(self, field: str, allowed: Callable[[object], bool], remedy: str) -> dict[str, float | None] | None:
        value = self._row.get(field)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(field, f"is {_shown(value)}", remedy)
        if bool in map(type, value.values()) or not all(map(allowed, value.values())):
            key, number = next((k, each) for k, each in value.items() if isinstance(each, bool) or not allowed(each))
            raise self.error(f"{field}.{key}", f"is {_shown(number)}", remedy)
        return dict(value)

    def _table(self, field: str, candidates: Labels, allowed: Callable[[object], bool], remedy: str) -> dict[str, float] | None:
        table = self._mapping(field, lambda value: value is None or allowed(value), remedy)
        if table is None:
            return None
        known: dict[str, float] = {}
        for name, number in table.items():
            if number is None:  # Parquet fills absent labels with null
                continue
            if (label := candidates.named(name)) is None:
                problem = f"names {_shown(name)}, which is not a candidate"
                raise self.error(field, problem, f"its labels must be among {', '.join(candidates)}")
            if label in known:
                raise self.error(field, f"has two numbers for {_shown(label)}", "give each label one")
            known[label] = number
        return known


def identified_rows(path: str | Path) -> Iterator[tuple[str, Row]]:
    """The rows of a file, each after its place ("FILE, line N") for error messages.

    Raises UserError for the first row that has no id or repeats one.
    """
    return identified(((Place(Path(path), number), row) for number, row in numbered_rows(path)), required=True)


def identified(rows: Iterable[tuple[Place, Row]], *, required: bool, seen: dict[str, Place] | None = None) -> Iterator[tuple[str, Row]]:
    """The rows, each after its place as text. `seen` are the places of the ids so far, to which those of the rows are added.

    Unless ids are `required`, they may be whole numbers; if the first row has none, rows without an id get one from their place.
    Raises UserError for the first row that lacks an id or repeats one.
    """
    seen = {} if seen is None else seen
    nameless: bool | None = False if required else None
    for place, row in rows:
        if nameless is None:
            nameless = row.get("id") is None
        row = row if required else named_row(place, row, nameless=nameless)
        fields = Fields(row, place)
        identity = fields.text("id")
        if earlier := seen.get(identity):
            there = f"on {earlier.spot}" if earlier.file == place.file else f"in {earlier}"
            raise fields.error("id", f"is {_shown(identity)}, as {there}", "every row needs its own id")
        seen[identity] = place
        yield str(place), row


def named_row(place: Place, row: Row, *, nameless: bool) -> Row:
    """The row with a whole number for its id as text and, among `nameless` rows, an id from its place where it has none."""
    identity = row.get("id")
    if nameless and identity is None:
        return {**row, "id": place.name}
    return {**row, "id": str(identity)} if type(identity) is int else row


def _is_fraction(value: object) -> bool:
    return isinstance(value, _NUMBER) and 0 <= value <= 1  # NaN compares false


def _may_be_fraction(value: object) -> bool:
    return value is None or _is_fraction(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
