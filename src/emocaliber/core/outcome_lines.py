"""Outcomes as JSON Lines, put together from their columns: a third of the time that rows of Python objects take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

from emocaliber.core.outcomes import Floats, Names, Numbers, Outcomes
from emocaliber.core.scoring import Outcome
from emocaliber.io.rows import json_text

_LINE = "{" + ", ".join(f'"{name}": %s' for name in Outcome.__dataclass_fields__) + "}\n"
_NULL = "null"


def outcome_lines(outcomes: Outcomes, start: int, stop: int) -> bytes:
    """The bytes that `write_rows` writes for `outcomes.rows(start, stop)`."""
    columns = (
        map(json_text, outcomes.ids[start:stop]),
        _names(outcomes.task, start, stop),
        _names(outcomes.ground_truth, start, stop),
        _names(outcomes.answer, start, stop),
        map(("false", "true").__getitem__, outcomes.correct[start:stop].tolist()),
        _names(outcomes.malformed, start, stop),
        _floats(outcomes.distance[start:stop]),
        *(_numbers(column, start, stop) for column in (outcomes.confidence, outcomes.posterior, outcomes.votes)),
        map(json_text, outcomes.images[start:stop]),
        map({-1: _NULL, 0: "false", 1: "true"}.__getitem__, outcomes.format[start:stop].tolist()),
        _numbers(outcomes.people, start, stop),
    )
    return "".join(map(_LINE.__mod__, zip(*columns, strict=True))).encode("ascii")


def _names(column: Names[str] | Names[str | None], start: int, stop: int) -> Iterable[str]:
    return map([json_text(name) for name in column.names].__getitem__, column.codes[start:stop].tolist())


def _floats(column: Floats) -> Iterator[str]:
    return (_NULL if number != number else repr(number) for number in column.tolist())


def _numbers(column: Numbers, start: int, stop: int) -> Iterator[str]:
    """The text of each row: that of its names, with its numbers filled in."""
    if not column.given[start:stop].any():
        return repeat(_NULL, len(column.shape[start:stop]))
    return _given_numbers(column, start, stop)


def _given_numbers(column: Numbers, start: int, stop: int) -> Iterator[str]:
    forms = [_form(names) if set(types) <= {float} else None for names, types in column.shapes]
    for place, (code, numbers) in enumerate(column.coded(start, stop), start):
        form = forms[code] if code >= 0 else _NULL
        yield json_text(column[place]) if form is None else form % tuple(map(repr, numbers))


def _form(names: Iterable[str]) -> str:
    return "{" + ", ".join(f"{json_text(name)}: ".replace("%", "%%") + "%s" for name in names) + "}"
