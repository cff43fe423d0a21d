from __future__ import annotations

import numpy as np
import pytest

from emocaliber.errors import UserError
from emocaliber.evaluation.compare import Difference, compare, mcnemar
from emocaliber.evaluation.comparison_table import comparison_table
from emocaliber.scoring import Outcome


def system(right: np.ndarray, confidence: float = 0.5, tasks: tuple[str, ...] = ("FI-8", "EmoSet-8")) -> list[Outcome]:
    return [
        Outcome(str(n), tasks[n % len(tasks)], "awe", "awe" if hit else "fear", bool(hit), None, 0.0, {"verb": confidence})
        for n, hit in enumerate(right)
    ]


def find(differences: list[Difference], scope: str, metric: str) -> Difference:
    (found,) = [each for each in differences if each.scope == scope and each.metric == metric]
    return found


def test_mcnemar_looks_only_at_the_samples_where_the_two_differ() -> None:
    a = [True] * 8 + [False] * 2 + [True] * 50
    b = [False] * 8 + [True] * 2 + [True] * 50
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert mcnemar(a, a) == 1.0


def test_a_system_does_not_differ_from_itself() -> None:
    random = np.random.default_rng(0)
    outcomes = system(random.random(200) < 0.6)
    for each in compare(outcomes, outcomes):
        assert each.difference in (0.0, None)
        assert each.interval in ((0.0, 0.0), None)
        assert each.p in (1.0, None)


def test_a_better_system_is_found_and_pairing_makes_the_interval_narrow() -> None:
    random = np.random.default_rng(0)
    worse = random.random(600) < 0.5
    better = worse | (random.random(600) < 0.1)
    found = find(compare(system(worse), system(better)), "overall", "accuracy_pooled")
    assert found.difference == pytest.approx(better.mean() - worse.mean())
    assert found.test == "mcnemar" and found.p is not None and found.p < 1e-6
    low, high = found.interval or (0.0, 0.0)
    assert 0 < low < found.difference < high
    assert high - low < 0.6 * (2 * 1.96 * np.sqrt(2 * 0.25 / 600)), "two unpaired systems would differ by this much"


def test_without_a_difference_few_tests_call_one() -> None:
    random = np.random.default_rng(5)
    called = 0
    for _ in range(60):
        a, b = (system(random.random(150) < 0.5) for _ in range(2))
        called += any(each.p_holm is not None and each.p_holm < 0.05 for each in compare(a, b, replicates=200) if each.source is None)
    assert called <= 12, "three tables of tests at 5 % each, with exact tests among them"


def test_images_in_several_tasks_are_no_matter_for_mcnemar() -> None:
    right = np.array([True, False] * 20)
    shared = [Outcome(**(vars(each) | {"image": f"{int(each.id) // 2}.jpg"})) for each in system(right)]
    tests = {each.test for each in compare(shared, shared)}
    assert tests == {"bootstrap"}


def test_other_samples_cannot_be_compared() -> None:
    a = system(np.ones(4, dtype=bool))
    with pytest.raises(UserError, match="1 samples are not in the second, among them '3'"):
        compare(a, a[:3])
    other = [*a[:3], Outcome(**(vars(a[3]) | {"ground_truth": "fear"}))]
    with pytest.raises(UserError, match="'3' of EmoSet-8 has the truth 'awe' in the first and 'fear' in the second"):
        compare(a, other)


def test_the_table_shows_every_scope_with_its_numbers() -> None:
    random = np.random.default_rng(0)
    worse = random.random(300) < 0.4
    text = comparison_table(compare(system(worse), system(worse | (random.random(300) < 0.4), 0.8)), a="one", b="two")
    assert "Answers" in text and "Confidence: verb" in text
    assert "EmoSet-8" in text and "ID VER" in text and "Overall" in text
    assert "<0.001" in text and "*" in text and "A: one" in text
