"""Rows of photographs: labels that follow from people's ratings, and reasoning that agrees with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emocaliber.core.samples import Sample
from emocaliber.emotions.affect import positive_share
from emocaliber.photographs.content import contents
from emocaliber.photographs.samples import Picture, rows_of, tasks_for
from emocaliber.photographs.teacher import Look
from emocaliber.training.stage1 import teacher_response

LOOK = Look(contents()["dog"], False, "bright and vivid")


def rows(picture: Picture, task: str, n: int = 400, *, teacher: bool = True) -> list[dict[str, Any]]:
    return list(rows_of([picture] * n, [task] * n, seed=1, split="train", source="photographs", teacher=teacher))


def picture(valence: float, arousal: float = 0.0, **more: Any) -> Picture:
    return Picture("dog", Path("dog.jpg"), LOOK, (valence, arousal), **more)


def test_with_a_teacher_the_label_is_one_viewers() -> None:
    named = [row["ground_truth"] for row in rows(picture(0.2, people_sd=(0.4, 0.5)), "FI-2")]
    share = float(positive_share(0.2, 0.4))
    assert named.count("positive") / len(named) == pytest.approx(share, abs=0.08)


def test_without_one_the_polarity_is_the_side_of_the_mean_rating() -> None:
    assert {row["ground_truth"] for row in rows(picture(0.05), "WebEmo-2", teacher=False)} == {"positive"}
    assert {row["ground_truth"] for row in rows(picture(-0.05), "WebEmo-2", teacher=False)} == {"negative"}


def test_a_guessed_rating_may_be_on_either_side() -> None:
    named = [row["ground_truth"] for row in rows(picture(0.1, error=(0.3, 0.2)), "FI-2", teacher=False)]
    assert 0.52 < named.count("positive") / len(named) < 0.74


@pytest.mark.parametrize("task", ["EmoSet-8", "WebEmo-7", "WebEmo-25", "FI-2"])
def test_rows_are_samples_that_stage_1_takes(task: str) -> None:
    for row in rows(picture(0.5, told=(0.4,) * 12), task, 20):
        sample = Sample.from_row(row, "row 1")
        assert teacher_response(row, "row 1") == row["response"]
        assert sample.ground_truth in row["response"]
        assert len(row["told"]) == 12


def test_held_out_rows_have_the_expected_shares_of_people() -> None:
    [row] = rows(picture(0.6), "EmoSet-8", 1, teacher=False)
    assert "response" not in row
    assert sum(row["posterior"].values()) == pytest.approx(1, abs=1e-4)
    assert row["posterior"]["contentment"] > row["posterior"]["fear"]


def test_the_label_of_what_is_no_photograph_is_a_guess() -> None:
    made = rows(Picture("sheet", Path("sheet.png"), Look(None, False, "bright and greyish")), "EmoSet-8")
    counts = {label: sum(row["ground_truth"] == label for row in made) for label in made[0]["candidates"]}
    assert min(counts.values()) > 20
    assert all("nothing familiar" in row["response"].casefold() for row in made)


def test_tasks_come_in_the_proportions_of_the_mixture() -> None:
    tasks = tasks_for(600, {"EmoSet-8": 2, "FI-2": 1}, 3)
    assert tasks.count("EmoSet-8") == 400
    assert tasks != sorted(tasks)
    assert tasks == tasks_for(600, {"EmoSet-8": 2, "FI-2": 1}, 3)


def test_the_same_seed_gives_the_same_rows() -> None:
    assert rows(picture(0.2, error=(0.3, 0.2)), "EmoSet-8", 30) == rows(picture(0.2, error=(0.3, 0.2)), "EmoSet-8", 30)
    assert np.unique([row["id"] for row in rows(picture(0.2), "FI-2", 2)]).size == 1
