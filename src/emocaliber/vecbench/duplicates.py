"""Exact and near duplicates among images: fingerprints (SHA-256 and perceptual hash, cached in a file) and the search for near pairs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import combinations, count
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from emocaliber.io.images import ImageError, ImageLimits, OpenedImage, open_images
from emocaliber.io.rows import Row, RowWriter, display_name, read_rows

_LIMITS = ImageLimits(max_side=64)  # the hash looks at 32 x 32 pixels, so a JPEG need not be decoded in full
_CHUNK = 64
_FEW = 512  # images that are hashed faster here than a process starts


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The SHA-256 of an image file's bytes, and its 64-bit perceptual hash (None for an image too plain to have one)."""

    sha256: str
    phash: int | None


def fingerprints(
    paths: Sequence[str],
    cache: str | Path | None = None,
    *,
    workers: int = 2,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, Fingerprint | ImageError]:
    """The fingerprint of each path, or why it has none, in the order of the paths, which must be distinct.

    Every fingerprint is written to the `cache` file at once and read from there as long as the image's size and modification time are the
    same, so a second run, or one after an interruption, opens new images only. `progress` is called with the number of images done.
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
                phash = None if fingerprint.phash is None else f"{fingerprint.phash:016x}"
                size, time = state
                writer.write({"path": path, "size": size, "mtime_ns": time, "sha256": fingerprint.sha256, "look": phash})
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
    return Fingerprint(sha256, perceptual_hash(opened.image))


# The perceptual hash, and all pairs of hashes within a Hamming distance. docs/vecbench-audit.md says how both were chosen.

DISTANCE = 8  # bits in which two hashes of one picture may differ
FARTHEST = 16  # beyond it different pictures match by chance

_SIDE = 32
_PLAIN = 4.0  # a quarter of a grey level: waves this faint are rounding and the noise of a JPEG
_SPARE_BANDS = 3

# The 64 longest waves, by rising frequency, without the mean, which is brightness alone.
_WAVES = tuple(np.array(sorted(((y, x) for y in range(_SIDE) for x in range(_SIDE)), key=lambda wave: (sum(wave), wave))[1:65]).T)
_SET_BITS = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


def perceptual_hash(image: Image.Image) -> int | None:
    """The 64-bit perceptual hash (pHash) of a picture, stable under scaling, recompression and changes of brightness.

    Each bit says whether one of the lowest frequencies of the picture's cosine transform is above their median. None for a picture so
    plain that the bits would be noise.
    """
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    waves = dctn(grey, norm="ortho")[_WAVES]
    if np.median(np.abs(waves)) < _PLAIN:
        return None
    return int.from_bytes(np.packbits(waves > np.median(waves)).tobytes(), "big")


def hamming_distance(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The number of bits in which hashes differ, elementwise: a (n,), b (n,) or (1,) -> (n,)."""
    quarters = _SET_BITS[np.ascontiguousarray(a ^ b).view(np.uint16)].reshape(-1, 4)
    counts: NDArray[np.int64] = quarters.sum(axis=1, dtype=np.int64)
    return counts


def near_pairs(hashes: NDArray[np.uint64], distance: int = DISTANCE) -> NDArray[np.int64]:
    """All pairs (i, j), i < j, of the (n,) hashes that differ in at most `distance` bits, as (m, 2) in rising order.

    Multi-index hashing (Norouzi, Punjani and Fleet 2012) by the pigeonhole principle: of `distance` + 3 bands of bits at least three are
    equal in any such pair, so for each choice of three it is enough to sort by these and to compare neighbours. Exact, whatever the hashes;
    fast unless many of them are equal. Raises ValueError if `distance` is not within 0..16.
    """
    if not 0 <= distance <= FARTHEST:
        raise ValueError(f"distance must be within 0..{FARTHEST} bits, not {distance}")
    bands = distance + _SPARE_BANDS
    masks = [sum(1 << bit for bit in range(band, 64, bands)) for band in range(bands)]
    found = np.empty((0, 2), np.int64)
    for chosen in combinations(masks, _SPARE_BANDS):
        if (pairs := _pairs_in_buckets(hashes, np.uint64(sum(chosen)), distance)).size:
            found = np.unique(np.concatenate((found, pairs)), axis=0)
    return found


def near_duplicate_groups(hashes: NDArray[np.uint64], distance: int = DISTANCE) -> NDArray[np.int64]:
    """The group number of each of the (n,) hashes; groups are the connected components of `near_pairs`."""
    unique, place = np.unique(hashes, return_inverse=True)
    left, right = near_pairs(unique, distance).T
    graph = coo_array((np.ones(left.size, bool), (left, right)), shape=(unique.size, unique.size))
    groups: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups[place]


def _pairs_in_buckets(hashes: NDArray[np.uint64], mask: np.uint64, distance: int) -> NDArray[np.int64]:
    """The near pairs among hashes that are equal under the mask, each with its smaller index first."""
    keys = hashes & mask
    order = np.argsort(keys)
    keys, ordered = keys[order], hashes[order]
    left = np.arange(hashes.size)
    near = []
    for step in count(1):  # each hash against the next one of its bucket, then the one after that, until no bucket is that large
        left = left[: np.searchsorted(left, hashes.size - step)]
        left = left[keys[left] == keys[left + step]]
        if not left.size:
            break
        close = left[hamming_distance(ordered[left], ordered[left + step]) <= distance]
        near.append(np.stack((order[close], order[close + step]), axis=1))
    return np.sort(np.concatenate(near), axis=1) if near else np.empty((0, 2), np.int64)
