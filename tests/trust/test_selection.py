"""The choice of a calibrator: by cross-validated Brier score, on other images, and refused in a sentence where there is nothing to fit."""

from __future__ import annotations

import re

import numpy as np
import pytest

from emocaliber.trust.fitting import Bools, Floats
from emocaliber.trust.selection import FEWEST, Answered, choose, why_none

ALL = ("platt", "beta", "isotonic", "logistic")


def drawn(n: int, slope: float = 1.0, bias: float = 0.0, seed: int = 0, sources: int = 1) -> Answered:
    """Answers that are right with the log-odds slope · (log-odds of the first confidence) + bias; further sources say nothing."""
    random = np.random.default_rng(seed)
    stated: Floats = random.uniform(0.02, 0.98, (n, sources))
    right: Bools = random.random(n) < 1 / (1 + np.exp(-(slope * np.log(stated[:, 0] / (1 - stated[:, 0])) + bias)))
    return Answered(tuple("abc"[:sources]), stated, right, tuple(f"{seed}-{number}" for number in range(n)))


def test_the_fewest_numbers_win_where_more_do_not_help() -> None:
    found = choose({"q": drawn(800, 0.5, -0.5, sources=2)}, ALL, seed=0)["q"]
    assert (found.map.method, found.map.sources) == ("platt", ("a",))
    best = found.tried[0]
    assert best.brier == min(each.brier for each in found.tried) and len(found.tried) == 7


def test_sources_are_fused_where_each_knows_something() -> None:
    random = np.random.default_rng(1)
    odds = random.normal(0, 1.5, (1500, 2))
    right = random.random(1500) < 1 / (1 + np.exp(-odds.sum(axis=1)))
    answered = Answered(("a", "b"), 1 / (1 + np.exp(-odds)), right, tuple(map(str, range(1500))))
    assert choose({"q": answered}, ALL, seed=0)["q"].map.sources == ("a", "b")


def test_no_answer_is_judged_by_a_fit_that_saw_its_image() -> None:
    """Turning the outcome of one image's answers round changes nothing about their own held-out probabilities."""
    answered = drawn(200, seed=2)
    twice = tuple(f"{number // 2}" for number in range(200))
    turned = answered.right.copy()
    turned[:2] = ~turned[:2]
    before = choose({"q": Answered(("a",), answered.confidences, answered.right, twice)}, ["platt"], seed=3)["q"].held_out
    after = choose({"q": Answered(("a",), answered.confidences, turned, twice)}, ["platt"], seed=3)["q"].held_out
    assert before[:2] == pytest.approx(after[:2], abs=1e-12)
    assert (before[2:] != after[2:]).any()


def test_a_question_with_few_answers_lies_between_its_own_fit_and_the_pool() -> None:
    few, many = drawn(60, 1.0, -1.0, seed=4), drawn(3000, 1.0, 1.0, seed=5)
    middle = {"a": 0.5}
    alone = choose({"few": few}, ["platt"], seed=0)["few"].map(middle)
    together = choose({"few": few, "many": many}, ["platt"], seed=0)
    assert alone < together["few"].map(middle) < together["many"].map(middle)
    assert together["many"].map(middle) == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03), "many answers hardly move"


def test_the_choice_depends_on_the_seed_alone() -> None:
    answered = {"q": drawn(100, seed=6)}
    first, second, other = (choose(answered, ["platt"], seed=seed)["q"].held_out for seed in (0, 0, 1))
    assert (first == second).all() and (first != other).any()


@pytest.mark.parametrize(
    ("answered", "why"),
    [
        (drawn(12), f"12 answers have a confidence, and a calibrator needs at least {FEWEST}"),
        (Answered(("a",), np.full((60, 1), 0.3), np.ones(60, dtype=bool), ("i",) * 60), "none of 60 answers is wrong"),
        (Answered(("a",), np.full((60, 1), 0.3), np.arange(60) < 1, ("i",) * 60), "only 1 of 60 answers is right"),
        (Answered(("a",), np.full((60, 1), 0.9), np.arange(60) < 30, ("i",) * 60), r"all 60 answers have the same confidence \(0\.9\)"),
    ],
)
def test_what_cannot_be_calibrated_is_said_in_a_sentence(answered: Answered, why: str) -> None:
    found = why_none(answered)
    assert found is not None
    assert re.search(why, found)
