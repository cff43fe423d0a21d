"""Pictures that look the same: a 64-bit hash of how a picture looks, and all pairs of hashes that differ in few bits.

docs/vecbench-audit.md says how the hash and the distance were chosen.
"""

from __future__ import annotations

from itertools import combinations, count

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

DISTANCE = 8  # bits in which two hashes of one picture may differ
FARTHEST = 16  # beyond it different pictures match by chance

_SIDE = 32
_PLAIN = 4.0  # a quarter of a grey level: waves this faint are rounding and the noise of a JPEG
_SPARE_BANDS = 3

# The 64 longest waves, by rising frequency, without the mean, which is brightness alone.
_WAVES = tuple(np.array(sorted(((y, x) for y in range(_SIDE) for x in range(_SIDE)), key=lambda wave: (sum(wave), wave))[1:65]).T)
_SET_BITS = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


def hash_image(image: Image.Image) -> int | None:
    """How a picture looks, in 64 bits that survive scaling, recompression and changes of brightness: a perceptual hash (pHash).

    Each bit says whether one of the longest waves of the picture's cosine transform is stronger than their median. None for a picture
    so plain that these would be bits of noise.
    """
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    waves = dctn(grey, norm="ortho")[_WAVES]
    if np.median(np.abs(waves)) < _PLAIN:
        return None
    return int.from_bytes(np.packbits(waves > np.median(waves)).tobytes(), "big")


def bits_apart(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.int64]:
    """In how many bits the hashes differ, elementwise: a (n,), b (n,) or (1,) -> (n,)."""
    quarters = _SET_BITS[np.ascontiguousarray(a ^ b).view(np.uint16)].reshape(-1, 4)
    counts: NDArray[np.int64] = quarters.sum(axis=1, dtype=np.int64)
    return counts


def near_pairs(hashes: NDArray[np.uint64], distance: int = DISTANCE) -> NDArray[np.int64]:
    """All pairs (i, j), i < j, of the (n,) hashes that differ in at most `distance` bits, as (m, 2) in rising order.

    Multi-index hashing (Norouzi, Punjani and Fleet 2012) with pigeons to spare: of `distance` + 3 bands of bits at least three are equal
    in any such pair, so for each choice of three it is enough to sort by these and to compare neighbours. Exact, whatever the hashes;
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


def look_alikes(hashes: NDArray[np.uint64], distance: int = DISTANCE) -> NDArray[np.int64]:
    """The number of the group that each of the (n,) hashes belongs to. Within a group every hash is near another one of it."""
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
        close = left[bits_apart(ordered[left], ordered[left + step]) <= distance]
        near.append(np.stack((order[close], order[close + step]), axis=1))
    return np.sort(np.concatenate(near), axis=1) if near else np.empty((0, 2), np.int64)
