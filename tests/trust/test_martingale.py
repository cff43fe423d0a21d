"""Sequential tests: fair games on exchangeable rows, and quick ones where something changes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest

from emocaliber.trust.martingale import (
    EXPERTS,
    PARTITIONS,
    SHORTFALLS,
    Capital,
    ConformalTest,
    DensityBets,
    conformal_p,
    promise_returns,
    uniform,
)

fractions = st.floats(0, 1, exclude_max=True)


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(0, 6), fractions)
def test_a_conformal_p_value_is_the_share_of_values_that_are_as_extreme_with_ties_broken(past: list[int], value: int, u: float) -> None:
    everything = [*past, value]
    expected = (sum(each > value for each in everything) + u * everything.count(value)) / len(everything)
    counts = np.bincount(past, minlength=7).astype(float)
    assert conformal_p(counts, np.array(value), np.array(u)) == pytest.approx(expected)


def test_p_values_of_exchangeable_rows_are_uniform_and_uncorrelated_even_after_a_small_reference() -> None:
    rng = np.random.default_rng(1)
    values = rng.choice(5, p=[0.6, 0.2, 0.1, 0.07, 0.03], size=(4000, 14))
    counts = np.stack([(values[:, :10] == cell).sum(axis=1) for cell in range(5)], axis=1).astype(float)
    found = []
    for row in range(10, 14):
        found.append(conformal_p(counts, values[:, row], rng.random(4000)))
        counts[np.arange(4000), values[:, row]] += 1
    assert all(kstest(p, "uniform").pvalue > 0.01 for p in found)
    assert np.abs(np.corrcoef(found) - np.eye(4)).max() < 0.05


@given(st.lists(fractions, max_size=60))
def test_every_bet_is_a_density_whatever_was_seen(past: list[float]) -> None:
    bets = DensityBets.start()
    for p in past:
        bets.learn(np.array(p))
    edges = np.unique(np.concatenate(PARTITIONS))
    densities = np.stack([bets.returns(np.array(p)) for p in (edges[:-1] + edges[1:]) / 2])
    assert np.diff(edges) @ densities == pytest.approx(np.ones(EXPERTS))


@given(st.floats(0.05, 0.95), st.floats(0, 1))
def test_a_bet_against_a_promise_gains_nothing_while_it_is_kept(accuracy: float, above: float) -> None:
    true = accuracy + above * (1 - accuracy)
    right, wrong = promise_returns(np.array([1.0, 0.0]), accuracy)
    assert (true * right + (1 - true) * wrong <= 1 + 1e-12).all()
    assert accuracy * right + (1 - accuracy) * wrong == pytest.approx(np.ones(len(SHORTFALLS)))


@given(st.lists(st.lists(st.floats(0.2, 4), min_size=3, max_size=3), max_size=25))
def test_capital_is_a_mixture_over_all_rows_at_which_a_change_may_begin(returns: list[list[float]]) -> None:
    patience, capital = 10.0, Capital.start(3, patience=10.0)
    for each in returns:
        capital.bet(np.array(each))
    n = len(returns)
    shares = [0.5 * (start == 0) + 0.5 * (patience / (start + patience) - patience / (start + 1 + patience)) for start in range(n)]
    products = [np.prod(np.array(returns[start:]), axis=0).mean() for start in range(n)]
    begun = float(np.dot(shares, products)) if n else 0.5
    assert capital.wealth == pytest.approx(begun + 0.5 * patience / (n + patience))


def test_streams_without_a_change_raise_an_alarm_in_no_more_than_alpha_of_them() -> None:
    rng, streams, alpha = np.random.default_rng(2), 800, 0.2
    values = rng.choice(6, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01], size=(streams, 360))
    reference = np.stack([(values[:, :60] == cell).sum(axis=1) for cell in range(6)], axis=1)
    test, alarmed = ConformalTest.start(reference.astype(float), (streams,)), np.zeros(streams, bool)
    for row in range(60, 360):
        alarmed |= test.see(values[:, row], rng.random(streams)) >= 1 / alpha
    assert alarmed.sum() <= binom.ppf(0.999, streams, alpha)
    assert alarmed.sum() > 0


@pytest.mark.parametrize("after", [0, 400])
def test_a_change_is_found_and_dated(after: int) -> None:
    rng, streams = np.random.default_rng(3), 50
    test = ConformalTest.start(rng.multinomial(300, [0.25] * 4, streams).astype(float), (streams,))
    for row in range(after + 100):
        chances = [0.25] * 4 if row < after else [0.02, 0.08, 0.3, 0.6]
        wealth = test.see(rng.choice(4, p=chances, size=streams), rng.random(streams))
    assert np.median(wealth) > 1000
    assert abs(np.median(test.capital.change) - after) <= 25


def test_a_test_goes_on_from_json_to_the_last_bit() -> None:
    rng = np.random.default_rng(4)
    cells, draws = rng.integers(0, 3, 200), rng.random(200)
    whole = ConformalTest.start([10, 20, 30])
    broken = ConformalTest.start([10, 20, 30])
    for cell, u in zip(cells, draws, strict=True):
        whole.see(cell, u)
        broken.see(cell, u)
        broken = ConformalTest.from_dict(json.loads(json.dumps(broken.to_dict())))
    assert broken.to_dict() == whole.to_dict()


@settings(max_examples=20)
@given(st.text(max_size=5), st.text(max_size=5), st.integers(0, 10**6))
def test_random_numbers_depend_on_their_arguments_alone(seed: str, name: str, row: int) -> None:
    drawn = uniform(seed, name, row)
    assert 0 <= drawn < 1 and drawn == uniform(seed, name, row) != uniform(seed, name, row + 1)
