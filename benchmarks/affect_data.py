"""People's ratings and votes, as `benchmarks/fit_affect.py` reads them from the folder EMOCALIBER_DATA; prints what it found.

    EMOCALIBER_DATA=... python benchmarks/affect_data.py

EEmo-Bench (Gao et al. 2025): 1,960 pictures with mean and SD of valence, arousal and dominance (1..9) and the scores of the three emotions
named most, of seven. The scores are points: no score is above 75, no three sum to more than 135, and the highest are 75, 73, 71 and so on,
as when 15 viewers each give 5, 3 and 1 points to three emotions. That scheme is inferred, not documented.
OASIS (Kurdi, Lozano and Banaji 2017): photographs with mean and SD of valence and arousal (1..7) over about 100 viewers each.
Flickr-LDL, Twitter-LDL (Yang, Sun and Sun 2017): votes of 11 and 8 viewers for Mikels' eight emotions. The last line is one JSON object.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emocaliber.emotions.affect import rescaled
from emocaliber.emotions.loop import VAD
from fit_annotators import read_votes

Floats = npt.NDArray[np.float64]

SEVEN = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
VIEWERS, POINTS = 15, (5.0, 3.0, 1.0)
_AXES = ("valence", "arousal", "dominance")


@dataclass(frozen=True)
class Eemo:
    """Mean and SD of the VAD (pictures, 3) on -1..1; points by emotion, 0 where it is not named (pictures, 7), in units of one viewer's
    nine; the points left for the emotions not named (pictures,); the emotion named first, as a place in `SEVEN`."""

    vad: Floats
    sd: Floats
    points: Floats
    rest: Floats
    first: npt.NDArray[np.int64]


def folder() -> Path:
    """The folder EMOCALIBER_DATA; ends the program with a sentence where it is not set."""
    if "EMOCALIBER_DATA" not in os.environ:
        sys.exit("set EMOCALIBER_DATA to the folder with eemo/ratings.csv, oasis/ratings.csv, votes/ and vad_words.tsv")
    return Path(os.environ["EMOCALIBER_DATA"])


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _columns(rows: list[dict[str, str]], names: list[str]) -> Floats:
    return np.array([[float(row[name]) for name in names] for row in rows])


def read_eemo(path: Path) -> Eemo:
    """EEmo-Bench's ratings. An emotion that is not named has at most the third score, so the rest has at most four times that."""
    rows = _rows(path)
    mean, sd = (_columns(rows, [f"{axis}_{what}" for axis in _AXES]) for what in ("mean", "sd"))
    named = np.array([[SEVEN.index(row[f"emotion{place}"]) for place in (1, 2, 3)] for row in rows])
    scores = _columns(rows, ["score1", "score2", "score3"])
    points = np.zeros((len(rows), len(SEVEN)))
    np.put_along_axis(points, named, scores, axis=1)
    rest = np.minimum(VIEWERS * sum(POINTS) - scores.sum(1), 4 * scores[:, 2])
    vad, spread = rescaled(mean, sd, 1, 9)
    return Eemo(vad, spread, points / sum(POINTS), rest / sum(POINTS), named[:, 0])


def read_oasis(path: Path) -> tuple[Floats, Floats]:
    """Mean and SD of valence and arousal on -1..1, (photographs, 2)."""
    rows = _rows(path)
    mean, sd = (_columns(rows, [f"{axis}_{what}" for axis in _AXES[:2]]) for what in ("mean", "sd"))
    return rescaled(mean, sd, 1, 7)


def read_words(path: Path) -> dict[str, VAD]:
    """Values of NRC VAD 2.1 by word."""
    lines = [line.split("\t") for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    return {cells[0]: VAD(*map(float, cells[5:8])) for cells in lines[1:] if cells[5] != "NA"}


def main() -> int:
    data = folder()
    eemo, (oasis, _) = read_eemo(data / "eemo" / "ratings.csv"), read_oasis(data / "oasis" / "ratings.csv")
    votes = {name: len(read_votes(data / "votes" / f"{name}_ldl.txt")) for name in ("flickr", "twitter")}
    print("EEmo, named first: " + ", ".join(f"{label} {(eemo.first == i).sum()}" for i, label in enumerate(SEVEN)))
    print(json.dumps({"eemo": len(eemo.first), "oasis": len(oasis), **votes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
