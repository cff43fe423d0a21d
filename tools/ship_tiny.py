"""Puts a trained model into the package as `tiny`: half-precision weights, processor, card and model card; and calibrates it there.

python tools/ship_tiny.py runs/tiny/six/stage3/model runs/tiny/held-out/*/samples.jsonl
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
from emocaliber.training.export import calibrate_checkpoint

CARDS = Path(__file__).parent.parent / "configs" / "tiny"
LIMIT = 20_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of a finished stage")
    parser.add_argument("held_out", type=Path, nargs="+", help="scenes that no stage has seen, one file for each task")
    args = parser.parse_args()
    folder: Path = args.model
    shutil.rmtree(TINY, ignore_errors=True)
    AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float16).save_pretrained(TINY)
    load_processor(folder).save_pretrained(TINY)
    for name in ("emocaliber.json", "README.md"):
        shutil.copy(CARDS / name, TINY)
    samples = [replace(sample, id=f"{sample.task}/{sample.id}") for file in args.held_out for sample in read_samples(file)]
    digest = hashlib.sha256("".join(sha256_of(file) for file in args.held_out).encode()).hexdigest()
    print(calibrate_checkpoint(TINY, samples, {"path": "synthetic scenes", "sha256": digest}))
    size = sum(file.stat().st_size for file in TINY.iterdir())
    print(f"{TINY}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise SystemExit(f"that is more than {LIMIT / 1e6:.0f} MB; use a smaller model")


if __name__ == "__main__":
    main()
