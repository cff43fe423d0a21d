"""LoRA: only adapters are trained, the finished model has them merged, and a killed run resumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from emocaliber.errors import UserError
from emocaliber.training import stage3
from emocaliber.training.config import ModelConfig, load_config
from emocaliber.training.run import run_stage
from emocaliber.training.trainer import last_checkpoint
from microscopic import kill_when, letters_reward, start, write_base

pytest.importorskip("peft", reason="LoRA needs PEFT (the extra `train`)")
LORA = {"lora_rank": 4, "lora_alpha": 8.0}
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("lora"))


def config_of(folder: Path, stage: str, **changes: Any) -> ModelConfig:
    config = load_config(stage, folder)
    assert isinstance(config, ModelConfig)
    return dataclasses.replace(config, **{"model": str(folder / "base"), **LORA, **changes})


def weights(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def changed(before: Weights, after: Weights) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_only_the_linear_layers_of_the_language_model_change(folder: Path, stage: str) -> None:
    model = run_stage(stage, config_of(folder, stage, max_steps=2, out=str(folder / stage)))
    names = changed(weights(folder / "base"), weights(model))
    assert {name.split(".")[-2] for name in names} == {f"{each}_proj" for each in ("q", "k", "v", "o", "gate", "up", "down")}
    assert not any("visual" in name for name in names)
    assert (folder / stage / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_in_stage_3_the_vision_encoder_has_adapters_too_and_the_reference_is_the_model_without_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage3, "reward", letters_reward)
    model = run_stage("stage3", config_of(folder, "stage3", max_steps=2, kl=0.5, out=str(folder / "three")))
    names = changed(weights(folder / "base"), weights(model))
    assert {"qkv", "proj"} <= {name.split(".")[-2] for name in names if "visual" in name}
    assert any("visual" not in name for name in names)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_weights(folder: Path, tmp_path: Path) -> None:
    runs = [config_of(folder, "stage1", out=str(tmp_path / name)) for name in ("killed", "whole")]
    kill_when(start(run_stage, "stage1", runs[0]), tmp_path / "killed", "checkpoints/checkpoint-*/trainer_state.json")
    assert last_checkpoint(tmp_path / "killed")
    models = [run_stage("stage1", run) for run in runs]
    assert changed(*map(weights, models)) == set()


def test_targets_that_name_no_layer_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lora_targets = 'nothing' matches no linear layer of"):
        run_stage("stage1", config_of(folder, "stage1", lora_targets="nothing", out=str(tmp_path)))
