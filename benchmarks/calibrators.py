"""What calibrators do on real records: fitted on one half of the answers and judged on the other, over many splits.

    OMP_NUM_THREADS=1 EMOCALIBER_DATA=FOLDER python benchmarks/calibrators.py [--splits 200] [--out FILE]

The records are those of RLCR (Damani et al. 2025) in FOLDER/rlcr: five methods on two benchmarks, with the confidence and the correctness
of each answer. Compared are the confidence as it is, temperature scaling (Guo et al. 2017), the maps of `emocaliber calibrate fit`, and its
choice among them by cross-validated Brier score. A fit that is refused, as where all confidences are equal, leaves the confidence as it is,
and is counted. Writes a table of means over splits, in percent, and ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.optimize import minimize_scalar

from emocaliber.core.calibrators import CLIP
from emocaliber.evaluation.calibration import brier, ece
from emocaliber.evaluation.metrics import Tally
from emocaliber.io.rows import write_atomically
from emocaliber.render.progress import Progress
from emocaliber.render.table import Table, percent
from emocaliber.trust.fitting import Bools, Candidate, Floats, fit_map, probabilities
from emocaliber.trust.selection import Answered, choose, why_none

BENCHMARKS = ("commonsenseqa", "math-500")
SYSTEMS = ("Base", "RLVR", "RLVR-Classifier", "Answer-Prob", "RLCR")
CHOSEN = ("platt", "beta", "isotonic")

Fit = Callable[[Floats, Bools, int], Callable[[Floats], Floats]]


def temperature(given: Floats, right: Bools, seed: int) -> Callable[[Floats], Floats]:
    """Temperature scaling: the log-odds divided by the temperature with the least negative log-likelihood."""
    signs, odds = np.where(right, 1.0, -1.0), _log_odds(given)
    best = minimize_scalar(lambda power: np.logaddexp(0, -signs * odds * np.exp(power)).mean(), bounds=(-5, 5), method="bounded")
    return lambda new: 1 / (1 + np.exp(-_log_odds(new) * np.exp(best.x)))


def by_map(method: str) -> Fit:
    def fitted(given: Floats, right: Bools, seed: int) -> Callable[[Floats], Floats]:
        found = fit_map(Candidate(method, ("c",)), given[:, None], right)
        return lambda new: probabilities(found, new[:, None])

    return fitted


def by_choice(given: Floats, right: Bools, seed: int) -> Callable[[Floats], Floats]:
    """The choice of `calibrate fit`."""
    answered = Answered(("c",), given[:, None], right, tuple(map(str, range(right.size))))
    found = choose({"q": answered}, CHOSEN, seed=seed)["q"].map
    return lambda new: probabilities(found, new[:, None])


METHODS: dict[str, Fit] = {
    "as it is": lambda given, right, seed: lambda new: new,
    "temperature": temperature,
    **{method: by_map(method) for method in CHOSEN},
    "calibrate fit": by_choice,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    if "EMOCALIBER_DATA" not in os.environ:
        raise SystemExit("EMOCALIBER_DATA does not name the folder of real inputs")
    found: dict[str, dict[str, Any]] = {}
    with Progress("splitting", "splits", len(BENCHMARKS) * len(SYSTEMS) * args.splits) as bar:
        for benchmark in BENCHMARKS:
            records = pa.ipc.open_stream(Path(os.environ["EMOCALIBER_DATA"]) / "rlcr" / benchmark / "responses.arrow").read_all()
            for system in SYSTEMS:
                stated, right = _column(records, f"{system}-confidence_levels"), _column(records, f"{system}-evals") > 0.5
                found[f"{benchmark}, {system}"] = judged(np.clip(stated, 0, 1), right, args.splits, bar)
    means = {name: {key: float(np.mean([each[name][key] for each in found.values()])) for key in ("ece", "brier")} for name in METHODS}
    rows = [
        [record, *(f"{percent(each[name]['ece'])} / {percent(each[name]['brier'])}" for name in METHODS)] for record, each in found.items()
    ]
    rows.append(["mean", *(f"{percent(each['ece'])} / {percent(each['brier'])}" for each in means.values())])
    note = f"ECE / Brier score in percent, means over {args.splits} splits into halves; fitted on one half, judged on the other."
    text = Table(["Answers", *METHODS], rows, title="Calibrators on real records", note=note).as_markdown()
    print(text)
    if args.out:
        write_atomically(args.out, text)
    refused = {record: each["refused"] for record, each in found.items() if each["refused"]}
    print(json.dumps({"benchmark": "calibrators", "splits": args.splits, "mean": means, "refused": refused, "records": found}))


def judged(stated: Floats, right: Bools, splits: int, bar: Progress) -> dict[str, Any]:
    """The mean ECE and Brier score of each method over the splits, and the number of splits in which `calibrate fit` would refuse."""
    numbers: dict[str, list[tuple[float, float]]] = {name: [] for name in METHODS}
    refused = 0
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(right.size)
        fit, test = order[: right.size // 2], order[right.size // 2 :]
        half = Answered(("c",), stated[fit][:, None], right[fit], tuple(map(str, fit)))
        no = why_none(half) is not None
        refused += no
        for name, method in METHODS.items():
            new = stated[test] if no else method(stated[fit], right[fit], seed)(stated[test])
            tally = Tally.of(new, right[test])
            numbers[name].append((float(ece(tally)), float(brier(tally))))
        bar.advance()
    means = {name: np.mean(each, axis=0).tolist() for name, each in numbers.items()}
    return {"n": int(right.size), "refused": refused} | {name: {"ece": a, "brier": b} for name, (a, b) in means.items()}


def _log_odds(confidences: Floats) -> Floats:
    inside = np.clip(confidences, CLIP, 1 - CLIP)
    odds: Floats = np.log(inside) - np.log1p(-inside)
    return odds


def _column(table: Any, name: str) -> Floats:
    return np.array([first for (first,) in table[name].to_pylist()], dtype=float)


if __name__ == "__main__":
    main()
