"""The outcomes of many answers by column: a tenth of the memory that they take as objects, and arrays for the metrics."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from emocaliber.core.scoring import Outcome, OutcomeValues, agreement, people_shares

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_AT_ONCE = 1 << 14  # rows that are Python objects at a time
_LARGEST = 2**53  # whole numbers up to this are exact as floats
_NUMBERS = Mapping[str, Any]
Name = TypeVar("Name", bound="str | None")


class Names(Generic[Name]):
    """A column of few different names: `codes` (n,) are their places in `names`."""

    def __init__(self, codes: Ints, names: Sequence[Name]) -> None:
        self.codes = codes
        self.names: tuple[Name, ...] = tuple(names)

    def __getitem__(self, row: int) -> Name:
        return self.names[int(self.codes[row])]

    def listed(self, start: int = 0, stop: int | None = None) -> list[Name]:
        """The names themselves."""
        return list(map(self.names.__getitem__, self.codes[start:stop].tolist()))

    def are(self, name: Name) -> Bools:
        """(n,): whether a row has this name."""
        found: Bools = self.codes == (self.names.index(name) if name in self.names else -1)
        return found

    def take(self, rows: Ints) -> Self:
        return type(self)(self.codes[rows], self.names)

    @classmethod
    def joined(cls, parts: Sequence[Names[Name]]) -> Names[Name]:
        """The columns one after the other."""
        places: dict[Name, int] = {}
        maps = [np.array([places.setdefault(name, len(places)) for name in part.names] or [0], dtype=np.int32) for part in parts]
        return cls(np.concatenate([place[part.codes] for place, part in zip(maps, parts, strict=True)]), tuple(places))


class Numbers(Sequence["dict[str, Any] | None"]):
    """A column of named numbers, or of None where a row has none. Each comes out as it went in: names in their order, whole numbers, None.

    `shapes` are the different (names, types), `shape` (n,) the place of each row's among them, -1 for None; its numbers begin at `starts`
    (n,) in `values`, as floats, NaN for None. Rows with numbers that no float holds are in `others`.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[tuple[str, ...], tuple[type, ...]]],
        shape: Ints,
        starts: Ints,
        values: Floats,
        others: Mapping[int, Any],
    ) -> None:
        self.shapes, self.shape, self.starts, self.values, self.others = tuple(shapes), shape, starts, values, dict(others)

    @property
    def given(self) -> Bools:
        """(n,): whether a row has numbers, perhaps none of them named."""
        found: Bools = self.shape >= 0
        return found

    @property
    def names(self) -> set[str]:
        """All names that a row has."""
        return {name for code in np.unique(self.shape).tolist() if code >= 0 for name in self.shapes[code][0]}

    def column(self, name: str) -> Floats:
        """(n,): the numbers of one name, NaN where a row has none."""
        found = np.full(len(self), np.nan)
        for code, (names, _) in enumerate(self.shapes):
            if name in names:
                rows = np.flatnonzero(self.shape == code)
                found[rows] = self.values[self.starts[rows] + names.index(name)]
        return found

    def listed(self, start: int, stop: int) -> Iterator[dict[str, Any] | None]:
        """The rows themselves."""
        for row, (code, numbers) in enumerate(self.coded(start, stop), start):
            if code < 0:
                yield None
            elif row in self.others:
                yield dict(self.others[row])
            else:
                names, types = self.shapes[code]
                mine: dict[str, Any] = dict(zip(names, numbers, strict=True))
                if types.count(float) < len(types):
                    mine = {name: _as(kind, mine[name]) for name, kind in zip(names, types, strict=True)}
                yield mine

    def coded(self, start: int, stop: int) -> Iterator[tuple[int, list[float]]]:
        """The place of each row's shape, -1 for None, and its numbers as floats."""
        if start >= stop:
            return
        shape, starts = self.shape[start:stop].tolist(), self.starts[start:stop].tolist()
        first = starts[0]
        sizes = [*(len(names) for names, _ in self.shapes), 0]  # the last for None
        values = self.values[first : starts[-1] + sizes[shape[-1]]].tolist()
        for code, at in zip(shape, starts, strict=True):
            yield code, values[at - first : at - first + sizes[code]]

    def take(self, rows: Ints) -> Numbers:
        """The rows at these places, in their order."""
        sizes = np.array([len(names) for names, _ in self.shapes] + [0])[self.shape[rows]]
        starts = np.cumsum(sizes) - sizes
        inside = np.arange(int(sizes.sum())) - np.repeat(starts, sizes)
        values = self.values[np.repeat(self.starts[rows], sizes) + inside]
        others = {new: self.others[old] for new, old in enumerate(rows.tolist()) if old in self.others} if self.others else {}
        return Numbers(self.shapes, self.shape[rows], starts, values, others)

    @classmethod
    def joined(cls, parts: Sequence[Numbers]) -> Numbers:
        """The columns one after the other."""
        places: dict[Any, int] = {}
        shape, starts, others, rows, size = [], [], {}, 0, 0
        for part in parts:
            codes = np.array([*(places.setdefault(each, len(places)) for each in part.shapes), -1], dtype=np.int32)
            shape.append(codes[part.shape])
            starts.append(part.starts + size)
            others.update({row + rows: numbers for row, numbers in part.others.items()})
            rows, size = rows + len(part), size + part.values.size
        return cls(tuple(places), np.concatenate(shape), np.concatenate(starts), np.concatenate([part.values for part in parts]), others)

    def __len__(self) -> int:
        return int(self.shape.size)

    @overload
    def __getitem__(self, row: int) -> dict[str, Any] | None: ...
    @overload
    def __getitem__(self, row: slice) -> list[dict[str, Any] | None]: ...
    def __getitem__(self, row: int | slice) -> Any:
        if isinstance(row, slice):
            return [self[each] for each in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        return next(self.listed(row, row + 1))


@dataclass(frozen=True, eq=False, repr=False)
class Outcomes(Sequence[Outcome]):
    """Outcomes by column. As a sequence it makes each one when it is asked for.

    `correct` (n,), `format` (n,) 1, 0 or -1 for None, `distance` (n,) with NaN for None.
    """

    ids: list[str]
    images: list[str | None]
    task: Names[str]
    ground_truth: Names[str]
    answer: Names[str | None]
    malformed: Names[str | None]
    correct: Bools
    format: Ints
    distance: Floats
    confidence: Numbers
    posterior: Numbers
    votes: Numbers
    people: Numbers

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Outcomes:
        """`outcomes` by column; an instance of `Outcomes` is returned unchanged."""
        if isinstance(outcomes, Outcomes):
            return outcomes
        columns = OutcomeColumns()
        for each in outcomes:
            columns.append(each.values)
        return columns.done()

    @classmethod
    def joined(cls, parts: Sequence[Outcomes]) -> Outcomes:
        """The outcomes of all parts, one part after the other."""

        def joined(columns: list[Any]) -> Any:
            if isinstance(columns[0], list):
                return [each for column in columns for each in column]
            return type(columns[0]).joined(columns) if isinstance(columns[0], Names | Numbers) else np.concatenate(columns)

        return parts[0] if len(parts) == 1 else cls(*(joined([getattr(part, each.name) for part in parts]) for each in fields(cls)))

    def take(self, rows: Ints) -> Outcomes:
        """The outcomes at these places, in their order."""
        places = rows.tolist()

        def taken(column: Any) -> Any:
            if isinstance(column, list):
                return [column[place] for place in places]
            return column.take(rows) if isinstance(column, Names | Numbers) else column[rows]

        return Outcomes(*(taken(getattr(self, each.name)) for each in fields(self)))

    def in_order(self) -> Outcomes:
        """The outcomes sorted by task and id."""
        order: list[int] = []
        ids = self.ids
        for code in sorted(range(len(self.task.names)), key=self.task.names.__getitem__):
            order += sorted(np.flatnonzero(self.task.codes == code).tolist(), key=ids.__getitem__)
        return self if order == list(range(len(ids))) else self.take(np.array(order, dtype=np.int64))

    @property
    def sources(self) -> set[str]:
        """The sources of confidence that any outcome names."""
        return self.confidence.names

    @property
    def shared(self) -> Bools:
        """(n,): whether an outcome has votes or a posterior."""
        return self.posterior.given | self.votes.given

    def shares(self, rows: Iterable[int]) -> Iterator[Mapping[str, float] | None]:
        """The share of people behind each label, of the outcomes at `rows`."""
        return (people_shares(self.posterior[row], self.votes[row]) for row in rows)

    def agreement(self, rows: Ints) -> Iterator[float | None]:
        """The share of people who would give the same answer, of the outcomes at `rows`."""
        places = rows.tolist()
        return (agreement(self.answer[row], shares) for row, shares in zip(places, self.shares(places), strict=True))

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """The outcomes from `start` to `stop` as JSON rows (see `Outcome.to_row`)."""
        end = len(self) if stop is None else min(stop, len(self))
        for first in range(start, end, _AT_ONCE):
            last = min(first + _AT_ONCE, end)
            parts = (
                *(self.ids[first:last], self.task.listed(first, last), self.ground_truth.listed(first, last)),
                *(self.answer.listed(first, last), self.correct[first:last].tolist(), self.malformed.listed(first, last)),
                (None if each != each else each for each in self.distance[first:last].tolist()),
                *(column.listed(first, last) for column in (self.confidence, self.posterior, self.votes)),
                self.images[first:last],
                (None if each < 0 else each == 1 for each in self.format[first:last].tolist()),
                self.people.listed(first, last),
            )
            yield from (dict(zip(_ORDER, each, strict=True)) for each in zip(*parts, strict=True))

    def __iter__(self) -> Iterator[Outcome]:
        return (Outcome(**row) for row in self.rows())

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, row: int) -> Outcome: ...
    @overload
    def __getitem__(self, row: slice) -> Outcomes: ...
    def __getitem__(self, row: int | slice) -> Outcome | Outcomes:
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        row = range(len(self))[row]
        return Outcome(**next(self.rows(row, row + 1)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]


_ORDER = tuple(Outcome.__dataclass_fields__)


class OutcomeColumns:
    """Collects outcomes, as their values, one by one; `done` gives them."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._images: list[str | None] = []
        self._names: dict[str, tuple[dict[Any, int], array[int]]] = {
            name: ({}, array("i")) for name in ("task", "ground_truth", "answer", "malformed")
        }
        self._correct, self._format, self._distance = array("b"), array("b"), array("d")
        self._numbers = {name: _NumberColumn() for name in ("confidence", "posterior", "votes", "people")}
        (self._tasks, self._truths, self._answers, self._malformed) = self._names.values()

    def append(self, values: OutcomeValues) -> None:
        identity, task, truth, answer, correct, malformed, distance, confidence, posterior, votes, image, keeps, people = values
        self._ids.append(identity)
        self._images.append(image)
        for (places, codes), name in ((self._tasks, task), (self._truths, truth), (self._answers, answer), (self._malformed, malformed)):
            codes.append(places.setdefault(name, len(places)))
        self._correct.append(correct)
        self._format.append(-1 if keeps is None else keeps)
        self._distance.append(_NAN if distance is None else distance)
        numbers = self._numbers
        numbers["confidence"].append(confidence)
        numbers["posterior"].append(posterior)
        numbers["votes"].append(votes)
        numbers["people"].append(people)

    def done(self) -> Outcomes:
        """All outcomes so far."""
        columns: dict[str, Any] = {"ids": self._ids, "images": self._images}
        columns |= {name: Names(np.array(codes, dtype=np.int32), tuple(places)) for name, (places, codes) in self._names.items()}
        columns |= {"correct": np.array(self._correct, dtype=bool), "format": np.array(self._format, dtype=np.int8)}
        columns |= {"distance": np.array(self._distance, dtype=float)}
        columns |= {name: column.done() for name, column in self._numbers.items()}
        return Outcomes(**columns)


_NAN = float("nan")


class _NumberColumn:
    """Collects named numbers row by row for `Numbers`."""

    def __init__(self) -> None:
        self._shapes: dict[tuple[tuple[str, ...], tuple[type, ...]], int] = {}
        self._shape, self._starts, self._values = array("i"), array("q"), array("d")
        self._others: dict[int, Mapping[str, Any]] = {}

    def append(self, numbers: Mapping[str, Any] | None) -> None:
        self._starts.append(len(self._values))
        if numbers is None:
            self._shape.append(-1)
            return
        types = tuple(map(type, numbers.values()))
        large = int in types and any(number is not None and abs(number) > _LARGEST for number in numbers.values())
        if large:
            self._others[len(self._shape)] = dict(numbers)
        self._shape.append(self._shapes.setdefault((tuple(numbers), types), len(self._shapes)))
        if large or _NONE in types:
            self._values.extend([_NAN if large or number is None else number for number in numbers.values()])
        else:
            self._values.extend(numbers.values())

    def done(self) -> Numbers:
        shape, starts = np.array(self._shape, dtype=np.int32), np.array(self._starts, dtype=np.int64)
        return Numbers(tuple(self._shapes), shape, starts, np.array(self._values, dtype=float), self._others)


_NONE = type(None)


def _as(kind: type, number: float) -> Any:
    return None if kind is _NONE else int(number) if issubclass(kind, int) else number
