"""Rows from wherever they lie: a file, a folder of shards, several of these, or a data set saved by Hugging Face's `datasets`.

`emocaliber.rows` reads one file in the formats this package writes; here are the formats of others, each row with its place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.rows import Row, RowPath, display_name, numbered_rows, opened

BINARY = (".parquet", ".arrow")
SHARDS = (".jsonl", *BINARY)


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
    files = [file for source in listed for file in _files(source)]
    root = os.path.commonpath([file.absolute().parent for file in files]) if len(files) > 1 else None
    empty = True
    for file in files:
        shard = display_name(file.absolute().relative_to(root).with_suffix("").as_posix()) if root else ""
        for number, row in _arrow_rows(file) if file.suffix.lower() == ".arrow" else numbered_rows(file):
            empty = False
            yield Place(file, number, shard), row
    if empty:
        raise UserError(f"{', '.join(map(display_name, listed))}: there are no rows in it; an evaluation needs at least one.")


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    if (splits := source / "dataset_dict.json").is_file():
        names = _described(splits, "splits")
        if len(names) != 1:
            listed = ", ".join(display_name(source / name) for name in names)
            raise UserError(f"{display_name(source)}: holds {len(names)} splits; give the folder of the one you mean: {listed}.")
        return _files(source / names[0])
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
            is_file = file.read(6) == b"ARROW1"
            file.seek(0)
            reader = pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file)
            batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
            yield from enumerate((row for batch in batches for row in batch.to_pylist()), 1)
        except pa.ArrowException as error:
            raise UserError(f"{display_name(path)}: not a readable Arrow file ({error}).") from error
