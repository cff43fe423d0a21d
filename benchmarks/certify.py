"""Whether certificates keep their promise, and how much they accept, by simulation beside published methods.

    OMP_NUM_THREADS=1 python benchmarks/certify.py [--calibrations 2000] [--sizes 500 2000 8000] [--seed 0]
    OMP_NUM_THREADS=1 EMOCALIBER_DATA=... python benchmarks/certify.py --records DIR

Each calibration draws n answers of a system whose accuracy at each confidence is known, so that the true accuracy and coverage of the
threshold that a method gives are known too. A promise is broken if the true accuracy of the accepted answers is below the target. Methods:
ours ("fallback"); Bonferroni and Holm on a grid of 100 thresholds, and fixed-sequence testing on it from ten starts (Learn then Test,
Angelopoulos et al. 2021); SGR (Geifman and El-Yaniv 2017); and the naive rule, the lowest threshold above which the answers at hand
are accurate enough. With --records, ten real sets of answers (RLCR: Damani et al. 2025): certified on one half, checked on the other.
Prints tables for docs/calibrate-certify.md; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emocaliber.evaluation.intervals import clopper_pearson
from emocaliber.trust.certificate import Bools, Floats, accepted_by_threshold, certified_threshold, p_value, pilot_of

TARGETS = (0.7, 0.8, 0.9)
DELTA = 0.05
POPULATION = 400_000  # confidences by which true accuracies are known
Rule = Callable[[Floats, Bools, float, Bools], float | None]  # of confidences, which are right, the target, and which are the pilot


def smooth(confidence: Floats) -> Floats:
    """Accuracy rises smoothly with confidence."""
    return 0.45 + 0.53 * confidence**1.5


def stepped(confidence: Floats) -> Floats:
    """Accuracy has four values."""
    return np.select([confidence > 0.8, confidence > 0.5, confidence > 0.25], [0.96, 0.84, 0.72], 0.5)


def non_monotone(confidence: Floats) -> Floats:
    """The surest answers, a tenth of all, are wrong nearly half the time."""
    return np.where(confidence > 0.92, 0.55, 0.5 + 0.5 * confidence)


def islands(confidence: Floats) -> Floats:
    """Two islands of low accuracy above and below a good region: the accuracy of what is accepted rises and falls twice."""
    return np.select([confidence > 0.97, confidence > 0.93, confidence > 0.85, confidence > 0.6], [0.5, 0.99, 0.8, 0.9], 0.6)


TRUTHS: Mapping[str, Callable[[Floats], Floats]] = {
    "smooth": smooth,
    "stepped": stepped,
    "non-monotone": non_monotone,
    "islands": islands,
}


def naive(confidence: Floats, right: Bools, accuracy: float, pilot: Bools) -> float | None:
    """The lowest threshold with an empirical accuracy above the target."""
    found = accepted_by_threshold(confidence, right)
    able = np.flatnonzero(found.right >= accuracy * found.accepted)
    return float(found.threshold[able[-1]]) if able.size else None


def sgr(confidence: Floats, right: Bools, accuracy: float, pilot: Bools) -> float | None:
    """Selection with guaranteed risk: a binary search over ranks, each with an exact binomial bound at delta/ceil(log2 n)."""
    order = np.argsort(-confidence, kind="stable")
    sure, rights = confidence[order], np.cumsum(right[order])
    n, low, high, best = confidence.size, 1, confidence.size, None
    steps = math.ceil(math.log2(n))
    for _ in range(steps):
        middle = (low + high + 1) // 2
        if p_value(rights[middle - 1], middle, accuracy) <= DELTA / steps:
            best, low = middle, middle
        else:
            high = middle
    return None if best is None else float(sure[best - 1])


RULES: Mapping[str, Rule] = {
    "ours": lambda confidence, right, accuracy, pilot: certified_threshold(confidence, right, accuracy, DELTA, pilot=pilot),
    "Bonferroni": lambda confidence, right, accuracy, _: certified_threshold(confidence, right, accuracy, DELTA, "bonferroni"),
    "Holm": lambda confidence, right, accuracy, _: certified_threshold(confidence, right, accuracy, DELTA, "holm"),
    "fixed sequence": lambda confidence, right, accuracy, _: certified_threshold(
        confidence, right, accuracy, DELTA, "fixed_sequence", starts=10
    ),
    "SGR": sgr,
    "naive": naive,
}
PUBLISHED = ("Bonferroni", "Holm", "fixed sequence", "SGR")


class World:
    """Answers whose confidences are Beta(4, 2) and whose accuracy at each confidence is `truth`."""

    def __init__(self, truth: Callable[[Floats], Floats], seed: int) -> None:
        self.truth, self.random = truth, np.random.default_rng(seed)
        self.population = np.sort(np.random.default_rng(10**6).beta(4, 2, POPULATION))
        self.above = np.cumsum(truth(self.population)[::-1])[::-1] / np.arange(POPULATION, 0, -1)

    def draw(self, n: int) -> tuple[Floats, Bools, Bools]:
        """Confidences, which answers are right, and which are the pilot; sorted, as that is faster."""
        confidence = np.sort(self.random.beta(4, 2, n))[::-1]
        return confidence, self.random.random(n) < self.truth(confidence), self.random.permutation(pilot_of(n))

    def true(self, threshold: float | None) -> tuple[float, float]:
        """(accuracy, coverage) of a threshold; (1, 0) without one."""
        if threshold is None:
            return 1.0, 0.0
        place = min(int(np.searchsorted(self.population, threshold)), POPULATION - 1)
        return float(self.above[place]), 1 - place / POPULATION


def simulated(calibrations: int, sizes: list[int], seed: int) -> Iterator[dict[str, Any]]:
    """A row for each truth, target and size: how often each method broke its promise, and the mean true coverage."""
    for name, truth in TRUTHS.items():
        world = World(truth, seed)
        for n in sizes:
            broken = {(rule, target): 0 for rule in RULES for target in TARGETS}
            covered = {(rule, target): 0.0 for rule in RULES for target in TARGETS}
            for _ in range(calibrations):
                confidence, right, pilot = world.draw(n)
                for target in TARGETS:
                    for rule, find in RULES.items():
                        accuracy, coverage = world.true(find(confidence, right, target, pilot))
                        broken[rule, target] += accuracy < target
                        covered[rule, target] += coverage / calibrations
            for target in TARGETS:
                row = {"truth": name, "n": n, "target": target}
                row |= {"broken": {rule: broken[rule, target] for rule in RULES}, "coverage": {r: covered[r, target] for r in RULES}}
                print(shown(row, calibrations), flush=True)
                yield row


HEAD = "| truth | n | target | broken (95 % interval) | broken, naive | coverage | Bonferroni | Holm | fixed seq. | SGR |\n|" + "---|" * 10


def shown(row: Mapping[str, Any], calibrations: int) -> str:
    ours, naively = row["broken"]["ours"], row["broken"]["naive"] / calibrations
    low, high = clopper_pearson(ours, calibrations)
    covered = " | ".join(f"{100 * row['coverage'][rule]:.1f}" for rule in ("ours", *PUBLISHED))
    interval = f"{100 * ours / calibrations:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    return f"| {row['truth']} | {row['n']:,} | {row['target']:.0%} | {interval} | {100 * naively:.0f} % | {covered} |"


def on_records(folder: Path, splits: int, seed: int) -> Iterator[dict[str, Any]]:
    """Certified on a random half of the records, checked on the other half: a promise counts as kept if that half's accuracy reaches it."""
    import pyarrow as pa

    for file in sorted(folder.glob("*/responses.arrow")):
        table = pa.ipc.open_stream(file).read_all()
        for method in (name.removesuffix("-evals") for name in table.column_names if name.endswith("-evals")):
            confidence = np.array([first for (first,) in table[f"{method}-confidence_levels"].to_pylist()], float)
            right = np.array([first for (first,) in table[f"{method}-evals"].to_pylist()], bool)
            random = np.random.default_rng(seed)
            row: dict[str, Any] = {"records": f"{file.parent.name}, {method}", "n": right.size}
            for target in TARGETS:
                row[f"{target}"] = {rule: _halves(RULES[rule], confidence, right, target, splits, random) for rule in ("ours", "naive")}
            cells = (
                f"{row[f'{t}'][rule][0] - row[f'{t}'][rule][1]} of {row[f'{t}'][rule][0]}" for t in TARGETS for rule in ("ours", "naive")
            )
            print(f"| {row['records']} | {right.size} | {' | '.join(cells)} |", flush=True)
            yield row


def _halves(rule: Rule, confidence: Floats, right: Bools, target: float, splits: int, random: np.random.Generator) -> tuple[int, int]:
    """The splits with a promise, and those of them in which the accepted answers of the other half are right less often.

    Their accuracy varies by chance too, so this overstates how often the promise itself is broken.
    """
    promised = broken = 0
    for _ in range(splits):
        order = random.permutation(right.size)
        mine, other = order[: right.size // 2], order[right.size // 2 :]
        threshold = rule(confidence[mine], right[mine], target, pilot_of(mine.size))
        if threshold is None:
            continue
        promised += 1
        accepted = confidence[other] >= threshold
        broken += bool(right[other][accepted].mean() < target) if accepted.any() else False
    return promised, broken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calibrations", type=int, default=2000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000, 8000])
    parser.add_argument("--records", type=Path, metavar="DIR", help="the folder `rlcr` of real records")
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.records:
        print("| records | n | " + " | ".join(f"{t:.0%}, {rule}" for t in TARGETS for rule in ("ours", "naive")) + " |\n|" + "---|" * 8)
        rows = list(on_records(args.records, args.splits, args.seed))
        print(json.dumps({"splits": args.splits, "records": rows}))
        return
    print(HEAD)
    rows = list(simulated(args.calibrations, args.sizes, args.seed))
    worst = max(rows, key=lambda row: row["broken"]["ours"])
    best = [(row["coverage"]["ours"], max(row["coverage"][rule] for rule in PUBLISHED)) for row in rows]
    print(
        json.dumps(
            {
                "calibrations": args.calibrations,
                "delta": DELTA,
                "most_broken": worst["broken"]["ours"] / args.calibrations,
                "most_broken_ci": clopper_pearson(worst["broken"]["ours"], args.calibrations),
                "most_broken_naive": max(row["broken"]["naive"] for row in rows) / args.calibrations,
                "least_share_of_best_published": min(ours / other for ours, other in best if other > 0.005),
                "rows": rows,
            }
        )
    )


if __name__ == "__main__":
    main()
