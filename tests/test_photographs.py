"""Photographs, which `tiny` has never seen: it must know that it does not know."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import fmean

import pytest

from emocaliber.core.model import Model
from emocaliber.core.samples import Sample
from emocaliber.core.scoring import outcome
from emocaliber.evaluation.summary import summarise
from emocaliber.inference.engine import respond
from emocaliber.scenes.out_of_domain import OOD_ELEMENT
from emocaliber.vecbench.sources import custom

MIDDLE = 4  # of OASIS's scale of valence


@pytest.mark.slow
@pytest.mark.skipif("EMOCALIBER_DATA" not in os.environ, reason="EMOCALIBER_DATA does not name the folder of real inputs")
def test_tiny_guesses_at_photographs_and_says_so(tiny_model: Model) -> None:
    folder = Path(os.environ["EMOCALIBER_DATA"]) / "oasis"
    photographs = custom.read(folder / "ratings.csv", "OASIS", midpoint=MIDDLE, images=folder / "images").items
    samples = [
        Sample(Path(each.image).stem, each.image, "OASIS-polarity", ("positive", "negative"), each.label, source="OASIS", split="test")
        for each in photographs
    ]
    rows = list(respond(samples, tiny_model))
    outcomes = [outcome(row) for row in rows]
    assert len(outcomes) == len(samples) > 300
    assert fmean(each.malformed is not None for each in outcomes) < 0.01
    assert fmean(OOD_ELEMENT.phrase in row["response"].lower() for row in rows) > 0.8
    assert summarise(outcomes)["overall"]["confidence"]["verb_mean"]["ece"] < 0.1
