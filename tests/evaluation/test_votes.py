"""Shares of people as Beta distributions and votes as draws from them, against scipy.stats."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import beta, betabinom

from emocaliber.evaluation.votes import central_coverage, concentration_of, vote_probabilities

MEANS, CONCENTRATIONS = st.floats(0.02, 0.98), st.floats(0.3, 300)


@given(people=st.integers(1, 40), mean=MEANS, concentration=CONCENTRATIONS)
def test_votes_are_beta_binomial(people: int, mean: float, concentration: float) -> None:
    counts = np.arange(people + 1, dtype=float)
    full = np.full(counts.shape, 1.0)
    below, equal = vote_probabilities(counts, people * full, mean * full, concentration * full)
    truth = betabinom(people, mean * concentration, (1 - mean) * concentration)
    assert equal == pytest.approx(truth.pmf(counts), abs=1e-9)
    assert below == pytest.approx(truth.cdf(counts - 1), abs=1e-9)


def test_answers_with_different_numbers_of_votes_do_not_mix() -> None:
    below, equal = vote_probabilities(np.array([2.0, 2.0]), np.array([2.0, 30.0]), np.array([0.5, 0.5]), np.array([4.0, 4.0]))
    assert equal == pytest.approx([betabinom(2, 2, 2).pmf(2), betabinom(30, 2, 2).pmf(2)])
    assert below[0] + equal[0] == pytest.approx(1)


@given(mean=MEANS, concentration=CONCENTRATIONS)
def test_the_concentration_is_found_from_the_interval(mean: float, concentration: float) -> None:
    assume(min(mean, 1 - mean) * concentration > 0.5)  # else nearly all of the distribution is at 0 or 1
    low, high = beta(mean * concentration, (1 - mean) * concentration).ppf([0.1, 0.9])
    found = concentration_of(np.array([mean]), np.array([low]), np.array([high]), 0.8)[0]
    inside = beta(mean * found, (1 - mean) * found)
    assert inside.cdf(high) - inside.cdf(low) == pytest.approx(0.8, abs=1e-3)


@given(people=st.integers(1, 40), mean=MEANS, concentration=CONCENTRATIONS, level=st.floats(0.1, 0.9))
def test_votes_that_follow_their_distribution_are_covered_at_the_level_exactly(
    people: int, mean: float, concentration: float, level: float
) -> None:
    probabilities = betabinom(people, mean * concentration, (1 - mean) * concentration).pmf(np.arange(people + 1))
    covered = central_coverage(np.cumsum(probabilities) - probabilities, probabilities, level)
    assert float(probabilities @ covered) == pytest.approx(level, abs=1e-9)
