"""Pictures that are no photographs: does a model know that they are unfamiliar, and is it no surer than a guess?

    OMP_NUM_THREADS=2 python benchmarks/unfamiliar.py [--model lite] [--n 400] [--seed 5] [--photographs FOLDER] [--work runs/unfamiliar]

Draws N drawings, screens, printed pages, charts, noise and blanks with a seed of their own (`photographs/sheets.py`), and asks about each,
with two labels and with eight. With a FOLDER of photographs, such as OASIS's, it asks about those, too: how many are taken for unfamiliar?
Ends with one JSON line; intervals are exact (Clopper-Pearson), 95 %.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import emocaliber as ec
from emocaliber.evaluation.intervals import clopper_pearson
from emocaliber.photographs.pictures import sheets
from emocaliber.predict.prediction import Prediction

TASKS = {"FI-2": 2, "EmoSet-8": 8}


def share(flags: Sequence[bool]) -> dict[str, Any]:
    low, high = clopper_pearson(sum(flags), len(flags))
    return {"share": fmean(flags), "ci": [low, high], "n": len(flags)}


def summary(predictions: Sequence[Prediction]) -> dict[str, Any]:
    confidences = [each.confidence for each in predictions if each.confidence is not None]
    return {
        "unfamiliar": share([bool(each.unfamiliar) for each in predictions]),
        "confidence": fmean(confidences),
        "errors": sum(each.error is not None for each in predictions),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--photographs", type=Path, help="a folder of photographs to compare with")
    parser.add_argument("--work", type=Path, default=Path("runs/unfamiliar"))
    args = parser.parse_args()
    predictor = ec.load(args.model)
    drawn = sheets(args.work / f"sheets-{args.seed}", args.n, side=256, seed=args.seed)
    result: dict[str, Any] = {"model": args.model}
    for task, labels in TASKS.items():
        result[task] = {"chance": 1 / labels, "sheets": summary(list(predictor.predict_many(drawn, task=task, progress=True)))}
        if args.photographs:
            result[task]["photographs"] = summary(list(predictor.predict_many(args.photographs, task=task, progress=True)))
        for what in ("sheets", "photographs"):
            if what in result[task]:
                found = result[task][what]
                seen, (low, high) = found["unfamiliar"]["share"], found["unfamiliar"]["ci"]
                confidence = f"mean confidence {found['confidence']:.3f} (a guess: {1 / labels:.3f})"
                print(f"{task}, {what}: unfamiliar {seen:.1%} [{low:.1%}, {high:.1%}], {confidence}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
