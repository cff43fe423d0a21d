"""The coverage of 95 % intervals, and the rate of false positives of `compare`, by simulation.

    OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py [--data-sets 400] [--replicates 400]
    OMP_NUM_THREADS=1 python benchmarks/interval_coverage.py --false-stars [--pairs 1000] [--replicates 400]

Coverage. Systems of known accuracy at each stated confidence answer n questions with eight labels, so all their true numbers are known; the
intervals are those of `summarise`. Then the ECE alone, of systems whose confidences are spread over all of [0, 1]. With --false-stars, two
equally good systems answer the same n questions, in two tasks, and a table of `compare` with a star in it is a false one. The last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from emocaliber.core.scoring import Outcome
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.evaluation import metrics, stated
from emocaliber.evaluation.compare import compare
from emocaliber.evaluation.estimates import OutcomeCounts
from emocaliber.evaluation.metrics import Floats, Tally

LEVELS = np.arange(1, 101) / 100
LABELS = np.array(taxonomy("mikels-8").labels)
TRUTHS = np.arange(1, LABELS.size + 1.0) ** -0.5 / np.sum(np.arange(1, LABELS.size + 1.0) ** -0.5)  # some labels are rarer than others
SIZES = (4, 12, 50, 229, 1000)
ACCURACIES = (0.02, 0.5, 0.98)
TOO_SURE = {"calibrated": 0.0, "too sure": 1.0}  # by how much, in log odds
STATED = ("ece", "brier", "auroc")
METRICS = ("accuracy", "f1_macro", *STATED)
SPREAD = {
    "calibrated": LEVELS,
    "0.05 too sure": np.clip(LEVELS - 0.05, 0, 1),
    "0.10 too sure": np.clip(LEVELS - 0.1, 0, 1),
    "0.30 too sure": np.clip(LEVELS - 0.3, 0, 1),
    "half as steep": 0.5 + 0.5 * (LEVELS - 0.5),
}


@dataclass(frozen=True)
class System:
    """A simulated system: the probability of each of 100 confidences, and the accuracy at each, (100,) both."""

    share: Floats
    right: Floats

    @classmethod
    def of(cls, accuracy: float, too_sure: float) -> System:
        """Confidences whose log odds are normal with a standard deviation of 1, about a mean that gives this accuracy."""
        spread = np.linspace(-4, 4, 4001)
        weight = np.exp(-(spread**2) / 2)
        right = expit(logit(np.clip(LEVELS, 0.005, 0.995)) - too_sure) if too_sure else LEVELS

        def about(mean: float) -> Floats:
            level = np.clip(np.rint(100 * expit(mean + spread)), 1, 100).astype(int) - 1
            return np.asarray(np.bincount(level, weight, minlength=100) / weight.sum())

        return cls(about(brentq(lambda mean: float(about(mean) @ right) - accuracy, -12, 12)), right)

    def truth(self) -> dict[str, float]:
        """The true values of the metrics."""
        tally, accuracy = Tally(LEVELS, self.share * self.right, self.share * (1 - self.right)), float(self.share @ self.right)
        confusion = np.zeros((LABELS.size, LABELS.size + 1))
        confusion[:, :-1] = (1 - accuracy) * TRUTHS / (1 - TRUTHS[:, None])
        confusion[np.arange(LABELS.size), np.arange(LABELS.size)] = accuracy
        f1 = float(metrics.f1_macro(confusion * TRUTHS[:, None]))
        return {"accuracy": accuracy, "f1_macro": f1} | {name: float(stated.METRICS[name](tally)) for name in STATED}

    def outcomes(self, n: int, random: np.random.Generator, per_image: int = 1) -> list[Outcome]:
        """n answers; the answers to one image share confidence and correctness."""
        level = np.repeat(random.choice(100, -(-n // per_image), p=self.share), per_image)[:n]
        right = np.repeat(random.random(-(-n // per_image)), per_image)[:n] < self.right[level]
        truths = random.choice(LABELS.size, n, p=TRUTHS)
        return list(answered(LEVELS[level], right, truths, random, per_image))


def answered(confidences: Floats, right: Floats, truths: Floats, random: np.random.Generator, per_image: int = 1) -> Iterator[Outcome]:
    """Outcomes of FI-8; a wrong answer is another label, by how frequent it is."""
    keys = np.log(TRUTHS) + random.gumbel(size=(truths.size, LABELS.size))
    keys[np.arange(truths.size), truths] = -np.inf
    others = LABELS[keys.argmax(axis=1)]
    for at, (truth, other) in enumerate(zip(LABELS[truths].tolist(), others.tolist(), strict=True)):
        answer, confidence = (truth if right[at] else other), {"verb": float(confidences[at])}
        yield Outcome(str(at), "FI-8", truth, answer, bool(right[at]), None, None, confidence, image=str(at // per_image))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", type=int, default=400)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--false-stars", action="store_true", help="simulate `compare` of equal systems instead")
    parser.add_argument("--pairs", type=int, default=1000)
    args = parser.parse_args()
    if args.false_stars:
        results = [false_stars(n, args.pairs, args.replicates) for n in (12, 50, 229)]
        print(json.dumps({"benchmark": "false_stars", "pairs": args.pairs, "results": results}))
        return
    print(f"{'system':<15}{'accuracy':>9}{'n':>6}   share of intervals that hold the truth (mean width; share without an interval)")
    results = []
    for accuracy in ACCURACIES:
        for name, too_sure in TOO_SURE.items():
            for n in SIZES:
                results.append({"system": name, "n": n, **coverage(System.of(accuracy, too_sure), n, args.data_sets, args.replicates)})
                show(results[-1])
    shared = coverage(System.of(0.5, 0), 228, args.data_sets, args.replicates, per_image=3)
    results.append({"system": "3 per image", "n": 228, **shared})
    show(results[-1])
    eces = [
        {"system": name, "n": n, **coverage_of_ece(right, n, args.data_sets, args.replicates)}
        for name, right in SPREAD.items()
        for n in (50, 229, 1000, 8000)
    ]
    for each in eces:
        print(f"{each['system']:<15}{each['n']:>6}   ECE {each['true_ece']:.3f}: held {each['held']:.3f}, mean width {each['width']:.3f}")
    print(json.dumps({"benchmark": "interval_coverage", "data_sets": args.data_sets, "results": results, "ece": eces}))


def coverage(system: System, n: int, data_sets: int, replicates: int, per_image: int = 1) -> dict[str, object]:
    """By metric, the intervals' coverage, their mean width, and the share and number of data sets without an interval."""
    random = np.random.default_rng(n)
    truth = system.truth()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in METRICS}
    for number in range(data_sets):
        counts = OutcomeCounts(system.outcomes(n, random, per_image), replicates=replicates, seed=number)
        scope = counts.scopes[0]
        reported = {name: counts.answers(scope)[name].interval for name in ("accuracy", "f1_macro")}
        confidence = counts.confidence("verb", scope, STATED)
        for name in METRICS:
            interval = reported[name] if name in reported else confidence[f"{name}_ci"]
            if interval is not None:
                found[name].append((interval[0], interval[1]))
    numbers: dict[str, object] = {"accuracy": round(truth["accuracy"], 3)}
    for name, ends in found.items():
        low, high = np.array(ends).reshape(-1, 2).T
        some = low.size > 0
        numbers[f"{name}_held"] = round(float(np.mean((low <= truth[name]) & (truth[name] <= high))), 3) if some else None
        numbers[f"{name}_width"] = round(float(np.mean(high - low)), 3) if some else None
        numbers[f"{name}_none"] = round(1 - low.size / data_sets, 3)
        numbers[f"{name}_zero_width"] = int(np.sum(high <= low))
    return numbers


def show(result: dict[str, object]) -> None:
    shown = [
        f"{name} {NONE if result[f'{name}_held'] is None else result[f'{name}_held']} ({result[f'{name}_width']}; {result[f'{name}_none']})"
        for name in METRICS
    ]
    print(f"{result['system']:<15}{result['accuracy']:>9}{result['n']:>6}   " + ", ".join(shown), flush=True)


NONE = "none"


def coverage_of_ece(right: Floats, n: int, data_sets: int, replicates: int) -> dict[str, float]:
    """The true ECE, the coverage of its interval, and the intervals' mean width."""
    random = np.random.default_rng(0)
    share = random.dirichlet(np.full(LEVELS.size, 0.5))
    truth = float(stated.METRICS["ece"](Tally(LEVELS, share * right, share * (1 - right))))
    ends = []
    for seed in range(data_sets):
        count = random.multinomial(n, share)
        hits = random.binomial(count, right).astype(float)
        tally = Tally(LEVELS, hits, count - hits)
        drawn = random.multinomial(n, np.concatenate([tally.right, tally.wrong]) / n, size=replicates).astype(float)
        replicated = Tally(LEVELS, drawn[:, : LEVELS.size], drawn[:, LEVELS.size :])
        ends.append(stated.confidence_report(tally, replicated, ("ece",), images=n, seed=seed)["ece_ci"])
    low, high = np.array(ends).T
    held = float(np.mean((low <= truth) & (truth <= high)))
    return {"true_ece": round(truth, 4), "held": round(held, 3), "width": round(float(np.mean(high - low)), 3)}


def false_stars(n: int, pairs: int, replicates: int) -> dict[str, object]:
    """The share of pairs of equally accurate systems for which `compare` shows a star, by table and in any."""
    random = np.random.default_rng(n)
    system = System.of(0.6, 0.5)
    counts = dict.fromkeys(("answers", "confidence", "either"), 0)
    for seed in range(pairs):
        level, truths = random.choice(100, n, p=system.share), random.choice(LABELS.size, n, p=TRUTHS)
        both = []
        for _ in range(2):
            own = np.clip(level + random.integers(-10, 11, n), 0, 99)
            outcomes = answered(LEVELS[own], random.random(n) < system.right[level], truths, random)
            both.append([Outcome(**{**vars(each), "task": "EmoSet-8" if int(each.id) % 3 == 0 else "FI-8"}) for each in outcomes])
        starred = {
            each.source for each in compare(*both, replicates=replicates, seed=seed) if each.p_holm is not None and each.p_holm < 0.05
        }
        counts["answers"] += None in starred
        counts["confidence"] += "verb" in starred
        counts["either"] += bool(starred)
    result: dict[str, object] = {"n": n, **{table: round(count / pairs, 4) for table, count in counts.items()}}
    print(f"n = {n}: tables with a false star: " + ", ".join(f"{name} {result[name]}" for name in counts), flush=True)
    return result


if __name__ == "__main__":
    main()
