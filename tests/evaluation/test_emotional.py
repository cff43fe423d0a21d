from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from emocaliber.core.scoring import Outcome
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.evaluation.metrics import costs, polarity, rank_correlation


def outcome(answer: str | None, **fields: Any) -> Outcome:
    return Outcome("1", "FI-8", "awe", answer, answer == "awe", None, None, {}, **fields)


def test_every_built_in_label_has_the_polarity_of_its_family() -> None:
    for name in ("mikels-8", "webemo-7", "webemo-25", "unbiasedemo-6", "polarity-2"):
        known = taxonomy(name)
        assert {polarity(known, label) for label in known.labels} == {"positive", "negative"}
    assert polarity(taxonomy("webemo-25"), "sympathy") == "negative", "its family is sadness"
    assert polarity(taxonomy("unbiasedemo-6"), "surprise") == "positive"
    assert polarity(taxonomy("polarity-2"), "negative") == "negative"


def test_the_costs_of_an_eight_way_task_by_hand() -> None:
    loop = taxonomy("mikels-8").loop()
    labels = ("awe", "fear", "sadness")
    distances = {(a, b): loop.distance(a, b) for a in labels for b in labels}
    found = costs("FI-8", labels, distances)
    assert set(found) == {"loop_distance", "polarity_flips"}
    confusion = np.array([[5, 1, 0, 0], [0, 3, 1, 0], [0, 0, 2, 4]], dtype=float)
    total, wrong = found["loop_distance"].parts(confusion)
    assert wrong == 2
    assert total == pytest.approx(loop.distance("awe", "fear") + loop.distance("fear", "sadness"))
    assert [float(part) for part in found["polarity_flips"].parts(confusion)] == [1, 16]


def test_webemo_25_is_scored_at_its_coarser_levels() -> None:
    labels = ("cheerfulness", "rage", "zest")  # joy, anger, joy
    found = costs("WebEmo-25", labels, {})
    confusion = np.array([[1, 0, 2, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=float)
    assert [float(part) for part in found["accuracy_at_7"].parts(confusion)] == [5, 7]
    assert [float(part) for part in found["accuracy_at_2"].parts(confusion)] == [5, 7]


def test_a_custom_task_has_only_the_costs_that_its_outcomes_know() -> None:
    assert costs("Moods", ("calm", "tense"), {}) == {}
    assert set(costs("Moods", ("calm", "tense"), {("calm", "tense"): 0.5, ("tense", "calm"): 0.5})) == {"loop_distance"}


def test_agreement_is_the_share_of_annotators_behind_the_answer() -> None:
    assert outcome("awe", votes={"awe": 3, "fear": 1}).agreement == 0.75
    assert outcome("fear", posterior={"awe": 0.9, "fear": 0.1}, votes={"awe": 1}).agreement == 0.1
    assert outcome(None, votes={"awe": 3}).agreement == 0.0
    assert outcome("awe").agreement is None


def test_rank_correlation_agrees_with_scipy() -> None:
    random = np.random.default_rng(1)
    a, b = random.integers(0, 6, 200), random.integers(0, 4, 200)
    b = np.where(random.random(200) < 0.4, a // 2, b)
    joint = np.zeros((6, 4))
    np.add.at(joint, (a, b), 1)
    assert float(rank_correlation(joint)) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert np.isnan(rank_correlation(np.ones((1, 4))))
