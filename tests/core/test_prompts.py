"""Prompts: every one asks for a tagged answer among the candidates, and says where it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from emocaliber.core.prompts import EMOCALIBER, listed, load_prompt, prompt_names
from emocaliber.core.tasks import TASKS
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError

every_prompt = pytest.mark.parametrize("name", prompt_names())
SHIPPED = [name for name in prompt_names() if name != EMOCALIBER.name]


def test_there_are_the_prompts_that_the_documentation_names() -> None:
    assert prompt_names() == ["emocaliber", "direct", "think", "tian"]


@every_prompt
@pytest.mark.parametrize("task", TASKS)
def test_a_question_lists_the_candidates_once_and_asks_for_the_tag_of_the_answer(name: str, task: str) -> None:
    candidates = taxonomy(TASKS[task].taxonomy).labels
    question = load_prompt(name).question(task, candidates)
    assert question.count(listed(candidates)) == 1
    assert "<answer>" in question and "</answer>" in question
    assert ("sentiment" if task in ("FI-2", "WebEmo-2") else "emotion") in question
    assert "{noun}" not in question and "{candidates}" not in question


@pytest.mark.parametrize(
    ("candidates", "noun"),
    [(("negative", "positive"), "sentiment"), (("calm", "tense"), "emotion"), (("positive", "negative", "neutral"), "emotion")],
)
def test_a_task_of_ones_own_is_about_sentiment_if_its_labels_are_the_two_polarities(candidates: tuple[str, ...], noun: str) -> None:
    question = EMOCALIBER.question("OASIS-polarity", candidates)
    assert noun in question
    assert ({"sentiment", "emotion"} - {noun}).pop() not in question


@every_prompt
def test_a_confidence_is_asked_for_where_it_is_wanted_and_follows_the_answer(name: str) -> None:
    with_it, without = (load_prompt(name).question("FI-2", ("positive", "negative"), confidence=wanted) for wanted in (True, False))
    assert with_it.index("</answer>") < with_it.index("<confidence>") < with_it.index("</confidence>")
    assert "confidence" not in without


@pytest.mark.parametrize("name", SHIPPED)
def test_models_that_were_never_taught_are_told_what_a_confidence_is_and_read_leniently(name: str) -> None:
    prompt = load_prompt(name)
    assert prompt.lenient
    assert prompt.source
    question = prompt.question("FI-2", ("positive", "negative"))
    assert "from 0 to 1" in question or "between 0.0 and 1.0" in question


def test_only_prompts_that_want_reasoning_ask_for_it() -> None:
    reasons = {name: "Think step by step" in load_prompt(name).question("FI-2", ("positive", "negative")) for name in prompt_names()}
    assert reasons == {"emocaliber": True, "direct": False, "think": True, "tian": False}


def test_a_prompt_of_ones_own_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('question = "What {noun}? {candidates} {x}"\nlenient = false')
    prompt = load_prompt(str(file))
    assert (prompt.name, prompt.lenient, prompt.source) == ("mine", False, "")
    assert prompt.question("my task", ("calm", "wild"), confidence=True) == "What emotion? 'calm', 'wild' {x}"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("question = ", r"mine\.toml is not TOML"),
        ('question = "What?"', r"mine\.toml: question must be a text with {candidates} in it"),
        ("", r"mine\.toml: question must be a text with {candidates} in it"),
        ("question = 3", r"mine\.toml: question must be a text, not 3"),
        ('question = "{candidates}"\nlenient = "yes"', r"mine\.toml: lenient must be true or false, not 'yes'"),
        (
            'question = "{candidates}"\nquestions = "x"',
            r"mine\.toml: there is no setting 'questions' here; the settings are question, ",
        ),
    ],
)
def test_a_file_that_is_no_prompt_is_named_with_what_is_wrong(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "mine.toml").write_text(content)
    with pytest.raises(UserError, match=complaint):
        load_prompt(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", ["thinks", "", "nowhere/mine.toml"])
def test_a_prompt_that_is_not_there_is_answered_with_those_that_are(name: str) -> None:
    with pytest.raises(UserError, match=r"there is no prompt .*; there are emocaliber, direct, think, tian, or give a TOML file"):
        load_prompt(name)
