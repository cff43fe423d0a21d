"""What identifies the images of a data set: their bytes and their looks, found once and kept in a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from emocaliber.images import ImageError, Limits, OpenedImage, open_images
from emocaliber.rows import Row, RowWriter, display_name, read_rows
from emocaliber.vecbench.near_duplicates import hash_image

_LIMITS = Limits(max_side=64)  # the hash looks at 32 x 32 pixels, so a JPEG need not be decoded in full
_CHUNK = 64
_FEW = 512  # images that are sooner done here than another process is started


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The SHA-256 of an image file's bytes, and the hash of its looks (None where it is too plain to have one)."""

    sha256: str
    look: int | None


def fingerprints(
    paths: Sequence[str],
    cache: str | Path | None = None,
    *,
    workers: int = 2,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, Fingerprint | ImageError]:
    """The fingerprint of each path, or why it has none, in the order of the paths.

    Each path must stand there once. What is found goes to the `cache` file at once and is taken from there as long as the file's size and
    time stay as they are, so that a second run, or one after an interruption, opens only what is new. `progress` hears how many are done.
    Raises UserError if the cache cannot be read or written.
    """
    known = _read(Path(cache)) if cache is not None else {}
    states = {path: _state(path) for path in paths}
    found: dict[str, Fingerprint | ImageError] = {}
    for path in paths:
        row = known.get(path)
        if row is not None and (row["size"], row["mtime_ns"]) == states[path]:
            found[path] = Fingerprint(row["sha256"], None if row["look"] is None else int(row["look"], 16))
    progress(len(found))
    missing = [path for path in paths if path not in found]
    with RowWriter(cache, resume=True, key="path") if cache is not None else nullcontext() as writer:
        for path, fingerprint in _computed(missing, workers):
            found[path] = fingerprint
            state = states[path]
            if writer is not None and state is not None and isinstance(fingerprint, Fingerprint):
                look = None if fingerprint.look is None else f"{fingerprint.look:016x}"
                size, time = state
                writer.write({"path": path, "size": size, "mtime_ns": time, "sha256": fingerprint.sha256, "look": look})
            progress(len(found))
    return {path: found[path] for path in paths}


def _read(cache: Path) -> dict[str, Row]:
    if not cache.exists():
        return {}
    with RowWriter(cache, resume=True, key="path"):  # cuts off what an interruption left half-written
        return {row["path"]: row for row in read_rows(cache)}


def _state(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _computed(paths: Sequence[str], workers: int) -> Iterator[tuple[str, Fingerprint | ImageError]]:
    if workers == 1 or len(paths) <= _FEW:
        yield from zip(paths, _fingerprints_of(paths), strict=True)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        for chunk, results in zip(chunks, pool.map(_listed, chunks), strict=True):
            yield from zip(chunk, results, strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _listed(paths: Sequence[str]) -> list[Fingerprint | ImageError]:
    return list(_fingerprints_of(paths))


def _fingerprints_of(paths: Sequence[str]) -> Iterator[Fingerprint | ImageError]:
    for path, opened in zip(paths, open_images(paths, _LIMITS, workers=1), strict=True):
        yield _fingerprint(path, opened) if isinstance(opened, OpenedImage) else opened


def _fingerprint(path: str, opened: OpenedImage) -> Fingerprint | ImageError:
    try:
        with open(path, "rb") as file:  # it has just been opened and found to be an ordinary file
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return ImageError("not_found", f"{display_name(path)}: gone while it was read ({error.strerror}); run this again.")
    return Fingerprint(sha256, hash_image(opened.image))
