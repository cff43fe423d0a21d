"""How good `lite` is on photographs that it has not seen: five-fold cross-validation over OASIS, stage by stage.

    python tools/make_lite.py WHEEL --oasis OASIS --imagenet SAMPLES --fold 0       # and 1, 2, ... (an hour each on one core)
    python benchmarks/photographs.py --oasis OASIS [--runs runs/lite] [--folds 0,1,2] [--out FILE]

Each fold is a fifth of the rated photographs, answered by a model whose three stages and regression were fitted on the others. Two-way
questions are judged by the side of people's mean valence; questions of more labels by the label that most people would name, which is drawn
from P(label | valence, arousal) (docs/affect.md). Beside each stage are its written confidence and the calibrated one (by calibrators
fitted on other photographs), beside the model the ridge regression that it learnt from. Valence r is the correlation of P(positive) with
people's mean valence. "Persons" is the share of photographs with somebody whose reasoning says so; "kinds" the share whose first step
names a content of the right kind (person, animal, place, thing).
Intervals are 95 % bootstrap intervals over photographs. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm as normal

from emocaliber.core.response import Response, parse
from emocaliber.core.tasks import labels_of
from emocaliber.core.tasks import task as task_called
from emocaliber.emotions.affect import label_distribution, most_named
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.evaluation.calibration import ece
from emocaliber.evaluation.metrics import Tally
from emocaliber.evaluation.ranking import auroc
from emocaliber.io.rows import read_rows, write_atomically
from emocaliber.photographs.collection import Photograph, read_oasis
from emocaliber.photographs.teacher import content_named, names_a_person
from emocaliber.render.table import Table
from emocaliber.trust.calibrate import calibrate_answers

STAGES = ("stage1", "stage2", "stage3")
POLARITY = ("FI-2", "WebEmo-2")
REPLICATES = 2000
Floats = np.ndarray


def measured(confidence: Floats, right: Floats, images: Sequence[str], seed: int = 0) -> dict[str, Any]:
    """Accuracy, ECE, Brier score and AUROC, each with its interval."""
    metrics: dict[str, Callable[[Floats, Floats], float]] = {
        "accuracy": lambda c, r: float(r.mean()),
        "ece": lambda c, r: float(ece(Tally.of(c, r))),
        "brier": lambda c, r: float(((c - r) ** 2).mean()),
        "auroc": lambda c, r: float(auroc(Tally.of(c, r))),
    }
    names, places = np.unique(np.array(images), return_inverse=True)
    rows_of = [np.flatnonzero(places == number) for number in range(len(names))]
    rng, found = np.random.default_rng(seed), {}
    drawn = [np.concatenate([rows_of[n] for n in rng.integers(len(names), size=len(names))]) for _ in range(REPLICATES)]
    for name, metric in metrics.items():
        values = np.array([metric(confidence[rows], right[rows]) for rows in drawn])
        found[name] = metric(confidence, right)
        found[f"{name}_ci"] = np.nanpercentile(values, [2.5, 97.5]).tolist()
    return found


def regression_row(folds: Sequence[Path], photographs: dict[str, Photograph]) -> dict[str, Any]:
    """The ridge regression as a two-way classifier: P(positive) = Phi(prediction / error)."""
    read = [row for fold in folds for row in read_rows(fold / "readout.jsonl")]
    valence = np.array([row["valence"] for row in read])
    truth = np.array([photographs[row["id"]].ratings.valence for row in read])
    confidence = normal.cdf(np.abs(valence) / np.array([row["valence_error"] for row in read]))
    right = ((valence > 0) == (truth > 0)).astype(float)
    numbers = measured(confidence, right, [row["id"] for row in read])
    return numbers | {"r": float(np.corrcoef(valence, truth)[0, 1]), "n": len(read)}


def regression_choices(folds: Sequence[Path], task: str) -> dict[str, str]:
    """The label that the regression and P(label | VAD) would answer, by photograph."""
    labels = taxonomy(task_called(task).taxonomy)
    found = {}
    for row in (row for fold in folds for row in read_rows(fold / "readout.jsonl")):
        draws = np.random.default_rng(0).normal((row["valence"], row["arousal"]), (row["valence_error"], row["arousal_error"]), (200, 2))
        shares = most_named(label_distribution(np.clip(draws, -0.95, 0.95), labels)).mean(0)
        found[row["id"]] = labels.labels[int(shares.argmax())]
    return found


def judged(rows: Sequence[dict[str, Any]], tasks: Sequence[str], photographs: dict[str, Photograph]) -> dict[str, Any]:
    """One stage's answers to these tasks: malformed share, accuracy, the written confidence and the calibrated one."""
    rows = [row for row in rows if row["task"] in tasks]
    parsed = [parse(row["response"] or "", labels_of(row["task"], row["candidates"]), lenient=True) for row in rows]
    whole = [(row, response) for row, response in zip(rows, parsed, strict=True) if isinstance(response, Response)]
    right = np.array([float(response.answer == row["ground_truth"]) for row, response in whole])
    images = [row["id"].split("/")[0] for row, _ in whole]
    found: dict[str, Any] = {"n": len(rows), "malformed": 1 - len(whole) / len(rows), "accuracy": float(right.mean())}
    written = np.array([np.nan if response.confidence is None else response.confidence for _, response in whole])
    if not np.isnan(written).any():
        found["written"] = measured(written, right, images)
    own = np.array([row["confidence"].get("norm") or np.nan for row, _ in whole])
    if not np.isnan(own).any():
        found["probability"] = measured(own, right, images)
    made = calibrate_answers([row for row, _ in whole])
    after = [(each.after, each.right) for each in made.judged]
    calibrated, truth = (np.concatenate(part) for part in zip(*after, strict=True))
    by_question = [images_of for images_of in _images_by_question(whole)]
    found["calibrated"] = measured(calibrated, truth, [image for question in by_question for image in question])
    if set(tasks) <= set(POLARITY):
        positive = np.array([p if response.answer == "positive" else 1 - p for p, (_, response) in zip(own, whole, strict=True)])
        truth_v = np.array([photographs[name].ratings.valence for name in images])
        found["r"] = float(np.corrcoef(positive, truth_v)[0, 1])
    with_person = [
        names_a_person(response.reasoning) for (_, response), name in zip(whole, images, strict=True) if photographs[name].person
    ]
    without = [
        names_a_person(response.reasoning) for (_, response), name in zip(whole, images, strict=True) if not photographs[name].person
    ]
    named = [content_named(response.reasoning) for _, response in whole]
    kinds = [content is not None and content.kind == photographs[name].content.kind for content, name in zip(named, images, strict=True)]
    exact = [content is not None and content.key == photographs[name].content.key for content, name in zip(named, images, strict=True)]
    unfamiliar = [content is None for content in named]
    found |= {"persons": float(np.mean(with_person)), "persons_wrongly": float(np.mean(without)), "kinds": float(np.mean(kinds))}
    return found | {"contents": float(np.mean(exact)), "unfamiliar": float(np.mean(unfamiliar))}


def _images_by_question(whole: Sequence[tuple[dict[str, Any], Response]]) -> list[list[str]]:
    found: dict[tuple[str, frozenset[str]], list[str]] = {}
    for row, _ in whole:
        found.setdefault((row["task"], frozenset(row["candidates"])), []).append(row["id"].split("/")[0])
    return list(found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oasis", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/lite"))
    parser.add_argument("--folds", default="0,1,2,3,4")
    parser.add_argument("--out", type=Path, help="write the tables there, in Markdown")
    args = parser.parse_args()
    photographs = {photograph.name: photograph for photograph in read_oasis(args.oasis)}
    folds = [args.runs / f"fold{number}" for number in args.folds.split(",")]
    result: dict[str, Any] = {"folds": len(folds), "regression": regression_row(folds, photographs), "stages": {}}
    for stage in STAGES:
        files = [fold / f"answers-{stage}.jsonl" for fold in folds]
        if not all(file.is_file() for file in files):
            continue
        rows = [row for file in files for row in read_rows(file)]
        tasks = list(dict.fromkeys(row["task"] for row in rows))
        found = {"polarity": judged(rows, POLARITY, photographs)}
        for task in tasks:
            if task not in POLARITY:
                of_task = judged(rows, [task], photographs)
                choices = regression_choices(folds, task)
                asked = [row for row in rows if row["task"] == task]
                of_task["regression"] = float(np.mean([choices[row["id"].split("/")[0]] == row["ground_truth"] for row in asked]))
                found[task] = of_task
        result["stages"][stage] = found
    tables = "\n\n".join(table.as_markdown() for table in _tables(result))
    print(tables)
    if args.out:
        write_atomically(args.out, f"{tables}\n")
    print(json.dumps(result))


def _with_ci(numbers: dict[str, Any], name: str, digits: int = 3) -> str:
    low, high = numbers[f"{name}_ci"]
    return f"{numbers[name]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _tables(result: dict[str, Any]) -> list[Table]:
    names = ("accuracy", "ece", "brier", "auroc")
    rows = [["ridge regression", "its own", *(_with_ci(result["regression"], name) for name in names), f"{result['regression']['r']:.3f}"]]
    for stage, found in result["stages"].items():
        polarity = found["polarity"]
        for source in ("probability", "written", "calibrated"):
            if source in polarity:
                rows.append([stage, source, *(_with_ci(polarity[source], name) for name in names), f"{polarity['r']:.3f}"])
    first = Table(["positive or negative", "confidence", "accuracy", "ECE", "Brier", "AUROC", "valence r"], rows, words=2)
    rows = []
    for stage, found in result["stages"].items():
        for task, numbers in found.items():
            if task != "polarity":
                source = numbers.get("calibrated")
                shown = [_with_ci(source, name) for name in names]
                rows.append([stage, task, *shown, f"{numbers['regression']:.3f}"])
    second = Table(["stage", "question", "accuracy", "ECE", "Brier", "AUROC", "regression's accuracy"], rows, words=2)
    rows = [
        [
            stage,
            *(
                f"{100 * found['polarity'][name]:.1f} %"
                for name in ("malformed", "persons", "persons_wrongly", "kinds", "contents", "unfamiliar")
            ),
        ]
        for stage, found in result["stages"].items()
    ]
    third = Table(["stage", "malformed", "persons named", "named wrongly", "kinds", "contents", "unfamiliar"], rows)
    return [first, second, third]


if __name__ == "__main__":
    main()
