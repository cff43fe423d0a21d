"""What can be known to be wrong before anything heavy is loaded: settings, rows, batches, models, stages that share images."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tqdm import tqdm

from emocaliber.confidence.rewards import parse_reward
from emocaliber.errors import UserError
from emocaliber.inference.engine import question_for
from emocaliber.io.images import ImageError, ImageLimits, open_images
from emocaliber.io.rows import display_name, write_atomically
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
from emocaliber.training.distributed import partial_state, world_size
from emocaliber.training.samples import numbered_sample_rows, own_sample_files, upstream_sample_files, validation_samples

IMAGE_TOKEN_SIDE = 28  # in pixels, of Qwen2.5-VL: patches of 14 x 14, merged 2 x 2
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w-]+")


def check_stage(
    config: StageConfig, where: str = "", *, made: Mapping[str, Sequence[Path]] = MappingProxyType({}), images: bool = True
) -> None:
    """Raises UserError for the first thing that cannot work, naming `where` (the file) or the row.

    `made` are model folders to come, each with the files of samples from which it and the stages behind it will have learnt. The `images`
    of all samples are opened last, as that takes longest.
    """
    where = where or f"the configuration of {config.out}"
    check_settings(config, where)
    if isinstance(config, MonitoredConfig):
        validation_samples(config, made.get(config.model, ()) if isinstance(config, ModelConfig) else ())
    if isinstance(config, Stage3Config):
        parse_reward(config.reward)
    if config.scenes:
        parse_mixture(config.scenes_tasks)
    rows = None if config.scenes else [row for _, row in numbered_sample_rows(config.samples)]
    _check_batches(config, config.scenes if rows is None else len(rows))
    if isinstance(config, Stage1Config | Stage2Config) and config.max_length and rows:
        _check_length(config, rows, where)
    if isinstance(config, ModelConfig) and config.model not in made:
        _check_model(config.model)
    if images:
        check_images(config)


def _check_batches(config: StageConfig, rows: int) -> None:
    """A step must not need more rows than there are: transformers would make it smaller, TRL would leave everything out."""
    needed, unit = config.batch_size * config.accumulation * world_size(), "samples"
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
        stage: {row["image"]: f"{config.samples}, line {line}" for line, row in numbered_sample_rows(config.samples)}
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
    check_stages(configs)
    return configs


def check_stages(configs: Mapping[str, StageConfig]) -> None:
    """Checks stages that will be trained one after the other, each from what those before it leave behind."""
    made: dict[str, Sequence[Path]] = {}
    to_come = [config for config in configs.values() if not (Path(config.out) / FINISHED).is_dir()]
    for stage, config in configs.items():
        if config in to_come:
            check_stage(config, stage, made=made, images=False)
            earlier = made.get(config.model) if isinstance(config, ModelConfig) else ()
            made[str(Path(config.out) / FINISHED)] = [
                *own_sample_files(config),
                *(upstream_sample_files(config) if earlier is None else earlier),
            ]
    check_disjoint(configs)
    for config in to_come:
        check_images(config)


def check_single_stage(stage: str, config: StageConfig, path: str | Path) -> None:
    """Checks one stage, and that it shares no image with the other stages for which the folder of its file `path` has configurations."""
    to_come = not (Path(config.out) / FINISHED).is_dir()
    if to_come:
        check_stage(config, stage, images=False)
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    others = {name: load_config(name, folder) for name in CONFIGS if name != stage and (folder / f"{name}.toml").is_file()}
    check_disjoint({name: config if name == stage else others[name] for name in CONFIGS if name == stage or name in others})
    if to_come:
        check_images(config)


# Every image of a stage is opened and decoded before anything heavy is loaded, so that a broken one cannot end hours of training.

PASSED = "images.sha256"  # the file in OUT that says which images, as they were then, could all be opened
SHOWN = 5  # broken images named one by one

_LIMITS = ImageLimits(max_side=64)  # those under which images are opened later; the hint makes large photographs decode fast


def check_images(config: StageConfig) -> None:
    """Decodes every image of a stage's samples, unless they are scenes still to be drawn, and of its validation samples.

    What passed is noted in `OUT/images.sha256` with each image's size and time of change, so that a run that goes on only looks at those.
    Of several processes the first one checks, and all come to its conclusion. Raises UserError with the number of images that cannot be
    opened and the first `SHOWN` of them: file, line, sample and reason.
    """
    if world_size() > 1:
        _check_together(config)
    else:
        _check(config)


def _check_together(config: StageConfig) -> None:
    from accelerate.utils import broadcast_object_list

    verdict: list[str | None] = [None]
    if partial_state().is_main_process:
        try:
            _check(config)
        except UserError as error:
            verdict = [str(error)]
    broadcast_object_list(verdict)
    if verdict[0] is not None:
        raise UserError(verdict[0])


def _check(config: StageConfig) -> None:
    places = dict(_places(config))
    stamp, passed = _stamp(places), Path(config.out) / PASSED
    if not places or (passed.is_file() and passed.read_text("ascii", "replace").strip() == stamp):
        return
    if broken := _broken(tuple(places), stamp):
        listed = "\n".join(f"  {places[image]}: {message}" for image, message in broken[:SHOWN])
        more = f"\n  and {len(broken) - SHOWN:,} more" if len(broken) > SHOWN else ""
        raise UserError(
            f"{len(broken):,} of {len(places):,} images cannot be opened, and the first of them would end the training:\n{listed}{more}\n"
            "Mend or replace these files, or take their rows out of the samples; then start again."
        )
    write_atomically(passed, f"{stamp}\n")


def _places(config: StageConfig) -> Iterator[tuple[str, str]]:
    """Each image with the file, line and id of the sample that it belongs to."""
    files = [] if config.scenes else [config.samples]
    files += [config.validation] if isinstance(config, MonitoredConfig) and config.validation else []
    for file in files:
        for line, row in numbered_sample_rows(file):
            yield row["image"], f"{display_name(file)}, line {line}, sample {display_name(str(row['id']))}"


def _stamp(images: Mapping[str, str]) -> str:
    """A hash of all paths, with size and time of the last change where there is a file."""
    stamp = hashlib.sha256()
    for image in images:
        try:
            found = os.stat(image)
            state = f"{found.st_size} {found.st_mtime_ns}"
        except (OSError, ValueError):
            state = "none"
        stamp.update(f"{image}\0{state}\0".encode("utf-8", "surrogatepass"))
    return stamp.hexdigest()


@lru_cache(maxsize=4)  # a sweep's runs learn from the same images
def _broken(images: tuple[str, ...], stamp: str) -> list[tuple[str, str]]:
    """The images that cannot be opened, in order, each with the reason. `stamp` tells the files from others of these names."""
    opened = open_images(images, _LIMITS, workers=os.cpu_count() or 1)
    with tqdm(opened, desc="checking images", total=len(images), unit="image", mininterval=1) as bar:
        return [(image, str(result)) for image, result in zip(images, bar, strict=True) if isinstance(result, ImageError)]
