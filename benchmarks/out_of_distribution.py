"""Out-of-distribution check: a model on the nine synthetic subtasks (three of them out of domain), OOD pictures and photographs.

    python benchmarks/out_of_distribution.py [--model tiny] [--n 500] [--oasis FOLDER] [--source calibrated] [--out FILE]

Draws N unseen scenes of each subtask (seed 8), and as many OOD pictures; takes the photographs of OASIS (a folder with ratings.csv
and images/, by default below $EMOCALIBER_DATA; without it they are left out) as a polarity task, positive where the mean valence is above
4, the middle of its scale. Answers are greedy and kept in a folder of the model's name in the work folder (--work); confidences are read at
the source, by default at the one that `predict` gives for `tiny`:
calibrated for the questions that it has a calibrator for, else verb_mean. Writes the table and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from asking import ask
from emocaliber.core.calibrators import CALIBRATED
from emocaliber.core.response import Malformed, parse
from emocaliber.core.samples import Sample, read_samples
from emocaliber.core.scoring import read_outcomes
from emocaliber.core.sources import SOURCES, verb_mean
from emocaliber.core.tasks import TASKS, labels_of
from emocaliber.evaluation.summary import summarise
from emocaliber.io.rows import read_rows, write_atomically
from emocaliber.render.table import Table, percent, with_interval
from emocaliber.scenes.dataset import draw_samples
from emocaliber.scenes.out_of_domain import OOD_ELEMENT
from emocaliber.vecbench.sources import custom

SEED = 8
MIDPOINT = 4  # of OASIS's scale of valence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--n", type=int, default=500)
    data = os.environ.get("EMOCALIBER_DATA")
    parser.add_argument("--oasis", type=Path, default=Path(data) / "oasis" if data else None, metavar="FOLDER")
    parser.add_argument("--work", type=Path, default=Path("runs/out_of_distribution"))
    parser.add_argument("--source", choices=(*SOURCES, CALIBRATED))
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    answers = args.work / args.model.strip("./").replace("/", "-")
    found = {
        name: numbers(ask(args.model, samples, answers / f"{name.replace(', ', '-').replace(' ', '-')}.jsonl"), args.source)
        for name, samples in pictures(args.work / "scenes", args.n, args.oasis).items()
    }
    text = report(found, args.n)
    print(text)
    if args.out:
        write_atomically(args.out, text)
    print(json.dumps({"benchmark": "out_of_distribution", "model": args.model, "n": args.n, "source": args.source, "found": found}))


def pictures(folder: Path, n: int, oasis: Path | None) -> dict[str, list[Sample]]:
    """The samples of each row of the table."""
    rows = {name: drawn(folder / name, n, name) for name in TASKS}
    rows["OOD, eight emotions"] = drawn(folder / "ood-8", n, "EmoSet-8", ood_share=1.0)
    rows["OOD, polarity"] = drawn(folder / "ood-2", n, "FI-2", ood_share=1.0)
    if oasis:
        items = custom.read(oasis / "ratings.csv", "OASIS", midpoint=MIDPOINT, images=oasis / "images").items
        candidates = ("positive", "negative")
        rows["OASIS photographs, polarity"] = [
            Sample(Path(item.image).stem, item.image, "OASIS-polarity", candidates, item.label, source="OASIS", split="test")
            for item in items
        ]
    return rows


def drawn(folder: Path, n: int, task: str, ood_share: float = 0.0) -> list[Sample]:
    for _ in draw_samples(folder, n, SEED, task, ood_share=ood_share):
        pass
    return list(read_samples(folder / "samples.jsonl"))[:n]


def numbers(answers: Path, source: str | None) -> dict[str, Any]:
    """The numbers of a table's row, from the answers about one kind of picture."""
    outcomes = list(read_outcomes(answers))
    if source is None:
        calibrated = any(each.confidence.get(CALIBRATED) is not None for each in outcomes)
        source = CALIBRATED if calibrated else verb_mean.__name__
    overall = summarise(outcomes)["overall"]
    stated = [confidence for each in outcomes if (confidence := each.confidence.get(source)) is not None]
    return {
        "n": len(outcomes),
        "malformed": overall["malformed"]["share"],
        "accuracy": overall["accuracy"],
        "accuracy_ci": overall["accuracy_ci"],
        "best": (overall.get("best_possible") or {}).get("accuracy"),
        "source": source,
        "confidence": fmean(stated) if stated else None,
        "spread": pstdev(stated) if stated else None,
        **{key: overall["confidence"].get(source, {}).get(key) for key in ("ece", "ece_ci", "brier", "brier_ci", "auroc", "auroc_ci")},
        "nothing_familiar": fmean(map(nothing_familiar, read_rows(answers))),
    }


def nothing_familiar(row: dict[str, Any]) -> bool:
    """Whether a response says that nothing in the picture is familiar."""
    response = parse(row["response"] or "", labels_of(row["task"], row["candidates"]))
    return not isinstance(response, Malformed) and OOD_ELEMENT.phrase in response.reasoning.element.lower()


def report(found: dict[str, dict[str, Any]], n: int) -> str:
    """The Markdown page."""
    header = ["pictures", "n", "malformed", "Acc", "best", "source", "mean conf.", "spread", "ECE", "Brier", "AUROC", "“nothing familiar”"]
    rows = [
        [
            name,
            f"{row['n']:,}",
            percent(row["malformed"]),
            with_interval(row["accuracy"], row["accuracy_ci"]),
            percent(row["best"]),
            row["source"],
            percent(row["confidence"]),
            percent(row["spread"]),
            *(with_interval(row[key], row[f"{key}_ci"]) for key in ("ece", "brier", "auroc")),
            percent(row["nothing_familiar"]),
        ]
        for name, row in found.items()
    ]
    note = (
        "Percentages; 95 % intervals in brackets. Best: the accuracy of always naming the likeliest label. Nothing familiar: the share of "
        "answers whose first step says so."
    )
    lines = [
        "# Other questions, out-of-distribution pictures, photographs",
        "",
        f"Written by `python benchmarks/out_of_distribution.py --n {n}`. Synthetic pictures of seed {SEED}, greedy answers, confidence as",
        "`predict` reads it ([confidence-sources.md](confidence-sources.md)).",
        "",
        Table(header, rows, note=note).as_markdown(),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
