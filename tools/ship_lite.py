"""Puts a trained model into the package as `lite`: half-precision weights, processor, notice, card; its calibrators come from the folds.

python tools/ship_lite.py runs/lite/final/stage3-model --stage stage3 [--folds 0,1,2,3,4]

Calibrators are fitted on the held-out answers of the folds' models: every photograph was answered by a model trained like this one, on the
others.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

from emocaliber.core.calibrators import CALIBRATED
from emocaliber.inference.plan import sha256_of
from emocaliber.io.rows import read_rows
from emocaliber.models.card import CALIBRATION, NOTICE, WORDING, read_card, write_card
from emocaliber.models.processor import load_processor
from emocaliber.models.shipped import LITE
from emocaliber.photographs.teacher import wording
from emocaliber.trust.calibrate import calibrate_answers

CARDS = Path(__file__).parent.parent / "configs" / "lite"
LIMIT = 25_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the folder of the model to ship")
    parser.add_argument("--stage", required=True, help="the stage of the folds' answers that it is calibrated by")
    parser.add_argument("--folds", default="0,1,2,3,4")
    parser.add_argument("--runs", type=Path, default=Path("runs/lite"))
    args = parser.parse_args()
    files = [args.runs / f"fold{number}" / f"answers-{args.stage}.jsonl" for number in args.folds.split(",")]
    rows = [row for file in files for row in read_rows(file)]
    digest = hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest()
    found = calibrate_answers(rows, model={"name": "lite", "sha256": None, "commit": None})
    data = {"path": f"answers of {len(files)} folds of OASIS, each to photographs it was not trained on", "sha256": digest}
    questions = [each | {"answers": each["answers"] | data} for each in found.content["questions"]]
    content = {**found.content, "answers": found.content["answers"] | data, "questions": questions}
    shutil.rmtree(LITE, ignore_errors=True)
    AutoModelForImageTextToText.from_pretrained(args.model, dtype=torch.float16).save_pretrained(LITE)
    load_processor(args.model).save_pretrained(LITE)
    shutil.copy(CARDS / "README.md", LITE)
    shutil.copy(args.model / NOTICE, LITE)
    write_card(LITE, read_card(CARDS) | {WORDING: wording(), "confidence_source": CALIBRATED, CALIBRATION: content})
    print(found)
    size = sum(file.stat().st_size for file in LITE.iterdir())
    print(f"{LITE}: {size / 1e6:.1f} MB")
    if size > LIMIT:
        raise SystemExit(f"that is more than {LIMIT / 1e6:.0f} MB; use a smaller model")


if __name__ == "__main__":
    main()
