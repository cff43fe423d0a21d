"""What a model writes as its confidence, beside the true probability that each of its answers is right: the known-answer world.

    python benchmarks/written_confidence.py [--model tiny] [--n 5000] [--others 2000] [--seed S] [--out docs/written-confidence.md]

Draws N unseen scenes of EmoSet-8, and fewer of the other eight subtasks and of OOD scenes, asks the model greedily, and compares each of
its confidences with the true probability of the answer: ECE, Brier score above that of stating the truth, AUROC as a share of what stating
the truth would have. Accuracy is that of the answers in expectation over annotators, as a share of the best possible. Intervals are 95 %,
by the bootstrap over scenes. Answers are kept in the work folder (--work) and reused for the same weights. Writes the page and beside it
the figure, and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from asking import ask
from emocaliber.core.response import Malformed, parse
from emocaliber.core.samples import read_samples
from emocaliber.core.scoring import VERBALIZED, Outcome, read_outcomes
from emocaliber.core.tasks import TASKS, labels_of
from emocaliber.evaluation.calibration import ece, reliability_bins
from emocaliber.evaluation.metrics import Tally
from emocaliber.evaluation.ranking import auroc
from emocaliber.io.rows import read_rows, write_atomically
from emocaliber.render.table import Table, percent, with_interval
from emocaliber.scenes.dataset import draw_samples
from emocaliber.scenes.template_teacher import concepts_named

Floats = npt.NDArray[np.float64]

FIRST, OOD = "EmoSet-8", "OOD scenes, eight emotions"
REPLICATES = 500


@dataclass(frozen=True)
class Answered:
    """A model's answers to the scenes of one question: the true probability of each (0 for a malformed one), the best possible one, and
    every source's confidences (NaN for none), all (n,)."""

    truth: Floats
    best: Floats
    confidences: Mapping[str, Floats]
    malformed: float

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Answered:
        posteriors = [each.posterior or {} for each in outcomes]
        sources = sorted({source for each in outcomes for source in each.confidence})
        return cls(
            np.array([posterior.get(each.answer or "", 0.0) for each, posterior in zip(outcomes, posteriors, strict=True)]),
            np.array([max(posterior.values()) for posterior in posteriors]),
            {source: np.array([_number(each.confidence.get(source)) for each in outcomes]) for source in sources},
            float(np.mean([each.malformed is not None for each in outcomes])),
        )

    @property
    def given(self) -> list[str]:
        """The sources that give any answer a confidence."""
        return [source for source, confidence in self.confidences.items() if not np.isnan(confidence).all()]

    def numbers(self, source: str) -> dict[str, Any]:
        """The source's numbers with their intervals, `X` and `X_ci`."""
        stated = ~np.isnan(self.confidences[source])
        truth, best, confidence = self.truth[stated], self.best[stated], self.confidences[source][stated]
        names: dict[str, Callable[[Floats, Floats, Floats], float]] = {
            "accuracy_of_best": lambda p, b, _: float(p.mean() / b.mean()),
            "ece": lambda p, _, c: float(ece(Tally.of(c, p))),
            "brier_above_best": lambda p, _, c: float(((c - p) ** 2).mean()),
            "auroc": lambda p, _, c: float(auroc(Tally.of(c, p))),
            "auroc_of_possible": lambda p, _, c: float(auroc(Tally.of(c, p)) / auroc(Tally.of(p, p))),
        }
        found: dict[str, Any] = {name: value(truth, best, confidence) for name, value in names.items()}
        draws = np.random.default_rng(0).integers(0, len(truth), (REPLICATES, len(truth)))
        for name, value in names.items():
            replicates = [value(truth[rows], best[rows], confidence[rows]) for rows in draws]
            found[f"{name}_ci"] = tuple(map(float, np.quantile(replicates, (0.025, 0.975))))
        return found | {"coverage": float(stated.mean()), "mean": float(confidence.mean()), "truth": float(truth.mean())}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--others", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--work", type=Path, default=Path("runs/written_confidence"))
    parser.add_argument("--out", type=Path, help="a Markdown file; the figure gets its name with .png")
    args = parser.parse_args()
    asked = {FIRST: (args.n, FIRST, 0.0)} | {task: (args.others, task, 0.0) for task in TASKS if task != FIRST}
    asked[OOD] = (args.others, FIRST, 1.0)
    answered, reading, digits = {}, {}, Counter[str]()
    for name, (n, task, share) in asked.items():
        if not n:
            continue
        scenes = args.work / f"scenes-{args.seed}" / name.replace(", ", "-").replace(" ", "-")
        for _ in draw_samples(scenes, n, args.seed, task, ood_share=share):
            pass
        samples = list(read_samples(scenes / "samples.jsonl"))[:n]
        file = args.work / args.model.strip("./").replace("/", "-") / f"{args.seed}-{scenes.name}.jsonl"
        outcomes = list(read_outcomes(ask(args.model, samples, file)))[:n]
        answered[name] = Answered.of(outcomes)
        if name == FIRST:
            drawn = {row["id"]: row["scene"] for row in read_rows(scenes / "samples.jsonl")}
            reading = shares_read(file, drawn)
            digits = Counter(f"{value:.2f}"[:3] for each in outcomes if (value := each.confidence.get(VERBALIZED)) is not None)
    numbers = {name: {source: each.numbers(source) for source in each.given} for name, each in answered.items()}
    text = page(args, answered, numbers, reading, digits)
    print(text)
    if args.out:
        write_atomically(args.out, text)
        figure(answered[FIRST], args.model).savefig(args.out.with_suffix(".png"), dpi=150)
    written = {name: found[VERBALIZED] for name, found in numbers.items()}
    print(json.dumps({"benchmark": "written_confidence", "model": args.model, "seed": args.seed, "reading": reading, "written": written}))


def shares_read(answers: Path, scenes: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
    """By step, the share of answers whose reasoning names the scene's concept; a malformed answer names none."""
    right, total = Counter[str](), 0
    for row in read_rows(answers):
        if row["id"] not in scenes:
            continue
        total += 1
        response = parse(row["response"] or "", labels_of(row["task"], row["candidates"]))
        if not isinstance(response, Malformed):
            right.update({step: int(seen) for step, seen in concepts_named(response.reasoning, scenes[row["id"]]).items()})
    return {step: count / total for step, count in right.items()}


HEADER = ["n", "Acc / best", "ECE", "Brier above best", "AUROC / possible", "stated", "true"]


def _row(n: int, found: Mapping[str, Any]) -> list[str]:
    keys = ("accuracy_of_best", "ece", "brier_above_best", "auroc_of_possible")
    return [f"{n:,}", *(with_interval(found[key], found[f"{key}_ci"]) for key in keys), percent(found["mean"]), percent(found["truth"])]


def page(
    args: argparse.Namespace,
    answered: Mapping[str, Answered],
    numbers: Mapping[str, Mapping[str, Mapping[str, Any]]],
    reading: Mapping[str, float],
    digits: Mapping[str, int],
) -> str:
    """The Markdown page."""
    sources = [[source, *_row(len(answered[FIRST].truth), found)] for source, found in numbers[FIRST].items()]
    questions = [[name, *_row(len(each.truth), numbers[name][VERBALIZED]), percent(each.malformed)] for name, each in answered.items()]
    best = "calibrated"
    calibrated = [[name, *_row(len(answered[name].truth), found[best])] for name, found in numbers.items() if best in found]
    total = sum(digits.values())
    spread = ", ".join(f"{digit}: {100 * count / total:.1f}" for digit, count in sorted(digits.items()))
    note = (
        "Percentages, with 95 % intervals. ECE, Brier and AUROC are those of the confidence against the true probability that the answer "
        "is right; stated and true are the means of both."
    )
    lines = [
        f"# The written confidence of {args.model}, beside the truth",
        "",
        f"Written by `python benchmarks/written_confidence.py --model {args.model} --n {args.n} --others {args.others} --seed",
        f"{args.seed}`; unseen synthetic scenes, greedy answers. How confidences are read: [confidence-sources.md](confidence-sources.md).",
        "",
        Table(["source", *HEADER], sources, f"{FIRST}: every confidence", note).as_markdown(),
        "",
        Table(["question", *HEADER, "malformed"], questions, "The number as written, by question").as_markdown(),
        "",
        *([f"![True probability by confidence as written]({args.out.with_suffix('.png').name})", ""] if args.out else []),
        *([Table(["question", *HEADER], calibrated, "What `predict` gives, by question").as_markdown(), ""] if calibrated else []),
        f"First digits written on {FIRST}, in percent: {spread}.",
        "",
        "Concepts that the reasoning names and that are there: "
        + ", ".join(f"{step} {100 * share:.1f} %" for step, share in reading.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def figure(answered: Answered, model: str) -> Figure:
    """The true probability of the answers beside the number written, in ten bins, and how often each is written."""
    stated = ~np.isnan(answered.confidences[VERBALIZED])
    bins = reliability_bins(Tally.of(answered.confidences[VERBALIZED][stated], answered.truth[stated]))
    drawn = Figure(figsize=(6, 4.2), layout="constrained")
    axes = drawn.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    shares = np.array([each.n for each in bins]) / stated.sum()
    axes.scatter([each.confidence for each in bins], [each.accuracy for each in bins], s=20 + 1200 * shares, alpha=0.6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence as written", ylabel="true probability of being right")
    axes.set_title(f"{model}, {FIRST}: {stated.sum():,} unseen scenes; area: share of answers", fontsize=9)
    return drawn


if __name__ == "__main__":
    main()
