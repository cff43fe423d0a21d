"""How often 95 % intervals for the ECE hold the true one: percentile, bias-corrected and reflected, by simulation.

    python benchmarks/interval_coverage.py [--data-sets 300] [--replicates 500]

Systems whose true accuracy at each confidence is known answer n questions, so their true binned ECE is known. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from scipy.special import ndtr, ndtri

from emocaliber.evaluation.bootstrap import Estimate
from emocaliber.evaluation.calibration import ece, perfectly_calibrated
from emocaliber.evaluation.tally import Tally

LEVELS = np.arange(1, 101) / 100
SYSTEMS = {
    "calibrated": LEVELS,
    "0.05 too sure": np.clip(LEVELS - 0.05, 0, 1),
    "0.10 too sure": np.clip(LEVELS - 0.1, 0, 1),
    "0.30 too sure": np.clip(LEVELS - 0.3, 0, 1),
    "half as steep": 0.5 + 0.5 * (LEVELS - 0.5),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", type=int, default=300)
    parser.add_argument("--replicates", type=int, default=500)
    args = parser.parse_args()
    results = []
    print(f"{'system':<15}{'n':>6}{'true ECE':>10}   share of intervals that hold it: percentile, bias-corrected, ours")
    for name, accuracy in SYSTEMS.items():
        for n in (229, 1000, 8000):
            truth, held = coverage(accuracy, n, args.data_sets, args.replicates)
            results.append({"system": name, "n": n, "true_ece": round(truth, 4), **held})
            print(f"{name:<15}{n:>6}{truth:>10.3f}   " + ", ".join(f"{share:.2f}" for share in held.values()))
    print(json.dumps({"benchmark": "interval_coverage", "data_sets": args.data_sets, "results": results}))


def coverage(accuracy: np.ndarray, n: int, data_sets: int, replicates: int) -> tuple[float, dict[str, float]]:
    """The true ECE, and the share of data sets whose interval holds it, by kind of interval."""
    random = np.random.default_rng(0)
    spread = random.dirichlet(np.full(LEVELS.size, 0.5))
    truth = float(ece(Tally(LEVELS, spread * accuracy, spread * (1 - accuracy))))
    held = dict.fromkeys(("percentile", "bias_corrected", "ours"), 0)
    for _ in range(data_sets):
        count = random.multinomial(n, spread)
        right = random.binomial(count, accuracy).astype(float)
        tally = Tally(LEVELS, right, count - right)
        drawn = random.multinomial(n, np.concatenate([tally.right, tally.wrong]) / n, size=replicates).astype(float)
        estimate = Estimate(float(ece(tally)), ece(Tally(LEVELS, drawn[:, : LEVELS.size], drawn[:, LEVELS.size :])))
        floor = float(np.quantile(ece(perfectly_calibrated(tally, replicates, random)), 0.95))
        intervals = (estimate.interval(), bias_corrected(estimate), estimate.reflected_interval(floor))
        for kind, interval in zip(held, intervals, strict=True):
            held[kind] += interval is not None and interval[0] <= truth <= interval[1]
    return truth, {kind: round(times / data_sets, 3) for kind, times in held.items()}


def bias_corrected(estimate: Estimate) -> tuple[float, float]:
    """Efron's (1981) percentiles, moved by how far the estimate is from the replicates' median."""
    share = np.clip(np.mean(estimate.replicates < estimate.value), 1 / (estimate.replicates.size + 1), None)
    low, high = np.quantile(estimate.replicates, ndtr(2 * ndtri(share) + np.array([-1.96, 1.96])))
    return float(low), float(high)


if __name__ == "__main__":
    main()
