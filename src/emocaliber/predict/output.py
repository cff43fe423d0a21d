"""Prediction rows on disk: appended one by one, resumable after a kill, and converted to CSV or Parquet at the end.

Also the check that a folder can be written, and what of a row is counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from emocaliber.errors import UserError
from emocaliber.inference.plan import commit_of_model, identity_of_model, sha256_of
from emocaliber.io.rows import Row, RowWriter, convert, display_name, read_rows, write_rows
from emocaliber.io.workspace import Workspace, record_of
from emocaliber.predict.prediction import ROW_FORM, Prediction, status
from emocaliber.predict.predictor import Query

SUFFIXES = (".jsonl", ".csv", ".parquet")


class PredictionFile:
    """The output file `path` for predictions of the model called `model`; `confidence` is the source given by the user, if any.

    Use as a context manager: call `begin` once the model is loaded, `write` for each prediction, and `finish` after the last.
    A .jsonl file is appended to directly, with its settings in `PATH.run.json` (PATH without its suffix). A .csv or .parquet file is
    converted at the end from `PATH.part.jsonl`, which is then removed, or kept with `resume`, so that the same command can be repeated.
    Rows of failed images count as done; with `retry_failed`, which implies `resume`, they are removed, and `finish` puts the new ones into
    their places. `free` says whether answers were not restricted to the candidates; `calibrator` is the file given by the user, if any.

    Raises UserError for another suffix, for existing rows without `resume`, for existing rows of other or unknown settings, and if another
    process writes them.
    """

    def __init__(
        self,
        path: str | Path,
        query: Query,
        *,
        model: str,
        confidence: str | None = None,
        free: bool | None = None,
        calibrator: Path | None = None,
        resume: bool = False,
        retry_failed: bool = False,
    ) -> None:
        self.path = Path(path)
        resume = resume or retry_failed
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
            "min_confidence": query.acceptance.min_confidence,
            **({"certificate": query.acceptance.certificate.id} if query.acceptance.certificate else {}),
            **({"free": True} if free else {}),
            **({"calibrator": sha256_of(calibrator)} if calibrator else {}),
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
            self._places: dict[str, int] = {}  # of the images in the file before failed rows were removed
            if retry_failed and _has_content(self.rows_path):
                self._remove_failed()
            self._writer = opening.enter_context(RowWriter(self.rows_path, resume=resume, key="image"))
            self.earlier: dict[str, tuple[str, ...]] = {
                row["image"]: counted_as(row) for row in (read_rows(self.rows_path) if resume else ())
            }
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
        if self._places:
            write_rows(self.rows_path, sorted(read_rows(self.rows_path), key=lambda row: self._places.get(row["image"], len(self._places))))
        if self.rows_path != self.path:
            convert(self.rows_path, self.path, ROW_FORM)
            if not self._resume:
                self.rows_path.unlink()
                self._made.record.unlink()

    def _remove_failed(self) -> None:
        RowWriter(self.rows_path, resume=True, key="image").close()  # drops a half-written line
        rows = list(read_rows(self.rows_path))
        self._places = {row["image"]: place for place, row in enumerate(rows)}
        write_rows(self.rows_path, [row for row in rows if row["error"] is None])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def counted_as(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a prediction row counts as: its status, and "unfamiliar" and "untaught" where the row says so."""
    return (status(row), *(name for name in ("unfamiliar", "untaught") if row.get(name)))


def check_folder(folder: Path, option: str) -> None:
    """Makes a folder for output. Raises UserError, naming the option that gave it, if files cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{display_name(folder)}: cannot be written ({error.strerror}); give another folder as {option}") from error


def check_page(folder: Path, option: str) -> None:
    """`check_folder` for a page. Raises UserError, too, for a page of somebody else's that would be overwritten."""
    check_folder(folder, option)
    page = folder / "index.html"
    if page.is_file() and b"EmoCaliber" not in page.read_bytes():
        raise UserError(f"{display_name(page)} is not a page of ours, and would be overwritten; give another folder as {option}")


def _has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0
