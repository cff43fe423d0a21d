"""What can be known to be wrong before anything heavy is loaded: settings, rows, batches, models, stages that share images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

from emocaliber.answering import question_for
from emocaliber.confidence import parse_reward
from emocaliber.errors import UserError
from emocaliber.scenes.mixture import parse_mixture
from emocaliber.training.config import (
    CONFIGS,
    FINISHED,
    STAGES,
    ModelConfig,
    Stage1Config,
    Stage2Config,
    Stage3Config,
    StageConfig,
    WatchedConfig,
    check_settings,
    load_config,
)
from emocaliber.training.image_checks import check_images
from emocaliber.training.processes import devices
from emocaliber.training.rows import sample_rows
from emocaliber.training.validation import behind, own_samples, validation_samples

IMAGE_TOKEN_SIDE = 28  # in pixels, of Qwen2.5-VL: patches of 14 x 14, merged 2 x 2
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w-]+")


def check(config: StageConfig, where: str = "", *, made: Mapping[str, Sequence[Path]] = MappingProxyType({}), images: bool = True) -> None:
    """Raises UserError for the first thing that cannot work, naming `where` (the file) or the row.

    `made` are model folders to come, each with the files of samples from which it and the stages behind it will have learnt. The `images`
    of all samples are opened last, as that takes longest.
    """
    where = where or f"the configuration of {config.out}"
    check_settings(config, where)
    if isinstance(config, WatchedConfig):
        validation_samples(config, made.get(config.model, ()) if isinstance(config, ModelConfig) else ())
    if isinstance(config, Stage3Config):
        parse_reward(config.reward)
    if config.scenes:
        parse_mixture(config.scenes_tasks)
    rows = None if config.scenes else [row for _, row in sample_rows(config.samples)]
    _check_batches(config, config.scenes if rows is None else len(rows))
    if isinstance(config, Stage1Config | Stage2Config) and config.max_length and rows:
        _check_length(config, rows, where)
    if isinstance(config, ModelConfig) and config.model not in made:
        _check_model(config.model)
    if images:
        check_images(config)


def _check_batches(config: StageConfig, rows: int) -> None:
    """A step must not need more rows than there are: transformers would make it smaller, TRL would leave everything out."""
    needed, unit = config.batch_size * config.accumulation * devices(), "samples"
    if isinstance(config, Stage3Config):  # which counts roll-outs
        needed, unit = needed * config.updates_per_rollout // config.group_size, "questions"
    if rows < needed:
        raise UserError(
            f"{config.samples} has {rows:,} rows, but a step asks {needed:,} {unit}; make batch_size smaller"
            + (" (or accumulation, or updates_per_rollout)" if unit == "questions" else " (or accumulation)")
        )


def _check_length(config: Stage1Config | Stage2Config, rows: list[dict[str, Any]], where: str) -> None:
    """Question and image must leave room for an answer. A text has at least as many tokens as words."""
    questions = {(row["task"], tuple(row["candidates"])) for row in rows}
    words = max(len(question_for(task, labels, confidence=False).split()) for task, labels in questions)
    image = config.max_pixels // IMAGE_TOKEN_SIDE**2
    if config.max_length <= image + words:
        raise UserError(
            f"{where}: max_length = {config.max_length} leaves no room for an answer: an image may take {image} tokens "
            f"(max_pixels / 28²) and the question at least {words}; raise max_length or lower max_pixels"
        )


def _check_model(model: str) -> None:
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"cannot load the model {model}: the folder has no config.json; a checkpoint has one")
        return
    stages = [folder.parent / begun for begun in ("checkpoints", "scaffold.jsonl") if (folder.parent / begun).exists()]
    if stages:
        raise UserError(f"cannot load the model {model}: its stage has begun but not finished; run it again, it goes on where it stopped")
    if not _HUB_ID.fullmatch(model) or (folder.parent.is_dir() and folder.parent != Path()):
        raise UserError(f"cannot load the model {model}: there is no such folder; train the stage before this one first, or give a hub id")


def check_disjoint(configs: Mapping[str, StageConfig]) -> None:
    """Raises UserError naming the first image that two of stages 1 to 3 have in common: each must answer what it has not learnt from."""
    images = {
        stage: {row["image"]: f"{config.samples}, line {line}" for line, row in sample_rows(config.samples)}
        for stage, config in configs.items()
        if isinstance(config, ModelConfig) and Path(config.samples).is_file()
    }
    for (one, first), (other, second) in combinations(images.items(), 2):
        if image := next((image for image in second if image in first), None):
            raise UserError(
                f"{one} and {other} share the image {image} ({first[image]}; {second[image]}); each stage needs images of its own: "
                "deal them out again, as VEC-CoT does 6:3:1"
            )


def load_stages(folder: str | Path, overrides: Sequence[str] = ()) -> dict[str, StageConfig]:
    """The configurations of all stages that `folder` has a TOML file for, checked together, in order."""
    present = [stage for stage in STAGES if (Path(folder) / f"{stage}.toml").is_file()]
    if not present:
        raise UserError(f"{folder} holds no configuration; give a folder with {', '.join(f'{stage}.toml' for stage in STAGES)}")
    configs = {stage: load_config(stage, folder, overrides) for stage in present}
    check_all(configs)
    return configs


def check_all(configs: Mapping[str, StageConfig]) -> None:
    """Checks stages that will be trained one after the other, each from what those before it leave behind."""
    made: dict[str, Sequence[Path]] = {}
    to_come = [config for config in configs.values() if not (Path(config.out) / FINISHED).is_dir()]
    for stage, config in configs.items():
        if config in to_come:
            check(config, stage, made=made, images=False)
            earlier = made.get(config.model) if isinstance(config, ModelConfig) else ()
            made[str(Path(config.out) / FINISHED)] = [*own_samples(config), *(behind(config) if earlier is None else earlier)]
    check_disjoint(configs)
    for config in to_come:
        check_images(config)


def check_one(stage: str, config: StageConfig, path: str | Path) -> None:
    """Checks one stage, and that it shares no image with the other stages for which the folder of its file `path` has configurations."""
    to_come = not (Path(config.out) / FINISHED).is_dir()
    if to_come:
        check(config, stage, images=False)
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    others = {name: load_config(name, folder) for name in CONFIGS if name != stage and (folder / f"{name}.toml").is_file()}
    check_disjoint({name: config if name == stage else others[name] for name in CONFIGS if name == stage or name in others})
    if to_come:
        check_images(config)
