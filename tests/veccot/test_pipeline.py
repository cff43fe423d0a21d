"""The pipeline: verdicts, retries and costs of every sample."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emocaliber.core.model import Model, ModelError, Request
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import taxonomy_of
from emocaliber.veccot.checks import CHECKS, CheckSettings
from emocaliber.veccot.ledger import UNREADABLE, Attempt, Ledger
from emocaliber.veccot.pipeline import Pipeline
from emocaliber.veccot.recipe import PromptTemplate, Recipe, RecipeModel
from emocaliber.veccot.teacher import CRITERIA, TemplateTeacher
from scripted import Say, Scripted

FINE = json.dumps({criterion: {"rating": 5, "reason": "Fine."} for criterion in CRITERIA})
POOR = json.dumps({criterion: {"rating": 2, "reason": "Poor."} for criterion in CRITERIA})
RECIPE = Recipe(
    teacher=RecipeModel(model="teacher", prompt=PromptTemplate("label={label} of {candidates}"), temperature=0.7),
    judge=RecipeModel(model="judge", prompt=PromptTemplate("{label}: {response}"), temperature=0.0),
)
CHECKS_ONLY = replace(RECIPE, judge=None)
FAILED = ModelError("timeout", "no answer in time")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    known = taxonomy_of("EmoSet-8")
    assert known is not None
    book = Ledger(tmp_path / "ledger.db", create=True)
    for number in range(6):
        image = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(image)
        book.add_samples([Sample(f"s{number}", str(image), "EmoSet-8", known.labels, "awe", "test", "train").to_row()])
    return book


def good(request: Request) -> str:
    """A good text, another one for each sample and seed."""
    words = " ".join(f"{request.key}x{request.seed}x{place}" for place in range(12))
    return render(Response(Reasoning(words, "There is nobody here.", f"{words} around.", f"{words} meet.", f"{words} evoke awe."), "awe"))


def bad(request: Request) -> str:
    return good(request).replace("<answer>awe", "<answer>fear")


def first(said: Say, then: Say) -> Say:
    """One thing the first time that a sample comes, another after that."""
    seen: set[str] = set()

    def say(request: Request) -> str | ModelError:
        new = request.key not in seen
        seen.add(request.key)
        return said(request) if new else then(request)

    return say


def run(ledger: Ledger, teacher: Model, judge: Model | None = None, recipe: Recipe | None = None, **more: Any) -> Pipeline:
    pipeline = Pipeline(ledger, recipe or (RECIPE if judge else CHECKS_ONLY), teacher, judge, **more)
    pipeline.run()
    return pipeline


def verdicts(ledger: Ledger) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in ledger.attempts():
        found.setdefault(each.sample, []).append(each.verdict)
    return found


def always(text: str) -> Say:
    return lambda request: text


def test_every_sample_ends_with_a_verdict_its_text_and_its_cost(ledger: Ledger) -> None:
    run(ledger, Scripted(good, cost=0.25), Scripted(always(FINE), cost=0.5))
    assert verdicts(ledger) == {f"s{number}": ["accepted"] for number in range(6)}
    one = next(ledger.attempts())
    assert (one.teacher, one.judge, one.number, one.cost, one.prompt_tokens, one.seconds) == ("teacher", "judge", 1, 0.75, 200, 1.0)
    assert one.judgement == json.loads(FINE)
    assert one.response is not None and one.response.startswith("<think>")


def test_what_the_checks_reject_the_judge_never_sees(ledger: Ledger) -> None:
    judge = Scripted(always(FINE))
    run(ledger, Scripted(bad), judge, attempts=1)
    assert judge.asked == []
    assert {each.reasons[0].check for each in ledger.attempts()} == {"answer"}


def test_a_rejected_text_is_asked_for_again_with_another_seed_up_to_the_attempts(ledger: Ledger) -> None:
    teacher = Scripted(bad)
    run(ledger, teacher, attempts=3)
    assert verdicts(ledger) == {f"s{number}": ["rejected"] * 3 for number in range(6)}
    assert len({(request.key, request.seed) for request in teacher.asked}) == 18
    run(ledger, teacher, attempts=3)
    assert len(teacher.asked) == 18, "there is nothing left to try"


def test_a_greedy_teacher_samples_when_it_is_asked_again(ledger: Ledger) -> None:
    teacher = Scripted(first(bad, good))
    run(ledger, teacher, recipe=replace(CHECKS_ONLY, teacher=replace(RECIPE.teacher, temperature=0.0)))
    assert {request.temperature for request in teacher.asked[:6]} == {0.0}
    assert all(request.temperature for request in teacher.asked[6:])


def test_those_to_be_tried_again_come_after_all_others(ledger: Ledger) -> None:
    run(ledger, Scripted(first(bad, good)))
    assert [each.sample for each in ledger.attempts()] == [f"s{number}" for number in range(6)] * 2


def test_a_failure_that_may_pass_is_tried_again_as_the_same_question(ledger: Ledger) -> None:
    teacher = Scripted(first(lambda request: FAILED, good))
    run(ledger, teacher)
    assert verdicts(ledger) == {f"s{number}": ["failed", "accepted"] for number in range(6)}
    assert len({(request.key, request.seed) for request in teacher.asked}) == 6


def test_a_failure_that_is_final_is_not_tried_again(ledger: Ledger) -> None:
    teacher = Scripted(lambda request: ModelError("refused", "it declined"))
    run(ledger, teacher)
    run(ledger, teacher)
    assert len(teacher.asked) == 6


def test_an_unreadable_judgement_is_retried_then_failed_and_never_accepted(ledger: Ledger) -> None:
    judge = Scripted(always("Quite good."))
    run(ledger, Scripted(good), judge, attempts=2)
    assert verdicts(ledger) == {f"s{number}": ["failed"] * 2 for number in range(6)}
    assert {each.error.code for each in ledger.attempts() if each.error} == {UNREADABLE}
    assert [bool(request.temperature) for request in judge.asked] == [False] * 6 + [True] * 6, "greedily it would say the same again"


def test_the_teachers_text_is_paid_for_once_when_the_judge_fails(ledger: Ledger) -> None:
    run(ledger, Scripted(good, cost=0.25), Scripted(first(lambda request: FAILED, always(FINE)), cost=0.5))
    assert [each.cost for each in ledger.attempts()] == [0.25] * 6 + [0.5] * 6


def test_another_judge_starts_new_attempts_and_the_teacher_is_not_paid_again(ledger: Ledger) -> None:
    run(ledger, Scripted(good, cost=0.25), Scripted(always(POOR), cost=0.5), attempts=1)
    stern = replace(RECIPE, judge=RecipeModel(model="milder", prompt=PromptTemplate("{label}? {response}"), temperature=0.0))
    run(ledger, Scripted(good, cost=0.25), Scripted(always(FINE), cost=0.5), stern, attempts=1)
    assert verdicts(ledger) == {f"s{number}": ["rejected", "accepted"] for number in range(6)}
    assert ledger.totals().cost == 6 * (0.25 + 0.5 + 0.5)


def test_a_change_of_threshold_is_another_recipe(ledger: Ledger) -> None:
    run(ledger, Scripted(good))
    run(ledger, Scripted(good), recipe=replace(CHECKS_ONLY, limits=CheckSettings(longest=20)), attempts=1)
    assert {len(said) for said in verdicts(ledger).values()} == {2}
    assert ledger.totals().accepted == 6, "what was accepted once stays accepted"


def test_a_copy_is_rejected_also_when_the_judge_had_both_before_it(ledger: Ledger) -> None:
    same = good(Request(Image.new("RGB", (1, 1)), "", key="same"))

    class AllAtOnce(Scripted):
        def answer(self, requests: Any) -> Any:
            return super().answer(list(requests))

    run(ledger, Scripted(always(same)), AllAtOnce(always(FINE)), attempts=1)
    assert [each.verdict for each in ledger.attempts()] == ["accepted"] + ["rejected"] * 5
    assert {each.reasons[0].check for each in list(ledger.attempts())[1:]} == {"near_duplicate"}


def test_a_run_that_goes_on_knows_what_was_accepted_before(ledger: Ledger) -> None:
    same = good(Request(Image.new("RGB", (1, 1)), "", key="same"))
    run(ledger, Scripted(always(same)), attempts=1, only={"s0"})
    run(ledger, Scripted(always(same)), attempts=1)
    assert ledger.totals().accepted == 1


def test_an_image_that_cannot_be_opened_fails_and_is_tried_again_when_it_is_there(ledger: Ledger, tmp_path: Path) -> None:
    image = tmp_path / "3.png"
    content = image.read_bytes()
    image.unlink()
    run(ledger, Scripted(good), Scripted(always(FINE)))
    assert verdicts(ledger)["s3"] == ["failed"] * 3
    image.write_bytes(content)
    run(ledger, Scripted(good), Scripted(always(FINE)))
    assert verdicts(ledger)["s3"] == ["failed"] * 3 + ["accepted"]


@pytest.mark.parametrize("window", [None, 4])
def test_a_run_that_is_told_to_stop_ends_what_is_under_way_and_goes_on_later(ledger: Ledger, window: int | None) -> None:
    done: list[Attempt] = []
    pipeline = run(
        ledger, Scripted(good, window=window), stop=lambda: len(done) >= 2, on_attempt=lambda attempt, settled: done.append(attempt)
    )
    assert pipeline.stopped
    assert 2 <= len(done) < 6
    run(ledger, Scripted(good))
    assert verdicts(ledger) == {f"s{number}": ["accepted"] for number in range(6)}


def test_the_callback_is_told_when_a_sample_is_settled(ledger: Ledger) -> None:
    settled_ones: list[bool] = []
    run(ledger, Scripted(first(bad, good)), on_attempt=lambda attempt, settled: settled_ones.append(settled))
    assert settled_ones == [False] * 6 + [True] * 6
    settled_ones.clear()
    ledger.add_recipe({})
    run(
        ledger,
        Scripted(bad),
        recipe=replace(CHECKS_ONLY, limits=CheckSettings(longest=999)),
        attempts=1,
        on_attempt=lambda _, settled: settled_ones.append(settled),
    )
    assert settled_ones == [True] * 6


PRICED = replace(RECIPE.teacher, settings={"prices": [1e4, 1e4], "max_new_tokens": 20})  # at worst 2 x 100 and 20 tokens: 2.2 dollars


def test_the_budget_is_never_exceeded_and_a_larger_one_goes_on(ledger: Ledger) -> None:
    recipe = replace(CHECKS_ONLY, teacher=PRICED)
    pipeline = run(ledger, Scripted(good, cost=1.1), recipe=recipe, budget=5.0)
    assert pipeline.stopped is not None and pipeline.stopped.startswith(
        "the budget of $5 is reached ($3.3000 spent, and the next attempt may cost $2.2"
    )
    assert ledger.totals().cost <= 5.0
    assert len(list(ledger.attempts())) == 3
    assert run(ledger, Scripted(good, cost=1.1), recipe=recipe, budget=100.0).stopped is None
    assert ledger.totals().accepted == 6


@pytest.mark.parametrize("window", [1, 3, None])
def test_the_budget_holds_whatever_the_model_has_under_way(ledger: Ledger, window: int | None) -> None:
    class Greedy(Scripted):
        """Takes as many requests as it can get before it answers one."""

        def answer(self, requests: Any) -> Any:
            return super().answer(list(requests))

    run(ledger, Greedy(good, cost=1.1, window=window), recipe=replace(CHECKS_ONLY, teacher=PRICED), budget=5.0)
    assert len(list(ledger.attempts())) == 3


def test_the_template_teacher_knows_only_synthetic_scenes(ledger: Ledger) -> None:
    told = good(Request(Image.new("RGB", (1, 1)), "", key="told"))
    ledger.add_samples([next(ledger.samples()) | {"id": "drawn", "image": "/not/there.png", "scene": {}, "response": told}])
    run(ledger, TemplateTeacher(ledger.row))
    assert verdicts(ledger) == {**{f"s{number}": ["failed"] for number in range(6)}, "drawn": ["accepted"]}
    error = next(ledger.attempts()).error
    assert error is not None and "'s0' is no synthetic scene, which the template teacher needs" in error.message


def test_the_teacher_is_told_the_label_and_the_judge_the_text(ledger: Ledger) -> None:
    teacher, judge = Scripted(good), Scripted(always(FINE))
    run(ledger, teacher, judge)
    assert teacher.asked[0].question.startswith("label=awe of 'amusement', 'awe'")
    assert judge.asked[0].question == f"awe: {good(teacher.asked[0])}"
    assert teacher.asked[0].image.getpixel((0, 0)) == judge.asked[0].image.getpixel((0, 0)) == (0, 0, 0)
    assert judge.asked[1].image.getpixel((0, 0)) == (40, 0, 0)


def test_a_check_of_ones_own_is_one_function(ledger: Ledger) -> None:
    def not_s1(draft: Any) -> str | None:
        return "it is s1" if draft.sample.id == "s1" else None

    run(ledger, Scripted(good), recipe=replace(CHECKS_ONLY, checks=[*CHECKS, not_s1]), attempts=1)
    assert ledger.totals().by_reason == {"not_s1": 1}
    assert "not_s1" in next(iter(ledger.recipes().values()))["checks"]["made"]
