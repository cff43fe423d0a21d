"""The fit of P(label | VAD): its likelihood is that of rankings, and people's data give the shipped numbers."""

from __future__ import annotations

import os
import sys
from itertools import permutations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from emocaliber.emotions.affect import PICTURES, label_distribution, positive_share
from emocaliber.emotions.taxonomy import Taxonomy

needs_data = pytest.mark.skipif("EMOCALIBER_DATA" not in os.environ, reason="EMOCALIBER_DATA is not set")


@pytest.fixture
def fitting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    import affect_model

    return affect_model


def test_expected_points_are_those_of_all_rankings(fitting: ModuleType) -> None:
    """Plackett-Luce by enumeration: 5, 3 and 1 of 9 points to the first three of each order of four labels."""
    import torch

    p = np.random.default_rng(0).dirichlet([1, 2, 3, 4], size=5)
    by_hand = np.zeros_like(p)
    for row, shares in enumerate(p):
        for first, second, third in permutations(range(4), 3):
            left = 1 - shares[first]
            chance = shares[first] * shares[second] / left * shares[third] / (left - shares[second])
            by_hand[row, [first, second, third]] += chance * np.array([5, 3, 1]) / 9
    assert fitting.expected_points(torch.tensor(p)).numpy() == pytest.approx(by_hand)


def test_shares_by_polarity_are_those_of_simulated_votes(fitting: ModuleType) -> None:
    import torch

    rng = np.random.default_rng(1)
    shares, weights = rng.dirichlet(np.ones(8), size=6), np.full(6, 1 / 6)
    votes = np.concatenate([rng.multinomial(11, row, size=20_000) for row in shares])
    predicted = fitting.predicted_by_polarity(torch.tensor(shares), torch.tensor(weights), 11).numpy()
    assert fitting.shares_by_polarity(votes) == pytest.approx(predicted, abs=0.003)


@needs_data
def test_the_shipped_numbers_name_the_emotion_that_people_name(fitting: ModuleType) -> None:
    from affect_data import SEVEN, folder, read_eemo

    eemo = read_eemo(folder() / "eemo" / "ratings.csv")
    shares = label_distribution(eemo.vad, Taxonomy("EEmo", SEVEN), eemo.sd)
    assert (shares.argmax(1) == eemo.first).mean() > 0.69  # .32 by the commonest
    decided = ~np.isin(eemo.first, [SEVEN.index("neutral"), SEVEN.index("surprise")])
    positive = positive_share(eemo.vad[:, 0], eemo.sd[:, 0]) > 0.5
    assert (positive == (eemo.first == SEVEN.index("joy")))[decided].mean() > 0.98


@needs_data
@pytest.mark.slow
def test_peoples_ratings_give_the_shipped_numbers(fitting: ModuleType) -> None:
    from affect_data import folder, read_eemo, read_words

    eemo = read_eemo(folder() / "eemo" / "ratings.csv")
    fitted = fitting.fit_ratings(eemo, np.arange(len(eemo.first)), read_words(folder() / "vad_words.tsv"))
    assert fitted.weight == pytest.approx(PICTURES.weight, abs=0.1)
    assert fitted.scale == pytest.approx(PICTURES.scale, abs=0.01)
    for label, numbers in fitted.places.items():
        assert numbers == pytest.approx(PICTURES.places[label], abs=0.02)
