"""Puts a trained model into the package as `tiny`: half-precision weights, processor, card and model card; and recalibrates it there.

python tools/ship_tiny.py runs/tiny/stage3/model
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

from emocaliber.models import TINY
from emocaliber.models.processor import load_processor
from emocaliber.scenes import draw_samples
from emocaliber.training.recalibration import held_out_samples, recalibrate

SCENES = Path("runs/tiny/scenes/held-out")
CARDS = Path(__file__).parent.parent / "configs" / "tiny"
LIMIT = 20_000_000
HELD_OUT, SEED = 2500, 11  # scenes that no stage learns from, and no table is made of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of a finished stage")
    folder: Path = parser.parse_args().model
    shutil.rmtree(TINY, ignore_errors=True)
    AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float16).save_pretrained(TINY)
    load_processor(folder).save_pretrained(TINY)
    for name in ("emocaliber.json", "README.md"):
        shutil.copy(CARDS / name, TINY)
    for _ in draw_samples(SCENES, HELD_OUT, SEED, split="validation"):
        pass
    print(recalibrate(TINY, held_out_samples(SCENES / "samples.jsonl")))
    size = sum(file.stat().st_size for file in TINY.iterdir())
    print(f"{TINY}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise SystemExit(f"that is more than {LIMIT / 1e6:.0f} MB; use a smaller model")


if __name__ == "__main__":
    main()
