"""Fits the simulated annotators' temperature, at which 11 votes on a random scene disagree as much as 11 people did on a photograph.

    python benchmarks/fit_annotators.py VOTES.txt

VOTES.txt holds an image name and then its votes for Amusement, Awe, Contentment, Excitement, Anger, Disgust, Fear and Sadness on each line,
as in Flickr-LDL (Yang, Sun & Sun 2017); by default `votes/flickr_ldl.txt` in the folder EMOCALIBER_DATA. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.scenes.annotators import TEMPERATURE, fit_temperature, posterior, scene_vad, vote_entropy_nats
from emocaliber.scenes.concepts import random_scene

LABELS = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")


def read_votes(path: Path) -> npt.NDArray[np.int64]:
    """Vote counts (images, labels) in the order of `LABELS`. Raises ValueError naming the line that is not a name and eight counts."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        _, *counts = line.split() or [""]
        if len(counts) != len(LABELS) or not all(map(str.isdigit, counts)):
            raise ValueError(f"{path}, line {number}: expected a name and {len(LABELS)} vote counts, found {line!r}")
        rows.append([int(count) for count in counts])
    return np.array(rows)


def same_number(votes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The images with the most frequent number of votes: entropies of different numbers of votes cannot be compared."""
    totals = votes.sum(-1)
    return np.compress(totals == np.bincount(totals).argmax(), votes, axis=0)


def fit(votes: npt.NDArray[np.int64], scenes: int, seed: int) -> dict[str, float]:
    """The fitted temperature, and mean and SD of the vote entropy (nats) of people and of as many simulated annotators."""
    rng = np.random.default_rng(seed)
    vads = [scene_vad(*random_scene(rng)) for _ in range(scenes)]
    labels = taxonomy("mikels-8")
    temperature = fit_temperature(vads, labels, votes, seed)
    annotators = int(votes[0].sum())
    people = vote_entropy_nats(votes)
    simulated = vote_entropy_nats(rng.multinomial(annotators, posterior(vads, labels, temperature)))
    return {
        "temperature": round(temperature, 4),
        "shipped_temperature": TEMPERATURE,
        "images": len(votes),
        "scenes": scenes,
        "voters": annotators,
        "people_entropy_mean": round(float(people.mean()), 4),
        "people_entropy_sd": round(float(people.std()), 4),
        "annotators_entropy_mean": round(float(simulated.mean()), 4),
        "annotators_entropy_sd": round(float(simulated.std()), 4),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Fits the simulated annotators' temperature to people's votes.")
    data = os.environ.get("EMOCALIBER_DATA")
    default = Path(data) / "votes" / "flickr_ldl.txt" if data else None
    parser.add_argument("votes", type=Path, nargs="?", default=default, help="vote counts (default: $EMOCALIBER_DATA/votes/flickr_ldl.txt)")
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.votes is None:
        parser.error("give the file of votes, or set EMOCALIBER_DATA")
    everything = read_votes(args.votes)
    votes = same_number(everything)
    print(f"{args.votes}: {len(votes):,} of {len(everything):,} images have {votes[0].sum()} votes and are used")
    result = fit(votes, args.scenes, args.seed)
    print(f"people:  entropy {result['people_entropy_mean']:.3f} nats, SD {result['people_entropy_sd']:.3f}")
    simulated = f"entropy {result['annotators_entropy_mean']:.3f} nats, SD {result['annotators_entropy_sd']:.3f}"
    print(f"simulated annotators: {simulated}, over {args.scenes:,} scenes")
    print(f"temperature: {result['temperature']:.4f} (shipped: {TEMPERATURE})")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
