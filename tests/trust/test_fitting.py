"""Fitting: that the truth is found, that scikit-learn and MAPIE agree, and that few answers lean to the pool."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from emocaliber.core.calibrators import CLIP, Beta, Isotonic, Logistic
from emocaliber.trust.fitting import FEWEST_ISOTONIC, PRIOR, Candidate, candidates_of, fit_map, probabilities

Floats = NDArray[np.float64]
PLATT, BETA, ISOTONIC = (Candidate(method, ("verb",)) for method in ("platt", "beta", "isotonic"))


def drawn(n: int, slope: float, bias: float, seed: int = 0) -> tuple[Floats, NDArray[np.bool_]]:
    """Confidences (n, 1), and answers that are right with the log-odds slope · log-odds of the confidence + bias."""
    random = np.random.default_rng(seed)
    stated = random.uniform(0.02, 0.98, n)
    return stated[:, None], random.random(n) < 1 / (1 + np.exp(-(slope * np.log(stated / (1 - stated)) + bias)))


@pytest.mark.parametrize("slope", [0.4, 1.0])
def test_platt_and_beta_find_the_map_that_made_the_answers(slope: float) -> None:
    given, right = drawn(20_000, slope, -0.5)
    platt, beta = fit_map(PLATT, given, right), fit_map(BETA, given, right)
    assert isinstance(platt, Logistic) and isinstance(beta, Beta)
    assert (platt.weights[0], platt.bias) == pytest.approx((slope, -0.5), abs=0.05)
    assert (beta.a, beta.b, beta.c) == pytest.approx((slope, slope, -0.5), abs=0.12), "Platt scaling is beta calibration with a = b"


def test_platt_agrees_with_scikit_learn() -> None:
    from sklearn.calibration import _SigmoidCalibration  # Platt's own fit, with his targets

    given, right = drawn(300, 0.5, 0.3, 1)
    odds = np.log(given[:, 0] / (1 - given[:, 0]))
    theirs = _SigmoidCalibration().fit(odds, right)
    ours = fit_map(PLATT, given, right)
    assert probabilities(ours, given) == pytest.approx(theirs.predict(odds), abs=1e-4)


def test_isotonic_agrees_with_scikit_learn() -> None:
    from sklearn.isotonic import IsotonicRegression

    given, right = drawn(500, 0.5, 0.3, 2)
    theirs = IsotonicRegression(y_min=CLIP, y_max=1 - CLIP, out_of_bounds="clip").fit(given[:, 0], right)
    ours = fit_map(ISOTONIC, given, right)
    inside = np.linspace(0.01, 0.99, 99)
    assert isinstance(ours, Isotonic)
    assert [ours({"verb": x}) for x in inside] == pytest.approx(theirs.predict(inside), abs=1e-9)


@pytest.mark.parametrize("candidate", [PLATT, BETA, ISOTONIC], ids=str)
def test_the_numbers_of_many_are_those_of_each(candidate: Candidate) -> None:
    given, right = drawn(400, 0.5, 0.3, 3)
    found = fit_map(candidate, given, right)
    edges = np.array([[0.0], [0.3], [1.0]])
    assert probabilities(found, edges) == pytest.approx([found({"verb": float(value)}) for value in edges[:, 0]], abs=1e-9)


def test_separated_answers_give_a_finite_map() -> None:
    given = np.linspace(0.05, 0.95, 60)[:, None]
    for candidate in (PLATT, BETA):
        found = probabilities(fit_map(candidate, given, given[:, 0] > 0.5), given)
        assert 0 < found.min() < 0.2 and 0.8 < found.max() < 1


def test_a_confidence_that_orders_backwards_becomes_a_constant() -> None:
    given, right = drawn(2000, -1.0, 0.0, 4)
    for candidate in (PLATT, BETA):
        found = probabilities(fit_map(candidate, given, right), given)
        assert np.ptp(found) < 0.05 and found.mean() == pytest.approx(right.mean(), abs=0.02)


def test_beta_drops_a_negative_weight_and_refits_the_other() -> None:
    random = np.random.default_rng(5)
    stated = random.uniform(0.02, 0.98, 4000)
    right = random.random(4000) < 1 / (1 + np.exp(-(-1.5 * np.log1p(-stated) + 0.8 * np.log(stated) * -1 - 1)))
    found = fit_map(BETA, stated[:, None], right)
    assert isinstance(found, Beta) and found.a == 0 and found.b > 0


def test_few_answers_lean_to_the_pooled_map_and_many_do_not() -> None:
    pooled = Logistic(("verb",), (1.0,), 1.5)
    weights = []
    for n in (20, 200, 20_000):
        given, right = drawn(n, 1.0, -0.5, 6)
        found = fit_map(PLATT, given, right, pooled)
        assert isinstance(found, Logistic)
        weights.append(found.bias)
    assert weights[0] > weights[1] > weights[2] and weights[2] == pytest.approx(-0.5, abs=0.06)


def test_the_prior_is_least_at_the_pooled_map() -> None:
    """With as many right answers as the pooled map expects at every confidence, nothing moves."""
    stated = np.repeat([0.2, 0.5, 0.8], 1000)[:, None]
    right = np.concatenate([np.arange(1000) < 1000 * share for share in (0.1, 0.4, 0.7)])
    own = fit_map(Candidate("logistic", ("verb",)), stated, right)
    again = fit_map(Candidate("logistic", ("verb",)), stated, right, own)
    assert probabilities(again, stated) == pytest.approx(probabilities(own, stated), abs=2e-3)
    assert PRIOR < 50, "the answers of the smallest question outweigh the pool"


def test_isotonic_needs_more_answers_and_fusing_more_sources() -> None:
    few = candidates_of(("verb",), ("platt", "beta", "isotonic", "logistic"), FEWEST_ISOTONIC - 1)
    assert [each.method for each in few] == ["platt", "beta"]
    many = candidates_of(("a", "b", "c"), ("isotonic", "logistic"), FEWEST_ISOTONIC)
    assert [str(each) for each in many] == [
        *("isotonic on a", "isotonic on b", "isotonic on c", "logistic on a + b", "logistic on a + c", "logistic on b + c"),
        "logistic on a + b + c",
    ]


def test_shares_are_targets_as_if_each_person_had_answered() -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(5)
    stated = random.uniform(0.05, 0.95, 80)
    votes = random.binomial(10, 0.8 * stated)
    found = fit_map(PLATT, stated[:, None], votes / 10)
    odds = np.repeat(np.log(stated / (1 - stated)), 10)[:, None]
    told = np.concatenate([np.arange(10) < count for count in votes])
    theirs = LogisticRegression(C=np.inf, tol=1e-8, max_iter=2000).fit(odds, told)
    assert isinstance(found, Logistic)
    assert [found.weights[0], found.bias] == pytest.approx([theirs.coef_[0, 0], theirs.intercept_[0]], abs=5e-3)
