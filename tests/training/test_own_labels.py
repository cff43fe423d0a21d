"""Labels that are not spelt as a built-in taxonomy spells them, and those of a task of one's own, in all stages of training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.confidence.rewards import RewardSettings, reward
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.tasks import labels_of
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.io.rows import read_rows, write_rows
from emocaliber.training.config import load_config
from emocaliber.training.run import run_stage
from emocaliber.training.samples import numbered_sample_rows
from emocaliber.training.stage1 import teacher_response
from emocaliber.training.stage2 import confidence_examples
from microscopic import write_base

REASONING = Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms")
ROW = {"id": "a", "image": "a.jpg", "source": "mine", "split": "train"}


def answered(task: str, candidates: list[str], truth: str, answer: str, probability: float = 0.8) -> dict[str, Any]:
    asked = ROW | {"task": task, "candidates": candidates, "ground_truth": truth}
    return asked | {"response": render(Response(REASONING, answer)), "confidence": {"avg": probability}}


def far(name: str, a: str, b: str) -> float:
    return taxonomy(name).loop().distance(a, b)


def target(row: dict[str, Any]) -> str:
    [example] = confidence_examples([row], "eq2", width=0.08, seed=0)
    return example.completion


@pytest.mark.parametrize(
    ("row", "confidence"),
    [
        (answered("EmoSet-8", ["Amusement", "Awe"], "Awe", "awe"), 0.9),
        (
            answered("EmoSet-8", ["Amusement", "Awe"], "Awe", "Amusement"),
            0.5 - 0.8 * far("mikels-8", "amusement", "awe"),
        ),
        (answered("WebEmo-25", ["irritabilty", "rage"], "irritabilty", "irritability"), 0.9),
        (
            answered("WebEmo-25", ["irritabilty", "rage"], "irritabilty", "rage"),
            0.5 - 0.8 * far("webemo-25", "irritability", "rage"),
        ),
        (answered("Moods", ["радость", "страх"], "радость", "Радость"), 0.9),
        (answered("Moods", ["радость", "страх"], "радость", "страх"), 0.1),
    ],
)
def test_every_readable_answer_of_the_scaffold_has_a_target(row: dict[str, Any], confidence: float) -> None:
    assert target(row) == f"<confidence>{confidence:.2f}</confidence>"


def test_a_row_is_trained_on_with_its_labels_spelt_as_the_candidates_are(tmp_path: Path) -> None:
    row = answered("FI-8", ["awe", "sadness"], "Sad", "sad") | {"votes": {"Sad": 2, "awe": 1}, "note": "kept"}
    write_rows(tmp_path / "samples.jsonl", [row])
    ((_, read),) = numbered_sample_rows(tmp_path / "samples.jsonl")
    assert (read["ground_truth"], read["votes"], read["note"]) == ("sadness", {"sadness": 2, "awe": 1}, "kept")
    assert teacher_response(read, "line 1") == row["response"].replace(">sad<", ">sadness<")


def test_a_response_that_answers_with_another_label_is_refused() -> None:
    with pytest.raises(UserError, match="line 1: response answers 'awe', but ground_truth is 'sadness'"):
        teacher_response(answered("FI-8", ["awe", "sadness"], "sadness", "awe"), "line 1")


def test_a_reward_knows_the_spellings_of_the_task() -> None:
    text = render(Response(REASONING, "irritability", 0.8))
    known = labels_of("WebEmo-25", ["irritabilty", "rage"])
    assert reward(text, known, "irritabilty")[1]["correct"] == 1
    assert reward(text, ["irritabilty", "rage"], "irritabilty")[0] == RewardSettings().floor


@pytest.mark.slow
def test_a_task_of_ones_own_in_another_script_goes_through_all_stages(tmp_path: Path) -> None:
    folder = write_base(tmp_path)
    names = {label: f"чувство {number}" for number, label in enumerate(taxonomy("mikels-8").labels)}

    def moods(file: Path) -> None:
        rows = []
        for row in read_rows(file):
            label = names[row["ground_truth"]]
            response = row["response"].replace(f"<answer>{row['ground_truth']}<", f"<answer>{label.upper()}<")
            rows.append(row | {"task": "Moods", "candidates": [*names.values()], "ground_truth": label, "response": response})
            rows[-1].pop("posterior")
        write_rows(file, rows)

    model = folder / "base"
    for stage in ("stage1", "stage2", "stage3"):
        moods(folder / "scenes" / stage / "samples.jsonl")
        if stage == "stage2":
            moods(folder / "stage2" / "scaffold.jsonl")
        overrides = [f"model={json.dumps(str(model))}", "max_steps=2"]
        model = run_stage(stage, load_config(stage, folder, overrides))
        assert (model / "model.safetensors").is_file()
