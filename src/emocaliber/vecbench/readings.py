"""Readings of data sets kept on disk, so that a build that was broken off, or is made again, need not decode every image anew."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from emocaliber.rows import write_atomically
from emocaliber.vecbench.sources.base import Item, Reading, Reason, Skipped
from emocaliber.vecbench.sources.folders import files_below


def remembered(file: Path, key: str, read: Callable[[], Reading]) -> Reading:
    """The reading kept in `file` if it was kept under this key; else what `read` gives, which is then kept."""
    if (kept := _kept(file, key)) is not None:
        return kept
    reading = read()
    write_atomically(file, json.dumps({"key": key, **_to_json(reading)}))
    return reading


def fingerprint(places: Iterable[Path], *settings: object) -> str:
    """A hash of the settings and of every file in these places: its name, size and time of change. Nothing is opened."""
    digest = hashlib.sha256(repr(settings).encode())
    for place in places:
        digest.update(b"\0" + os.fsencode(place.absolute()) + b"\0")
        for path, status in _files(place):
            digest.update(os.fsencode(path) + f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _files(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    files = [place / path for path in files_below(place)] if place.is_dir() else [place]
    return ((str(file), file.stat()) for file in files if file.exists())


def _kept(file: Path, key: str) -> Reading | None:
    """None, too, where the file is of an earlier version or damaged: reading again is always right."""
    try:
        found = json.loads(file.read_text("ascii"))
        return _from_json(found) if found["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _to_json(reading: Reading) -> dict[str, Any]:
    return {
        "source": reading.source,
        "folder": str(reading.folder),
        "items": [[item.image, item.label, item.source, item.split, item.votes] for item in reading.items],
        "skipped": [[each.path, each.reason, each.detail] for each in reading.skipped],
    }


def _from_json(found: dict[str, Any]) -> Reading:
    return Reading(
        found["source"],
        Path(found["folder"]),
        tuple(Item(*item) for item in found["items"]),
        tuple(Skipped(path, Reason(reason), detail) for path, reason, detail in found["skipped"]),
    )
