"""The simulated annotators: their votes follow the stated formula, for any taxonomy."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, taxonomy
from emocaliber.scenes.annotators import GAIN, TEMPERATURE, WEIGHTS, fit_temperature, posterior, scene_vad, vote_entropy_nats
from emocaliber.scenes.concepts import APART, CLOSE, CONTEXTS, ELEMENTS, HUMANS, NOBODY, random_scene

BUILT_INS = pytest.mark.parametrize("labels", [taxonomy(name) for name in BUILT_IN], ids=BUILT_IN)
vads = st.tuples(*[st.floats(-GAIN, GAIN)] * 3)


def some_vads(count: int, seed: int = 0) -> list[VAD]:
    rng = np.random.default_rng(seed)
    return [scene_vad(*random_scene(rng)) for _ in range(count)]


def test_a_scenes_vad_is_the_weighted_mean_of_its_concepts() -> None:
    # A snake (-0.70) beside a crying woman (-0.90) in a sunny meadow (0.90).
    assert scene_vad("snake", "woman", "meadow", CLOSE).valence == pytest.approx(1.5 * (0.48 * -0.70 + 0.34 * -0.90 + 0.18 * 0.90))
    assert scene_vad("snake", NOBODY, "meadow", APART).valence == pytest.approx(1.5 * (0.45 * -0.70 + 0.55 * 0.90))


@pytest.mark.parametrize("somebody", [True, False])
def test_the_shares_sum_to_one_and_an_element_weighs_more_when_close(somebody: bool) -> None:
    assert sum(WEIGHTS[somebody, CLOSE]) == pytest.approx(1)
    assert sum(WEIGHTS[somebody, APART]) == pytest.approx(1)
    assert WEIGHTS[somebody, CLOSE][0] > WEIGHTS[somebody, APART][0]


@BUILT_INS
@given(felt=vads)
def test_a_posterior_is_a_distribution(labels: Taxonomy, felt: tuple[float, ...]) -> None:
    shares = posterior(felt, labels)
    assert shares.shape == (len(labels.labels),)
    assert (shares > 0).all()
    assert shares.sum() == pytest.approx(1)


def test_the_posterior_of_a_hand_computed_case() -> None:
    labels = Taxonomy("pair", ("calm", "panic"), vad={"calm": VAD(0.5, 0, 0), "panic": VAD(-0.5, 1, 0)})
    # Squared distances from the origin are 0.25 and 1.25; at temperature 0.5 the logits are -0.5 and -2.5.
    assert posterior((0, 0, 0), labels, 0.5) == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))])


@BUILT_INS
def test_the_posterior_is_the_stated_formula(labels: Taxonomy) -> None:
    for felt in some_vads(20):
        weights = [math.exp(-(math.dist(felt, labels.vad[label]) ** 2) / (2 * TEMPERATURE**2)) for label in labels.labels]
        assert posterior(felt, labels) == pytest.approx([weight / math.fsum(weights) for weight in weights])


def test_many_vads_at_once_give_what_each_gives_alone() -> None:
    labels, felt = taxonomy("mikels-8"), some_vads(6)
    together = posterior(np.reshape(felt, (2, 3, 3)), labels)
    assert together.reshape(6, 8) == pytest.approx(np.array([posterior(each, labels) for each in felt]))


@BUILT_INS
def test_the_order_of_the_labels_does_not_matter(labels: Taxonomy) -> None:
    backwards = replace(labels, labels=labels.labels[::-1])
    for felt in some_vads(5):
        assert posterior(felt, backwards) == pytest.approx(posterior(felt, labels)[::-1])


@BUILT_INS
def test_the_votes_of_many_annotators_have_the_posteriors_shares(labels: Taxonomy) -> None:
    """Each annotator names the label of the highest utility: minus the squared distance, plus Gumbel noise."""
    rng, annotators = np.random.default_rng(1), 40_000
    points = np.array([labels.vad[label] for label in labels.labels])
    for felt in some_vads(3, seed=2):
        dislike = ((points - np.array(felt)) ** 2).sum(-1) / (2 * TEMPERATURE**2)
        votes = (dislike - rng.gumbel(size=(annotators, len(points)))).argmin(-1)
        shares, expected = np.bincount(votes, minlength=len(points)) / annotators, posterior(felt, labels)
        assert (abs(shares - expected) < 5 * np.sqrt(expected * (1 - expected) / annotators) + 1e-4).all()


@given(vads)
def test_a_higher_temperature_means_more_disagreement(felt: tuple[float, ...]) -> None:
    tops = [posterior(felt, taxonomy("mikels-8"), temperature).max() for temperature in (0.2, 0.4, 0.8, 1.6)]
    assert all(a >= b - 1e-12 for a, b in pairwise(tops))


def test_a_temperature_near_zero_neither_overflows_nor_divides_by_zero() -> None:
    shares = posterior((1.5, -1.5, 1.5), taxonomy("webemo-25"), 0.01)
    assert np.isfinite(shares).all()
    assert shares.max() > 0.99


def test_vote_entropy_by_hand() -> None:
    entropies = vote_entropy_nats([[11, 0, 0], [4, 4, 0], [1, 1, 2]])
    assert entropies == pytest.approx([0, math.log(2), 0.5 * math.log(4) + 0.5 * math.log(2)])


@pytest.mark.parametrize("temperature", [0.25, 0.45, 0.9])
def test_the_fit_recovers_the_temperature_that_votes_were_cast_at(temperature: float) -> None:
    labels, felt = taxonomy("mikels-8"), some_vads(3000)
    votes = np.random.default_rng(7).multinomial(11, posterior(felt, labels, temperature))
    assert fit_temperature(felt, labels, votes, seed=8) == pytest.approx(temperature, rel=0.04)


def test_votes_that_cannot_be_compared_or_met_are_refused() -> None:
    labels, felt = taxonomy("mikels-8"), some_vads(50)
    with pytest.raises(ValueError, match="same number of votes"):
        fit_temperature(felt, labels, [[11, 0, 0, 0, 0, 0, 0, 0], [10, 0, 0, 0, 0, 0, 0, 0]])
    with pytest.raises(ValueError, match=r"no temperature gives a mean vote entropy of 0\.000"):
        fit_temperature(felt, labels, [[11, 0, 0, 0, 0, 0, 0, 0]] * 3)


def test_every_kind_of_concept_pulls_in_every_direction() -> None:
    """A world without calm, or without fear, could not show what a calibrated model would say there."""
    for kind in (ELEMENTS, HUMANS, CONTEXTS):
        values = np.array([concept.vad for concept in kind.values()])
        assert (abs(values) <= 1).all()
        assert (values.min(0) < 0).all()
        assert (values.max(0) > 0).all()


@pytest.mark.slow
@pytest.mark.skipif("EMOCALIBER_DATA" not in os.environ, reason="EMOCALIBER_DATA is not set")
def test_peoples_votes_give_the_shipped_temperature() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "fit_annotators.py"
    shown = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    result = json.loads(shown.splitlines()[-1])
    assert result["temperature"] == pytest.approx(TEMPERATURE, abs=0.01)
    assert result["annotators_entropy_mean"] == pytest.approx(result["people_entropy_mean"], abs=0.01)
