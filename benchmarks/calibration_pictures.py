"""Draws the pictures of docs/calibration.md: three simulated systems whose true probabilities of being right are known.

    python benchmarks/calibration_pictures.py [--out docs]

All three give the same 3,000 answers. `honest` states the true probability of each, `too sure` a sharper number, `the average` always the
same one. The last line printed is JSON: the numbers that the page quotes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt

import emocaliber as ec
from emocaliber.evaluation.calibration import brier, ece
from emocaliber.evaluation.figures import reliability_figure, risk_coverage_figure
from emocaliber.evaluation.metrics import Tally
from emocaliber.evaluation.ranking import auroc, coverage_at
from emocaliber.evaluation.stated import confidence_metrics
from emocaliber.render.figure import BLUE, GREY, PanelFigure, png, style
from emocaliber.trust.certificate_figure import certificate_figure

Floats = npt.NDArray[np.float64]
N, SEED, SIZES, REPEATS = 3000, 12, (20, 50, 100, 200, 500, 1000, 2000, 5000), 2000
LABELS = ("calm", "tense")


def systems(random: np.random.Generator, n: int) -> tuple[dict[str, Floats], npt.NDArray[np.bool_]]:
    """The confidences that each system states, to two decimals, and whether the answers, the same for all, are right."""
    honest = np.clip(random.beta(3.2, 2.0, n), 0.02, 0.98)
    right = random.random(n) < honest
    sharper = 1 / (1 + np.exp(-(1.9 * np.log(honest / (1 - honest)) + 0.7)))
    stated = {"honest": honest, "too sure": sharper, "the average": np.full(n, right.mean())}
    return {name: np.round(values, 2) for name, values in stated.items()}, right


def rows(confidences: Floats, right: npt.NDArray[np.bool_]) -> list[dict[str, object]]:
    """The answers as `ec.calibrate` and `ec.certify` take them."""
    return [
        {"answer": LABELS[0], "truth": LABELS[int(not was_right)], "confidence": float(confidence)}
        for confidence, was_right in zip(confidences, right, strict=True)
    ]


def noise_figure(random: np.random.Generator) -> tuple[bytes, dict[int, list[float]]]:
    """The ECE of the honest system by the number of answers: median and the middle 90 %, as a PNG and as numbers."""
    ends: dict[int, list[float]] = {}
    for size in SIZES:
        repeated = (systems(random, size) for _ in range(REPEATS if size <= 1000 else REPEATS // 10))
        found = [float(ece(Tally.of(stated["honest"], right))) for stated, right in repeated]
        ends[size] = [round(float(each), 4) for each in np.quantile(found, (0.05, 0.5, 0.95))]
    sheet = PanelFigure(1, "The ECE of a perfectly calibrated system", width=3.6, height=2.3)
    axes = sheet.axes(0)
    low, middle, high = 100 * np.array(list(ends.values())).T
    axes.fill_between(SIZES, low, high, color=BLUE, alpha=0.2, linewidth=0)
    axes.plot(SIZES, middle, color=BLUE)
    axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
    axes.set(xscale="log", xlabel="Answers", ylabel="ECE in %", xticks=SIZES[::2], xticklabels=[f"{size:,}" for size in SIZES[::2]])
    axes.minorticks_off()
    return png(sheet.figure), ends


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs")
    args = parser.parse_args()
    random = np.random.default_rng(SEED)
    stated, right = systems(random, N)
    tallies = {name: Tally.of(values, right) for name, values in stated.items()}
    told = {name: confidence_metrics(values, right) for name, values in stated.items()}
    learnt, new = rows(*_halves(stated["too sure"], right)[0]), _halves(stated["too sure"], right)[1]
    calibration = ec.calibrate(learnt, labels=LABELS)
    after = np.array([row["calibrated"] for row in calibration.apply(rows(*new))], dtype=float)
    halves = {"too sure": new[0], "calibrated": np.round(after, 4)}
    certificate = ec.certify(rows(stated["honest"], right), labels=LABELS, accuracy=0.8, model="honest")
    by_eye = float(coverage_at(tallies["honest"], 0.8))
    with style():
        noise, ends = noise_figure(random)
        figures = {
            "reliability": png(reliability_figure("Stated and true", tallies, told)),
            "coverage": png(risk_coverage_figure("Which answers are kept first", {"the same answers": tallies}, list(tallies))),
            "noise": noise,
            "fitted": png(
                reliability_figure(
                    "1,500 new answers, before and after",
                    {name: Tally.of(values, new[1]) for name, values in halves.items()},
                    {name: confidence_metrics(values, new[1]) for name, values in halves.items()},
                )
            ),
            "certificate": png(certificate_figure(certificate)),
        }
    for name, data in figures.items():
        (args.out / f"calibration-{name}.png").write_bytes(data)
    measured = {
        name: {"ece": float(ece(tally)), "brier": float(brier(tally)), "auroc": None if name == "the average" else float(auroc(tally))}
        for name, tally in tallies.items()
    }
    promise = {"threshold": certificate.threshold, "coverage": certificate.coverage, "by_eye": by_eye}
    print(json.dumps({"right": float(right.mean()), "systems": measured, "certificate": promise, "ece_of_honest": ends}))
    return 0


Half = tuple[Floats, npt.NDArray[np.bool_]]


def _halves(values: Floats, right: npt.NDArray[np.bool_]) -> tuple[Half, Half]:
    half = len(values) // 2
    return (values[:half], right[:half]), (values[half:], right[half:])


if __name__ == "__main__":
    raise SystemExit(main())
