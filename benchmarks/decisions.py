"""What is lost where a checkpoint is asked for a decision: no reasoning, a temperature for a calibrator. The known-answer world.

    python benchmarks/decisions.py [--model tiny] [--n 1000] [--seed S] [--work DIR]

Draws N unseen scenes of EmoSet-8 and half as many of FI-2, fits the temperature of `decision.json` on one half of each, as `emocaliber
train export` does, and asks for the other half twice: as a decision (transformers' `pipeline("decision")`, one forward pass), and as
`emocaliber predict` does (five steps of reasoning, then the card's calibrator). Accuracy, ECE, Brier score and AUROC are against the votes
of single simulated annotators, in percent; the best possible accuracy is that of a model that knows the posterior. The Brier score is of
the confidence that the answer is right, so answers that are nearly never right, and say so, have a low one: compare accuracy first. CPU is
in seconds for an image, of all threads, decisions one at a time and predictions in batches. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emocaliber.core.samples import Sample, read_samples
from emocaliber.evaluation.calibration import brier, ece
from emocaliber.evaluation.metrics import Tally
from emocaliber.evaluation.ranking import auroc
from emocaliber.inference.plan import sampling_key
from emocaliber.models import checkpoint_of
from emocaliber.predict.predictor import load
from emocaliber.render.table import Table
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.decision import DecisionModel, write_decision

METRICS = {"ece": ece, "brier": brier, "auroc": auroc}


def with_reasoning(model: Any, samples: list[Sample]) -> dict[str, float]:
    """Accuracy, ECE, Brier score and AUROC of the model's predictions, and the CPU seconds for an image."""
    start = time.process_time()
    predictions = list(model.predict_many([sample.image for sample in samples], task=samples[0].task, progress=False))
    seconds = (time.process_time() - start) / len(samples)
    right = np.array([each.emotion == sample.ground_truth for each, sample in zip(predictions, samples, strict=True)], float)
    tally = Tally.of([each.confidence or 0.0 for each in predictions], right)
    best = np.mean([max(sample.posterior.values()) for sample in samples if sample.posterior])
    numbers = {name: 100 * float(metric(tally)) for name, metric in METRICS.items()}
    return {"accuracy": 100 * float(right.mean()), **numbers, "cpu_seconds": seconds, "best_accuracy": 100 * float(best)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="tiny, or the folder of a checkpoint (default: tiny)")
    parser.add_argument("--n", type=int, default=1000, help="scenes of EmoSet-8 (default: 1000)")
    parser.add_argument("--seed", type=int, default=990, help="of the scenes (default: 990)")
    parser.add_argument("--work", type=Path, help="a new folder for scenes and the checkpoint's copy (default: a temporary one)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    work = args.work or Path(tempfile.mkdtemp())
    samples: list[Sample] = []
    for task, n in (("EmoSet-8", args.n), ("FI-2", args.n // 2)):
        for _ in draw_samples(work / task, n, args.seed, task):
            pass
        samples += [replace(each, id=f"{task}/{each.id}") for each in read_samples(work / task / "samples.jsonl")]
    folder = Path(shutil.copytree(checkpoint_of(args.model), work / "model"))
    model = load(str(folder))  # before decision.json is there, as its card was made
    decided = write_decision(folder, samples)
    if isinstance(decided, str):
        raise SystemExit(decided)
    report: dict[str, Any] = {"model": args.model, "n": args.n, "seed": args.seed}
    rows = []
    for each in decided:
        mine = sorted((sample for sample in samples if sample.task == each.question.task), key=lambda sample: sampling_key(sample.id))
        test = mine[len(mine) - each.n :]
        asking = DecisionModel(folder)
        start = time.process_time()
        asking.scores(each.question, each.opening, [sample.image for sample in test[:50]])
        quick = {name: 100 * getattr(each, name) for name in ("accuracy", *METRICS)}
        quick |= {"cpu_seconds": (time.process_time() - start) / len(test[:50]), "temperature": each.temperature}
        slow = with_reasoning(model, test)
        report[each.question.task] = {"n": each.n, "opening": each.opening, "decision": quick, "predict": slow}
        for name, numbers in (("decision", quick), ("predict", slow)):
            measured = [f"{numbers[key]:.1f}" for key in ("accuracy", *METRICS)]
            rows.append([each.question.task, name, *measured, f"{numbers['cpu_seconds']:.3f}"])
        rows.append([each.question.task, "best possible", f"{slow['best_accuracy']:.1f}", *[""] * (len(METRICS) + 1)])
    print(Table(["", "asked by", "Acc", "ECE", "Brier", "AUROC", "CPU"], rows, words=2).as_text())
    print(json.dumps(report))


if __name__ == "__main__":
    main()
