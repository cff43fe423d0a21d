"""Running stages: one, or all that a folder has configurations for, each from the one before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from emocaliber.rows import write_atomically
from emocaliber.training.config import FINISHED, SETTINGS, STAGES, StageConfig
from emocaliber.training.config_checks import check, load_stages
from emocaliber.training.processes import say
from emocaliber.training.trainer import finished


def run_stage(stage: str, config: StageConfig) -> Path:
    """Trains one stage and returns the folder of its model; a finished stage is left as it is."""
    if done := finished(config):
        say(f"{stage}: already finished, {done}; remove that folder to train it again")
        return done
    check(config)
    write_atomically(Path(config.out) / SETTINGS, json.dumps({"stage": stage, **asdict(config)}, indent=1) + "\n")
    folder: Path = import_module(f"emocaliber.training.{stage}").train(config)
    say(f"{stage}: finished, {folder}")
    return folder


def what_next(stage: str, config: StageConfig) -> str:
    """The commands that follow a finished stage."""
    model = Path(config.out) / FINISHED
    if stage != STAGES[-1]:
        following = STAGES[STAGES.index(stage) + 1]
        return f"next: emocaliber train {following} --config DIR model={model}"
    answers = Path(config.out) / "responses.jsonl"
    return "\n".join(
        (
            f"next: emocaliber respond TEST.jsonl --model {model} --out {answers}",
            f"      emocaliber score {answers} --out {Path(config.out) / 'scored'}",
            f"      emocaliber trace ID --run {config.out}",
            f"      emocaliber train export {config.out} --scored {Path(config.out) / 'scored'} --out DIR",
        )
    )


def run_all(folder: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Trains every stage that `folder` has a TOML file for. All of them are read and checked before the first begins."""
    for stage, config in load_stages(folder, overrides).items():
        model = run_stage(stage, config)
    say(what_next(stage, config))
    return model
