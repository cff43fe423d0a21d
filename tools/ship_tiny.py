"""Puts a trained model into the package as `tiny`: half-precision weights, processor, card and model card; and calibrates it there.

python tools/ship_tiny.py runs/tiny/calibrated/stage2/model [--held-out runs/tiny/held-out]

Its calibrators, one for each question, are fitted on its answers to scenes that no stage has seen, which are drawn if they are not there.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

from emocaliber.core.samples import read_samples
from emocaliber.inference.plan import sha256_of
from emocaliber.models import TINY
from emocaliber.models.processor import load_processor
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.export import calibrate_checkpoint

CARDS = Path(__file__).parent.parent / "configs" / "tiny"
LIMIT = 20_000_000
HELD_OUT = {  # by question: how many scenes, their seed, and the share of them that is out-of-distribution, as in training
    "EmoSet-8": (2000, 71, 0.0),
    "FI-8": (1000, 72, 0.2),
    "WebEmo-7": (1000, 73, 0.2),
    "WebEmo-25": (1000, 74, 0.2),
    "FI-2": (1000, 75, 0.2),
    "WebEmo-2": (1000, 76, 0.2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of a finished stage")
    parser.add_argument("--held-out", type=Path, default=Path("runs/tiny/held-out"), metavar="DIR", help="where those scenes are")
    args = parser.parse_args()
    folder: Path = args.model
    shutil.rmtree(TINY, ignore_errors=True)
    AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float16).save_pretrained(TINY)
    load_processor(folder).save_pretrained(TINY)
    for name in ("emocaliber.json", "README.md"):
        shutil.copy(CARDS / name, TINY)
    files = []
    for task, (n, seed, share) in HELD_OUT.items():
        for _ in draw_samples(args.held_out / task, n, seed, task, ood_share=share):
            pass
        files.append(args.held_out / task / "samples.jsonl")
    samples = [replace(sample, id=f"{sample.task}/{sample.id}") for file in files for sample in read_samples(file)]
    digest = hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()
    print(calibrate_checkpoint(TINY, samples, {"path": "synthetic scenes", "sha256": digest}))
    size = sum(file.stat().st_size for file in TINY.iterdir())
    print(f"{TINY}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise SystemExit(f"that is more than {LIMIT / 1e6:.0f} MB; use a smaller model")


if __name__ == "__main__":
    main()
