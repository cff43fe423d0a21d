"""Rows with their places, in the formats of other tools: shards, data sets saved by Hugging Face's `datasets`, Arrow, JSON, CSV.

`emocaliber.io.rows` reads single files in the formats that this package writes.
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
from typing import Any, NamedTuple

from emocaliber.errors import UserError
from emocaliber.io.arrow import arrow_rows
from emocaliber.io.rows import Row, RowPath, display_name, numbered_rows, opened

BINARY = (".parquet", ".arrow")
SHARDS = (".jsonl", *BINARY)
DELIMITED = (".csv", ".tsv")
_AT_ONCE = 64  # rows of an Arrow file converted at a time: with log-probabilities, a row takes megabytes


class Place(NamedTuple):
    """The place of a row: its file, and its line (JSON Lines, CSV) or row number (binary formats), both from 1.

    `shard` distinguishes the files that are read together; it is empty for a single file.
    """

    file: Path
    number: int
    shard: str = ""

    @property
    def spot(self) -> str:
        """The place within the file: "line 12", or "row 12" in a binary format, a JSON list or what is no file."""
        return f"{'row' if self.file.suffix.lower() in (*BINARY, '.json', '') else 'line'} {self.number}"

    @property
    def name(self) -> str:
        """An id for a row without one: "00012", or "shard-0/00012" if several files are read."""
        return f"{self.shard}/{self.number:05}" if self.shard else f"{self.number:05}"

    def __str__(self) -> str:
        return f"{display_name(self.file)}, {self.spot}"


def located_rows(sources: RowPath | Sequence[RowPath], needed_by: str = "an evaluation") -> Iterator[tuple[Place, Row]]:
    """All rows with their places, file by file. `needed_by` is who needs them, for the message where there are none.

    Each source is a file (.jsonl, .parquet or .arrow), a folder of such files, which are read in the order of their names, or a folder made
    by `Dataset.save_to_disk`, or by `DatasetDict.save_to_disk` of a single split. Raises UserError, naming the file or folder, if it cannot
    be read, holds no such file or several splits, and if there is no row at all.
    """
    listed = [Path(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    files = [file for source in listed for file in row_files(source)]
    empty = True
    for file, shard in with_shards(files):
        for number, row in _arrow_rows(file) if file.suffix.lower() == ".arrow" else numbered_rows(file):
            empty = False
            yield Place(file, number, shard), row
    if empty:
        raise UserError(f"{', '.join(map(display_name, listed))}: there are no rows in it; {needed_by} needs at least one.")


def with_shards(files: Sequence[Path]) -> list[tuple[Path, str]]:
    """Each file with the `shard` of its places: empty for a single file."""
    root = os.path.commonpath([file.absolute().parent for file in files]) if len(files) > 1 else None
    return [
        (file, display_name(file.absolute().relative_to(root).with_suffix("").as_posix()) if root is not None else "") for file in files
    ]


class StoredRows:
    """Random access to the rows of `located_rows` by their places; rows are read from disk on demand.

    Kept in memory are the offsets of the lines of JSON Lines files (8 bytes a line) and the last row group of each Parquet file; Arrow
    files are memory-mapped.
    """

    def __init__(self) -> None:
        self._files: dict[Path, _Lines | _RowGroups | _Mapped] = {}

    def __getitem__(self, place: Place) -> Row:
        """The row at a place. Raises UserError if the file can no longer be read, or no longer has the row."""
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
            self._table = None  # freed before the next group is read
            self._group, self._table = group, self._file.read_row_group(group)
        return _row_of(self._table, number - 1 - self._starts[group])


class _Mapped:
    def __init__(self, file: Path) -> None:
        import pyarrow as pa

        self._table = pa.Table.from_batches(list(_batches(pa.memory_map(str(file)))))

    def row(self, number: int) -> Row:
        return _row_of(self._table, number - 1)


def _row_of(table: Any, index: int) -> Row:
    return arrow_rows(table.slice(index, 1))[0]


def row_files(source: Path) -> list[Path]:
    """The files that `located_rows` reads for a source. Raises UserError for a folder without such files, or with several splits."""
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
    """The names in a field of a description file of `datasets`."""
    with opened(file) as content:
        try:
            return [str(item[key] if key else item) for item in json.load(content)[field]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{display_name(file)}: does not list '{field}' as `save_to_disk` does; save the data set again.") from error


def _arrow_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The numbered rows of an Arrow stream, as `datasets` writes it, or of an Arrow file (Feather)."""
    import pyarrow as pa

    with opened(path) as file:
        try:
            slices = (batch.slice(start, _AT_ONCE) for batch in _batches(file) for start in range(0, len(batch), _AT_ONCE))
            yield from enumerate((row for each in slices for row in arrow_rows(each)), 1)
        except pa.ArrowException as error:
            raise UserError(f"{display_name(path)}: not a readable Arrow file ({error}).") from error


def _batches(file: Any) -> Iterator[Any]:
    import pyarrow as pa

    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
    return map(reader.get_batch, range(reader.num_record_batches)) if is_file else iter(reader)


# JSON documents.


def located_values(source: Path, needed_by: str = "an evaluation") -> Iterator[tuple[Place, Any]]:
    """The values of a file of any format, with their places; unlike those of `located_rows`, they need not be JSON objects.

    Of .csv and .tsv, these are the rows by column, with cells as text; of a JSON list, its items; of another JSON document, the document
    alone (in both, NaN is null); of everything else, the rows of `located_rows`, but the lines of a JSON Lines file may also be lists.
    Raises UserError, naming the file, for one that cannot be read, and if there is nothing in it.
    """
    suffix = source.suffix.lower()
    if suffix in DELIMITED:
        rows = read_table(source, delimiter=None).rows
        if not rows:
            raise UserError(f"{display_name(source)}: there are no rows in it; {needed_by} needs at least one.")
        yield from rows
    elif source.is_dir() or suffix in BINARY or not (suffix == ".json" or _starts_a_list(source)):
        yield from located_rows(source, needed_by)
    else:
        values = _json_values(source)
        if not values:
            raise UserError(f"{display_name(source)}: there are no rows in it; {needed_by} needs at least one.")
        yield from ((Place(source, number), value) for number, value in values)


def _starts_a_list(file: Path) -> bool:
    with opened(file) as content:
        return content.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def _json_values(file: Path) -> list[tuple[int, Any]]:
    """The numbered items of a JSON list, the one JSON document, or the JSON value on each line."""
    with opened(file) as content:
        text = _decoded(content.read(), display_name(file))
    try:
        document = json.loads(text, parse_constant=_missing)
    except (ValueError, RecursionError) as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        try:
            return [(number, json.loads(line, parse_constant=_missing)) for number, line in lines]
        except (ValueError, RecursionError):
            raise UserError(f"{display_name(file)}: neither a JSON document nor one JSON value on each line ({error}).") from None
    return list(enumerate(document, 1)) if isinstance(document, list) else [(1, document)]


def _missing(constant: str) -> None:
    """NaN and infinities, which are not JSON but what Python writes, are missing numbers."""


# CSV tables of other data sets.


@dataclass(frozen=True)
class CsvTable:
    """A CSV file in memory: its columns, and each row with its place. Cells are stripped strings."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[Place, dict[str, str]], ...]

    @property
    def header(self) -> str:
        """The column names, for error messages."""
        return ", ".join(map(display_name, self.columns))


def read_table(path: Path, *, quote: str = '"', delimiter: str | None = ",") -> CsvTable:
    """The table in a UTF-8 file whose first line names the columns; a BOM and blank lines are allowed.

    Without a `delimiter`, it is the tab, semicolon or comma that occurs most often in the first line.
    Raises UserError, naming file, line and remedy, for a file that cannot be read, a column named twice, or a row of another length.
    """
    name = display_name(path)
    with opened(path) as file:
        text = _decoded(file.read(), name)
    between = delimiter or max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, quotechar=quote, skipinitialspace=True, strict=True)
    lines: list[tuple[int, list[str]]] = []
    whole = 0  # lines of the file before the row that is being read
    try:
        for cells in reader:
            if cells:
                lines.append((reader.line_num, [cell.strip() for cell in cells]))
            whole = reader.line_num
    except csv.Error as error:
        place = f"{name}, line {whole + 1}"
        if reader.line_num > whole + 1 or "unexpected end" in str(error):
            raise UserError(
                f"{place}: a quote ({quote}) opens in this row and is not closed in it; close it, or double it within text."
            ) from None
        raise UserError(f"{place}: not a row of a CSV file ({error}); write a quote within quoted text twice.") from None
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


def _decoded(data: bytes, name: str) -> str:
    """The text of a file in UTF-8, with or without a BOM. Raises UserError, naming the encoding if it can be told."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:2]:
        raise UserError(f"{name}: the file is in UTF-16, as some spreadsheets save it; save it in UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{name}, line {line}: not text in UTF-8 ({error.reason}, byte {data[error.start]:#x}); save the file in UTF-8."
        ) from None


def whole_number(text: str, where: Place, column: str) -> int:
    """The number of votes in a cell. Raises UserError, naming row and column, if it is not a whole number."""
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{where}: column '{display_name(column)}' holds {text!r}; it must be a whole number of votes, such as 7.")
    return int(text)


def number(text: str, where: Place, column: str) -> float:
    """The number in a cell. Raises UserError, naming row and column, if it is not a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(f"{where}: column '{display_name(column)}' holds {text!r}; it must be a number, such as 4.25.")
    return value
