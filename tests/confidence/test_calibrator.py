"""Calibrators: what they learn from an answer's confidences, and that no answer is calibrated by itself."""

from __future__ import annotations

import numpy as np
import pytest

from emocaliber.confidence.calibrator import FEWEST, cross_fitted, fit, usable_sources
from emocaliber.core.calibrators import Logistic


def drawn(n: int, seed: int, sharpness: float = 0.5) -> list[tuple[dict[str, float | None], bool]]:
    """Answers whose `commit` is overconfident: the log-odds of being right are `sharpness` times those it states. `noise` says nothing."""
    rng = np.random.default_rng(seed)
    stated = rng.uniform(0.02, 0.98, n)
    odds = sharpness * np.log(stated / (1 - stated))
    right = rng.random(n) < 1 / (1 + np.exp(-odds))
    return [({"commit": float(c), "avg": float(a)}, bool(r)) for c, a, r in zip(stated, rng.random(n), right, strict=True)]


def test_the_fit_finds_the_truth_and_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    answers = drawn(4000, 0)
    found = fit(answers, ("commit", "avg"))
    assert found.weights[0] == pytest.approx(0.5, abs=0.08) and abs(found.weights[1]) < 0.08 and abs(found.bias) < 0.1
    clipped = np.clip([[c["commit"], c["avg"]] for c, _ in answers], 0.01, 0.99)
    theirs = LogisticRegression(C=1 / (1e-2 * len(answers)), tol=1e-9, max_iter=1000).fit(
        np.log(clipped / (1 - clipped)), [r for _, r in answers]
    )
    assert (*found.weights, found.bias) == pytest.approx([*theirs.coef_[0], *theirs.intercept_], abs=1e-3)


def test_cross_fitted_probabilities_are_calibrated_and_do_not_know_their_own_answer() -> None:
    answers = [("q", *answer) for answer in drawn(3000, 1)]
    found = cross_fitted(answers, ("commit", "avg"), seed=0)
    right = np.array([each[2] for each in answers])
    for low in (0.2, 0.4, 0.6):
        kept = (np.array(found) > low) & (np.array(found) <= low + 0.2)
        assert right[kept].mean() == pytest.approx(np.array(found)[kept].mean(), abs=0.06)
    turned = [
        (question, confidences, not is_right if place == 7 else is_right) for place, (question, confidences, is_right) in enumerate(answers)
    ]
    assert cross_fitted(turned, ("commit", "avg"), seed=0)[7] == found[7]
    assert cross_fitted(answers, ("commit", "avg"), seed=0) == found != cross_fitted(answers, ("commit", "avg"), seed=1)


def test_questions_have_calibrators_of_their_own_unless_they_have_few_answers() -> None:
    overconfident, honest = drawn(2000, 2, sharpness=0.3), drawn(2000, 3, sharpness=1.0)
    few = drawn(FEWEST - 1, 4)
    together = [("a", *each) for each in overconfident] + [("b", *each) for each in honest] + [("c", *each) for each in few]
    found = cross_fitted(together, ("commit",), seed=0)
    bounds = ((0, 2000), (2000, 4000), (4000, len(together)))
    surest = [max(range(*each), key=lambda place: together[place][1]["commit"] or 0) for each in bounds]
    assert found[surest[0]] < found[surest[2]] < found[surest[1]]


def test_only_sources_that_every_answer_has_are_used() -> None:
    assert usable_sources([{"commit": 0.5, "avg": 0.4, "verb": 0.9}, {"commit": 0.1, "avg": None}]) == ("commit",)
    with pytest.raises(KeyError):
        Logistic(("commit",), (1.0,), 0.0)({"commit": None})
