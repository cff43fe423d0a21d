"""A stage resumes only with the settings and inputs that it started with, and says what differs otherwise."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from emocaliber.__main__ import main
from emocaliber.core.samples import read_samples
from emocaliber.errors import UserError
from emocaliber.io.rows import read_rows
from emocaliber.training.config import Stage2Config, StageConfig, load_config
from emocaliber.training.run import FREE, check_workspaces, run_stage, stage_workspace
from emocaliber.training.samples import training_rows
from emocaliber.training.stage2 import scaffold_answers
from emocaliber.training.sweep import load_sweep, run_sweep
from emocaliber.training.trainer import last_checkpoint
from microscopic import start_together, write_base


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("stages"))


def config_of(folder: Path, out: Path, stage: str = "stage3", *overrides: str) -> StageConfig:
    """A configuration that goes on from a copy of the base model."""
    model = out.parent / "base"
    if not model.is_dir():
        shutil.copytree(folder / "base", model)
    return load_config(stage, folder, [f"out={out}", f"model={model}", *overrides])


def begun(config: StageConfig, stage: str = "stage3", *, done: bool = False) -> StageConfig:
    """What training leaves behind: its settings, and a checkpoint or the finished model."""
    stage_workspace(stage, config).write()
    checkpoint = Path(config.out) / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text("{}")
    if done:
        (Path(config.out) / "model").mkdir()
    return config


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True])
def test_another_reward_is_refused_whether_the_stage_has_finished_or_not(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], done: bool
) -> None:
    out = tmp_path / "out"
    begun(config_of(folder, out), done=done)
    before = (out / "config.json").read_bytes()
    words = ["train", "stage3", "--config", str(folder), f"out={out}", f"model={tmp_path / 'base'}", "reward=paper", "kl=0.0"]
    assert main(words) == 2
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith(
            f"{out} was made with other settings: kl was 0.01, and is 0.0; reward was 'default', and is 'paper'. "
            "Give the same settings, or another folder (out=FOLDER)."
        )
    )
    assert (out / "config.json").read_bytes() == before


def test_a_finished_stage_with_the_same_settings_is_returned(folder: Path, tmp_path: Path) -> None:
    config = begun(config_of(folder, tmp_path / "out"), done=True)
    before = (tmp_path / "out" / "config.json").read_bytes()
    assert run_stage("stage3", config) == tmp_path / "out" / "model"
    assert run_stage("stage3", dataclasses.replace(config, report_to="tensorboard")) == tmp_path / "out" / "model"
    assert (tmp_path / "out" / "config.json").read_bytes() == before, "it was trained without"


def test_settings_may_change_before_anything_was_trained(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, tmp_path / "out")
    stage_workspace("stage3", config).write()
    half = tmp_path / "out" / "checkpoints" / "checkpoint-2"
    half.mkdir(parents=True)
    check_workspaces([("stage3", dataclasses.replace(config, learning_rate=0.5))])
    (half / "trainer_state.json").write_text('{"half": ')
    check_workspaces([("stage3", dataclasses.replace(config, learning_rate=0.5))])
    (half / "trainer_state.json").write_text('{"half": false}')
    with pytest.raises(UserError, match=r"learning_rate was 0\.001, and is 0\.5"):
        check_workspaces([("stage3", dataclasses.replace(config, learning_rate=0.5))])


def test_a_model_folder_without_a_record_is_refused(folder: Path, tmp_path: Path) -> None:
    config = begun(config_of(folder, tmp_path / "out"), done=True)
    (tmp_path / "out" / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json is missing, so it is not known how .*out was made"):
        run_stage("stage3", config)


def test_a_retrained_model_is_detected_by_the_next_stage(folder: Path, tmp_path: Path) -> None:
    config = begun(config_of(folder, tmp_path / "out"), done=True)
    (tmp_path / "base" / "model.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match=r"out was made with other settings: made_from\.model was '\w{64}', and is '\w{64}'"):
        run_stage("stage3", config)
    shutil.rmtree(tmp_path / "base")
    assert run_stage("stage3", config), "a model that is gone is not another"


def test_changed_samples_are_detected(folder: Path, tmp_path: Path) -> None:
    samples = tmp_path / "scenes" / "samples.jsonl"
    shutil.copytree(folder / "scenes" / "stage3", samples.parent)
    config = begun(config_of(folder, tmp_path / "out", "stage3", f"samples={samples}"))
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"made_from\.samples was '"):
        run_stage("stage3", config)


def test_samples_and_model_may_be_moved(folder: Path, tmp_path: Path) -> None:
    config = begun(config_of(folder, tmp_path / "out"), done=True)
    shutil.move(tmp_path / "base", tmp_path / "moved")
    shutil.copytree(folder / "scenes" / "stage3", tmp_path / "scenes")
    moved = {"model": str(tmp_path / "moved"), "samples": str(tmp_path / "scenes" / "samples.jsonl")}
    assert run_stage("stage3", dataclasses.replace(config, **moved))


def test_settings_that_change_no_number_are_free_and_all_others_are_not(folder: Path, tmp_path: Path) -> None:
    config = begun(config_of(folder, tmp_path / "out"))
    for field in dataclasses.fields(config):
        if field.name == "out":
            continue  # the folder itself
        value = getattr(config, field.name)
        other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}x"
        changed = stage_workspace("stage3", dataclasses.replace(config, **{field.name: other}))
        if field.name in FREE:
            assert changed.check()
        else:
            with pytest.raises(UserError, match=rf"\b{field.name} was "):
                changed.check()


def test_another_number_of_devices_is_the_same_run_if_a_step_is_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = begun(config_of(folder, tmp_path / "out", "stage3", "accumulation=2"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"effective_batch_size was 8, and is 16\."):
        stage_workspace("stage3", config).check()
    assert stage_workspace("stage3", dataclasses.replace(config, accumulation=1)).check()
    (Path(config.out) / "model").mkdir()
    assert stage_workspace("stage3", config).check(), "what is finished is not trained on other devices"


def test_a_run_of_an_older_version_is_compared_by_its_config_alone(folder: Path, tmp_path: Path) -> None:
    config = begun(config_of(folder, tmp_path / "out"))
    file = tmp_path / "out" / "config.json"
    old = json.loads(file.read_text())
    for newer in ("made_from", "effective_batch_size", "shared_prefix"):
        del old[newer]
    file.write_text(json.dumps(old))
    (tmp_path / "base" / "model.safetensors").write_bytes(b"others")
    workspace = stage_workspace("stage3", config)
    assert workspace.check()
    workspace.write()
    assert json.loads(file.read_text())["made_from"] == {"samples": None, "model": None, "commit": None}, "nobody knows"
    with pytest.raises(UserError, match="shared_prefix was True, and is False"):
        stage_workspace("stage3", dataclasses.replace(config, shared_prefix=False)).check()


def test_two_commands_do_not_train_in_one_folder(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, tmp_path / "out")
    with stage_workspace("stage3", config), pytest.raises(UserError, match=r"out is in use by process \d+ on "):
        run_stage("stage3", config)


# Scenes


def test_another_scenes_seed_draws_and_uses_the_new_scenes_and_keeps_the_old(folder: Path, tmp_path: Path) -> None:
    samples = tmp_path / "scenes" / "samples.jsonl"

    def rows(*overrides: str) -> list[dict[str, Any]]:
        common = [f"samples={samples}", "scenes=6", "scenes_size=32", *overrides]
        return training_rows(config_of(folder, tmp_path / "out", "stage1", *common))

    first, other = rows("scenes_seed=0"), rows("scenes_seed=5")
    assert [row["id"] for row in first] == [f"scene-0-{index:06d}" for index in range(6)]
    assert [row["id"] for row in other] == [f"scene-5-{index:06d}" for index in range(6)]
    assert {row["scene"]["element"] for row in first} != {row["scene"]["element"] for row in other}
    assert rows("scenes_seed=0") == first
    assert [row["id"] for row in rows("scenes_seed=5", "scenes=2")] == ["scene-5-000000", "scene-5-000001"]
    assert all(Path(row["image"]).is_file() for row in (*first, *other))
    mixed = rows("scenes_seed=5", 'scenes_tasks="EmoSet-8, FI-2"')
    assert [row["id"] for row in mixed] == [f"{task}/scene-5-{index:06d}" for task in ("EmoSet-8", "FI-2") for index in range(3)]
    assert len(list(read_rows(samples))) == 18


@pytest.mark.slow
def test_another_test_seed_of_a_sweep_is_scored_on_the_new_scenes(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "base", tmp_path / "base")
    file = tmp_path / "sweep.toml"
    text = f"""
title = "T"
stage = "stage1"
config = "{folder}"
out = "{tmp_path}/out"
test = "{tmp_path}/test/samples.jsonl"
test_scenes = 4
metrics = ["accuracy"]
set = {{max_steps = 1, max_new_tokens = 4, model = "{tmp_path}/base"}}
runs = [{{name = "one", learning_rate = 0.001}}]
"""
    for seed in (7, 8):
        file.write_text(f"test_seed = {seed}\n{text}")
        run_sweep(file)
        answers = [row["id"] for row in read_rows(tmp_path / "out" / "one" / "responses.jsonl")]
        assert answers[-4:] == [f"scene-{seed}-{index:06d}" for index in range(4)]
    file.write_text(f"test_seed = 8\n{text}".replace("max_new_tokens = 4", "max_new_tokens = 5"))
    assert load_sweep(file).test_seed == 8
    with pytest.raises(UserError, match="one was made with other settings: max_new_tokens was 4, and is 5"):
        run_sweep(file)


# The scaffold's answers


def test_scaffold_answers_are_reused_only_with_the_same_inference_settings(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder, tmp_path / "out", "stage2", "max_new_tokens=4")
    assert isinstance(config, Stage2Config)
    samples = list(read_samples(config.samples))[:3]
    given = scaffold_answers(config, samples)
    assert scaffold_answers(dataclasses.replace(config, learning_rate=0.5, out=str(tmp_path / "out")), samples) == given
    for changes, complaint in (
        ({"temperature": 0.5}, r"settings\.temperature was 1\.0, and is 0\.5"),
        ({"seed": 3}, r"settings\.seed was 0, and is 3"),
        ({"max_new_tokens": 5}, r"settings\.max_new_tokens was 4, and is 5"),
    ):
        with pytest.raises(UserError, match=rf"scaffold\.jsonl was made with other settings: {complaint}\. .* remove .*scaffold\* to ask"):
            scaffold_answers(dataclasses.replace(config, **changes), samples)
    with pytest.raises(UserError, match="samples was '"):
        scaffold_answers(config, samples[:2])
    (tmp_path / "base" / "model.safetensors").write_bytes(b"others")
    with pytest.raises(UserError, match=r"model\.sha256 was '"):
        scaffold_answers(config, samples)


# Half-written checkpoints


def resume_again_and_again(out: Path) -> None:
    from emocaliber.training.distributed import partial_state

    team = partial_state()
    for step in range(3, 100):
        if team.is_main_process:
            half = out / "checkpoints" / f"checkpoint-{step}"
            half.mkdir()
            for name in range(20):
                (half / f"{name}.safetensors").write_bytes(b"half")
        team.wait_for_everyone()
        assert last_checkpoint(out) == str(out / "checkpoints" / "checkpoint-2")
        team.wait_for_everyone()
        if team.is_main_process:
            assert [folder.name for folder in (out / "checkpoints").iterdir()] == ["checkpoint-2"]
    sys.exit(0)


@pytest.mark.slow
def test_two_processes_that_resume_do_not_remove_half_written_checkpoints_from_under_each_other(tmp_path: Path) -> None:
    whole = tmp_path / "checkpoints" / "checkpoint-2"
    whole.mkdir(parents=True)
    (whole / "trainer_state.json").write_text("{}")
    assert start_together(2, resume_again_and_again, tmp_path) == [0, 0]


def refused_in_a_team(words: list[str]) -> None:
    sys.exit(main(words))


@pytest.mark.slow
def test_several_processes_are_refused_like_one(folder: Path, tmp_path: Path) -> None:
    config = begun(config_of(folder, tmp_path / "out", "stage1", "accumulation=2"), "stage1")
    words = ["train", "stage1", "--config", str(folder), f"out={config.out}", f"model={tmp_path / 'base'}", "learning_rate=0.5"]
    assert start_together(2, refused_in_a_team, words) == [2, 2]
