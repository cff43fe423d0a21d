"""`compare`: two systems on the same samples, from scores, files or tables, as one object."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

from emocaliber.core.scoring import Outcome, scored_outcomes
from emocaliber.errors import UserError
from emocaliber.evaluation.compare import Difference, comparison_note, comparison_table, comparison_tables
from emocaliber.evaluation.compare import compare as differences_of
from emocaliber.evaluation.python_words import errors_in_python
from emocaliber.evaluation.score import AnswersLike, Score, TruthLike, scored_rows
from emocaliber.io.frames import Tabular
from emocaliber.io.rows import Form, Row


@dataclass(frozen=True, repr=False)
class Comparison(Tabular, Sequence[Difference]):
    """The differences between two systems, B minus A, of every number that both have: a sequence of `Difference`, and a table.

    `a` and `b` are the systems' names. In the table (`to_frame`, `to_polars`, ...) numbers are fractions; `low` and `high` are the 95 %
    interval of `difference`, `p_holm` is `p` corrected for the tests of its table.
    """

    differences: tuple[Difference, ...]
    a: str
    b: str

    def find(self, metric: str, *, source: str | None = None, scope: str = "overall") -> Difference:
        """The difference in one metric, of the answers or of a `source` of confidence, for a task, a group or overall.

        Raises UserError where there is no such difference.
        """
        for each in self.differences:
            if (each.metric, each.source) == (metric, source) and scope in (each.scope, each.kind):
                return each
        names = sorted({each.metric for each in self.differences if each.source == source})
        sources = ", ".join(sorted({each.source for each in self.differences if each.source}))
        of = f"the source {source!r}" if source else f"the answers (sources of confidence are {sources or 'none'})"
        raise UserError(f"there is no {metric!r} of {of} for {scope!r}; there are {', '.join(names) or 'none'}")

    def flat_rows(self) -> list[Row]:
        """The differences as rows."""
        return [_flat(each) for each in self.differences]

    def form(self) -> Form:
        texts, numbers = ("kind", "scope", "source", "metric"), ("a", "b", "difference", "low", "high")
        return {
            **dict.fromkeys(texts, str),
            **dict.fromkeys(numbers, float),
            **{"test": str, "p": float, "p_holm": float, "note": str},
        }

    def __len__(self) -> int:
        return len(self.differences)

    @overload
    def __getitem__(self, place: int) -> Difference: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Difference, ...]: ...
    def __getitem__(self, place: int | slice) -> Difference | tuple[Difference, ...]:
        return self.differences[place]

    def __repr__(self) -> str:
        return comparison_table(self.differences, a=self.a, b=self.b)

    def _repr_html_(self) -> str:
        parts = []
        for table in comparison_tables(self.differences):
            head = "".join(f"<th>{html.escape(name)}</th>" for name in table.header)
            rows = ("".join(f"<td style=padding-left:1em>{html.escape(cell)}</td>" for cell in row) for row in table.rows)
            body = "".join(f"<tr>{row}</tr>" for row in rows)
            parts.append(f"<b>{html.escape(table.title)}</b><table><tr>{head}</tr>{body}</table>")
        note = html.escape(comparison_note(a=self.a, b=self.b)).replace("\n", "<br>")
        return f"{''.join(parts)}<small>{note}</small>"


def compare(
    a: AnswersLike | Score,
    b: AnswersLike | Score,
    *,
    columns: str | Mapping[str, str | Sequence[str]] | None = None,
    labels: Sequence[str] = (),
    task: str | None = None,
    truth: TruthLike | None = None,
    partial: bool = False,
    strict: bool = False,
    lenient: bool = False,
    replicates: int = 1000,
    seed: int = 0,
) -> Comparison:
    """The differences between two systems on the same samples, with intervals and p-values, as `emocaliber compare` computes them.

    Each system is a `Score`, a folder that `emocaliber score` wrote, or answers as in `emocaliber.score`, whose arguments `columns` to
    `lenient` say how to read them; for two systems in one table, compare two scores of it. Raises UserError where they did not answer the
    same samples, where answers cannot be read, and for arguments of reading beside two systems that are scored already.
    """
    reading: dict[str, Any] = {"columns": columns, "labels": labels, "task": task, "truth": truth}
    reading |= {"partial": partial, "strict": strict, "lenient": lenient}
    with errors_in_python():
        if _is_scored(a) and _is_scored(b) and (given := [name for name, value in reading.items() if value]):
            raise UserError(f"both systems are scored already, so {', '.join(given)} cannot change how they are read; score them again")
        first, second = (_outcomes(system, reading) for system in (a, b))
        found = differences_of(first, second, replicates=replicates, seed=seed)
    return Comparison(tuple(found), _name(a, "a"), _name(b, "b"))


def _is_scored(system: Any) -> bool:
    return isinstance(system, Score) or (isinstance(system, str | os.PathLike) and (Path(system) / "outcomes.jsonl").is_file())


def _outcomes(system: Any, reading: Mapping[str, Any]) -> Sequence[Outcome]:
    if isinstance(system, Score):
        return system.outcomes
    return scored_outcomes(system) if _is_scored(system) else scored_rows(system, **reading).outcomes


def _name(system: Any, other: str) -> str:
    return system.name if isinstance(system, Score) else os.fspath(system) if isinstance(system, str | os.PathLike) else other


def _flat(each: Difference) -> Row:
    row = asdict(each)
    low, high = row.pop("interval") or (None, None)
    names = ("kind", "scope", "source", "metric", "a", "b", "difference")
    return {name: row[name] for name in names} | {"low": low, "high": high} | {name: row[name] for name in ("test", "p", "p_holm", "note")}
