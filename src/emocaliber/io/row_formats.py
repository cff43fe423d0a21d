"""Rows from wherever they lie: a file, a folder of shards, several of these, or a data set saved by Hugging Face's `datasets`.

`emocaliber.io.rows` reads one file in the formats this package writes; here are the formats of others, each row with its place.
"""

from __future__ import annotations

import csv
import io
import json
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.io.rows import Row, RowPath, display_name, numbered_rows, opened

BINARY = (".parquet", ".arrow")
SHARDS = (".jsonl", *BINARY)
_AT_ONCE = 64  # rows of an Arrow file that are Python objects at the same time: with log-probabilities, one takes megabytes


@dataclass(frozen=True)
class Place:
    """Where a row stands: its file, and its line there (JSON Lines) or its number (binary formats), both from 1.

    `shard` tells the file from the others it was read with, whatever their format; it is empty where it was read alone.
    """

    file: Path
    number: int
    shard: str = ""

    @property
    def spot(self) -> str:
        """The place within the file: "line 12", or "row 12" where there are no lines."""
        return f"{'row' if self.file.suffix.lower() in BINARY else 'line'} {self.number}"

    @property
    def name(self) -> str:
        """A name for a row that has none: "00012", or "shard-0/00012" where there are other files."""
        return f"{self.shard}/{self.number:05}" if self.shard else f"{self.number:05}"

    def __str__(self) -> str:
        return f"{display_name(self.file)}, {self.spot}"


def located_rows(sources: RowPath | Sequence[RowPath]) -> Iterator[tuple[Place, Row]]:
    """Every row with its place. Each source is a file (.jsonl, .parquet or .arrow), a folder of such files, in the order of their names,
    or a folder made by `Dataset.save_to_disk`, or by `DatasetDict.save_to_disk` of a single split.

    Raises:
        UserError: a file or folder cannot be read, holds no such file, or holds several splits; or there is no row at all. It says which.
    """
    listed = [Path(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    files = [file for source in listed for file in row_files(source)]
    root = os.path.commonpath([file.absolute().parent for file in files]) if len(files) > 1 else None
    empty = True
    for file in files:
        shard = display_name(file.absolute().relative_to(root).with_suffix("").as_posix()) if root else ""
        for number, row in _arrow_rows(file) if file.suffix.lower() == ".arrow" else numbered_rows(file):
            empty = False
            yield Place(file, number, shard), row
    if empty:
        raise UserError(f"{', '.join(map(display_name, listed))}: there are no rows in it; an evaluation needs at least one.")


class StoredRows:
    """The rows at places that `located_rows` gave, each read from the disk when it is asked for.

    In memory are the places of the lines of JSON Lines files (8 bytes a line), and of each Parquet file the row group that was read last;
    an Arrow file is mapped, not read.
    """

    def __init__(self) -> None:
        self._files: dict[Path, _Lines | _RowGroups | _Mapped] = {}

    def __getitem__(self, place: Place) -> Row:
        """The row. Raises UserError where the file cannot be read any more, or has no such row now."""
        try:
            if place.file not in self._files:
                kinds: dict[str, type[_RowGroups] | type[_Mapped]] = {".parquet": _RowGroups, ".arrow": _Mapped}
                self._files[place.file] = kinds.get(place.file.suffix.lower(), _Lines)(place.file)
            return self._files[place.file].row(place.number)
        except (ValueError, IndexError) as error:  # an ArrowException is a ValueError
            raise UserError(f"{place}: the file has changed since it was opened, so its rows can no longer be read; start again") from error


class _Lines:
    def __init__(self, file: Path) -> None:
        self._file = file
        with opened(file) as content:
            self._starts = array("Q", accumulate(map(len, content), initial=0))

    def row(self, number: int) -> Row:
        with opened(self._file) as content:
            content.seek(self._starts[number - 1])
            row: Row = json.loads(content.readline().decode("utf-8-sig"))
        return row


class _RowGroups:
    def __init__(self, file: Path) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(file)
        sizes = (self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups))
        self._starts = list(accumulate(sizes, initial=0))
        self._group, self._table = -1, None

    def row(self, number: int) -> Row:
        group = bisect_right(self._starts, number - 1) - 1
        if group != self._group:
            self._table = None  # before the next is read
            self._group, self._table = group, self._file.read_row_group(group)
        return _row_of(self._table, number - 1 - self._starts[group])


class _Mapped:
    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        self._table = pa.Table.from_batches(list(_batches(pa.memory_map(str(file)))))

    def row(self, number: int) -> Row:
        return _row_of(self._table, number - 1)


def _row_of(table: Any, index: int) -> Row:
    row: Row = table.slice(index, 1).to_pylist()[0]
    return row


def row_files(source: Path) -> list[Path]:
    """The files that `located_rows` reads for one source. Raises UserError for a folder in which there are none, or several splits."""
    if not source.is_dir():
        return [source]
    if (splits := source / "dataset_dict.json").is_file():
        names = _described(splits, "splits")
        if len(names) != 1:
            listed = ", ".join(display_name(source / name) for name in names)
            raise UserError(f"{display_name(source)}: holds {len(names)} splits; give the folder of the one you mean: {listed}.")
        return row_files(source / names[0])
    if (state := source / "state.json").is_file():
        return [source / name for name in _described(state, "_data_files", "filename")]
    files = sorted(file for file in source.iterdir() if file.suffix.lower() in SHARDS and not file.name.startswith(".") and file.is_file())
    if not files:
        raise UserError(f"{display_name(source)}: holds no {', '.join(SHARDS)} file; give a file of rows or a folder of such files.")
    return files


def _described(file: Path, field: str, key: str | None = None) -> list[str]:
    """The names listed in a field of one of the files by which `datasets` describes a folder."""
    with opened(file) as content:
        try:
            return [str(item[key] if key else item) for item in json.load(content)[field]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{display_name(file)}: does not list '{field}' as `save_to_disk` does; save the data set again.") from error


def _arrow_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of an Arrow stream, which `datasets` writes, or of an Arrow file (Feather), which begins with its name."""
    import pyarrow as pa

    with opened(path) as file:
        try:
            slices = (batch.slice(start, _AT_ONCE) for batch in _batches(file) for start in range(0, len(batch), _AT_ONCE))
            yield from enumerate((row for each in slices for row in each.to_pylist()), 1)
        except pa.ArrowException as error:
            raise UserError(f"{display_name(path)}: not a readable Arrow file ({error}).") from error


def _batches(file: Any) -> Iterator[Any]:
    import pyarrow as pa

    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
    return map(reader.get_batch, range(reader.num_record_batches)) if is_file else iter(reader)


# Tables that other people wrote as CSV, read whole: each row with its place, every complaint with file, line and column.


@dataclass(frozen=True)
class CsvTable:
    """A CSV file: its columns, and each row after its place. Cells are texts without space at their ends."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[Place, dict[str, str]], ...]

    @property
    def header(self) -> str:
        """The columns, for a complaint about them."""
        return ", ".join(map(display_name, self.columns))


def read_table(path: Path, *, quote: str = '"') -> CsvTable:
    """The table in a UTF-8 file whose first line names the columns; a BOM and blank lines are allowed.

    Raises UserError, naming file, line and remedy, for a file that cannot be read, a column named twice, or a row of another length.
    """
    name = display_name(path)
    with opened(path) as file:
        data = file.read()
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), quotechar=quote, skipinitialspace=True, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name}: not a CSV file in UTF-8 ({error}); save it as one.") from None
    if not lines:
        raise UserError(f"{name}: the file is empty; its first line must name the columns.")
    columns = lines[0][1]
    if repeated := next((column for column in columns if columns.count(column) > 1), None):
        raise UserError(f"{name}, line 1: the column '{display_name(repeated)}' occurs twice; give each its own name.")
    for line, cells in lines[1:]:
        if len(cells) != len(columns):
            raise UserError(
                f"{name}, line {line}: {len(cells)} values under {len(columns)} columns; make them agree, with quotes around commas."
            )
    return CsvTable(path, tuple(columns), tuple((Place(path, line), dict(zip(columns, cells, strict=True))) for line, cells in lines[1:]))


def whole_number(text: str, where: Place, column: str) -> int:
    """The count in a cell. Raises UserError if it is none."""
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{where}: column '{display_name(column)}' holds {text!r}; it must be a whole number of votes, such as 7.")
    return int(text)


def number(text: str, where: Place, column: str) -> float:
    """The finite number in a cell. Raises UserError if it is none."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(f"{where}: column '{display_name(column)}' holds {text!r}; it must be a number, such as 4.25.")
    return value
