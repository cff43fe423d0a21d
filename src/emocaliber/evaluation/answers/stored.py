"""Response rows that stay in their files, for files so large that their rows, as objects, would not fit into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from emocaliber.core.released import filled_in
from emocaliber.core.samples import named_row
from emocaliber.core.scoring import response_rows
from emocaliber.errors import UserError
from emocaliber.io.chunks import Chunk, chunks
from emocaliber.io.row_formats import Place, row_files, with_shards
from emocaliber.io.rows import Row, display_name, row_of_line

LARGE = 1 << 25  # bytes; the rows of smaller files are kept


class StoredResponses(Sequence["tuple[str, Row]"]):
    """The rows of `response_rows`, read again whenever they are asked for.

    Raises UserError, when it is read, for what `response_rows` refuses, and if a file has changed since this was made.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self._shards = dict(with_shards(row_files(source)))
        self._stamps = {file: _stamp(file) for file in self._shards}
        self.chunks = [chunk for file in self._shards for chunk in chunks(file)]

    @cached_property
    def _nameless(self) -> bool:
        """Whether the first row has no id of its own, so that rows are named by their places."""
        return next((row.get("id") is None for chunk in self.chunks for _, row in chunk.rows()), False)

    def part(self, chunk: Chunk) -> Iterator[tuple[Place, Row]]:
        """The rows of a chunk; whether their ids are unlike those of other rows is not checked."""
        self._check(chunk.file)
        shard, nameless = self._shards[chunk.file], self._nameless
        for number, row in chunk.rows():
            place = Place(chunk.file, number, shard)
            yield place, filled_in(named_row(place, row, nameless=nameless))

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        for file in self._shards:
            self._check(file)
        return response_rows(self.source)

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, number: int) -> tuple[str, Row]: ...
    @overload
    def __getitem__(self, number: slice) -> list[tuple[str, Row]]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        which = next(which for which, end in enumerate(self._ends) if number < end)
        chunk = self.chunks[which]
        self._check(chunk.file)
        line, text = self._lines(which)[number - (self._ends[which - 1] if which else 0)]
        place, row = Place(chunk.file, line, self._shards[chunk.file]), row_of_line(text, chunk.file, line)
        assert row is not None, "blank lines are no rows"
        return str(place), filled_in(named_row(place, row, nameless=self._nameless))

    @cached_property
    def _ends(self) -> list[int]:
        """The numbers of rows up to the end of each chunk."""
        return list(accumulate(chunk.rows_in() for chunk in self.chunks))

    _last: tuple[int, list[tuple[int, bytes]]] = (-1, [])

    def _lines(self, which: int) -> list[tuple[int, bytes]]:
        if self._last[0] != which:
            self._last = which, list(self.chunks[which].lines())
        return self._last[1]

    def _check(self, file: Path) -> None:
        if _stamp(file) != self._stamps[file]:
            raise UserError(f"{display_name(file)}: has changed since it was opened, so its rows can no longer be read; start again.")


def is_large(source: Path) -> bool:
    """Whether the rows at a place should stay there: JSON Lines of many bytes."""
    if not source.exists():
        return False
    files = row_files(source)
    return all(file.suffix.lower() == ".jsonl" and file.is_file() for file in files) and sum(f.stat().st_size for f in files) >= LARGE


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
