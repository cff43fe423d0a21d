"""Running stages: one, or all that a folder has configurations for, each from the one before."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.training.config import STAGES, StageConfig, load_config
from emocaliber.training.trainer import finished


def run_stage(stage: str, config: StageConfig) -> Path:
    """Trains one stage and returns the folder of its model; a finished stage is left as it is."""
    if done := finished(config):
        print(f"{stage}: already finished, {done}; remove that folder to train it again")
        return done
    folder: Path = import_module(f"emocaliber.training.{stage}").train(config)
    print(f"{stage}: finished, {folder}")
    return folder


def run_all(folder: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Trains every stage that `folder` has a TOML file for. All of them are read and checked before the first begins."""
    present = [stage for stage in STAGES if (Path(folder) / f"{stage}.toml").is_file()]
    if not present:
        raise UserError(f"{folder} holds no configuration; give a folder with {', '.join(f'{stage}.toml' for stage in STAGES)}")
    configs = {stage: load_config(stage, folder, overrides) for stage in present}
    for stage, config in configs.items():
        model = run_stage(stage, config)
    return model
