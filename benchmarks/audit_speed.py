"""Time and recall of the near-duplicate search among 100,000 hashes, and the speed of hashing images.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/audit_speed.py [--n 100000] [--distance 8] [--images 4000] [--folder DIR]

The hashes are random, with 1,000 groups of planted near duplicates and 2,000 hashes that share most of their bits, as those of similar
pictures do; brute force over a tenth of them is the oracle. The images are drawn here (4,000 JPEGs of 640 x 480), or those of a folder.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emocaliber.vecbench.duplicates import DISTANCE, fingerprints, hamming_distance, near_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--distance", type=int, default=DISTANCE)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    hashes, planted = planted_hashes(args.n, args.distance, np.random.default_rng(0))
    start, cpu = time.perf_counter(), time.process_time()
    pairs = near_pairs(hashes, args.distance)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = set(map(tuple, pairs.tolist()))
    some = np.sort(np.random.default_rng(1).permutation(args.n)[: args.n // 10])
    truth = brute_force(hashes, some, args.distance)
    recall = sum(pair in found for pair in truth) / len(truth)
    false = sum(pair not in truth for pair in found if set(pair) <= set(some.tolist()))
    recall_planted = sum(pair in found for pair in planted) / len(planted)
    print(f"{args.n:,} hashes, distance {args.distance}: {seconds:.1f} s ({cpu_seconds:.1f} s of one core), peak {peak:.0f} MB")
    print(f"recall {recall:g} of {len(truth):,} pairs by brute force, {recall_planted:g} of {len(planted):,} planted ones; {false} false")
    with tempfile.TemporaryDirectory() as drawn:
        folder = args.folder or draw(Path(drawn), args.images)
        paths = sorted(str(path) for path in folder.iterdir())
        rates = {workers: hashing_rate(paths, workers) for workers in (1, 2)}
    print(f"hashing images: {rates[1]:.0f}/s in one process, {rates[2]:.0f}/s in two, their start included")
    print(
        json.dumps(
            {
                "benchmark": "audit_speed",
                "hashes": args.n,
                "distance": args.distance,
                "seconds": round(seconds, 2),
                "cpu_seconds": round(cpu_seconds, 2),
                "peak_mb": round(peak),
                "recall": recall,
                "recall_planted": recall_planted,
                "false": false,
                "images_per_second": {"one_process": round(rates[1], 1), "two_processes": round(rates[2], 1)},
            }
        )
    )


def planted_hashes(n: int, distance: int, random: np.random.Generator) -> tuple[NDArray[np.uint64], set[tuple[int, int]]]:
    """Hashes, and the pairs planted among them at every distance up to the given one."""
    hashes = random.integers(0, 1 << 64, n, np.uint64, endpoint=False)
    planted = set()
    places = random.permutation(n)
    for number, (place, copy) in enumerate(places[:2000].reshape(-1, 2)):
        hashes[copy] = hashes[place] ^ flipped(random, number % (distance + 1))
        planted.add((int(min(place, copy)), int(max(place, copy))))
    for place in places[2000:4000]:
        hashes[place] = hashes[places[0]] ^ flipped(random, 20)
    return hashes, planted


def flipped(random: np.random.Generator, bits: int) -> np.uint64:
    return np.uint64(sum(1 << int(bit) for bit in random.permutation(64)[:bits]))


def brute_force(hashes: NDArray[np.uint64], places: NDArray[np.int64], distance: int) -> set[tuple[int, int]]:
    """The near pairs among the hashes at these rising places."""
    some, pairs = hashes[places], set()
    for number in range(places.size - 1):
        close = np.flatnonzero(hamming_distance(some[number + 1 :], some[number : number + 1]) <= distance)
        pairs.update((int(places[number]), int(places[number + 1 + other])) for other in close)
    return pairs


def draw(folder: Path, n: int) -> Path:
    """JPEGs of smooth noise, about as large as photographs of that size."""
    random = np.random.default_rng(0)
    for number in range(n):
        noise = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8)).resize((640, 480), Image.Resampling.BICUBIC)
        noise.save(folder / f"{number:05}.jpg", quality=90)
    return folder


def hashing_rate(paths: list[str], workers: int) -> float:
    start = time.perf_counter()
    fingerprints(paths, workers=workers)
    return len(paths) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
