"""Exporting a finished run: a folder that loads, an accurate model card, and a warning at another temperature."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from emocaliber.__main__ import build_parser
from emocaliber.cli import train
from emocaliber.core.model import Request
from emocaliber.errors import UserError
from emocaliber.inference.plan import sha256_of
from emocaliber.models import TINY
from emocaliber.models.card import notice_of, read_card
from emocaliber.models.local import LocalModel
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.config import Stage3Config, StageConfig
from emocaliber.training.run import next_commands
from emocaliber.trust.calibration_table import described
from microscopic import save_untrained

HELD_OUT = {
    "kind": "held_out",
    "step": 40,
    "n": 500,
    "temperature": 0.7,
    "source": "verb",
    "groups": {
        "overall": {"n": 500, "accuracy": 0.45, "accuracy_ci": [0.41, 0.49], "ece": 0.141, "ece_ci": [0.1, 0.18], "brier": 0.26}
        | {"brier_ci": [0.24, 0.28], "auroc": None, "auroc_ci": None}
    },
}


@pytest.fixture
def run(processor: Any, tmp_path: Path) -> Path:
    """The folder of a stage 3 as it is when that has finished."""
    folder = tmp_path / "run"
    save_untrained(processor, folder / "model")
    (folder / "model" / "emocaliber.json").write_text('{"rollout_temperature": 0.7}')
    (folder / "model" / "rollouts.json").write_text("[]")
    for _ in draw_samples(tmp_path / "learnt", 1, 3, size=56, split="train"):
        pass
    learnt = str(tmp_path / "learnt" / "samples.jsonl")
    config = Stage3Config(out=str(folder), samples=learnt, model="somebody/base", learning_rate=1e-6, batch_size=8, temperature=0.7)
    (folder / "config.json").write_text(json.dumps({"stage": "stage3"} | dataclasses.asdict(config)))
    (folder / "telemetry.jsonl").write_text(json.dumps(HELD_OUT | {"step": 0}) + "\n" + json.dumps(HELD_OUT) + "\n")
    return folder


def exported(run: Path, *options: str) -> Path:
    parser = argparse.ArgumentParser()
    train.add_parser(parser.add_subparsers())
    out = run.parent / "mine"
    args = parser.parse_args(["train", "export", str(run), "--out", str(out), *options])
    assert args.run(args) == 0
    return out


def test_an_exported_folder_loads_under_its_name_with_the_same_weights(run: Path) -> None:
    out = exported(run, "--name", "Mine")
    one, other = (load_file(folder / "model.safetensors") for folder in (run / "model", out))
    assert all(torch.equal(one[name], other[name]) for name in one)
    model = LocalModel(out, temperature=0.7, max_new_tokens=4)
    assert (model.name, model.notice) == ("Mine", None)
    (reply,) = model.answer([Request(Image.new("RGB", (56, 56)), "What?", (), "a", seed=0)])
    assert reply.error is None
    assert not (out / "rollouts.json").exists()


def test_a_model_used_at_another_temperature_warns(run: Path) -> None:
    notice = LocalModel(exported(run)).notice
    assert notice
    assert "sampled at temperature 0.7, and it is used at 0" in notice and "give temperature=0.7 to" in notice


@pytest.mark.parametrize(("temperature", "said"), [(0.0, False), (1.0, True), (0.7, False)])
def test_a_cards_confidence_source_applies_to_greedy_answers(temperature: float, said: bool) -> None:
    notice = notice_of({"notice": "Mind.", "rollout_temperature": 0.7, "confidence_source": "verb_mean"}, temperature)
    assert notice is not None
    assert notice.startswith("Mind.")
    assert ("sampled at temperature 0.7" in notice) is said


def test_the_card_gives_the_last_held_out_numbers_the_settings_and_the_base(run: Path) -> None:
    card = (exported(run) / "README.md").read_text()
    assert 'base_model: "somebody/base"' in card
    assert "Of 500 held-out samples, answered at temperature 0.7 after step 40" in card
    assert "45.00 [41.00, 49.00]" in card
    assert "sampled at temperature 0.7" in card
    assert "| learning_rate " in card
    assert str(run.parent) not in card, "where it was trained is nobody's business"


def test_the_card_gives_the_scores_of_a_scored_folder_if_there_is_one(run: Path) -> None:
    scored = run.parent / "scored"
    scored.mkdir()
    metrics = {"accuracy": 0.5, "confidence": {"verb": {"coverage": 1.0, "ece": 0.0321}}, "n": 7}
    summary = {"n": 7, "tasks": {"FI-8": metrics}, "groups": {}, "overall": metrics, "settings": {"sources": ["verb"]}}
    (scored / "metrics.json").write_text(json.dumps(summary))
    card = (exported(run, "--scored", str(scored)) / "README.md").read_text()
    assert "3.21" in card
    assert "held-out" not in card


def test_a_card_without_any_numbers_says_that(run: Path) -> None:
    (run / "telemetry.jsonl").unlink()
    assert "Not measured" in (exported(run) / "README.md").read_text()


@pytest.mark.slow
def test_with_held_out_samples_the_card_says_how_it_was_calibrated(run: Path) -> None:
    for _ in draw_samples(run.parent / "held-out", 60, 29, size=112, split="validation"):
        pass
    held_out = run.parent / "held-out" / "samples.jsonl"
    with pytest.raises(UserError, match="EmoSet-8: none of 60 answers has a confidence"):
        exported(run, "--held-out", str(held_out))
    shutil.rmtree(run / "model")
    shutil.copytree(TINY, run / "model")
    out = exported(run, "--held-out", str(held_out))
    card = read_card(out)
    assert card["confidence_source"] == "calibrated"
    (entry,) = card["calibration"]["questions"]
    assert entry["answers"]["path"] == "samples.jsonl" and entry["answers"]["sha256"] == sha256_of(held_out)
    said = (out / "README.md").read_text()
    assert f"EmoSet-8: {described(entry['map'])}, fitted on {entry['n']} answers" in said


def test_held_out_samples_of_a_test_split_are_refused(run: Path) -> None:
    for _ in draw_samples(run.parent / "tested", 1, 37, size=56):
        pass
    with pytest.raises(UserError, match=r"sample scene-37-000000 of .* is of the split 'test'; choices made by looking at the test split"):
        exported(run, "--held-out", str(run.parent / "tested" / "samples.jsonl"))


def test_held_out_samples_that_were_trained_on_are_refused(run: Path) -> None:
    for _ in draw_samples(run.parent / "trained", 2, 31, size=56, split="train"):
        pass
    trained = run.parent / "trained" / "samples.jsonl"
    settings = json.loads((run / "config.json").read_text()) | {"samples": str(trained)}
    (run / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"the image of sample scene-31-000000 of .* is also in .*; held-out samples must not be"):
        exported(run, "--held-out", str(trained))


def test_weights_can_be_converted(run: Path) -> None:
    held = load_file(exported(run, "--dtype", "bfloat16") / "model.safetensors")
    assert {value.dtype for value in held.values()} == {torch.bfloat16}


def test_what_cannot_be_exported_is_refused(run: Path) -> None:
    out = exported(run)
    with pytest.raises(UserError, match="mine already exists; give a new folder"):
        exported(run)
    (out / "README.md").rename(run.parent / "card")
    (run / "model").rename(run / "other")
    with pytest.raises(UserError, match="has not finished; run `emocaliber train stage3` again"):
        exported(run)
    with pytest.raises(UserError, match=r"has no config\.json to read; give the folder that a stage wrote to"):
        exported(run.parent)


def test_a_finished_stage_says_what_comes_next() -> None:
    config = StageConfig(out="runs/one", samples="x", learning_rate=1.0, batch_size=1)
    assert (
        next_commands("stage1", config, "configs/my set") == "next: emocaliber train stage2 --config 'configs/my set' model=runs/one/model"
    )
    assert "--config DIR " in next_commands("stage1", config, "one.toml")
    assert "emocaliber train export runs/one" in next_commands("stage3", config, "7b")


def test_the_commands_after_training_on_scenes_run_as_they_are() -> None:
    config = StageConfig(out="runs/my set/stage3", samples="x", scenes=8, learning_rate=1.0, batch_size=1)
    commands = [line.removeprefix("next: ").strip() for line in next_commands("stage3", config, "micro").splitlines()]
    assert commands[0] == "emocaliber scenes 'runs/my set/test' --n 200 --seed 99"
    for command in commands:
        assert build_parser().parse_args(shlex.split(command)[1:]).run
