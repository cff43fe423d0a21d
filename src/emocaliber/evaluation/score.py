"""One system scored: its answers read, every metric computed, and all of it written to a folder or shown in a notebook."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from emocaliber.core.outcomes import Outcomes
from emocaliber.core.scoring import VERBALIZED, Outcome, with_known_sources
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.columns import ROLES, parse_columns
from emocaliber.evaluation.answers.facts import Facts
from emocaliber.evaluation.answers.reader import answers_in_memory, name_from, read_answers
from emocaliber.evaluation.answers.rows import Answers, How
from emocaliber.evaluation.answers.scored import RowsOf, scored_answers, write_outcomes
from emocaliber.evaluation.folder import METRICS, check_folder, remove_drawn
from emocaliber.evaluation.parity import parity, parity_table
from emocaliber.evaluation.people import people_note
from emocaliber.evaluation.python_words import check_arguments, errors_in_python, in_python
from emocaliber.evaluation.summary import summarise
from emocaliber.evaluation.tables import headline_table, latex, markdown
from emocaliber.evaluation.unread import unread
from emocaliber.inference.plan import images_asked_about, missing_from
from emocaliber.io.frames import RowTable, TableLike, Tabular, pandas, rows_of
from emocaliber.io.rows import Form, Row, display_name, write_atomically, write_rows

if TYPE_CHECKING:
    import pandas as pd

_P = ParamSpec("_P")
AnswersLike = str | os.PathLike[str] | TableLike  # a file or folder of answers, a table of any library, or rows as dicts
TruthLike = str | os.PathLike[str] | TableLike
IN_MEMORY = "answers"  # the name of a system whose answers are in memory


@dataclass(frozen=True, repr=False)
class Score(Tabular):
    """A scored system. `summary` is the content of `metrics.json`, `outcomes` has one entry for each answer, in order.

    `notes` say how the answers were read, and what could not be. `source` is the file or folder they are from, if any. As a table
    (`to_frame`, `to_polars`, ...) it has a row for each task and group, and one called "overall".
    """

    name: str
    summary: Mapping[str, Any]
    outcomes: Sequence[Outcome] = field(repr=False)
    rows: Sequence[Row] = field(repr=False)
    notes: tuple[str, ...] = ()
    source: Path | None = None
    converted: bool = False

    def to_frame(self) -> pd.DataFrame:
        """The numbers as a pandas DataFrame: one row for each task, group and overall, one column for each metric, as fractions.

        The metrics of a confidence source are called `SOURCE.METRIC`, such as `verb.ece`; `X_low` and `X_high` are the 95 % interval of
        X. Raises UserError without pandas.
        """
        return pandas("to_frame").DataFrame({name: dict(_flat(m)) for name, m in self._scopes().items()}).T.infer_objects()

    def flat_rows(self) -> list[Row]:
        """The numbers as rows: those of `to_frame`, with the name of the task or group as `scope`."""
        return [{"scope": name, **dict(_flat(m))} for name, m in self._scopes().items()]

    @property
    def answers(self) -> RowTable:
        """A table with one row for each answer, in order: what it names, whether it is right, and its confidence by each source."""
        return RowTable([_answer(each) for each in self.outcomes], _ANSWER_FORM)

    def _scopes(self) -> dict[str, Any]:
        return {**self.summary["tasks"], **self.summary["groups"], "overall": self.summary["overall"]}

    def save(self, out: str | Path, *, page: bool = True, image_folders: Sequence[Path] = ()) -> Path:
        """Writes outcomes, metrics, tables and, with `page`, figures and the report page to `out`; returns the page or the tables.

        Page and figures of an earlier score are removed. `image_folders` may hold images that the page shows. Raises UserError if `out`
        holds the score of other answers.
        """
        numbers = self.save_numbers(out)
        return self.save_page(out, image_folders) if page else numbers

    def save_numbers(self, out: str | Path) -> Path:
        """`save` without figures and page; returns the tables."""
        out, summary = Path(out), self._summary_in(Path(out))
        with errors_in_python():  # the command has checked already
            check_folder(out, self.source)
        remove_drawn(out)
        if self.converted:  # kept as response rows, which `trace` reads
            folder = self.source.parent if self.source else Path()
            write_rows(out / "answers.jsonl", (_moved(row, folder, out) for row in self.rows))
        write_outcomes(out / "outcomes.jsonl", self.outcomes)
        write_atomically(out / "tables.md", markdown(summary, self.name))
        write_atomically(out / "tables.tex", latex(summary, self.name))
        write_atomically(out / METRICS, json.dumps(summary, indent=2, allow_nan=False) + "\n")
        return out / "tables.md"

    def save_page(self, out: str | Path, image_folders: Sequence[Path] = ()) -> Path:
        """Writes the figures and the report page beside the numbers in `out`; returns the page."""
        self._draw(Path(out), self._summary_in(Path(out)), image_folders)
        return Path(out) / "report.html"

    def save_parity(self, out: str | Path) -> Path:
        """Writes the numbers that the released scripts print for these answers to `out`; returns the table. Raises UserError for labels."""
        if any("plain_answer" in row for row in self.rows):
            held = display_name(self.source or self.name)
            raise UserError(f"{held} holds labels, not texts, which the released scripts read; leave out --parity.")
        with errors_in_python():
            check_folder(Path(out), self.source)
        released = parity(self.rows)
        write_atomically(Path(out) / "metrics_parity.json", json.dumps(released, indent=2, allow_nan=False) + "\n")
        write_atomically(Path(out) / "parity.md", parity_table(released, self.summary))
        return Path(out) / "parity.md"

    def __repr__(self) -> str:
        table = headline_table(self.summary).as_text().rstrip("\n")
        return "\n".join([f"{self.name}, {len(self.outcomes):,} answers", "", table, *self.notes])

    def _repr_html_(self) -> str:
        table = headline_table(self.summary)
        head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
        body = "".join(f"<tr>{''.join(f'<td style=padding-left:1em>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
        notes = "<br>".join(map(html.escape, (table.note.strip(), *self.notes)))
        return f"<b>{html.escape(display_name(self.name))}</b><table><tr>{head}</tr>{body}</table><small>{notes}</small>"

    def _summary_in(self, out: Path) -> dict[str, Any]:
        """The summary as it stands in the folder `out`: with the places of converted answers."""
        places = {"responses": str((out / "answers.jsonl").absolute())} if self.converted else {}
        if self.converted and self.source:
            places["read_from"] = str(self.source.absolute())
        return {**self.summary, "settings": self.summary["settings"] | places}

    def _draw(self, out: Path, summary: Mapping[str, Any], image_folders: Sequence[Path]) -> None:
        from emocaliber.evaluation.figures import draw_figures
        from emocaliber.evaluation.report import write_report

        figures = draw_figures(summary, self.outcomes, out / "figures")
        source = self.source or Path("answers")
        images = source if source.is_dir() else source.parent
        known = () if self.converted else images_asked_about(source)
        write_report(
            *(summary, self.outcomes, self.rows, out),
            name=self.name,
            figures=figures,
            images=images,
            image_folders=image_folders,
            known=known,
        )


@dataclass(frozen=True)
class ScoredRows:
    """Answers as response rows with their outcomes, in order, and as they were `read`; `missing` says which of them are not there.

    `candidates` are those of each row; `facts` are about all rows.
    """

    read: Answers
    rows: Sequence[Row]
    outcomes: Outcomes
    candidates: Sequence[tuple[str, ...]]
    facts: Facts
    source: Path | None
    missing: str | None


def scored_rows(
    answers: AnswersLike,
    *,
    columns: str | Mapping[str, str | Sequence[str]] | None = None,
    labels: Sequence[str] = (),
    task: str | None = None,
    truth: TruthLike | None = None,
    partial: bool = False,
    strict: bool = False,
    lenient: bool = False,
    name: str | None = None,
) -> ScoredRows:
    """The answers of a system with their outcomes, without any metric. Arguments and errors as those of `score_answers`."""
    told = parse_columns(columns) if isinstance(columns, str) else _listed(columns or {})
    truths = _truths(truth) if isinstance(truth, str | os.PathLike) else None if truth is None else rows_of(truth, "truth")
    how = How(told, names_in(labels), task, truths, partial, strict)
    source = Path(answers) if isinstance(answers, str | os.PathLike) else None
    read = read_answers(source, how) if source else answers_in_memory(records(answers), how, name or IN_MEMORY)
    outcomes, candidates, facts = scored_answers(read.rows, strict=strict, lenient=lenient)
    missing = _missing(source, read, partial, len(outcomes))
    if read.foreign:
        outcomes = Outcomes.of(with_known_sources(outcomes))
    read = read if read.shown else replace(read, shown=facts.first_source)
    return ScoredRows(read, RowsOf(read.rows, lenient), outcomes, candidates, facts, source, missing)


def score_answers(
    answers: AnswersLike,
    *,
    columns: str | Mapping[str, str | Sequence[str]] | None = None,
    labels: Sequence[str] = (),
    task: str | None = None,
    truth: TruthLike | None = None,
    partial: bool = False,
    strict: bool = False,
    lenient: bool = False,
    confidence: str | None = None,
    name: str | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Score:
    """The score of a system's answers: a file or folder (docs/answers.md), a table of pandas, Polars, Arrow or `datasets`, or rows as
    dicts.

    `columns` names columns, as in `{"truth": "label", "answer": "pred"}` or "truth=label,answer=pred"; `truth` is a file or a table with
    the truths, joined by id; the other arguments are the options of `emocaliber score`. Raises UserError, naming the file, the row, the
    column and the remedy, for what cannot be read or could mean two things. Notes and errors name options; those of `emocaliber.score`,
    which otherwise is the same, name arguments.
    """
    scored = scored_rows(
        answers, columns=columns, labels=labels, task=task, truth=truth, partial=partial, strict=strict, lenient=lenient, name=name
    )
    source, read, rows, outcomes, missing = scored.source, scored.read, scored.rows, scored.outcomes, scored.missing
    first = confidence or (read.confidence if read.confidence in outcomes.sources else VERBALIZED)
    summary = summarise(outcomes, replicates=replicates, seed=seed, confidence=first)
    strictly = len(rows) if strict else scored.facts.strictly
    summary["settings"] |= {"responses": str(source.absolute())} if source else {}
    summary["settings"] |= ({"partial": missing} if missing else {}) | {"lenient": len(rows) - strictly, "strict": strictly}
    warnings = [warning for warning in (unread(outcomes, rows, strict=strict), people_note(outcomes)) if warning]
    notes = (*(read.notes if read.foreign else ()), *warnings)
    called = name or (name_from(source, scored.facts.models) if source else IN_MEMORY)
    return Score(called, summary, outcomes, rows, notes, source, read.foreign)


def _in_python(function: Callable[_P, Score]) -> Callable[_P, Score]:
    """The function with notes and errors that name its arguments in place of the command's options."""

    @wraps(function)
    def score(*args: _P.args, **kwargs: _P.kwargs) -> Score:
        check_arguments(function, "score", args, kwargs)
        with errors_in_python():
            scored = function(*args, **kwargs)
        return replace(scored, notes=tuple(map(in_python, scored.notes)))

    score.__name__ = score.__qualname__ = "score"
    return score


score = _in_python(score_answers)


def _missing(source: Path | None, read: Answers, partial: bool, rows: int) -> str | None:
    """What is missing of a run, in words; None if nothing. Raises UserError if that was not allowed for."""
    missing = None if read.foreign or source is None else missing_from(source, rows)
    if missing and not partial:
        raise UserError(
            f"{display_name(source or '')} is not a whole run: {missing}. Put all shards into one folder, or finish the run with "
            "`emocaliber respond ... --resume`; --partial scores what is there, and says so on every output"
        )
    return missing or read.missing


def names_in(given: str | Iterable[str]) -> tuple[str, ...]:
    """The names in a list, or in a text with commas between them, as an option has them."""
    return tuple(name for each in given.split(",") if (name := each.strip())) if isinstance(given, str) else tuple(given)


def _truths(file: str | os.PathLike[str]) -> Path:
    """The file of truths. Raises UserError, saying how a column is named, for a name without a file."""
    path = Path(file)
    if not path.suffix and not path.exists():
        name = display_name(path)
        raise UserError(f"{name}: there is no such file of truths; if it is a column of the answers, write --columns truth={name}")
    return path


def _listed(columns: Mapping[str, str | Sequence[str]]) -> dict[str, list[str]]:
    if other := next((role for role in columns if role not in ROLES), None):
        meant = f"; if it is the column, write {{ROLE: {other!r}}}" if isinstance(columns[other], str) and columns[other] in ROLES else ""
        raise UserError(f"columns: {other!r} is not one of {', '.join(ROLES)}, which have columns{meant}")
    return {role: [names] if isinstance(names, str) else list(names) for role, names in columns.items()}


def records(answers: Any) -> list[Row]:
    """Answers in memory as rows (see `rows_of`); a list of labels with their scores, as transformers' pipelines give, is one row."""
    if isinstance(answers, list) and answers and all(isinstance(each, list) for each in answers):
        answers = [{"probabilities": each} for each in answers]
    return rows_of(answers)


_ANSWER_FORM: Form = {
    **dict.fromkeys(("id", "task", "image", "ground_truth", "answer"), str),
    **{"correct": bool, "malformed": str, "distance": float, "format": bool},
}


def _answer(each: Outcome) -> Row:
    return {name: getattr(each, name) for name in _ANSWER_FORM} | {f"confidence.{name}": value for name, value in each.confidence.items()}


def _flat(metrics: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in metrics.items():
        if name == "confidence":
            yield from ((f"{source}.{key}", number) for source, part in value.items() for key, number in _flat(part))
        elif name == "people" and isinstance(value, Mapping):
            yield from ((f"people.{key}", number) for key, number in _flat(value))
        elif name.endswith("_ci") and isinstance(value, list):
            yield from zip((f"{name[:-3]}_low", f"{name[:-3]}_high"), value, strict=True)
        elif value is None or isinstance(value, bool | int | float):
            yield name, value
        elif name == "malformed" and isinstance(value, Mapping):
            yield "malformed", value.get("share")


def _moved(row: Row, folder: Path, out: Path) -> Row:
    """The row with the path of its image, if there is such a file in `folder`, relative to `out`."""
    image = row.get("image")
    if not isinstance(image, str) or not os.path.isfile(folder / image):  # False also for what cannot be a path
        return row
    return row | {"image": Path(os.path.relpath(folder / image, out)).as_posix()}
