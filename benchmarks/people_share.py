"""How many people would give an answer, and how well that is known: fitted on one half of a model's answers, judged on the other.

    OMP_NUM_THREADS=1 python benchmarks/people_share.py [--model tiny] [--n 1500] [--ood 500] [--splits 20] [--voters 11] [--work FOLDER]

Draws N synthetic scenes of EmoSet-8, whose true shares are known exactly, and asks the model. For each split, what `calibrate fit` makes of
one half of the answers is held against the true shares of the other half:

- from posteriors: the true shares themselves;
- from votes: the votes of a few simulated people for each scene, drawn from its posterior;
- votes taken for shares: the same votes, as if they were exact, which is what the Beta-binomial model avoids;
- from posteriors, one concentration: it is the same for every answer, and the width follows from the expected share alone.

The same with OOD scenes among them, in which the model recognises nothing and people's shares are nearly even: there a model can know on
which answers it knows the share well. Known are the mean distance of the expected share from the true one, the share of true shares in
their intervals (80 % were promised), the width of these, and Spearman's correlation of the width with the distance. Numbers are means over
the splits, with the standard deviation between splits for the coverage. Prints a table (--out FILE: in Markdown), and ends with one JSON
line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from asking import ask
from emocaliber.core.calibrators import METHODS, PeopleModel
from emocaliber.core.samples import read_samples
from emocaliber.core.scoring import Outcome, read_outcomes
from emocaliber.io.rows import write_atomically
from emocaliber.render.progress import Progress
from emocaliber.render.table import Table, percent
from emocaliber.scenes.dataset import draw_samples
from emocaliber.trust.fitting import Floats
from emocaliber.trust.people import Shares, fit_people, shares_of
from emocaliber.trust.selection import Answered

SEED = 41
SOURCES = ("avg", "norm", "verb", "verb_mean")


@dataclass(frozen=True)
class Answers:
    """The answers with their true shares (n,)."""

    outcomes: list[Outcome]
    shares: Floats

    @classmethod
    def of(cls, outcomes: list[Outcome]) -> Answers:
        known = [each for each in outcomes if each.answer is not None and all(each.confidence.get(s) is not None for s in SOURCES)]
        shares = shares_of(known)
        if isinstance(shares, str):
            raise SystemExit(shares)
        return cls(known, shares.share)

    def answered(self, rows: Floats) -> Answered:
        part = [self.outcomes[row] for row in rows.tolist()]
        confidences = np.array([[each.confidence[source] for source in SOURCES] for each in part], dtype=float)
        return Answered(SOURCES, confidences, np.array([each.correct for each in part]), tuple(each.id for each in part))


def asked(model: str, work: Path, name: str, n: int, ood_share: float) -> list[Outcome]:
    """The answers of a model to N synthetic scenes."""
    for _ in draw_samples(work / name, n, SEED, "EmoSet-8", ood_share=ood_share):
        pass
    samples = list(read_samples(work / name / "samples.jsonl"))[:n]
    return list(read_outcomes(ask(model, samples, work / f"{name}.jsonl")))


def numbers(model: PeopleModel, answers: Answers, rows: Floats) -> dict[str, float]:
    """What a model of the share of people is worth on some of the answers."""
    found = [model(answers.outcomes[row].confidence) for row in rows.tolist()]
    said, low, high = np.array([(each.people, each.low, each.high) for each in found]).T
    true = answers.shares[rows]
    distance, width = np.abs(said - true), high - low
    varies = np.ptp(width) > 1e-4
    return {
        "distance": float(distance.mean()),
        "covered": float(((true >= low) & (true <= high)).mean()),
        "width": float(width.mean()),
        "spearman": float(spearmanr(width, distance).statistic) if varies else 0.0,
    }


def fits(answers: Answers, voters: int, split: int) -> dict[str, Callable[[Floats], PeopleModel]]:
    """How each row of the table is fitted, given the places of the answers to fit on."""
    votes = np.random.default_rng((SEED, split, 1)).binomial(voters, np.clip(answers.shares, 0, 1)) / voters

    def fitted(shares: Shares, sources: tuple[str, ...] | None = None) -> Callable[[Floats], PeopleModel]:
        def of(rows: Floats) -> PeopleModel:
            entry = fit_people(answers.answered(rows), shares.part(rows), tuple(METHODS), split, concentrations=sources)
            found = PeopleModel.from_json(entry)
            assert found is not None
            return found

        return of

    people = np.full(votes.size, float(voters))
    return {
        "posteriors": fitted(Shares(answers.shares)),
        f"votes of {voters}": fitted(Shares(votes, people)),
        "votes taken for shares": fitted(Shares(votes)),
        "posteriors, one concentration": fitted(Shares(answers.shares), ()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--n", type=int, default=1500)
    parser.add_argument("--ood", type=int, default=500)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--voters", type=int, default=11)
    parser.add_argument("--work", type=Path, default=Path("runs/people_share"))
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    usual = asked(args.model, args.work, "scenes", args.n, 0.0)
    ood = [replace(each, id=f"ood-{each.id}") for each in asked(args.model, args.work, "ood", args.ood, 1.0)] if args.ood else []
    pictures = {"": Answers.of(usual)} | ({"; with OOD scenes": Answers.of(usual + ood)} if ood else {})
    found: dict[str, list[dict[str, float]]] = {}
    with Progress("splitting", "splits", len(pictures) * args.splits) as bar:
        for kind, answers in pictures.items():
            for split in range(args.splits):
                order = np.random.default_rng((SEED, split)).permutation(answers.shares.size)
                half = order.size // 2
                for name, fit in fits(answers, args.voters, split).items():
                    found.setdefault(name + kind, []).append(numbers(fit(order[:half]), answers, order[half:]))
                bar.advance()
    means = {
        name: {key: float(np.mean([each[key] for each in of])) for key in of[0]} | {"covered_sd": float(np.std([e["covered"] for e in of]))}
        for name, of in found.items()
    }
    rows = [
        [name, percent(m["distance"]), f"{percent(m['covered'])} ± {percent(m['covered_sd'])}", percent(m["width"]), f"{m['spearman']:.2f}"]
        for name, m in means.items()
    ]
    table = Table(["fitted on", "distance", "covered", "width", "width and distance"], rows)
    print(table.as_text())
    if args.out:
        write_atomically(args.out, table.as_markdown() + "\n")
    told = {name: {key: round(value, 4) for key, value in m.items()} for name, m in means.items()}
    settings = {"model": args.model, "n": args.n, "ood": args.ood, "splits": args.splits, "voters": args.voters}
    print(json.dumps({"benchmark": "people_share", **settings, "found": told}))


if __name__ == "__main__":
    main()
