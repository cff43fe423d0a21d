"""The shape of the paper's Table 6 in the known-answer world: scaffold, cold start and final model on the same unseen scenes.

    python benchmarks/evolvement.py --models runs/tiny [--n 2000] [--out docs/evolvement.md]

Draws the test scenes (seed 7) if they are not there, asks each stage's model greedily, scores the answers, writes the table and ends with
one JSON line. Also says in which share of the answers the model named the element, figure, context and interaction that are really there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import pstdev
from typing import Any

from asking import ask
from emocaliber.evaluation import evolvement_table, summarise
from emocaliber.response import Malformed, parse
from emocaliber.rows import read_rows, write_atomically
from emocaliber.scenes import draw_samples
from emocaliber.scenes.reading import read_right
from emocaliber.scoring import read_outcomes
from emocaliber.vecbench import read_samples

SEED = 7
SOURCES = {
    "verb": "The confidence as stated, in greedy answers",
    "verb_mean": "The stated confidence, averaged over the probabilities of its digits: what `predict` gives for `tiny`",
}
STAGES = {"Scaffold (stage 1)": "stage1", "Cold start (stage 2)": "stage2", "Final (stage 3)": "stage3"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("runs/tiny"), help="the folder with stage1, stage2 and stage3")
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    folder = args.models / "scenes" / "test"
    for _ in draw_samples(folder, args.n, SEED):
        pass
    samples = list(read_samples(folder / "samples.jsonl"))[: args.n]
    scenes = {row["id"]: row["scene"] for row in read_rows(folder / "samples.jsonl")}
    summaries: dict[str, dict[str, Any]] = {}
    readings: dict[str, dict[str, float]] = {}
    spreads: dict[str, dict[str, float]] = {}
    for name, stage in STAGES.items():
        if (args.models / stage / "model").is_dir():
            kept = args.models / "evolvement" / f"{stage}.jsonl"
            answers = ask(str(args.models / stage / "model"), samples, kept, confidence=stage != "stage1")
            outcomes = list(read_outcomes(answers))
            summaries[name] = summarise(outcomes)
            spreads[name] = {source: spread(outcome.confidence[source] for outcome in outcomes) for source in SOURCES}
            readings[name] = reading_accuracy(answers, scenes)
    text = report(summaries, readings, spreads, args.n)
    print(text)
    if args.out:
        write_atomically(args.out, text)
    overall = {name: summary["overall"] for name, summary in summaries.items()}
    print(json.dumps({"benchmark": "evolvement", "n": args.n, "reading": readings, "overall": overall}))


def reading_accuracy(answers: Path, scenes: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """The share of all answers whose reasoning names what is there, by step; a malformed answer names nothing."""
    right = {"element": 0, "human": 0, "context": 0, "interaction": 0}
    total = 0
    for row in read_rows(answers):
        response = parse(row["response"] or "", row["candidates"])
        total += 1
        if not isinstance(response, Malformed):
            for step, seen in read_right(response.reasoning, scenes[row["id"]]).items():
                right[step] += seen
    return {step: count / total for step, count in right.items()}


def spread(confidences: Iterable[float | None]) -> float:
    """The standard deviation of those that there are; nan if there are none."""
    stated = [each for each in confidences if each is not None]
    return pstdev(stated) if stated else float("nan")


def report(
    summaries: Mapping[str, dict[str, Any]], readings: Mapping[str, Mapping[str, float]], spreads: Mapping[str, Mapping[str, float]], n: int
) -> str:
    """The Markdown page."""
    lines = [
        f"# How `tiny` evolves over the three stages ({n:,} unseen EmoSet-8 scenes)",
        "",
        f"Written by `python benchmarks/evolvement.py --n {n}`. Scenes of seed {SEED}, greedy answers. In percent, with 95 % intervals by",
        "the bootstrap over scenes. Where a confidence is read: [confidence-sources.md](confidence-sources.md). `verb_mean` is at the",
        "temperature of the roll-outs for the final model, and at 1 for the cold start, which has had none.",
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
    stated = overall["confidence"][source]
    sorted_well = None if stated["auroc"] is None else stated["auroc"] / best["auroc"]
    values = (
        overall["accuracy"] / overall["best_possible"]["accuracy"],
        stated["brier"],
        best["brier"],
        stated["auroc"],
        best["auroc"],
        sorted_well,
        None if spread != spread else spread,
    )
    return f"| {name} | {' | '.join('–' if value is None else f'{100 * value:.2f}' for value in values)} |"  # noqa: RUF001


if __name__ == "__main__":
    main()
