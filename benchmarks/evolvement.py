"""After the paper's Table 6, on synthetic scenes: scaffold, cold start and final model on the same unseen scenes.

    python benchmarks/evolvement.py --models runs/tiny/six [--n 2000] [--out docs/evolvement.md]

Draws the test scenes (seed 7) if they are not there, asks each stage's model greedily, scores the answers, writes the table and ends with
one JSON line. Each model's confidence is also calibrated, on 2,500 scenes of another seed. Also says in which share of the answers the
model named the element, figure, context and interaction that are really there.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import pstdev
from typing import Any

from asking import ask
from emocaliber.core.response import Malformed, parse
from emocaliber.core.samples import Sample, read_samples
from emocaliber.core.scoring import read_outcomes
from emocaliber.evaluation.summary import summarise
from emocaliber.evaluation.tables import evolvement_table
from emocaliber.io.rows import read_rows, write_atomically
from emocaliber.models.card import CALIBRATION, read_card
from emocaliber.scenes.dataset import draw_samples
from emocaliber.scenes.template_teacher import concepts_named
from emocaliber.training.export import calibrate_checkpoint
from emocaliber.trust.calibration_table import described

SEED = 7
HELD_OUT, HELD_OUT_SEED = 2500, 11
WEIGHTS = "model.safetensors"
SOURCES = {
    "verb": "The confidence as stated, in greedy answers",
    "verb_mean": "The stated confidence, averaged over the probabilities of its digits",
    "calibrated": "Calibrated on other scenes: what `predict` gives for `tiny`",
}
STAGES = {"Scaffold (stage 1)": "stage1", "Cold start (stage 2)": "stage2", "Final (stage 3)": "stage3"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("runs/tiny/six"), help="the folder with stage1, stage2 and stage3")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    folder = args.models / "scenes" / "test"
    for _ in draw_samples(folder, args.n, SEED):
        pass
    samples = list(read_samples(folder / "samples.jsonl"))[: args.n]
    others = args.models / "scenes" / "held-out"
    for _ in draw_samples(others, HELD_OUT, HELD_OUT_SEED, split="validation"):
        pass
    held_out = list(read_samples(others / "samples.jsonl"))
    scenes = {row["id"]: row["scene"] for row in read_rows(folder / "samples.jsonl")}
    summaries: dict[str, dict[str, Any]] = {}
    readings: dict[str, dict[str, float]] = {}
    spreads: dict[str, dict[str, float]] = {}
    fits: dict[str, str] = {}
    for name, stage in STAGES.items():
        if (args.models / stage / "model").is_dir():
            model, kept = args.models / stage / "model", args.models / "evolvement" / stage
            if stage != "stage1":
                model = calibrated(model, kept, held_out)
                fits[name] = described(read_card(model)[CALIBRATION]["questions"][0]["map"])
            answers = ask(str(model), samples, kept.with_suffix(".jsonl"), confidence=stage != "stage1")
            outcomes = list(read_outcomes(answers))
            summaries[name] = summarise(outcomes)
            spreads[name] = {source: spread(outcome.confidence.get(source) for outcome in outcomes) for source in SOURCES}
            readings[name] = reading_accuracy(answers, scenes)
    text = report(summaries, readings, spreads, fits, args.n)
    print(text)
    if args.out:
        write_atomically(args.out, text)
    overall = {name: summary["overall"] for name, summary in summaries.items()}
    print(json.dumps({"benchmark": "evolvement", "n": args.n, "reading": readings, "overall": overall}))


def calibrated(model: Path, copy: Path, held_out: Sequence[Sample]) -> Path:
    """A copy of the model with a fitted calibrator in its card; an existing copy of the same weights is reused."""
    if CALIBRATION not in read_card(copy) or not filecmp.cmp(copy / WEIGHTS, model / WEIGHTS, shallow=False):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(model, copy)
        calibrate_checkpoint(copy, held_out)
    return copy


def reading_accuracy(answers: Path, scenes: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """By step, the share of answers whose reasoning names the scene's concept; a malformed answer counts as naming none."""
    right = {"element": 0, "human": 0, "context": 0, "interaction": 0}
    total = 0
    for row in read_rows(answers):
        response = parse(row["response"] or "", row["candidates"])
        total += 1
        if not isinstance(response, Malformed):
            for step, seen in concepts_named(response.reasoning, scenes[row["id"]]).items():
                right[step] += seen
    return {step: count / total for step, count in right.items()}


def spread(confidences: Iterable[float | None]) -> float:
    """The standard deviation of the confidences without missing ones; NaN if there are none."""
    stated = [each for each in confidences if each is not None]
    return pstdev(stated) if stated else float("nan")


def report(
    summaries: Mapping[str, dict[str, Any]],
    readings: Mapping[str, Mapping[str, float]],
    spreads: Mapping[str, Mapping[str, float]],
    fits: Mapping[str, str],
    n: int,
) -> str:
    """The Markdown page."""
    lines = [
        f"# How `tiny` evolves over the three stages ({n:,} unseen EmoSet-8 scenes)",
        "",
        f"Written by `python benchmarks/evolvement.py --n {n}`. Scenes of seed {SEED}, greedy answers. In percent, with 95 % intervals by",
        "the bootstrap over scenes. Where a confidence is read: [confidence-sources.md](confidence-sources.md). `verb_mean` is at the",
        "temperature of the roll-outs for the final model, and at 1 for the cold start, which has had none. Both are calibrated alike,",
        f"on {HELD_OUT:,} other scenes (seed {HELD_OUT_SEED}): " + "; ".join(f"{name} {fit}" for name, fit in fits.items()) + ".",
    ]
    for source, title in SOURCES.items():
        lines += [
            "",
            f"## {title} (`{source}`)",
            "",
            evolvement_table(summaries, source).split("\n\n")[-1].rstrip(),  # the only subtask has a table of its own, which says the same
            "",
            "Against what could be known (accuracy as a share of the best possible; Brier and AUROC against stating, for the same answers,",
            "the true probability that each is right):",
            "",
            "| Model | Acc / best | Brier | Brier at best | AUROC | AUROC at best | AUROC / best | Spread of confidence |",
            "|---|---|---|---|---|---|---|---|",
            *(_against_best(name, summary["overall"], source, spreads[name][source]) for name, summary in summaries.items()),
        ]
    lines += [
        "",
        "## What the models see",
        "",
        "The share of answers whose reasoning names the concept that is really there.",
        "",
        "| Model | Element | Human | Context | Interaction |",
        "|---|---|---|---|---|",
    ]
    for name, shares in readings.items():
        lines.append(f"| {name} | " + " | ".join(f"{100 * share:.2f}" for share in shares.values()) + " |")
    return "\n".join(lines) + "\n"


def _against_best(name: str, overall: Mapping[str, Any], source: str, spread: float) -> str:
    best = overall["best_possible_same_answers"]["confidence"]["posterior"]
    stated = overall["confidence"].get(source, {})
    brier, auroc = stated.get("brier"), stated.get("auroc")
    sorted_well = None if auroc is None else auroc / best["auroc"]
    values = (
        overall["accuracy"] / overall["best_possible"]["accuracy"],
        brier,
        best["brier"],
        auroc,
        best["auroc"],
        sorted_well,
        None if spread != spread else spread,
    )
    return f"| {name} | {' | '.join('–' if value is None else f'{100 * value:.2f}' for value in values)} |"  # noqa: RUF001


if __name__ == "__main__":
    main()
