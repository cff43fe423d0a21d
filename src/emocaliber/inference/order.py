"""The rows of a file in the order of their samples, without holding them in memory: a run may have millions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from emocaliber.io.rows import Row, row_of_line, write_rows


def put_in_order(file: Path, place: Mapping[str, int]) -> None:
    """Sorts the rows of a JSON Lines file by the `place` of their id; a file that is in order is left as it is."""
    found: list[tuple[int, int]] = []  # place and offset of each row
    for offset, row in _rows_from(file):
        found.append((place[row["id"]], offset))
    if any(before > after for before, after in pairwise(found)):
        found.sort()
        write_rows(file, _rows_at(file, [offset for _, offset in found]))


def _rows_from(file: Path) -> Iterator[tuple[int, Row]]:
    offset = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if (row := row_of_line(line, file, number)) is not None:
                yield offset, row
            offset += len(line)


def _rows_at(file: Path, offsets: Sequence[int]) -> Iterator[Row]:
    with file.open("rb") as lines:
        for offset in offsets:
            lines.seek(offset)
            row = row_of_line(lines.readline(), file, 0)
            assert row is not None, "no row is at the place of one"
            yield row
