"""Images per second of `predict` with the model that ships: in batches, against one image at a time, in one run.

    python benchmarks/predict_speed.py [FOLDER] [--model lite] [--n 64] [--batch-size 32]

FOLDER defaults to examples/photos, repeated up to n. Both ways must say the same; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path

import torch

from emocaliber.io.inputs import find_images
from emocaliber.predict.predictor import Query, load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("examples/photos"))
    parser.add_argument("--model", default="lite")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()
    paths = list(islice(cycle(find_images([str(args.folder)], sys.stdin.buffer)), args.n))
    rates: dict[int, list[float]] = {1: [], args.batch_size: []}
    texts: dict[int, list[str | None]] = {}
    for _ in range(3):  # the sizes take turns, so that a noisy moment hits both
        for size in rates:
            predictor = load(args.model, batch_size=size)
            list(predictor.ask(paths[:size], Query.of()))  # warm-up
            start = time.perf_counter()
            texts[size] = [prediction.response for prediction in predictor.ask(paths, Query.of())]
            rates[size].append(len(paths) / (time.perf_counter() - start))
    single, batched = (sorted(values)[1] for values in rates.values())
    same = sum(a == b for a, b in zip(*texts.values(), strict=True)) / len(paths)
    print(f"one at a time: {single:.1f} images/s; batches of {args.batch_size}: {batched:.1f} images/s; {batched / single:.1f} times")
    print(
        json.dumps(
            {
                "benchmark": "predict_speed",
                "model": args.model,
                "images": len(paths),
                "threads": torch.get_num_threads(),
                "batch_size": args.batch_size,
                "images_per_second": {"one_at_a_time": round(single, 2), "batched": round(batched, 2)},
                "ratio": round(batched / single, 2),
                "same_text": same,
            }
        )
    )


if __name__ == "__main__":
    main()
