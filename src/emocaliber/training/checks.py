"""Checks before training loads a model: settings, rows, batch sizes, model folders, images shared between stages, unreadable images."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

from emocaliber.confidence.rewards import parse_reward
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.io.configurations import find_configuration
from emocaliber.io.datasets import is_there
from emocaliber.io.images import ImageError, ImageLimits, open_images
from emocaliber.io.rows import display_name, write_atomically
from emocaliber.models.available import meant_model
from emocaliber.render.progress import Progress
from emocaliber.scenes.dataset import parse_mixture
from emocaliber.training.config import (
    CONFIGS,
    FINISHED,
    STAGES,
    ModelConfig,
    MonitoredConfig,
    Stage1Config,
    Stage2Config,
    Stage3Config,
    StageConfig,
    check_settings,
    load_config,
)
from emocaliber.training.distributed import on_main_process, world_size
from emocaliber.training.samples import (
    SampleFile,
    check_truths,
    numbered_sample_rows,
    own_sample_files,
    upstream_sample_files,
    validation_samples,
)

IMAGE_TOKEN_SIDE = 28  # in pixels, of Qwen2.5-VL: patches of 14 x 14, merged 2 x 2
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w-]+")


def check_stage(
    config: StageConfig, where: str = "", *, made: Mapping[str, Sequence[SampleFile]] = MappingProxyType({}), images: bool = True
) -> None:
    """Checks one stage's configuration. Raises UserError for the first problem, naming `where` (the file) or the row.

    `made` maps the model folders of stages still to be trained to the sample files of their lineage. With `images`, all images are decoded,
    last, as that takes longest.
    """
    where = where or f"the configuration of {config.out}"
    check_settings(config, where)
    if isinstance(config, MonitoredConfig):
        validation_samples(config, made.get(config.model, ()) if isinstance(config, ModelConfig) else ())
    if isinstance(config, Stage3Config):
        parse_reward(config.reward)
    if config.scenes:
        parse_mixture(config.scenes_tasks)
    if not config.scenes and not is_there(config.samples):
        raise UserError(missing_samples(Path(config.samples), where))
    rows = None if config.scenes else [row for _, row in numbered_sample_rows(config.samples, config.images)]
    check_truths(config, rows or ())
    check_batches(config, config.scenes if rows is None else len(rows), world_size())
    if isinstance(config, Stage1Config | Stage2Config) and config.max_length and rows:
        _check_length(config, rows, where)
    if isinstance(config, ModelConfig) and config.model not in made:
        check_model(config.model)
    if images:
        check_images(config)


def missing_samples(file: Path, where: str) -> str:
    """What is wrong if the samples to train on are not there, and where they come from."""
    makes = f"`emocaliber cot export --ledger FILE --out {file.parent}` makes it (docs/vec-cot.md)"
    known = f"{makes}, " if re.fullmatch(r"stage[123]\.jsonl", file.name) else ""
    remedy = f"{known}samples=FILE names another, and scenes=N draws N synthetic scenes"
    return display_name(f"{where}: there is no file {file}, the samples to train on; {remedy}")


def check_batches(config: StageConfig, rows: int, devices: int) -> None:
    """Raises UserError if a step on `devices` devices needs more rows than there are: transformers would shrink the step, TRL would drop
    all rows."""
    needed, unit = config.batch_size * config.accumulation * devices, "samples"
    if isinstance(config, Stage3Config):  # its batch_size counts roll-outs
        needed, unit = needed * config.updates_per_rollout // config.group_size, "questions"
    if rows < needed:
        raise UserError(
            f"{config.samples} has {rows:,} rows, but a step takes {needed:,} {unit}; make batch_size smaller"
            + (" (or accumulation, or updates_per_rollout)" if unit == "questions" else " (or accumulation)")
        )


def _check_length(config: Stage1Config | Stage2Config, rows: list[dict[str, Any]], where: str) -> None:
    """Raises UserError if image and question alone fill `max_length`. A text has at least as many tokens as words."""
    questions = {(row["task"], tuple(row["candidates"])) for row in rows}
    words = max(len(question_for(task, labels, confidence=False).split()) for task, labels in questions)
    image = config.max_pixels // IMAGE_TOKEN_SIDE**2
    if config.max_length <= image + words:
        raise UserError(
            f"{where}: max_length = {config.max_length} leaves no room for an answer: an image may take {image} tokens "
            f"(max_pixels / 28²) and the question at least {words}; raise max_length or lower max_pixels"
        )


def check_model(model: str) -> None:
    """Raises UserError if a model cannot be loaded, without loading it or asking the hub."""
    if meant := meant_model(model):
        raise UserError(f"there is no model {model}; did you mean {meant}?")
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"cannot load the model {model}: the folder has no config.json; a checkpoint has one")
        return
    stages = [folder.parent / file for file in ("checkpoints", "scaffold.jsonl") if (folder.parent / file).exists()]
    if stages:
        raise UserError(f"cannot load the model {model}: its stage has started but not finished; run it again to resume it")
    if not _HUB_ID.fullmatch(model) or (folder.parent.is_dir() and folder.parent != Path()):
        raise UserError(f"cannot load the model {model}: there is no such folder; train the stage before this one first, or give a hub id")


def check_disjoint(configs: Mapping[str, StageConfig]) -> None:
    """Raises UserError naming the first image that two of stages 1 to 3 share: each stage's answers must be on images not trained on."""
    check_no_image_is_shared(
        {
            stage: {row["image"]: f"{config.samples}, line {line}" for line, row in numbered_sample_rows(config.samples, config.images)}
            for stage, config in configs.items()
            if isinstance(config, ModelConfig) and (Path(config.samples).is_file() if config.scenes else is_there(config.samples))
        }
    )


def check_no_image_is_shared(images: Mapping[str, Mapping[str, str]]) -> None:
    """As `check_disjoint`, for the images of each stage with their places."""
    for (one, first), (other, second) in combinations(images.items(), 2):
        if image := next((image for image in second if image in first), None):
            raise UserError(
                f"{one} and {other} share the image {image} ({first[image]}; {second[image]}); each stage needs images of its own: "
                "split them anew, as VEC-CoT does 6:3:1"
            )


def load_stages(folder: str | Path, overrides: Sequence[str] = ()) -> dict[str, StageConfig]:
    """The configurations that `read_stages` reads, checked by `check_stages`."""
    configs = read_stages(folder, overrides)
    check_stages(configs)
    return configs


def read_stages(folder: str | Path, overrides: Sequence[str] = (), *, check: bool = True) -> dict[str, StageConfig]:
    """The configurations of all stages that `folder` has a TOML file for, in order; each is checked by itself, if `check` is set.

    Among the overrides, `out=FOLDER` moves all stages there, as `moved_to` does, and `model=` is that of the first stage alone.
    """
    folder = find_configuration(folder, "train")
    present = [stage for stage in STAGES if (Path(folder) / f"{stage}.toml").is_file()]
    if not present:
        raise UserError(f"{folder} holds no configuration; give a folder with {', '.join(f'{stage}.toml' for stage in STAGES)}")
    of_first = [text for text in overrides if text.partition("=")[0].strip() == "model"]
    outs = [text for text in overrides if text.partition("=")[0].strip() == "out"]
    common = [text for text in overrides if text not in of_first and text not in outs]
    configs = {stage: load_config(stage, folder, common + of_first * (stage == present[0]), check=check) for stage in present}
    if outs:
        configs = moved_to(load_config(present[0], folder, outs, check=check).out, configs)
    return configs


def moved_to(folder: str, configs: Mapping[str, StageConfig]) -> dict[str, StageConfig]:
    """The stages with their output below `folder` instead of the folder that holds all of it: FOLDER/stage1, FOLDER/stage2, ...

    The models that they start from move along where one of the stages makes them, and so do samples that are still to be drawn, where they
    lie in the same folder. Files that are there already are not moved. Raises UserError if no folder holds the output of all stages.
    """
    try:
        held = Path(os.path.commonpath([os.path.dirname(os.path.normpath(config.out)) for config in configs.values()]))
    except ValueError as error:
        outs = ", ".join(config.out for config in configs.values())
        raise UserError(f"out={folder} cannot stand for {outs}, which lie in no common folder; train one stage at a time") from error

    def moved(path: str) -> str:
        place = Path(os.path.normpath(path))
        return str(Path(folder) / place.relative_to(held)) if place.is_relative_to(held) else path

    made = [Path(os.path.normpath(config.out)) for config in configs.values()]
    changed = {}
    for stage, config in configs.items():
        paths: dict[str, Any] = {"out": moved(config.out)} | ({"samples": moved(config.samples)} if config.scenes else {})
        if isinstance(config, ModelConfig) and any(Path(os.path.normpath(config.model)).is_relative_to(out) for out in made):
            paths["model"] = moved(config.model)
        changed[stage] = replace(config, **paths)
    return changed


def check_stages(configs: Mapping[str, StageConfig]) -> None:
    """Checks stages that will be trained in sequence, each from the model of an earlier one. Raises UserError as `check_stage` does."""
    made: dict[str, Sequence[SampleFile]] = {}
    pending = [config for config in configs.values() if not (Path(config.out) / FINISHED).is_dir()]
    for stage, config in configs.items():
        if config in pending:
            check_stage(config, stage, made=made, images=False)
            earlier = made.get(config.model) if isinstance(config, ModelConfig) else ()
            made[str(Path(config.out) / FINISHED)] = [
                *own_sample_files(config),
                *(upstream_sample_files(config) if earlier is None else earlier),
            ]
    check_disjoint(configs)
    for config in pending:
        check_images(config)


def check_single_stage(stage: str, config: StageConfig, path: str | Path) -> None:
    """Checks one stage, and that it shares no image with the other stages configured in the folder of its file `path`."""
    pending = not (Path(config.out) / FINISHED).is_dir()
    if pending:
        check_stage(config, stage, images=False)
    path = find_configuration(path, "train")
    folder = path if path.is_dir() else path.parent
    others = {name: load_config(name, folder) for name in CONFIGS if name != stage and (folder / f"{name}.toml").is_file()}
    check_disjoint({name: config if name == stage else others[name] for name in CONFIGS if name == stage or name in others})
    if pending:
        check_images(config)


# Unreadable images

PASSED = "images.sha256"  # the file in OUT with the digest of the images that could all be decoded
SHOWN = 5  # unreadable images that are named

_LIMITS = ImageLimits(max_side=64)  # the limits of training; the size hint makes large photographs decode fast


def check_images(config: StageConfig) -> None:
    """Decodes every image of a stage's samples (except scenes still to be drawn) and of its validation samples.

    An unreadable image would otherwise end the training when it is reached. `OUT/images.sha256` keeps a digest of the images' sizes and
    modification times, so that a resumed run decodes nothing unless one of these changed. The main process checks for all. Raises UserError
    with the number of unreadable images and the first `SHOWN` of them: file, line, sample and reason.
    """
    if world_size() > 1:
        on_main_process(lambda: _check_decodable(config))
    else:
        _check_decodable(config)


def _check_decodable(config: StageConfig) -> None:
    places = dict(_places(config))
    stamp, passed = _stamp(places), Path(config.out) / PASSED
    if not places or (passed.is_file() and passed.read_text("ascii", "replace").strip() == stamp):
        return
    if broken := unreadable_images(tuple(places), stamp):
        listed = "\n".join(f"  {places[image]}: {message}" for image, message in broken[:SHOWN])
        more = f"\n  and {len(broken) - SHOWN:,} more" if len(broken) > SHOWN else ""
        raise UserError(
            f"{len(broken):,} of {len(places):,} images cannot be opened, and the first of them would end the training:\n{listed}{more}\n"
            "Repair or replace these files, or take their rows out of the samples; then start again."
        )
    write_atomically(passed, f"{stamp}\n")


def _places(config: StageConfig) -> Iterator[tuple[str, str]]:
    """Each image path with its sample's file, line and id, as text."""
    files = [] if config.scenes else [config.samples]
    files += [config.validation] if isinstance(config, MonitoredConfig) and config.validation else []
    for file in files:
        for line, row in numbered_sample_rows(file, config.images):
            yield row["image"], f"{display_name(file)}, line {line}, sample {display_name(str(row['id']))}"


def _stamp(images: Mapping[str, str]) -> str:
    """The SHA-256 of all paths with their files' sizes and modification times."""
    stamp = hashlib.sha256()
    for image in images:
        try:
            found = os.stat(image)
            state = f"{found.st_size} {found.st_mtime_ns}"
        except (OSError, ValueError):
            state = "none"
        stamp.update(f"{image}\0{state}\0".encode("utf-8", "surrogatepass"))
    return stamp.hexdigest()


@lru_cache(maxsize=4)  # the runs of a sweep share their images
def unreadable_images(images: tuple[str, ...], stamp: str = "") -> list[tuple[str, str]]:
    """The unreadable images, in order, each with the reason. `stamp` is part of the cache key: files may change."""
    opened = open_images(images, _LIMITS, workers=os.cpu_count() or 1)
    broken = []
    with Progress("checking images", "images", len(images)) as bar:
        for image, result in zip(images, opened, strict=True):
            if isinstance(result, ImageError):
                broken.append((image, str(result)))
            bar.advance()
    return broken
