"""Prediction rows on disk: appended one by one, resumable after a kill, and converted to CSV or Parquet at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from emocaliber.errors import UserError
from emocaliber.inference.plan import commit_of_model, identity_of_model
from emocaliber.io.rows import Row, RowWriter, convert, display_name, read_rows
from emocaliber.io.workspace import Workspace, record_of
from emocaliber.predict.prediction import ROW_FORM, Prediction, Status, status
from emocaliber.predict.predictor import Query

SUFFIXES = (".jsonl", ".csv", ".parquet")


class PredictionFile:
    """The output file `path` for predictions of the model called `model`; `confidence` is the source given by the user, if any.

    Use as a context manager: call `begin` once the model is loaded, `write` for each prediction, and `finish` after the last.
    A .jsonl file is appended to directly, with its settings in `PATH.run.json` (PATH without its suffix). A .csv or .parquet file is
    converted at the end from `PATH.part.jsonl`, which is then removed, or kept with `resume`, so that the same command can be repeated.
    Rows of failed images count as done.

    Raises UserError for another suffix, for existing rows without `resume`, for existing rows of other or unknown settings, and if another
    process writes them.
    """

    def __init__(self, path: str | Path, query: Query, *, model: str, confidence: str | None = None, resume: bool = False) -> None:
        self.path = Path(path)
        self._resume, name = resume, display_name(self.path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise UserError(f"{name}: predictions are written as {', '.join(SUFFIXES)}, or to standard output with --out -")
        self.rows_path = self.path if self.path.suffix.lower() == ".jsonl" else self.path.with_name(f"{self.path.name}.part.jsonl")
        if self.path.is_dir():
            raise UserError(f"{name} is a folder; name a file in it")
        settings = {
            "model": identity_of_model(model),
            "task": query.task,
            "labels": list(query.candidates),
            "confidence": confidence,
            "min_confidence": query.min_confidence,
        }
        remedy = "Give the same settings, or another --out"
        self._made = Workspace(record_of(self.rows_path), settings, path=self.rows_path, remedy=remedy, contents=("model.commit",))
        with ExitStack() as opening:
            opening.enter_context(self._made)
            if not resume:
                for file in (self.path, self.rows_path):
                    if _has_content(file):
                        raise UserError(f"{display_name(file)} holds rows already; give --resume to go on from it, or name another file")
            elif self.path.exists() and not self.rows_path.exists():
                raise UserError(f"{name} is finished, and was not made with --resume; name another file, or remove this one")
            if _has_content(self.rows_path):
                self._made.check(needed=True)
            self._writer = opening.enter_context(RowWriter(self.rows_path, resume=resume, key="image"))
            self.earlier: dict[str, Status] = {row["image"]: status(row) for row in (read_rows(self.rows_path) if resume else ())}
            self._opened = opening.pop_all()

    def begin(self) -> None:
        """Writes the record of settings. Raises UserError if loading the model fetched other weights than those of the existing rows."""
        model = self._made.settings["model"]
        if model["sha256"] is None:
            model["commit"] = commit_of_model(model["name"])
        if self.earlier:
            self._made.check()
        self._made.write()

    def write(self, prediction: Prediction) -> None:
        """Appends the row of a prediction."""
        self._writer.write(prediction.to_row())

    def rows(self, images: Collection[str]) -> Iterator[Row]:
        """The rows of these images, in the order of writing."""
        return (row for row in read_rows(self.rows_path) if row["image"] in images)

    def finish(self) -> None:
        """Closes the rows, and converts them if the output is .csv or .parquet."""
        self._writer.close()
        if self.rows_path != self.path:
            convert(self.rows_path, self.path, ROW_FORM)
            if not self._resume:
                self.rows_path.unlink()
                self._made.record.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def _has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0
