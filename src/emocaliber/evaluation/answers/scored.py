"""Answers with their outcomes by column, shared out between processes where they are many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, overload

from emocaliber.core.outcome_lines import outcome_lines
from emocaliber.core.outcomes import OutcomeColumns, Outcomes
from emocaliber.core.scoring import Scorer
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.facts import Facts
from emocaliber.evaluation.answers.stored import StoredResponses
from emocaliber.io.parallel import shared_out
from emocaliber.io.row_formats import Place
from emocaliber.io.rows import Row, write_lines

_LINES = 50_000  # that a process writes at a time

Candidates = tuple[str, ...]
Scored = tuple[Outcomes, list[Candidates], Facts]


def scored_answers(rows: Sequence[tuple[str, Row]], *, strict: bool = False, lenient: bool = False) -> Scored:
    """The outcomes of response rows, the candidates of each, and facts about all. `lenient` has rows read leniently that say otherwise.

    Raises UserError for the first row that is no response row; of stored rows, first for one that cannot be read or repeats an id.
    """
    if not isinstance(rows, StoredResponses):
        return _scored(rows, strict, lenient)
    try:
        parts = list(shared_out(lambda chunk: _scored(rows.part(chunk), strict, lenient), rows.chunks))
        outcomes = Outcomes.joined([part for part, _, _ in parts])
    except UserError:
        outcomes = None
    if outcomes is None or len(set(outcomes.ids)) < len(outcomes):
        for _ in rows:  # raises the error that names the row
            pass
        return _scored(rows, strict, lenient)
    facts = Facts()
    for _, _, part in parts:
        facts += part
    same: dict[Candidates, Candidates] = {}
    return outcomes, [same.setdefault(each, each) for each in chain.from_iterable(listed for _, listed, _ in parts)], facts


def _scored(rows: Iterable[tuple[str | Place, Row]], strict: bool, lenient: bool) -> Scored:
    scorer, columns, facts = Scorer(strict=strict), OutcomeColumns(), Facts()
    same: dict[Candidates, Candidates] = {}
    candidates: list[Candidates] = []
    for where, row in rows:
        if lenient:
            row = row | {"lenient": True}
        columns.append(scorer.values(row, where))
        listed = tuple(row["candidates"])
        candidates.append(same.setdefault(listed, listed))
        facts.add(row)
    return columns.done(), candidates, facts


class RowsOf(Sequence[Row]):
    """Response rows without their places; with `lenient`, all say that they are read leniently."""

    def __init__(self, placed: Sequence[tuple[str, Row]], lenient: bool = False) -> None:
        self._placed, self._said = placed, {"lenient": True} if lenient else {}

    def __iter__(self) -> Iterator[Row]:
        return (row | self._said if self._said else row for _, row in self._placed)

    def __len__(self) -> int:
        return len(self._placed)

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> list[Row]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        return self._placed[number][1] | self._said


def write_outcomes(file: Path, outcomes: Sequence[Any]) -> None:
    """Writes outcomes as JSON Lines, atomically."""
    columns = Outcomes.of(outcomes)
    starts = range(0, len(columns), _LINES)
    write_lines(file, shared_out(lambda start: outcome_lines(columns, start, start + _LINES), starts))
