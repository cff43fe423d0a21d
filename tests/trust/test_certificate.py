"""A certified threshold: exact tests, the promise kept, and what others find where they define the same."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from emocaliber.trust.certificate import (
    GRID,
    STARTS,
    accepted_by_threshold,
    answers_needed,
    certified_threshold,
    curve,
    fewest_answers,
    p_value,
    pilot_of,
)

DATA = os.environ.get("EMOCALIBER_DATA")
answered = st.lists(st.tuples(st.sampled_from([0.1, 0.35, 0.5, 0.7, 0.9, 1.0]), st.booleans()), min_size=1, max_size=60)


def drawn(n: int, truth: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    confidence = random.beta(4, 2, n)
    return confidence, random.random(n) < truth(confidence)


def rising(confidence: np.ndarray) -> np.ndarray:
    return 0.45 + 0.53 * confidence**1.5


@given(st.integers(1, 200).flatmap(lambda k: st.tuples(st.just(k), st.integers(0, k))), st.floats(0.05, 0.95))
def test_a_p_value_is_the_binomial_tail(counts: tuple[int, int], accuracy: float) -> None:
    accepted, right = counts
    assert p_value(right, accepted, accuracy) == pytest.approx(binom.sf(right - 1, accepted, accuracy), abs=1e-12)


@given(answered)
def test_a_threshold_accepts_what_is_at_least_as_sure(pairs: list[tuple[float, bool]]) -> None:
    confidence, right = (np.array(each) for each in zip(*pairs, strict=True))
    found = accepted_by_threshold(confidence, right)
    assert list(found.threshold) == sorted(set(confidence), reverse=True)
    for threshold, accepted, rights in zip(*found, strict=True):
        assert (accepted, rights) == ((confidence >= threshold).sum(), right[confidence >= threshold].sum())


def by_hand(confidence: np.ndarray, right: np.ndarray, pilot: np.ndarray, accuracy: float, delta: float) -> float | None:
    """The fallback procedure on a fine grid of thresholds, one after the other."""
    places = [float(each) for each in np.quantile(confidence[pilot], [1 - start for start in STARTS], method="inverted_cdf")]
    candidates = sorted({*confidence, *places, *(np.unique(confidence)[1:] - 1e-9)}, reverse=True)
    level, best = 0.0, None
    for threshold in candidates:
        level += delta / len(STARTS) * places.count(threshold)
        accepted = (confidence >= threshold) & ~pilot
        if level > 0 and binom.sf(right[accepted].sum() - 1, accepted.sum(), accuracy) <= level + 1e-15 and accepted.any():
            best = threshold
        else:
            level = 0.0
    return None if best is None else float(min(confidence[~pilot & (confidence >= best)]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(20, 150), st.sampled_from([1, 2, 12]), st.sampled_from([0.5, 0.7, 0.85]))
def test_the_default_is_the_fallback_procedure_on_every_threshold(seed: int, n: int, digits: int, accuracy: float) -> None:
    confidence, right = drawn(n, rising, seed)
    confidence, pilot = confidence.round(digits), pilot_of(n)
    assert certified_threshold(confidence, right, accuracy, 0.1, pilot=pilot) == by_hand(confidence, right, pilot, accuracy, 0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["bonferroni", "holm", 1, 5, 10]))
def test_procedures_on_a_grid_are_those_of_mapie(seed: int, method: str | int) -> None:
    from mapie.risk_control.fwer_control import FWERFixedSequenceTesting, control_fwer

    confidence, right = drawn(400, rising, seed)
    grid = GRID[:90]
    p = np.array([float(p_value(right[confidence >= each].sum(), (confidence >= each).sum(), 0.75)) for each in grid[::-1]])
    named = {"bonferroni": "bonferroni", "holm": "bonferroni_holm"}
    theirs = control_fwer(p, 0.1, FWERFixedSequenceTesting(n_starts=method) if isinstance(method, int) else named[method])
    how = {"method": "fixed_sequence", "starts": method} if isinstance(method, int) else {"method": method}
    ours = certified_threshold(confidence, right, 0.75, 0.1, grid=grid, **how)  # type: ignore[arg-type]
    assert ours == (float(grid[::-1][max(theirs)]) if len(theirs) else None)


def test_p_values_are_those_of_mapie_but_where_it_counts_an_error_too_many() -> None:
    """MAPIE takes the ceiling of n times the error rate, which rounding may lift above the number of errors: a larger p-value."""
    from mapie.risk_control import BinaryClassificationController, precision

    confidence, right = drawn(400, rising, 1)
    grid, accuracy = GRID[:80], 0.75
    controller = BinaryClassificationController(
        lambda given: np.column_stack([1 - given[:, 0], given[:, 0]]),
        precision,
        target_level=accuracy,
        confidence_level=0.9,
        list_predict_params=grid,
    ).calibrate(confidence[:, None], right.astype(int))
    rights = np.array([right[confidence >= each].sum() for each in grid])
    accepted = np.array([(confidence >= each).sum() for each in grid])
    ours, one_fewer = p_value(rights, accepted, accuracy), p_value(rights - 1, accepted, accuracy)
    theirs = controller.p_values[:, 0]
    same = np.isclose(theirs, ours)
    assert same.mean() > 0.5
    assert np.isclose(theirs, one_fewer)[~same].all()


def jump(confidence: np.ndarray) -> np.ndarray:
    return np.where(confidence > 0.92, 0.55, 0.5 + 0.5 * confidence)


def islands(confidence: np.ndarray) -> np.ndarray:
    return np.select([confidence > 0.97, confidence > 0.93, confidence > 0.85, confidence > 0.6], [0.5, 0.99, 0.8, 0.9], 0.6)


@pytest.mark.parametrize(("truth", "accuracy"), [(rising, 0.8), (jump, 0.75), (islands, 0.8)])
def test_the_promise_is_broken_in_no_more_than_delta_of_calibrations(truth: Callable[[np.ndarray], np.ndarray], accuracy: float) -> None:
    calibrations, delta = 250, 0.1
    population = np.sort(np.random.default_rng(9).beta(4, 2, 200_000))
    above = np.cumsum(truth(population)[::-1])[::-1] / np.arange(population.size, 0, -1)
    broken = naive = 0
    for seed in range(calibrations):
        confidence, right = drawn(600, truth, seed)
        found = certified_threshold(confidence, right, accuracy, delta)
        broken += found is not None and above[np.searchsorted(population, found)] < accuracy
        counted = accepted_by_threshold(confidence, right)
        lowest = counted.threshold[counted.right >= accuracy * counted.accepted]
        naive += lowest.size > 0 and above[np.searchsorted(population, lowest[-1])] < accuracy
    assert broken <= binom.ppf(0.999, calibrations, delta)
    assert naive > 2 * delta * calibrations or truth is jump, "the rule that certificates are there to replace"


def test_equal_confidences_are_one_test_at_the_whole_level() -> None:
    right = np.array([True] * 13 + [False])
    assert certified_threshold(np.full(60, 0.7), np.ones(60, bool), 0.95, 0.06) == 0.7
    assert certified_threshold(np.full(14, 0.7), right, 0.5, 0.05) == 0.7
    assert certified_threshold(np.full(60, 0.7), np.zeros(60, bool), 0.5, 0.05) is None


def test_few_answers_certify_nothing_however_right_they_are() -> None:
    assert fewest_answers(0.8, 0.05) == 14 and 0.8**14 <= 0.05 < 0.8**13
    assert certified_threshold(np.linspace(0.5, 1, 12), np.ones(12, bool), 0.8, 0.05) is None
    assert certified_threshold(np.array([]), np.array([], bool), 0.8, 0.05) is None


@pytest.mark.parametrize(
    ("accuracy", "delta", "sentence"),
    [
        (80, 0.05, "accuracy must lie between 0 and 1, and is 80; for 80 percent write 0.8"),
        (0.8, 0, "delta must lie between 0 and 1, and is 0"),
        (math.nan, 0.05, "accuracy must lie between 0 and 1"),
    ],
)
def test_terms_outside_0_to_1_are_refused(accuracy: float, delta: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        certified_threshold([0.5], [True], accuracy, delta)


def test_nan_and_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="a confidence is NaN"):
        certified_threshold([0.5, math.nan], [True, True], 0.8, 0.05)
    with pytest.raises(ValueError, match="there is no method 'best'"):
        certified_threshold([0.5], [True], 0.8, 0.05, "best")  # type: ignore[arg-type]


def test_the_answers_that_would_do_mostly_do() -> None:
    confidence, right = drawn(4000, rising, 3)
    needed = answers_needed(confidence, right, 0.8, 0.05, 4000)
    assert needed is not None and 200 < needed < 4000
    did = [certified_threshold(*drawn(needed, rising, seed), 0.8, 0.05) is not None for seed in range(40)]
    assert sum(did) > 0.65 * len(did)
    assert answers_needed(confidence, np.zeros(4000, bool), 0.8, 0.05, 4000) is None


def test_the_band_is_clopper_and_pearsons_bound_at_each_point() -> None:
    confidence, right = drawn(300, rising)
    points = curve(confidence, right, 0.05, 400)
    assert [each.threshold for each in points] == sorted((each.threshold for each in points), reverse=True)
    assert points[-1].coverage == 300 / 400, "answers without a confidence count in the coverage"
    for each in points:
        accepted = (confidence >= each.threshold).sum()
        assert each.accuracy == right[confidence >= each.threshold].mean()
        if each.low > 0:
            assert p_value(each.accuracy * accepted, accepted, each.low) == pytest.approx(0.05)


@pytest.mark.skipif(DATA is None, reason="EMOCALIBER_DATA does not name the folder of real inputs")
@pytest.mark.parametrize("target", [0.7, 0.8])
def test_promises_made_on_half_of_real_answers_are_kept_on_the_other_half(target: float) -> None:
    import pyarrow as pa

    kept = promised = 0
    for file in sorted((Path(DATA or "") / "rlcr").glob("*/responses.arrow")):
        table = pa.ipc.open_stream(file).read_all()
        for name in (each.removesuffix("-evals") for each in table.column_names if each.endswith("-evals")):
            confidence = np.array([first for (first,) in table[f"{name}-confidence_levels"].to_pylist()], float)
            right = np.array([first for (first,) in table[f"{name}-evals"].to_pylist()], bool)
            for seed in range(20):
                order = np.random.default_rng(seed).permutation(right.size)
                mine, other = np.array_split(order, 2)
                threshold = certified_threshold(confidence[mine], right[mine], target, 0.05)
                if threshold is not None and (accepted := confidence[other] >= threshold).any():
                    promised += 1
                    kept += bool(right[other][accepted].mean() >= target)
    assert promised >= 20 and kept >= 0.85 * promised, json.dumps({"promised": promised, "kept": kept})
