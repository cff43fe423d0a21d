"""Calibrated confidences for rows of answers, by stored calibrators. No truth is needed, and scikit-learn neither."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emocaliber.core.calibrators import CALIBRATED, PEOPLE, PEOPLE_FIELDS, UNCALIBRATED, Calibrators
from emocaliber.core.scoring import outcome
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.columns import parse_columns
from emocaliber.evaluation.answers.reader import answers_in_memory, read_answers
from emocaliber.evaluation.answers.rows import How
from emocaliber.evaluation.score import AnswersLike, records
from emocaliber.inference.plan import run_record
from emocaliber.io.frames import Tabular
from emocaliber.io.row_formats import located_values
from emocaliber.io.rows import Form, Row, convert, display_name, write_rows
from emocaliber.trust.provenance import files_of

FORM: Form = {CALIBRATED: float, UNCALIBRATED: str}
PEOPLE_FORM: Form = dict.fromkeys(PEOPLE_FIELDS, float)
SUFFIXES = (".jsonl", ".csv", ".parquet")
_IN_MEMORY = "the answers"


@dataclass(frozen=True, repr=False)
class Applied(Tabular, Sequence[Row]):
    """The rows with all their fields, and `calibrated` and `uncalibrated`; `reasons` counts the rows that were not calibrated by reason.

    Where a question has a share of people, all rows have `people`, `people_low` and `people_high` too, null for the other questions.
    """

    rows: tuple[Row, ...]
    reasons: Mapping[str, int]
    notes: tuple[str, ...] = ()

    @property
    def calibrated(self) -> int:
        """The number of rows with a calibrated confidence."""
        return len(self.rows) - sum(self.reasons.values())

    @property
    def with_people(self) -> int:
        """The number of rows with a share of people."""
        return sum(row.get(PEOPLE) is not None for row in self.rows)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the rows as .jsonl, .csv or .parquet, and returns the path. Raises UserError for another suffix."""
        out = Path(path)
        check_suffix(out)
        if out.suffix.lower() == ".jsonl":
            write_rows(out, self.rows)
            return out
        part = out.with_name(f".{out.name}.part.jsonl")
        try:
            write_rows(part, self.rows)
            convert(part, out, self.form())
        finally:
            part.unlink(missing_ok=True)
        return out

    def flat_rows(self) -> Sequence[Row]:
        """The rows; nested fields stay."""
        return self.rows

    def form(self) -> Form:
        return {**FORM, **(PEOPLE_FORM if any(PEOPLE in row for row in self.rows) else {})}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def __repr__(self) -> str:
        lacking = "".join(f"; {count:,} not: {reason}" for reason, count in self.reasons.items())
        return f"<Applied: {self.calibrated:,} of {len(self.rows):,} rows calibrated{lacking}>"


def check_suffix(out: Path) -> None:
    """Raises UserError unless rows can be written under this name."""
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"{display_name(out)}: rows are written as {', '.join(SUFFIXES)}; name such a file")


def apply_calibrators(
    calibrators: Calibrators,
    answers: AnswersLike,
    *,
    columns: str | Mapping[str, str | Sequence[str]] | None = None,
    labels: Sequence[str] = (),
    task: str | None = None,
) -> Applied:
    """The rows of answers, in their order, each with `calibrated` (in [0, 1] or None) and `uncalibrated` (None, or the reason in words).

    A row is not calibrated where its question or its model is not one that the calibrators were fitted for, where it has no answer, and
    where a confidence is missing that they need. Where nothing says which labels could have been chosen, and the calibrators have one
    question alone, it is taken to be that. Raises UserError for answers that cannot be read.
    """
    told = parse_columns(columns) if isinstance(columns, str) else columns or {}
    listed = {role: [names] if isinstance(names, str) else list(names) for role, names in told.items()}
    source = Path(answers) if isinstance(answers, str | os.PathLike) else None
    given = [dict(value) for value in _values(source, answers)]
    only = calibrators.questions[0] if len(calibrators.questions) == 1 else None
    foreign = not all({"task", "candidates"} <= row.keys() for row in given)
    if only and foreign and not labels:
        labels, task = only.labels, task or only.task
    how = How(listed, tuple(labels), task, unlabelled=True)
    read = read_answers(source, how) if source else answers_in_memory(given, how, _IN_MEMORY)
    if len(read.rows) != len(given):
        name = display_name(source) if source else _IN_MEMORY
        raise UserError(f"{name}: holds {len(read.rows):,} answers in {len(given):,} entries; give a table with one row for each answer")
    sha256 = _weights_of(source)
    rows, reasons = [], Counter[str]()
    for (where, row), original in zip(read.rows, given, strict=True):
        added, why = _calibrated(calibrators, row, where, sha256)
        reasons.update([why] if why else [])
        rows.append(original | added)
    return Applied(tuple(rows), dict(reasons.most_common()), tuple(read.notes))


def _calibrated(calibrators: Calibrators, row: Row, where: str, sha256: str | None) -> tuple[Row, str | None]:
    """The fields to add to a row, and the reason for which there is no calibrated confidence, if so."""
    candidates = row["candidates"]
    scored = outcome({**row, "ground_truth": candidates[0]}, where=where)  # only its answer and confidences are used
    name = row.get("model")
    usable = calibrators.for_model(name if isinstance(name, str) else None, sha256)
    found = usable.fields(scored.task, candidates, scored.confidence if scored.answer is not None else None)
    return found, found[UNCALIBRATED]


def _values(source: Path | None, answers: Any) -> Iterable[Mapping[str, Any]]:
    if source is not None:
        return [value for _, value in located_values(source)]
    return records(answers)


def _weights_of(source: Path | None) -> str | None:
    """The SHA-256 of the model that gave the answers, if all their records say the same one."""
    records = [run_record(file) for file in files_of(source)]
    found = {record["what"].get("model", {}).get("sha256") if record else None for record in records}
    return found.pop() if len(found) == 1 else None
