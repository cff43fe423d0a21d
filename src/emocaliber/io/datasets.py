"""Data sets of Hugging Face as files of rows: streamed from the hub, or on disk with their images inside.

`hf:OWNER/NAME` is a data set on the hub (or a folder that `load_dataset` takes), `hf:OWNER/NAME@REVISION:SPLIT` one state and part of it.
It is streamed once into a folder of the cache, row by row: `rows.jsonl`, and the images as files. So it is never in memory, and training
that goes on after a stop reads the same rows. Files on disk (Parquet, Arrow, `save_to_disk`) with images inside are unpacked in the same
way, others are read where they are.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from emocaliber.errors import UserError, missing_packages
from emocaliber.io.lock import Lock
from emocaliber.io.row_formats import located_rows, row_files
from emocaliber.io.rows import Row, RowWriter, display_name, write_atomically

HUB = "hf:"
ROWS, RECORD, IMAGES = "rows.jsonl", "source.json", "images"
_KINDS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp"}  # by the first bytes


class HubName(NamedTuple):
    """A data set on the hub: its name, its revision (None: the newest) and its split."""

    name: str
    revision: str | None
    split: str


def hub_name(source: str) -> HubName | None:
    """The data set that `hf:NAME[@REVISION][:SPLIT]` names, by default its split "train"; None for the path of a file or folder."""
    if not source.startswith(HUB):
        return None
    name, _, split = source.removeprefix(HUB).partition(":")
    name, _, revision = name.partition("@")
    if not name:
        raise UserError(f"{source!r} names no data set; write hf:OWNER/NAME, or hf:OWNER/NAME@REVISION:SPLIT")
    return HubName(name, revision or None, split or "train")


def is_there(source: str) -> bool:
    """Whether a source is on the hub, which is not asked here, or a file or folder that exists."""
    return hub_name(source) is not None or Path(source).exists()


def rows_file(source: str) -> Path:
    """The file or folder with the rows of a source, whose images are files: the source itself, or the place where it was unpacked.

    Raises UserError for a data set that cannot be streamed, and for a file that cannot be read.
    """
    if (hub := hub_name(source)) is not None:
        return _unpacked(source, _streamed(hub), list(hub), f"{hub.name}-{hub.split}")
    path = Path(source)
    if path.is_dir() and (path / "metadata.jsonl").is_file():  # an imagefolder, whose images are files
        return path / "metadata.jsonl"
    if not path.exists() or not _holds_images(path):
        return path
    state = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in row_files(path)]
    return _unpacked(source, (row for _, row in located_rows(path)), state, path.stem)


def sha256_of_rows(source: str) -> str | None:
    """The SHA-256 of the file of rows of a source, of a folder that of its files' names and digests; None where there is none."""
    path = rows_file(source)
    if path.is_dir():
        listed = "".join(f"{_digest(file)}  {file.name}\n" for file in row_files(path))
        return hashlib.sha256(listed.encode("utf-8", "surrogatepass")).hexdigest()
    return _digest(path) if path.is_file() else None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def cache_folder() -> Path:
    """The folder for what can be made again: EMOCALIBER_CACHE, else `emocaliber` in the user's cache."""
    if given := os.environ.get("EMOCALIBER_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")) / "emocaliber"


def _holds_images(path: Path) -> bool:
    """Whether the first row of binary files holds an image's bytes."""
    if not any(file.suffix.lower() in (".parquet", ".arrow") for file in row_files(path)):
        return False
    return any(_embedded(value) for value in next(iter(located_rows(path)))[1].values())


def _embedded(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_embedded, value))
    if isinstance(value, Mapping):
        return isinstance(value.get("bytes"), bytes) or any(_embedded(each) for each in value.values() if isinstance(each, list | Mapping))
    return False


def _streamed(hub: HubName) -> Iterator[Row]:
    """The rows of a data set, in their order, with images as their bytes. Raises UserError if `datasets` cannot read it."""
    try:
        import datasets
    except ImportError as error:
        raise missing_packages("train", f"{HUB}{hub.name}", error) from error
    datasets.disable_progress_bars()
    try:
        stream = datasets.load_dataset(hub.name, split=hub.split, revision=hub.revision, streaming=True).decode(False)
        yield from stream
    except UserError:
        raise
    except Exception as error:  # of the network, of the hub, of any file in it
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise UserError(
            f"{HUB}{hub.name}: the split '{hub.split}' cannot be streamed ({reason}); another split is named after a colon "
            f"({HUB}{hub.name}:validation), and a copy on disk by its folder"
        ) from error


def _unpacked(source: str, rows: Iterable[Row], state: list[Any], name: str) -> Path:
    """The rows of a source in the cache, written there unless they are there already, in the same state."""
    digest = hashlib.sha256(json.dumps([source if source.startswith(HUB) else "", state]).encode()).hexdigest()[:16]
    folder = cache_folder() / "datasets" / f"{''.join(c if c.isalnum() else '-' for c in name)}-{digest}"
    file = folder / ROWS
    if file.is_file():
        return file
    half = folder.with_name(f".{folder.name}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with Lock(folder, display_name(folder)):
            if file.is_file():
                return file
            shutil.rmtree(half, ignore_errors=True)  # of a process that was killed
            try:
                count = _write(rows, half, folder)
                if not count:
                    raise UserError(f"{display_name(source)} has no rows")
                write_atomically(half / RECORD, json.dumps({"source": source, "rows": count, "state": state}, indent=1) + "\n")
                os.replace(half, folder)
            finally:
                shutil.rmtree(half, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{display_name(source)}: cannot be unpacked into {display_name(folder.parent)} ({error.strerror or error}); EMOCALIBER_CACHE "
            "names another folder"
        ) from error
    return file


def _write(rows: Iterable[Row], half: Path, folder: Path) -> int:
    """Writes rows and images below `half`, and returns the number of rows."""
    count = 0
    with RowWriter(half / ROWS, lock=False) as writer:
        for count, row in enumerate(rows, 1):  # noqa: B007, returned
            writer.write({key: _plain(value, half, folder) for key, value in row.items()})
    return count


def _plain(value: Any, half: Path, folder: Path) -> Any:
    """A value as JSON takes it; an image's bytes become a file below `half`, named as it will be called below `folder`."""
    if isinstance(value, list):
        return [_plain(each, half, folder) for each in value]
    if isinstance(value, Mapping):
        if isinstance(data := value.get("bytes"), bytes):
            return _image_file(data, half, folder)
        return {key: _plain(each, half, folder) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def _image_file(data: bytes, half: Path, folder: Path) -> str:
    digest = hashlib.sha256(data).hexdigest()
    suffix = next((suffix for start, suffix in _KINDS.items() if data.startswith(start)), ".image")
    place = Path(IMAGES) / digest[:2] / f"{digest}{suffix}"
    if not (half / place).is_file():
        (half / place).parent.mkdir(parents=True, exist_ok=True)
        (half / place).write_bytes(data)
    return str(folder.absolute() / place)
