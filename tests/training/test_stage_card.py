"""What the card of a trained model inherits from the model that its stage started from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emocaliber.core.tasks import TASKS
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.io.rows import write_rows
from emocaliber.models import TINY
from emocaliber.models.card import read_card
from emocaliber.training.config import Stage1Config
from emocaliber.training.stage_card import card_of_stage

MIKELS = list(taxonomy(TASKS["EmoSet-8"].taxonomy).labels)
OWN = {"task": "Moods", "candidates": ["calm", "tense"], "ground_truth": "calm"}
PHOTO = {"id": "a", "image": "a.jpg", "source": "mine", "split": "train", "task": "EmoSet-8", "candidates": MIKELS, "ground_truth": "awe"}


def card(folder: Path, row: dict[str, Any], model: str = str(TINY)) -> dict[str, Any]:
    write_rows(folder / "s.jsonl", [row])
    return card_of_stage(Stage1Config(out="o", samples=str(folder / "s.jsonl"), model=model, learning_rate=1.0, batch_size=1))


def test_a_model_trained_from_tiny_on_scenes_says_that_it_has_seen_no_photograph(tmp_path: Path) -> None:
    made, tiny = card(tmp_path, PHOTO | {"scene": {}}), read_card(TINY)
    assert "never seen a photograph" in made["notice"]
    assert all(made[key] == tiny[key] for key in ("tasks", "fixed_questions", "commits_after", "unfamiliar"))


@pytest.mark.parametrize(("row", "fixed"), [(PHOTO, True), (PHOTO | OWN, False)])
def test_photographs_and_labels_of_ones_own_change_the_card(row: dict[str, Any], fixed: bool, tmp_path: Path) -> None:
    made = card(tmp_path, row)
    assert "no photographs but those of its training" in made["notice"]
    assert ("fixed_questions" in made, row["task"] in made["tasks"]) == (fixed, True)


def test_a_model_from_elsewhere_gets_no_card(tmp_path: Path) -> None:
    assert card(tmp_path, PHOTO | {"scene": {}}, model="Qwen/Qwen2.5-VL-3B-Instruct") == {}
