"""Puts a trained model into the package as `tiny`: half-precision weights, processor, card and model card; and recalibrates it there.

python tools/ship_tiny.py runs/tiny/six/stage3/model runs/tiny/six/scenes/held-out/samples.jsonl
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

from emocaliber.core.samples import read_samples
from emocaliber.models import TINY
from emocaliber.models.processor import load_processor
from emocaliber.training.export import recalibrate

CARDS = Path(__file__).parent.parent / "configs" / "tiny"
LIMIT = 20_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of a finished stage")
    parser.add_argument("held_out", type=Path, help="the scenes that benchmarks/evolvement.py recalibrates by")
    args = parser.parse_args()
    folder: Path = args.model
    shutil.rmtree(TINY, ignore_errors=True)
    AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float16).save_pretrained(TINY)
    load_processor(folder).save_pretrained(TINY)
    for name in ("emocaliber.json", "README.md"):
        shutil.copy(CARDS / name, TINY)
    print(recalibrate(TINY, list(read_samples(args.held_out))))
    size = sum(file.stat().st_size for file in TINY.iterdir())
    print(f"{TINY}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise SystemExit(f"that is more than {LIMIT / 1e6:.0f} MB; use a smaller model")


if __name__ == "__main__":
    main()
