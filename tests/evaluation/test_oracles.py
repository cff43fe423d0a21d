"""Other people's implementations agree with ours wherever they mean the same; `docs/metrics.md` lists where they do not."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.metrics.calibration import expected_calibration_error, spiegelhalter_p_value, spiegelhalter_statistic
from model_diagnostics.scoring import SquaredError, decompose
from netcal.metrics import ECE, MCE
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, brier_score_loss, log_loss, roc_auc_score

from emocaliber.evaluation import calibration, ranking
from emocaliber.evaluation.metrics import Floats, Tally

Answers = tuple[Floats, np.ndarray]


@pytest.fixture(params=[(40, 1.0), (300, 0.6), (2000, 2.5)], ids=["calibrated", "underconfident", "overconfident"])
def answers(request: pytest.FixtureRequest) -> Answers:
    """Continuous confidences in (0.001, 0.999) and whether each answer was right, as 0 and 1; no two confidences alike, none on an edge."""
    n, power = request.param
    random = np.random.default_rng(n)
    confidences = random.uniform(0.001, 0.999, n)
    return confidences, (random.random(n) < confidences**power).astype(int)


def exactly(value: float) -> object:
    return pytest.approx(value, abs=1e-10)


def test_scikit_learn(answers: Answers) -> None:
    confidences, correct = answers
    tally = Tally.of(confidences, correct)
    assert float(calibration.brier(tally)) == exactly(brier_score_loss(correct, confidences))
    assert float(calibration.nll(tally)) == exactly(log_loss(correct, confidences))
    assert float(ranking.auroc(tally)) == exactly(roc_auc_score(correct, confidences))
    accuracies, means = calibration_curve(correct, confidences, n_bins=10)
    table = calibration.reliability_bins(tally)
    assert [each.accuracy for each in table] == exactly(accuracies.tolist())
    assert [each.confidence for each in table] == exactly(means.tolist())


def test_scikit_learn_with_ties(answers: Answers) -> None:
    confidences, correct = answers[0].round(1), answers[1]
    tally = Tally.of(confidences, correct)
    assert float(calibration.brier(tally)) == exactly(brier_score_loss(correct, confidences))
    assert float(ranking.auroc(tally)) == exactly(roc_auc_score(correct, confidences))
    coverage, risk = ranking.risk_coverage(tally)
    area = auc(np.concatenate([[0], coverage]), np.concatenate([[0], coverage * risk]))
    assert float(ranking.augrc(tally)) == exactly(area)


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_netcal(answers: Answers, bins: int) -> None:
    tally = Tally.of(*answers)
    assert float(calibration.ece(tally, bins)) == exactly(ECE(bins).measure(*answers))
    assert float(calibration.mce(tally, bins)) == exactly(MCE(bins).measure(*answers))


@pytest.mark.parametrize("bins", [5, 10, 15])
def test_mapie(answers: Answers, bins: int) -> None:
    confidences, correct = answers
    tally = Tally.of(confidences, correct)
    # MAPIE's `num_bins` counts edges.
    assert float(calibration.ece(tally, bins)) == exactly(expected_calibration_error(correct, confidences, bins + 1, "uniform"))
    z, p = calibration.spiegelhalter(tally)
    assert float(z) == exactly(spiegelhalter_statistic(correct, confidences))
    one_sided = spiegelhalter_p_value(correct, confidences)
    assert float(p) == exactly(2 * min(one_sided, 1 - one_sided))


def test_model_diagnostics_decomposes_the_brier_score_alike_where_accuracy_rises_with_confidence() -> None:
    # It groups by isotonic regression, which then is the accuracy at each confidence.
    tally = Tally(np.array([0.15, 0.4, 0.62, 0.85, 0.99]), np.array([1.0, 5, 9, 21, 30]), np.array([19.0, 20, 16, 10, 5]))
    confidences = np.repeat(tally.values, tally.count.astype(int))
    correct = np.concatenate([np.repeat([1, 0], [int(right), int(wrong)]) for right, wrong in zip(tally.right, tally.wrong, strict=True)])
    theirs = decompose(correct, confidences, scoring_function=SquaredError()).row(0, named=True)
    assert float(calibration.brier_reliability(tally)) == exactly(theirs["miscalibration"])
    assert float(calibration.brier_resolution(tally)) == exactly(theirs["discrimination"])
    assert float(calibration.brier_uncertainty(tally)) == exactly(theirs["uncertainty"])
    assert float(calibration.brier(tally)) == exactly(theirs["score"])


def test_model_diagnostics_scores_any_answers_alike(answers: Answers) -> None:
    confidences, correct = answers
    theirs = decompose(correct, confidences, scoring_function=SquaredError()).row(0, named=True)
    tally = Tally.of(confidences, correct)
    assert float(calibration.brier(tally)) == exactly(theirs["score"])
    assert float(calibration.brier_uncertainty(tally)) == exactly(theirs["uncertainty"])
    # By distinct confidence there are more groups than isotonic regression leaves, and more can be told apart by them.
    assert float(calibration.brier_reliability(tally)) >= theirs["miscalibration"] - 1e-10
