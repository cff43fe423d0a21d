"""Prediction rows on disk: appended as they come, taken up again after a kill, and turned into CSV or Parquet at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Self

from emocaliber.errors import UserError
from emocaliber.prediction import Prediction, Query, Status, status
from emocaliber.rows import Row, RowWriter, convert, display_name, read_rows

SUFFIXES = (".jsonl", ".csv", ".parquet")


class PredictionFile:
    """Takes predictions for `path`. Use as a context manager; call `finish` when all are there.

    A .jsonl file is written itself. A .csv or .parquet file is made at the end from `PATH.part.jsonl`, which is then removed, or with
    `resume` kept, so that the same command can be given any number of times. Rows of failed images count as done, too.

    Raises UserError for another suffix, for rows already there without `resume`, and for rows there that another task, model or least
    confidence made.
    """

    def __init__(self, path: str | Path, query: Query, *, resume: bool = False) -> None:
        self.path = Path(path)
        self._name, self._resume, self._query = display_name(self.path), resume, query
        if self.path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{self._name}: predictions are written as {', '.join(SUFFIXES)}, or to standard output with --out -")
        self.rows_path = self.path if self.path.suffix.lower() == ".jsonl" else self.path.with_name(f"{self.path.name}.part.jsonl")
        if self.path.is_dir():
            raise UserError(f"{self._name} is a folder; name a file in it")
        if not resume:
            for file in (self.path, self.rows_path):
                if file.is_file() and file.stat().st_size:
                    raise UserError(f"{display_name(file)} holds rows already; give --resume to go on from it, or name another file")
        elif self.path.exists() and not self.rows_path.exists():
            raise UserError(f"{self._name} is finished, and was not made with --resume; name another file, or remove this one")
        self._writer = RowWriter(self.rows_path, resume=resume, key="image")
        self._models: set[str] = set()
        self._sources: set[str] = set()
        self.earlier: dict[str, Status] = {}
        for row in read_rows(self.rows_path) if resume else ():
            self._take_up(row)

    def write(self, prediction: Prediction) -> None:
        """Append one row; it is on its way to the disk on return. Raises UserError if the rows before it are another model's, or have
        another confidence."""
        if self._models - {prediction.model}:
            raise self._other(f"model {', '.join(sorted(self._models))}", prediction.model)
        if self._sources - {prediction.confidence_source}:
            raise self._other(f"the confidence {', '.join(sorted(self._sources))}", prediction.confidence_source)
        self._writer.write(prediction.to_row())

    def rows(self, images: Collection[str]) -> Iterator[Row]:
        """The rows of these images, in the order they were written."""
        return (row for row in read_rows(self.rows_path) if row["image"] in images)

    def finish(self) -> None:
        """Put the rows into the form that the name asks for."""
        self._writer.close()
        if self.rows_path != self.path:
            convert(self.rows_path, self.path)
            if not self._resume:
                self.rows_path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def _take_up(self, row: Row) -> None:
        needed = ("task", "emotion", "confidence", "confidence_source", "accepted", "alternatives", "model", "error")
        missing = [name for name in needed if name not in row]
        if missing:
            raise UserError(f"{display_name(self.rows_path)} holds rows without {missing[0]!r}, so no predictions; name another file")
        if row["task"] != self._query.task:
            raise self._other(f"task {row['task']}", self._query.task)
        others = {row["emotion"], *(each["emotion"] for each in row["alternatives"])} - {None, *self._query.candidates}
        if others:
            raise self._other(f"other labels ({', '.join(sorted(others))})", ", ".join(self._query.candidates))
        if row["accepted"] != self._query.accepts(row["confidence"]):
            raise self._other("another --min-confidence", f"{self._query.min_confidence or 'none'}")
        self._models.add(row["model"])
        self._sources.add(row["confidence_source"])
        self.earlier[row["image"]] = status(row)

    def _other(self, theirs: str, ours: str) -> UserError:
        rows = display_name(self.rows_path)
        return UserError(f"{rows} holds rows made with {theirs}, not {ours}; give the settings it was begun with, or name another file")
