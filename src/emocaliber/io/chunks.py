"""Parts of a JSON Lines file that can be read by themselves, with the numbers of their lines."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from emocaliber.io.rows import Row, opened, row_of_line, row_text

SIZE = 1 << 23  # bytes of a part, as far as lines allow


class Chunk(NamedTuple):
    """Whole lines of a file: its bytes from `start` to `stop`, of which the first is line `first`, from 1."""

    file: Path
    start: int
    stop: int
    first: int

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The rows with their numbers, as `numbered_rows` reads them, and with its errors."""
        for number, line in self._all_lines():
            row = row_of_line(line, self.file, number)
            if row is not None:
                yield number, row

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines that hold rows, with their numbers."""
        return ((number, line) for number, line in self._all_lines() if row_text(line, number).strip())

    def rows_in(self) -> int:
        """The number of rows, which are not read."""
        return sum(1 for _ in self.lines())

    def _all_lines(self) -> Iterator[tuple[int, bytes]]:
        with opened(self.file) as file:
            file.seek(self.start)
            lines = io.BytesIO(file.read(self.stop - self.start))
        return enumerate(lines, self.first)


def chunks(file: Path, size: int = SIZE) -> list[Chunk]:
    """The file in parts of about `size` bytes. Raises UserError, naming it, if it cannot be read."""
    found: list[Chunk] = []
    start, first = 0, 1
    with opened(file) as content:
        while block := content.read(size):
            block += content.readline()
            found.append(Chunk(file, start, start + len(block), first))
            start, first = start + len(block), first + block.count(b"\n")
    return found
