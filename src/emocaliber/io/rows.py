"""Row files, read and written: JSON Lines, Parquet and CSV.

A row is a JSON object. JSON Lines is the working format, as it can be appended to and survives a kill; CSV and Parquet are converted from
it for other tools.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self

import msgspec

from emocaliber.errors import UserError, did_you_mean
from emocaliber.io.arrow import arrow_rows, arrow_table
from emocaliber.io.lock import Lock

Row = dict[str, Any]
RowPath = str | os.PathLike[str]
Form = Mapping[str, Any]  # the types of a row's fields: str, float, int, bool, [TYPE] for a list, or a `Form`

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # the first characters of cells that spreadsheets run as formulas


def display_name(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """The path as printable text for terminals, logs and JSON: unprintable characters are escaped (`\\udcff`, `\\n`)."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in os.fsdecode(path))


def read_rows(path: RowPath) -> Iterator[Row]:
    """The rows of a Parquet file (`.parquet`) or a JSON Lines file (any other suffix; a BOM and blank lines are allowed).

    In Parquet every nested object has the same keys, so keys that a row lacked are None.
    Raises UserError, naming the file, the line and the field, if the file cannot be read or a line is not a JSON object.
    """
    return (row for _, row in numbered_rows(path))


def numbered_rows(path: RowPath) -> Iterator[tuple[int, Row]]:
    """The rows of `read_rows`, each after its number from 1: its line, or its index in a Parquet file."""
    suffix = Path(path).suffix.lower()
    if suffix == ".csv":
        raise UserError(f"{display_name(path)}: CSV is written but not read, as it loses nesting; give the .jsonl or .parquet file.")
    with opened(path) as file:
        yield from enumerate(_parquet_rows(file, path), 1) if suffix == ".parquet" else _json_rows(file, path)


@contextlib.contextmanager
def opened(path: RowPath) -> Iterator[io.BufferedReader]:
    """The file, open for reading. Raises UserError, naming it, if it cannot be opened or read."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        meant = _nearby(path) if isinstance(error, FileNotFoundError) else ""
        raise UserError(f"{display_name(path)}: cannot be read ({error.strerror or error}){meant}.") from error


def _nearby(path: RowPath) -> str:
    """The end of a message about a file that is not there: "; did you mean NAME", with the closest name beside it; empty if none is."""
    wanted = Path(os.fsdecode(path))
    try:
        names = [display_name(each.name) for each in wanted.parent.iterdir()]
    except OSError:
        return ""
    return did_you_mean(wanted.name, names).rstrip("?")


class RowWriter:
    """Appends rows to a JSON Lines file; a row has been handed to the operating system when `write` returns.

    A killed process loses at most the row it was writing; a power failure at most the last `sync_rows` rows or `sync_seconds` seconds. With
    `resume`, existing rows are kept, a half-written last line is dropped, and `done` holds the keys of the rows; without it the file starts
    empty. With `lock`, the file is locked until `close`. Use as a context manager.

    Raises UserError if another writer has the file, it cannot be opened, or an existing row is not a JSON object or has no `key`.
    """

    def __init__(
        self, path: RowPath, *, resume: bool = False, key: str = "id", lock: bool = True, sync_rows: int = 64, sync_seconds: float = 5.0
    ) -> None:
        self.path = Path(path)
        self.key = key
        self.done: set[str] = set()
        self._sync_rows, self._sync_seconds = sync_rows, sync_seconds
        self._unsynced, self._synced_at = 0, time.monotonic()
        with _writing(path), contextlib.ExitStack() as locked:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if lock and (self.path.is_file() or not self.path.exists()):  # a pipe or a terminal has no second writer
                locked.enter_context(Lock(self.path, display_name(self.path)))
            if resume and self.path.exists():
                self._resume()
            self._file = open(path, "ab" if resume else "wb")  # noqa: SIM115, `close` does
            self._locked = locked.pop_all()
        self._can_sync = stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)  # a pipe cannot

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row and adds its key to `done`. Raises ValueError for NaN or infinity, which JSON does not have."""
        self._file.write(_to_line(row))
        self._file.flush()
        self._unsynced += 1
        if self.key in row:
            self.done.add(str(row[self.key]))
        if self._unsynced >= self._sync_rows or time.monotonic() - self._synced_at >= self._sync_seconds:
            self._sync()

    def close(self) -> None:
        """Flushes to disk, closes the file and releases its lock. May be called twice."""
        if not self._file.closed:
            with self._locked:
                self._sync()
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sync(self) -> None:
        if self._can_sync:
            os.fsync(self._file.fileno())
        self._unsynced, self._synced_at = 0, time.monotonic()

    def _resume(self) -> None:
        """Fills `done` from existing rows, and cuts off a half-written last line, which is one that cannot be parsed."""
        with open(self.path, "rb+") as file:
            whole, line = 0, b""
            for number, line in enumerate(file, 1):
                half = not line.endswith(b"\n") and line.strip(b"\0")[:1] in (b"", b"{")  # a lost block reads as zeros
                try:
                    row = row_of_line(line, self.path, number)
                except UserError:
                    if not half:
                        raise
                    file.truncate(whole)
                    return
                if row is not None:
                    self.done.add(self._key_of(row, number))
                whole += len(line)
            if line and not line.endswith(b"\n"):
                file.seek(whole)
                file.write(b"\n")

    def _key_of(self, row: Row, number: int) -> str:
        if self.key not in row:
            raise UserError(f"{display_name(self.path)}, line {number}: no {self.key!r}, so the work cannot go on from this file.")
        return str(row[self.key])


def convert(rows_path: RowPath, out_path: RowPath, form: Form | None = None) -> None:
    """Writes the rows of one file to another atomically, as `.csv`, `.parquet` or `.jsonl` by its suffix.

    CSV flattens nested objects into dotted columns (`error.code`), writes lists as JSON and None as an empty cell. Text that a spreadsheet
    would run as a formula (it begins with =, +, -, @, a tab or a carriage return) is prefixed with an apostrophe; numbers are not.
    Parquet keeps the nesting; a column whose values have no common type is written as JSON text. With a `form`, both have its columns, in
    its types, whatever the rows hold, so that files of several runs can be put together.
    Raises UserError for a file that cannot be read or written, and for any other suffix.
    """
    suffix = Path(out_path).suffix.lower()
    writers = {".csv": _write_csv, ".parquet": _write_parquet, ".jsonl": _write_jsonl}
    if suffix not in writers:
        raise UserError(f"{display_name(out_path)}: rows are written as .jsonl, .csv or .parquet, not as {suffix or 'no suffix'}.")
    with _replacing(out_path) as file:
        writers[suffix](rows_path, file, form or {})


def write_atomically(path: RowPath, data: str | bytes) -> None:
    """Replaces the file by `data` (text as UTF-8) atomically: readers see the old content or the new. Creates missing folders."""
    with _replacing(path) as file:
        file.write(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


def write_rows(path: RowPath, rows: Iterable[Mapping[str, Any]]) -> None:
    """`write_atomically` for rows, as JSON Lines. Raises ValueError for NaN or infinity, which JSON does not have."""
    with _replacing(path) as file:
        file.writelines(map(_to_line, rows))


def write_lines(path: RowPath, lines: Iterable[bytes]) -> None:
    """`write_atomically` for the parts of a file."""
    with _replacing(path) as file:
        file.writelines(lines)


def _json_rows(file: IO[bytes], path: RowPath) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(file, 1):
        row = row_of_line(line, path, number)
        if row is not None:
            yield number, row


def _parquet_rows(file: IO[bytes], path: RowPath) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=64):  # as Python objects, rows may take megabytes each
            yield from arrow_rows(batch)
    except pa.ArrowException as error:
        raise UserError(f"{display_name(path)}: not a readable Parquet file ({error}).") from error


def row_text(line: bytes, number: int) -> bytes:
    """The bytes of a row on a line, without a byte order mark on the first."""
    return line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def row_of_line(line: bytes, path: RowPath, number: int) -> Row | None:
    """The row on a line, or None if the line is blank."""
    text = row_text(line, number)
    try:
        if isinstance(row := _quickly(text), dict):
            return row
    except (msgspec.MsgspecError, ValueError, RecursionError):  # read again for the reason, or as it is what `json` alone accepts
        pass
    if not text.strip():
        return None
    try:
        decoded = text.decode("utf-8")
        row = json.loads(decoded) if decoded[0] == "\ufeff" else _DECODER.decode(decoded)  # `loads` has the sentence about a second BOM
        if isinstance(row, dict):
            return row
        problem = f"found a JSON {type(row).__name__}"
    except (ValueError, RecursionError) as error:
        problem = "not text in UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        with contextlib.suppress(ValueError, RecursionError):
            problem = "".join(f"field '{name}': " for name in _not_finite(json.loads(text))[:1]) + problem
        if not line.endswith(b"\n"):
            problem += " (the file ends within this line, as one does whose writing was cut off)"
    raise UserError(f"{display_name(path)}, line {number}: {problem}; every line must be one JSON object.")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON, a missing number is null")


_quickly = msgspec.json.Decoder().decode  # reads as `_DECODER` does, in a third of the time; refuses lone surrogates
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
# How values stand in rows. ASCII, because a file name that is not UTF-8 becomes lone surrogates, which only \u escapes can carry.
json_text = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode


def _not_finite(row: object) -> list[str]:
    """The fields of a row that hold NaN or an infinity."""
    named = _flatten(row) if isinstance(row, Mapping) else ()
    return [name for name, value in named if isinstance(value, float) and not math.isfinite(value)]


def _to_line(row: Mapping[str, Any]) -> bytes:
    try:
        return json_text(row).encode("ascii") + b"\n"
    except ValueError as error:
        culprits = ", ".join(_not_finite(row))
        raise ValueError(f"cannot write a row: {culprits or error} is not a finite number; write None instead") from error


def _flatten(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _csv_columns(rows_path: RowPath, form: Form) -> list[str]:
    """All dotted names, grouped by field in order of appearance. A parent such as `error` is left out if it is always null or nested."""
    filled: dict[str, bool] = {name: False for name, _ in _flatten(form)}
    for row in read_rows(rows_path):
        for name, value in _flatten(row):
            filled[name] = filled.get(name, False) or value is not None
    parents = {name[:dot] for name in filled for dot, letter in enumerate(name) if letter == "."}
    columns = [name for name in filled if filled[name] or name not in parents]
    fields = list(dict.fromkeys(name.split(".")[0] for name in filled))
    return sorted(columns, key=lambda name: fields.index(name.split(".")[0]))


def _csv_value(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return json.dumps(value) if isinstance(value, bool | list | Mapping) else value


def _write_csv(rows_path: RowPath, out: IO[bytes], form: Form) -> None:
    columns = _csv_columns(rows_path, form)
    out.write(_csv_line(columns))
    for row in read_rows(rows_path):
        flat = dict(_flatten(row))
        out.write(_csv_line(flat.get(name) for name in columns))


def _csv_line(cells: Iterable[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(map(_csv_value, cells))  # a cell with a letter of the line's end is quoted
    return (line.getvalue().removesuffix("\r\n") + "\n").encode("utf-8", "backslashreplace")


def _write_parquet(rows_path: RowPath, out: IO[bytes], form: Form) -> None:
    import pyarrow.parquet as pq

    pq.write_table(arrow_table(list(read_rows(rows_path)), form), out)


def _write_jsonl(rows_path: RowPath, out: IO[bytes], _: Form) -> None:
    out.writelines(map(_to_line, read_rows(rows_path)))


@contextlib.contextmanager
def _replacing(path: RowPath) -> Iterator[IO[bytes]]:
    """A temporary file beside `path` that replaces it once it is complete and on disk, and is removed if writing fails."""
    with _writing(path):
        target = Path(os.path.realpath(path))  # a symbolic link stays one
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(path: RowPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{display_name(path)}: cannot be written ({error.strerror or error}).") from error
