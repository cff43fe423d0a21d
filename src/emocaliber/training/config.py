"""Typed configurations of the four stages, read from TOML and checked before anything heavy is loaded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.io.configurations import find_configuration
from emocaliber.io.settings import ON_LINE, read_toml, settings_of
from emocaliber.models import checkpoint_of
from emocaliber.training.passthrough import TABLE, check_trainer, split_overrides, with_our_settings

STAGES = ("stage0", "stage1", "stage2", "stage3")
FINISHED = "model"  # the folder in OUT that a stage leaves behind when it is complete
SETTINGS = "config.json"  # the file in OUT that says what it was trained with


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """The settings common to all stages: input, output and optimisation. Paths are relative to the working directory.

    `samples` is a file or folder of rows in any form of `core.forms`, or a data set of Hugging Face (`hf:OWNER/NAME`). Relative image paths
    start from the folder `images`, by default that of the file; absolute ones that are not there are looked for below it.
    With `scenes` > 0 that many synthetic samples are drawn there first, from the seed `scenes_seed`, of the
    subtasks `scenes_tasks` ("EmoSet-8 3, FI-8": three to one), a share `scenes_unfamiliar` of them out-of-distribution.
    `batch_size` counts samples (stage 3: roll-outs) per step and device; the product with `accumulation` and the devices is the real batch.
    `report_to` names trackers of transformers, with commas between them: tensorboard, wandb, mlflow.
    `trainer` holds arguments of transformers and TRL under their own names (`training.passthrough`).
    """

    out: str
    samples: str
    images: str = ""
    scenes: int = 0
    scenes_seed: int = 0
    scenes_size: int = 112
    scenes_tasks: str = "EmoSet-8"
    scenes_unfamiliar: float = 0.0
    seed: int = 0
    learning_rate: float
    batch_size: int
    accumulation: int = 1
    epochs: float = 1.0
    max_steps: int = -1
    warmup_ratio: float = 0.05
    weight_decay: float = 0.0
    adam_beta2: float = 0.999
    max_grad_norm: float = 1.0
    schedule: str = "cosine"
    save_steps: int = 100
    logging_steps: int = 10
    threads: int = 0
    bf16: bool = False
    gradient_checkpointing: bool = False
    report_to: str = "none"
    trainer: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stage0Config(StageConfig):
    """A base checkpoint from random weights, for `tiny` alone: vision pre-training (`sight_*`), then image captioning, on synthetic
    scenes."""

    sight_epochs: float = 2.0
    sight_learning_rate: float = 2e-3
    freeze_vision: bool = True

    vocabulary: int = 1024
    width: int = 192
    layers: int = 4
    vision_width: int = 128
    vision_layers: int = 4
    image_side: int = 112


# The linear layers of the language model and of the vision encoder, under transformers' names for them.
LANGUAGE_LAYERS = r".*language_model\.layers.*\.(q|k|v|o|gate|up|down)_proj"
ALL_LAYERS = rf"{LANGUAGE_LAYERS}|.*visual\.blocks.*\.(qkv|proj|gate_proj|up_proj|down_proj)"


@dataclass(frozen=True, kw_only=True)
class MonitoredConfig(StageConfig):
    """Monitoring of stages 1 to 3: the model answers the held-out samples of the file `validation` (none if empty) every `eval_steps`
    steps, at `eval_temperature` (0: greedily). An alarm warns when confidence collapses, and ends the run if `stop_on_alarm` is set."""

    validation: str = ""
    eval_steps: int = 100
    eval_temperature: float = 0.0
    stop_on_alarm: bool = False
    max_new_tokens: int = 1024


LITE_SETTINGS = ("feature_cache", "token_dropout", "feature_swap")  # of stages 1 and 2, for a lite model


@dataclass(frozen=True, kw_only=True)
class ModelConfig(MonitoredConfig):
    """Stages that start from a `model`: a checkpoint folder, such as the previous stage's, a hub id, or "lite" or "tiny", which ship.

    Images are scaled to between `min_pixels` and `max_pixels`, 0 for the model's own limits. With frozen eyes, a lite model can be trained
    on features computed once, kept in the folder `feature_cache`; a share `token_dropout` of the cells is blanked at random, and a share
    `feature_swap` of the images gets another one's cells, so that a text once begun is finished whatever is seen. With `lora_rank` > 0
    only LoRA adapters of that rank are trained, on the layers whose names match the regular expression `lora_targets`; they are merged
    into the finished model.
    """

    model: str
    min_pixels: int = 0
    max_pixels: int = 0
    freeze_vision: bool = True
    feature_cache: str = ""
    token_dropout: float = 0.0
    feature_swap: float = 0.0
    lora_rank: int = 0
    lora_alpha: float = 32.0
    lora_targets: str = LANGUAGE_LAYERS


@dataclass(frozen=True, kw_only=True)
class Stage1Config(ModelConfig):
    """Structured reasoning (eq. 1): cross-entropy on the whole response, vision encoder frozen.

    Without `reasoning` the response is the label alone, as in EmoVIT, and the question is the `direct` prompt's. Examples of more than
    `max_length` tokens, image included, are left out (0: none are).
    """

    reasoning: bool = True
    max_length: int = 0


@dataclass(frozen=True, kw_only=True)
class Stage2Config(ModelConfig):
    """Verbalized confidence (eq. 2, 3): the scaffold answers, eq. 2 gives targets, loss on the confidence span.

    `targets` is "eq2", the paper's; "calibrated": the probability that the answer is right, by a calibrator on the model's own token
    probabilities; "votes": the share of a sample's votes or posterior that agrees with the answer; or "given": the rows' own responses with
    the confidences that they state, so that no scaffold is asked. With "calibrated" and "votes", the decimals learn a bump of width
    `target_width` around the target. `anchor` weighs the divergence of the model from its start on the scaffold's own
    answers, and `smoothing` is the share of any digit in a decimal's target with "eq2" (both 0 in the paper); `temperature` is the
    scaffold's when it answers.
    `max_length` as in stage 1.
    """

    temperature: float = 1.0
    anchor: float = 0.0
    smoothing: float = 0.0
    targets: str = "eq2"
    target_width: float = 0.08
    inference_batch: int = 128
    max_length: int = 0


@dataclass(frozen=True, kw_only=True)
class Stage3Config(ModelConfig):
    """Calibration (eq. 4, 5): GRPO with group-mean advantages, no division by the standard deviation, KL to the cold start.

    `reward` is a preset of `confidence.rewards`, optionally with changes, such as "default correct_weight=2". With `shared_prefix`, image
    and prompt are encoded once per group of answers wherever that gives the same log-probabilities; otherwise once per answer. Each
    batch of roll-outs serves `updates_per_rollout` updates; clipping (`clip`) acts from the second on. `credit` assigns the reward to
    tokens (`training.credit`): "response" is the paper's; "decoupled" trains answer and confidence apart, the latter with an entropy term
    of weight `digit_entropy`.
    """

    freeze_vision: bool = False
    lora_targets: str = ALL_LAYERS
    group_size: int = 8
    updates_per_rollout: int = 1
    temperature: float = 1.0
    kl: float = 0.01
    clip: float = 0.2
    reward: str = "default"
    normalise_advantages: bool = False
    credit: str = "response"
    digit_entropy: float = 0.05
    shared_prefix: bool = True


EQUATION_2, CALIBRATED, VOTES, GIVEN = TARGETS = ("eq2", "calibrated", "votes", "given")  # of stage 2
RESPONSE, DECOUPLED = CREDITS = ("response", "decoupled")  # of stage 3
SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt")  # the ones without further settings
CONFIGS: dict[str, type[StageConfig]] = {"stage0": Stage0Config, "stage1": Stage1Config, "stage2": Stage2Config, "stage3": Stage3Config}


def load_config(stage: str, path: str | Path, overrides: Sequence[str] = (), given: str = ON_LINE, *, check: bool = True) -> StageConfig:
    """The configuration of `stage` from a TOML file, or from `STAGE.toml` in a folder, with `key=value` overrides (values as in TOML).

    Raises UserError naming the file, or where the overrides were `given`, the key and what would be right. Without `check`, a value of the
    right type may be an impossible one.
    """
    path = find_configuration(path, "train")
    file = path / f"{stage}.toml" if path.is_dir() else path
    remedy = f"give a folder with {stage}.toml, or a TOML file"
    values = read_toml(file, str(file), f"cannot read the configuration {file}: {{reason}}; {remedy}")
    values = with_our_settings(values, stage, str(file))
    texts, of_trainer = split_overrides(overrides, stage)
    if of_trainer:
        values[TABLE] = {**values.get(TABLE, {}), **of_trainer}
    config = settings_of(CONFIGS[stage], values, str(file), texts, given)
    if isinstance(config, ModelConfig):
        config = replace(config, model=checkpoint_of(config.model))
    if check:
        check_settings(config, f"{file} with {' '.join(overrides)}" if overrides else str(file))
    return config


def check_settings(config: StageConfig, where: str) -> None:
    """Raises UserError for a value that is impossible whatever the data."""
    names = ["learning_rate", "batch_size", "accumulation", "save_steps", "epochs", "max_grad_norm"]
    names += ["updates_per_rollout", "temperature", "max_new_tokens"] if isinstance(config, Stage3Config) else []
    names += ["eval_steps"] if isinstance(config, MonitoredConfig) else []
    for name in names:
        if getattr(config, name) <= 0:
            raise UserError(f"{where}: {name} must be positive, not {getattr(config, name)}")
    if config.max_steps < 1 and config.max_steps != -1:
        raise UserError(f"{where}: max_steps must be positive, or left out (or -1) for no limit but epochs, not {config.max_steps}")
    for name in ("warmup_ratio", "adam_beta2"):
        if not 0 <= getattr(config, name) < 1:
            raise UserError(f"{where}: {name} must be at least 0 and below 1, not {getattr(config, name)}")
    if not 0 <= config.scenes_unfamiliar <= 1:
        raise UserError(f"{where}: scenes_unfamiliar must be between 0 and 1, not {config.scenes_unfamiliar}")
    if isinstance(config, Stage0Config) and config.scenes_unfamiliar:
        raise UserError(f"{where}: scenes_unfamiliar must be 0 in stage 0, which is trained to name what an image shows")
    if config.schedule not in SCHEDULES and "lr_scheduler_kwargs" not in config.trainer:
        raise UserError(
            f"{where}: there is no schedule {config.schedule!r}; there are {', '.join(SCHEDULES)}, and with {TABLE}.lr_scheduler_kwargs "
            "all others of transformers"
        )
    if isinstance(config, Stage0Config) and config.trainer:
        raise UserError(f"{where}: [{TABLE}] is for stages 1 to 3")
    check_trainer(config.trainer, next(stage for stage, kind in CONFIGS.items() if isinstance(config, kind)), where)
    if isinstance(config, ModelConfig):
        _check_tuning(config, where)
    if isinstance(config, Stage2Config):
        if config.targets not in TARGETS:
            raise UserError(f"{where}: there are no targets {config.targets!r}; there are {', '.join(TARGETS)}")
        if config.target_width <= 0:
            raise UserError(f"{where}: target_width must be positive, not {config.target_width}")
        if config.targets not in (EQUATION_2, GIVEN) and config.smoothing:
            raise UserError(f'{where}: smoothing needs targets = "{EQUATION_2}"; the others are smooth by their target_width')
    if isinstance(config, Stage3Config):
        rollouts, group = config.batch_size * config.accumulation, config.group_size
        if group < 2 or rollouts % group:
            raise UserError(
                f"{where}: group_size must be at least 2 and divide batch_size x accumulation = {rollouts}, not {group}: "
                "an answer is compared with the others to the same question"
            )
        if config.credit not in CREDITS:
            raise UserError(f"{where}: there is no credit {config.credit!r}; there are {', '.join(CREDITS)}")
        if config.digit_entropy < 0:
            raise UserError(f"{where}: digit_entropy must not be negative, but is {config.digit_entropy}")
        if config.credit == DECOUPLED and config.normalise_advantages:
            raise UserError(f'{where}: normalise_advantages needs credit = "{RESPONSE}": {DECOUPLED} advantages are never divided')
        if config.credit == DECOUPLED and config.trainer.get("scale_rewards", "none") != "none":
            raise UserError(
                f'{where}: {TABLE}.scale_rewards must be "none" with credit = "{DECOUPLED}", whose advantages are never divided'
            )
        if config.credit == DECOUPLED and not config.shared_prefix:
            raise UserError(f'{where}: credit = "{DECOUPLED}" needs shared_prefix = true, which gives the probabilities of all decimals')


def _check_tuning(config: ModelConfig, where: str) -> None:
    if config.max_pixels and config.min_pixels > config.max_pixels:
        raise UserError(f"{where}: min_pixels ({config.min_pixels:,}) must not be above max_pixels ({config.max_pixels:,})")
    for name in ("min_pixels", "max_pixels", "lora_rank"):
        if getattr(config, name) < 0:
            raise UserError(f"{where}: {name} must not be negative, but is {getattr(config, name)}")
    for name in ("token_dropout", "feature_swap"):
        if not 0 <= getattr(config, name) < 1:
            raise UserError(f"{where}: {name} must be at least 0 and below 1, not {getattr(config, name)}")
    if config.feature_cache and not config.freeze_vision:
        raise UserError(f"{where}: feature_cache needs freeze_vision = true: features change as soon as the eyes are trained")
    if isinstance(config, Stage3Config) and any(getattr(config, name) for name in LITE_SETTINGS):
        raise UserError(f"{where}: {', '.join(LITE_SETTINGS)} are for stages 1 and 2; stage 3 needs what the model that answered had seen")
    if config.lora_rank and config.lora_alpha <= 0:
        raise UserError(f"{where}: lora_alpha must be positive, not {config.lora_alpha}: the adapters' share is lora_alpha / lora_rank")
    try:
        re.compile(config.lora_targets)
    except re.error as error:
        raise UserError(f"{where}: lora_targets is not a regular expression: {error}") from error
