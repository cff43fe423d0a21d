from __future__ import annotations

from collections import Counter

import pytest

from emocaliber.core.tasks import GROUPS, TASKS, canonical_task, group_of, labels_of, task, task_order, taxonomy_of
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError


def test_there_are_nine_subtasks_in_three_groups() -> None:
    assert Counter(each.group for each in TASKS.values()) == {"ID VER": 4, "ID VSA": 2, "OOD VER": 3}
    assert {each.group for each in TASKS.values()} == set(GROUPS)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_named_after_its_number_of_labels(name: str) -> None:
    assert len(taxonomy(TASKS[name].taxonomy).labels) == int(name.rsplit("-", 1)[1])


def test_only_the_two_class_tasks_ask_for_sentiment() -> None:
    assert {name for name, each in TASKS.items() if each.kind == "sentiment"} == {"FI-2", "WebEmo-2"}


@pytest.mark.parametrize(
    ("written", "meant"),
    [("UnbaisedEmo-6", "UnbiasedEmo-6"), ("ArtPhoto-8", "Artphoto-8"), ("emoset-8", "EmoSet-8"), ("FI-8", "FI-8")],
)
def test_spellings_of_released_files_are_understood(written: str, meant: str) -> None:
    assert task(written) is TASKS[meant]
    assert canonical_task(written) == meant


def test_an_unknown_task_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UserError, match=r"no task 'FI-9'.*EmoSet-8.*UnbiasedEmo-6"):
        task("FI-9")


def test_a_task_has_the_labels_aliases_and_group_of_its_name_however_spelled() -> None:
    assert taxonomy_of("artphoto-8") is taxonomy("mikels-8")
    assert labels_of("artphoto-8", ["awe", "sadness"]).named("Sad.") == "sadness"
    assert group_of("artphoto-8") == "OOD VER"


def test_a_custom_task_keeps_its_name_and_has_neither_taxonomy_nor_group() -> None:
    assert canonical_task("My-Own-3") == "My-Own-3"
    assert (taxonomy_of("My-Own-3"), group_of("My-Own-3")) == (None, None)
    assert labels_of("My-Own-3", ["awe", "sadness"]).named("sad") is None


def test_custom_tasks_come_by_name_after_vecbench_s_own() -> None:
    assert sorted(["B", "UnbiasedEmo-6", "A", "FI-2", "EmoSet-8"], key=task_order) == ["EmoSet-8", "FI-2", "UnbiasedEmo-6", "A", "B"]


@pytest.mark.parametrize("typed", ["EmoSet", "emoset8", "Emo-Set 8"])
def test_a_mistyped_task_is_answered_with_the_one_that_was_meant(typed: str) -> None:
    with pytest.raises(UserError, match=r"did you mean EmoSet-8\?$"):
        task(typed)
