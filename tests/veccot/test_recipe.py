"""A recipe is read from a file and flags, its errors are sentences, and its identity depends on what verdicts depend on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emocaliber.core.samples import Sample
from emocaliber.errors import UserError
from emocaliber.models.openai.model import RemoteModel
from emocaliber.veccot.batch_model import BatchModel
from emocaliber.veccot.checks import CheckSettings
from emocaliber.veccot.ledger import Ledger
from emocaliber.veccot.recipe import PromptTemplate, Recipe, read_recipe
from emocaliber.veccot.teacher import MinRatings

FILE = """
[teacher]
model = "openai:seed"
base_url = "http://127.0.0.1:9/v3"
api_key_env = "ARK_API_KEY"
concurrency = 32
prices = [0.4, 1.2]
[judge]
model = "openai:gpt-5"
prompt = "mine.txt"
[checks]
longest = 900
[least]
hallucination = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mine.txt").write_text("Rate {response} for {label}.")
    path = tmp_path / "recipe.toml"
    path.write_text(FILE)
    return path


def test_a_recipe_comes_from_its_file(file: Path) -> None:
    recipe = read_recipe(file)
    assert recipe.judge is not None
    assert (recipe.teacher.model, recipe.teacher.settings["concurrency"], recipe.teacher.temperature) == ("openai:seed", 32, 0.7)
    assert (recipe.judge.model, recipe.judge.prompt.text, recipe.judge.temperature) == ("openai:gpt-5", "Rate {response} for {label}.", 0.0)
    assert (recipe.limits.longest, recipe.limits.shortest, recipe.min_ratings.hallucination, recipe.min_ratings.conformity) == (
        900,
        12,
        5,
        4,
    )


def test_a_second_judge_is_one_line_and_flags_replace_the_file(file: Path) -> None:
    recipe = read_recipe(
        file, {"judge": {"model": "openai:other"}}, ["teacher.concurrency=8", "checks.similarity=0.8", "judge.temperature=1"]
    )
    assert recipe.judge is not None
    assert (recipe.judge.model, recipe.judge.temperature) == ("openai:other", 1.0)
    assert (recipe.teacher.settings["concurrency"], recipe.limits.similarity) == (8, 0.8)


def test_checks_alone_are_no_model() -> None:
    assert read_recipe(None, {"teacher": {"model": "narrator"}, "judge": {"model": "checks"}}).judge is None


def changed(file: Path, *changes: str) -> dict[str, Any]:
    return read_recipe(file, changes=changes).settings


def test_what_a_verdict_depends_on_makes_another_recipe_and_rate_and_price_do_not(file: Path) -> None:
    plain = changed(file)
    assert changed(file, "teacher.concurrency=1", "teacher.prices=[1, 1]", "judge.base_url=http://other", "judge.retries=1") == plain
    for change in (
        "teacher.model=openai:x",
        "judge.max_new_tokens=9",
        "checks.shortest=1",
        "least.conformity=1",
        "teacher.temperature=0.1",
    ):
        assert changed(file, change) != plain, change


def test_no_key_is_part_of_a_recipe(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARK_API_KEY", "sk-canary")
    recipe = read_recipe(file)
    model = recipe.teacher.load(tmp_path / "journal.jsonl")
    assert isinstance(model, RemoteModel)
    assert "canary" not in str(recipe.settings)
    assert "canary" not in repr(recipe)


def test_a_missing_key_is_named(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ARK_API_KEY", raising=False)
    with pytest.raises(UserError, match="should be in the variable ARK_API_KEY, which is not set"):
        read_recipe(file).teacher.load(tmp_path / "journal.jsonl")


def test_a_model_may_be_asked_through_batches(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARK_API_KEY", "sk-canary")
    with Ledger(tmp_path / "ledger.db", create=True) as book:
        assert isinstance(read_recipe(file).teacher.load(tmp_path / "journal.jsonl", batches=book), BatchModel)


def test_a_budget_wants_the_prices_of_all_that_is_paid(file: Path) -> None:
    with pytest.raises(UserError, match=r"give \[judge\] prices = "):
        read_recipe(file).check_budget()
    read_recipe(file, changes=["judge.prices=[1, 10]"]).check_budget()
    read_recipe(file, {"judge": {"model": "checks"}}).check_budget()


@pytest.mark.parametrize(
    "text, problem",
    [
        ("[teacher]\nmodel = 'x'", "no judge is named; give --judge"),
        ("[judge]\nmodel = 'checks'", "no teacher is named"),
        ("[teachers]\nmodel = 'x'", r"there is no table \[teachers\]"),
        ("teacher = 'x'", r"there is no table \[teacher\]"),
        ("teacher = {", "is not TOML"),
        ("{}[teacher]\napi_key = 'sk'", "a key does not belong in a file"),
        ("{}[teacher]\ntemperature = 'hot'", r"\[teacher\]: temperature must be a number, not 'hot'"),
        ("{}[teacher]\nprompt = 3", "prompt must be a text, not 3"),
        ("{}[teacher]\nprompt = 'none.txt'", "none.txt: cannot be read as a prompt"),
        ("{}[checks]\nshort = 3", r"\[checks\]: there is no setting 'short' here; the settings are shortest"),
        ("{}[checks]\nshortest = 'a'", "shortest must be a whole number, not 'a'"),
        ("{}[checks]\nshortest = 2.5", "not 2.5"),
        ("{}[checks]\nforbidden = 'a'", "forbidden must be a list of texts"),
        ("{}[least]\nconformity = true", "not True"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "recipe.toml"
    both = text.replace("{}[teacher]", "[teacher]\nmodel = 'x'").replace("{}", "[teacher]\nmodel = 'x'\n") + "\n[judge]\nmodel = 'checks'\n"
    path.write_text(both if "{}" in text else text)
    with pytest.raises(UserError, match=problem):
        read_recipe(path)


@pytest.mark.parametrize("change", ["concurrency=3", "teacher.concurrency", "other.a=1", ""])
def test_a_change_that_cannot_be_read_is_refused(change: str) -> None:
    with pytest.raises(UserError, match=r"must look like TABLE\.KEY=VALUE"):
        read_recipe(None, {}, [change])


SAMPLE = Sample("a", "/a.png", "FI-2", ("positive", "negative"), "positive", "test", "train")


@pytest.mark.parametrize("role", ["teacher", "judge"])
def test_the_prompts_that_come_with_the_package_are_filled_in_whole(role: Any) -> None:
    text = PromptTemplate.load(role).fill(SAMPLE, "I say {label} and {candidates}.")
    assert "the sentiment: positive" in text or "The sentiment it evokes in people is: positive" in text
    assert "'positive', 'negative'" in text
    for place in ("{noun}", "{response}"):
        assert place not in text
    assert ("I say {label} and {candidates}." in text) == (role == "judge"), "what a teacher says is not filled in"


@pytest.mark.parametrize("role, text, place", [("teacher", "{label}", "candidates"), ("judge", "{label}", "response")])
def test_a_prompt_without_a_place_is_refused(tmp_path: Path, role: Any, text: str, place: str) -> None:
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(UserError, match=f"must have {{{place}}} in it"):
        PromptTemplate.load(role, tmp_path / "p.txt")


def test_a_recipe_is_a_value(file: Path) -> None:
    recipe = read_recipe(file)
    assert isinstance(recipe, Recipe)
    assert replace(recipe) == recipe == read_recipe(file)


def test_the_example_that_comes_with_the_project_can_be_read() -> None:
    recipe = read_recipe(Path(__file__).parents[2] / "configs" / "vec-cot.toml")
    recipe.check_budget()
    assert recipe.judge is not None
    assert (recipe.limits, recipe.min_ratings) == (CheckSettings(), MinRatings()), "it shows the defaults"
