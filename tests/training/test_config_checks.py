"""Impossible settings are reported before a model is loaded, with the file and what would be right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emocaliber.__main__ import main
from emocaliber.errors import UserError
from emocaliber.training.checks import check_single_stage, check_stage, check_stages, load_stages
from emocaliber.training.config import ModelConfig, load_config
from stand_ins import photo

LABELS = ["amusement", "anger"]
Edit = Callable[..., str]


def rows(prefix: str, count: int = 16, **changes: Any) -> str:
    row = {"task": "EmoSet-8", "candidates": LABELS, "ground_truth": "anger", "source": "drawn", "split": "train"} | changes
    return "".join(json.dumps({"id": f"{prefix}{place}", "image": f"{prefix}{place}.png"} | row) + "\n" for place in range(count))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Configurations of stages 1 to 3 that can be trained from a (weightless) base model, one after the other."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    model = tmp_path / "base"
    for stage in ("stage1", "stage2", "stage3"):
        (tmp_path / f"{stage}.jsonl").write_text(rows(stage))
        for place in range(16):
            photo(tmp_path / f"{stage}{place}.png", size=(32, 32))
        values = {"model": str(model), "out": str(tmp_path / stage), "samples": str(tmp_path / f"{stage}.jsonl")}
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        (tmp_path / f"{stage}.toml").write_text("\n".join([*lines, "learning_rate = 1e-5", "batch_size = 8"]))
        model = tmp_path / stage / "model"
    return tmp_path


def complaint(folder: Path, stage: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        check_single_stage(stage, load_config(stage, folder, overrides), folder)
    return str(caught.value)


def test_a_chain_of_stages_passes_before_its_models_exist(folder: Path) -> None:
    assert list(load_stages(folder)) == ["stage1", "stage2", "stage3"]


def test_all_stages_move_to_another_folder_and_stay_a_chain() -> None:
    one, two, three = load_stages("micro", ["out=runs/mine", "model=tiny", "max_steps=3"]).values()
    assert [each.out for each in (one, two, three)] == ["runs/mine/stage1", "runs/mine/stage2", "runs/mine/stage3"]
    assert isinstance(two, ModelConfig) and isinstance(three, ModelConfig)
    assert (two.model, three.model) == ("runs/mine/stage1/model", "runs/mine/stage2/model")
    assert two.samples == "runs/mine/scenes/stage2/samples.jsonl" and two.max_steps == 3


def test_samples_that_are_there_stay_where_they_are_when_the_output_moves(folder: Path) -> None:
    moved = load_stages(folder, [f"out={folder / 'again'}"])["stage2"]
    assert (moved.out, moved.samples) == (str(folder / "again" / "stage2"), str(folder / "stage2.jsonl"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("samples=none.jsonl", "there is no file none.jsonl, the samples to train on; samples=FILE names another"),
        ("batch_size=32", "stage1.jsonl has 16 rows, but a step takes 32 samples; make batch_size smaller"),
        ("accumulation=3", "a step takes 24 samples"),
        ("warmup_ratio=1.5", "warmup_ratio must be at least 0 and below 1, not 1.5"),
        ('schedule="cosin"', "there is no schedule 'cosin'; there are linear, cosine"),
        ("lora_rank=-1", "lora_rank must not be negative, but is -1"),
        ('lora_targets="("', "lora_targets is not a regular expression"),
        ("epochs=0", "epochs must be positive, not 0.0"),
        ("model=runs/none/model", "cannot load the model runs/none/model: there is no such folder; train the stage before this one first"),
        ("model=some/hub-id", None),
    ],
)
def test_an_impossible_setting_is_named(folder: Path, override: str, said: str | None) -> None:
    if said is None:
        check_single_stage("stage1", load_config("stage1", folder, [override]), folder)
    else:
        assert said in complaint(folder, "stage1", override)


def test_pixel_limits_in_the_wrong_order_are_refused(folder: Path) -> None:
    assert "min_pixels (2,000) must not be above max_pixels (1,000)" in complaint(folder, "stage1", "min_pixels=2000", "max_pixels=1000")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("group_size=3", "group_size must be at least 2 and divide batch_size x accumulation = 8, not 3"),
        ("updates_per_rollout=32", "has 16 rows, but a step takes 32 questions"),
        ("reward=hope", "there is no reward preset 'hope'"),
        ("temperature=0", "temperature must be positive, not 0.0"),
    ],
)
def test_rollouts_that_cannot_be_are_refused(folder: Path, override: str, said: str) -> None:
    assert said in complaint(folder, "stage3", f"model={folder / 'base'}", override)


def test_more_devices_need_more_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("stage1", folder)
    check_stage(config)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="has 16 rows, but a step takes 32 samples"):
        check_stage(config)


def test_a_row_of_a_test_split_is_refused_with_its_line(folder: Path) -> None:
    (folder / "stage1.jsonl").write_text(rows("a") + rows("b", 1, split="test"))
    assert "stage1.jsonl, line 17: split is 'test'" in complaint(folder, "stage1")


def test_an_unfinished_stage_is_told_from_an_untrained_one(folder: Path) -> None:
    assert "there is no such folder" in complaint(folder, "stage2")
    (folder / "stage1" / "checkpoints").mkdir(parents=True)
    assert "its stage has started but not finished" in complaint(folder, "stage2")


def test_a_folder_without_a_model_is_refused(folder: Path) -> None:
    (folder / "base" / "config.json").unlink()
    assert "the folder has no config.json" in complaint(folder, "stage1")


def test_two_stages_that_share_an_image_are_refused_with_the_first_of_them(folder: Path) -> None:
    (folder / "stage2.jsonl").write_text(rows("stage2", 3) + rows("stage1", 16))
    said = (
        f"stage1 and stage2 share the image {folder / 'stage10.png'} ({folder / 'stage1.jsonl'}, line 1; {folder / 'stage2.jsonl'}, line 4)"
    )
    assert said in complaint(folder, "stage1")
    with pytest.raises(UserError, match="share the image"):
        check_stages({stage: load_config(stage, folder) for stage in ("stage1", "stage2")})


def test_max_length_must_leave_room_for_an_answer(folder: Path) -> None:
    said = complaint(folder, "stage1", "max_pixels=451584", "max_length=600")
    assert "max_length = 600 leaves no room for an answer: an image may take 576 tokens" in said
    check_single_stage("stage1", load_config("stage1", folder, ["max_pixels=451584", "max_length=2048"]), folder)


def test_scenes_that_do_not_exist_are_refused_before_any_are_drawn(folder: Path) -> None:
    assert "there is no task 'FI-9'" in complaint(folder, "stage2", "scenes=8", "scenes_tasks=EmoSet-8, FI-9")


def test_the_command_ends_with_the_complaint_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "stage1", "--config", str(folder), "batch_size=32"]) == 2
    assert "a step takes 32 samples" in capsys.readouterr().err


def test_checking_does_not_load_torch() -> None:
    code = "import sys; import emocaliber.training.checks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_folder_of_a_stage_in_place_of_its_model_is_answered_with_the_model(folder: Path) -> None:
    (folder / "run" / "model").mkdir(parents=True)
    for place in (folder / "run", folder / "run" / "model"):
        (place / "config.json").write_text("{}")
    assert f"did you mean {folder / 'run' / 'model'}?" in complaint(folder, "stage2", f"model={folder / 'run'}")
