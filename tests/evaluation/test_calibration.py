from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import binom

from emocaliber.evaluation import calibration
from emocaliber.evaluation.metrics import Floats, Tally

two_decimals = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
judged = st.lists(st.tuples(two_decimals, st.booleans()), min_size=1, max_size=60)

METRICS: dict[str, Callable[[Tally], Floats]] = {
    "ece": calibration.ece,
    "mce": calibration.mce,
    "ece_equal_mass": calibration.ece_equal_mass,
    "ece_debiased": calibration.ece_debiased,
    "ece_smooth": calibration.ece_smooth,
    "brier": calibration.brier,
    "brier_reliability": calibration.brier_reliability,
    "brier_resolution": calibration.brier_resolution,
    "brier_uncertainty": calibration.brier_uncertainty,
    "brier_skill": calibration.brier_skill,
    "nll": calibration.nll,
    "spiegelhalter_z": lambda tally: calibration.spiegelhalter(tally)[0],
    "spiegelhalter_p": lambda tally: calibration.spiegelhalter(tally)[1],
}
DEPENDS_ON_SIZE = ("ece_debiased", "spiegelhalter_z", "spiegelhalter_p")
UNBOUNDED = ("brier_skill", "nll", "spiegelhalter_z")
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


def tally_of(pairs: list[tuple[float, bool]]) -> Tally:
    return Tally.of([confidence for confidence, _ in pairs], [right for _, right in pairs])


def drawn(seed: int, shape: tuple[int, ...], levels: int = 12) -> Tally:
    """Random counts, many of them 0."""
    random = np.random.default_rng(seed)
    right, wrong = random.poisson(0.7, (2, *shape, levels)).astype(float)
    return Tally(np.sort(random.choice(101, levels, replace=False)) / 100, right, wrong)


@every_metric
@pytest.mark.filterwarnings("error")
def test_many_tallies_at_once_give_what_each_gives_alone(metric: Callable[[Tally], Floats]) -> None:
    many = drawn(0, (7, 3))
    many.right[0, 0] = many.wrong[0, 0] = 0
    together = metric(many)
    assert together.shape == (7, 3) and np.isnan(together[0, 0])
    alone = [[float(metric(Tally(many.values, many.right[i, j], many.wrong[i, j]))) for j in range(3)] for i in range(7)]
    np.testing.assert_allclose(together, alone, atol=1e-4 if metric is calibration.ece_smooth else 1e-12)


@pytest.mark.slow
@every_metric
@given(judged)
def test_a_confidence_that_nobody_states_changes_nothing(metric: Callable[[Tally], Floats], pairs: list[tuple[float, bool]]) -> None:
    tally = tally_of(pairs)
    values = np.union1d(tally.values, [0.005, 0.555])
    right, wrong = np.zeros((2, values.size))
    at = np.searchsorted(values, tally.values)
    right[at], wrong[at] = tally.right, tally.wrong
    tolerance = 1e-4 if metric is calibration.ece_smooth else 1e-12
    assert float(metric(Tally(values, right, wrong))) == pytest.approx(float(metric(tally)), abs=tolerance, nan_ok=True)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in DEPENDS_ON_SIZE])
@given(judged)
def test_the_same_answers_twice_have_the_same_error(name: str, pairs: list[tuple[float, bool]]) -> None:
    assert float(METRICS[name](tally_of(pairs * 2))) == pytest.approx(float(METRICS[name](tally_of(pairs))), abs=1e-9, nan_ok=True)


@given(judged)
def test_errors_are_between_0_and_1(pairs: list[tuple[float, bool]]) -> None:
    for name, metric in METRICS.items():
        value = float(metric(tally_of(pairs)))
        assert name in UNBOUNDED or math.isnan(value) or -1e-12 <= value <= 1 + 1e-12, name


@given(judged)
def test_the_parts_of_the_brier_score_add_up(pairs: list[tuple[float, bool]]) -> None:
    tally = tally_of(pairs)
    parts = calibration.brier_reliability(tally) - calibration.brier_resolution(tally) + calibration.brier_uncertainty(tally)
    assert float(parts) == pytest.approx(float(calibration.brier(tally)), abs=1e-12)


@given(judged)
def test_ece_is_at_least_the_gap_on_the_whole_and_at_most_mce(pairs: list[tuple[float, bool]]) -> None:
    tally = tally_of(pairs)
    overall = abs(float(tally.rights - tally.count @ tally.values)) / len(pairs)
    for metric in (calibration.ece, calibration.ece_equal_mass, calibration.ece_smooth):
        assert float(metric(tally)) >= overall - 1e-4
    assert float(calibration.ece(tally)) <= float(calibration.mce(tally)) + 1e-12


def test_a_system_that_is_sure_and_always_right_has_no_error() -> None:
    tally = Tally.of([1.0] * 20, [True] * 20)
    for metric in (calibration.ece, calibration.mce, calibration.ece_equal_mass, calibration.ece_debiased, calibration.brier):
        assert float(metric(tally)) == 0
    assert float(calibration.ece_smooth(tally)) == pytest.approx(0, abs=1e-5)
    assert np.isnan(calibration.brier_skill(tally)) and np.isnan(calibration.spiegelhalter(tally)[0])


def test_a_system_that_is_sure_and_always_wrong_has_the_largest_error() -> None:
    tally = Tally.of([1.0] * 20, [False] * 20)
    for name in ("ece", "mce", "ece_equal_mass", "ece_debiased", "ece_smooth", "brier"):
        assert float(METRICS[name](tally)) == pytest.approx(1, abs=1e-5), name
    assert float(calibration.nll(tally)) == pytest.approx(-math.log(0.001))


def test_one_answer_has_the_error_of_its_confidence() -> None:
    tally = Tally.of([0.3], [True])
    for name in ("ece", "mce", "ece_equal_mass", "ece_debiased", "ece_smooth"):
        assert float(METRICS[name](tally)) == pytest.approx(0.7, abs=1e-5), name


def test_every_two_decimal_confidence_falls_in_its_bin_exactly() -> None:
    hundredths = np.arange(101)
    assert calibration.bin_of(hundredths / 100).tolist() == np.maximum((hundredths + 9) // 10 - 1, 0).tolist()


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.0, 0), (1e-12, 0), (0.1, 0), (0.1 + 1e-8, 1), (0.3, 2), (0.1 + 0.2, 2), (math.nextafter(0.3, 0), 2), (1.0, 9)],
)
def test_bins_are_closed_above_and_float_noise_does_not_cross_an_edge(confidence: float, expected: int) -> None:
    assert calibration.bin_of([confidence]).tolist() == [expected]


def test_bins_of_equal_mass_hold_equally_many_of_different_confidences() -> None:
    random = np.random.default_rng(1)
    confidences = np.sort(random.random(120))
    correct = random.random(120) < confidences**2
    gaps = [abs((correct[part] - confidences[part]).sum()) for part in np.split(np.arange(120), 10)]
    assert float(calibration.ece_equal_mass(Tally.of(confidences, correct))) == pytest.approx(sum(gaps) / 120)


def test_a_tie_across_an_edge_of_equal_mass_is_split_in_proportion() -> None:
    # Two bins of 3: 0.2 with two of four at 0.8, then the other two with 0.9; of the four, three are right.
    tally = Tally.of([0.2, 0.8, 0.8, 0.8, 0.8, 0.9], [True, True, True, True, False, False])
    expected = (abs(1 + 1.5 - 0.2 - 1.6) + abs(1.5 + 0 - 1.6 - 0.9)) / 6
    assert float(calibration.ece_equal_mass(tally, bins=2)) == pytest.approx(expected)


def test_debiasing_takes_away_what_noise_alone_adds() -> None:
    random = np.random.default_rng(2)
    values = np.arange(5, 100, 10) / 100
    right = random.binomial(20, values, size=(4000, 10)).astype(float)
    tally = Tally(values, right, 20 - right)
    count, hits, stated = 20.0, right, 20 * values
    plain = (((hits - stated) / count) ** 2).mean(axis=-1)
    noise = (hits * (count - hits) / (count**2 * (count - 1))).mean(axis=-1)
    np.testing.assert_allclose(calibration.ece_debiased(tally), np.sqrt(np.maximum(plain - noise, 0)), atol=1e-8)
    assert abs((plain - noise).mean()) < 0.05 * plain.mean()


def test_a_bin_of_one_answer_is_not_debiased() -> None:
    assert float(calibration.ece_debiased(Tally.of([0.35, 0.75], [False, True]))) == pytest.approx(math.sqrt((0.35**2 + 0.25**2) / 2))


@pytest.mark.parametrize("power", [0.5, 1.0, 1.3, 3.0])
@pytest.mark.parametrize("n", [3, 20, 400])
def test_smooth_ece_is_the_fixed_point_of_smoothing_by_the_kernel_itself(n: int, power: float) -> None:
    random = np.random.default_rng(n)
    confidences = random.integers(0, 101, n) / 100
    tally = Tally.of(confidences, random.random(n) < confidences**power)
    at = (np.arange(4000) + 0.5) / 4000
    images = np.concatenate([tally.values + 2 * turn for turn in (-1, 0, 1)] + [2 * turn - tally.values for turn in (-1, 0, 1)])
    excess = np.tile((tally.right - tally.count * tally.values) / n, 6)

    def beyond(width: float) -> float:
        kernel = np.exp(-(((at[:, None] - images) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))
        return float(np.abs(kernel @ excess).mean()) - width

    assert float(calibration.ece_smooth(tally)) == pytest.approx(brentq(beyond, 1e-3, 1.0, xtol=1e-7), abs=1e-4)


def test_spiegelhalter_rejects_one_calibrated_system_in_twenty_and_every_overconfident_one() -> None:
    random = np.random.default_rng(3)
    values = np.arange(51, 100) / 100
    for chances, low, high in ((values, *binom.ppf([0.001, 0.999], 2000, 0.05)), (values**2, 2000, 2000)):
        right = random.binomial(20, chances, size=(2000, 49)).astype(float)
        p = calibration.spiegelhalter(Tally(values, right, 20 - right))[1]
        assert low <= (p < 0.05).sum() <= high


def test_a_calibrated_system_has_its_ece_in_the_null_band_95_times_in_100() -> None:
    random = np.random.default_rng(4)
    values, inside = np.arange(2, 100, 7) / 100, 0
    for _ in range(400):
        count = random.poisson(20, values.size)
        right = random.binomial(count, values).astype(float)
        tally = Tally(values, right, count - right)
        low, high = np.quantile(calibration.ece(calibration.perfectly_calibrated(tally, 300, random)), [0.025, 0.975])
        inside += low <= float(calibration.ece(tally)) <= high
    fewest, most = binom.ppf([0.001, 0.999], 400, 0.95)
    assert fewest <= inside <= most


def test_a_calibrated_system_is_simulated_from_the_whole_answers_of_one_system() -> None:
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="whole counts"):
        calibration.perfectly_calibrated(Tally(np.array([0.5]), np.array([0.5]), np.array([0.7])), 10, random)
    with pytest.raises(ValueError, match=r"shape \(4, 12\)"):
        calibration.perfectly_calibrated(drawn(0, (4,)), 10, random)


def test_reliability_bins_say_how_often_answers_were_right_and_how_sure_that_is() -> None:
    tally = Tally.of([0.0, 0.1] + [0.85] * 10, [False, True] + [True] * 10)
    first, last = calibration.reliability_bins(tally)
    assert (first.low, first.high, first.n, first.confidence, first.accuracy) == (0.0, 0.1, 2, 0.05, 0.5)
    assert first.accuracy_ci == pytest.approx((1 - math.sqrt(0.975), math.sqrt(0.975)))
    assert (last.low, last.high, last.n, last.accuracy) == (0.8, 0.9, 10, 1.0)
    assert last.accuracy_ci == pytest.approx((0.025**0.1, 1.0))
    assert calibration.reliability_bins(Tally.of([], [])) == []


@given(judged)
def test_reliability_bins_add_up_to_the_ece(pairs: list[tuple[float, bool]]) -> None:
    tally = tally_of(pairs)
    table = calibration.reliability_bins(tally)
    assert sum(each.n for each in table) == len(pairs)
    assert all(each.accuracy_ci[0] <= each.accuracy <= each.accuracy_ci[1] for each in table)
    gaps = sum(each.n * abs(each.accuracy - each.confidence) for each in table)
    assert gaps / len(pairs) == pytest.approx(float(calibration.ece(tally)), abs=1e-12)
