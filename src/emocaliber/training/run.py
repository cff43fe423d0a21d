"""Running one training stage, or all stages of a configuration folder in order, with their folders' settings checked."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import MISSING, asdict, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from emocaliber.inference.plan import identity_of_model
from emocaliber.io.datasets import is_there, sha256_of_rows
from emocaliber.io.rows import read_rows
from emocaliber.io.workspace import Workspace
from emocaliber.scenes.dataset import parse_mixture
from emocaliber.training.checks import check_stage, load_stages
from emocaliber.training.config import FINISHED, SETTINGS, STAGES, ModelConfig, StageConfig
from emocaliber.training.distributed import on_main_process, print_once, world_size
from emocaliber.training.passthrough import FREE_ARGUMENTS, TABLE
from emocaliber.training.telemetry import ROLLOUTS
from emocaliber.training.trainer import complete_checkpoints, finished

# Settings that may differ when a run resumes, as they change neither the data nor the mathematics of a step. `threads`,
# `gradient_checkpointing` and `inference_batch` change results by rounding at most, like another machine. `save_steps` and `logging_steps`
# set when something is written; `report_to`, `eval_*`, `validation` and `stop_on_alarm` set the monitoring, which uses no random numbers of
# the training; `out` is the folder itself, and `images` says where images lie.
FREE = (
    *("out", "images", "threads", "gradient_checkpointing", "inference_batch"),
    *("save_steps", "logging_steps", "report_to", "validation", "eval_steps", "eval_temperature", "stop_on_alarm"),
    *(f"{TABLE}.{name}" for name in FREE_ARGUMENTS),
)

_MODULES = {stage: f"emocaliber.training.{stage}" for stage in STAGES} | {"stage0": "emocaliber.training.base.stage0"}


def stage_workspace(stage: str, config: StageConfig) -> Workspace:
    """The workspace of a stage: the folder `config.out`, whose `config.json` records all settings and the digests of the inputs.

    The digests are the SHA-256 of the sample file (for synthetic scenes, their settings instead) and of the model folder that the stage
    starts from, or its commit on the hub. A retrained previous stage is thus detected, and a moved folder is accepted. Images are not read.
    The product of batch size, accumulation and devices must stay the same, not each factor.
    """
    made_from: dict[str, str | None] = {"samples": None, "model": None, "commit": None}
    if not config.scenes and is_there(config.samples):
        made_from["samples"] = sha256_of_rows(config.samples)
    if isinstance(config, ModelConfig):
        model = identity_of_model(config.model)
        made_from |= {"model": model["sha256"], "commit": model["commit"]}
    # The number of devices now does not matter to a finished stage.
    effective = None if finished(config) else config.batch_size * config.accumulation * world_size()
    usual = {field.name: field.default for field in fields(config) if field.default is not MISSING}
    return Workspace(
        Path(config.out) / SETTINGS,
        {"stage": stage, **asdict(config), "effective_batch_size": effective, "made_from": made_from},
        path=Path(config.out),
        remedy="Give the same settings, or another folder (out=FOLDER)",
        flat=True,
        free=(*FREE, "samples") if config.scenes else FREE,
        contents=("effective_batch_size", *(f"made_from.{name}" for name in made_from)),
        places={"samples": "made_from.samples", "model": "made_from.model", "accumulation": "effective_batch_size"},
        usual=usual,
    )


def run_stage(stage: str, config: StageConfig, **more: Any) -> Path:
    """Trains one stage, or leaves it as it is if it has finished; returns the folder of its model. `more` goes to the stage's `train`.

    Raises UserError if the folder holds a run with other settings, finished or not, or if another command is training there.
    """
    if finished(config) is None:
        check_stage(config)
    with ExitStack() as held:

        def start() -> bool:
            workspace = held.enter_context(stage_workspace(stage, config))
            if has_progress(config):
                workspace.check(needed=True)
            if finished(config) is None:
                workspace.write()
            return finished(config) is not None

        if on_main_process(start):
            folder = Path(config.out) / FINISHED
            print_once(f"{stage}: already finished, {folder}; remove {config.out} to train it again")
            return folder
        trained: Path = import_module(_MODULES[stage]).train(config, **more)
    print_once(f"{stage}: finished, {trained}")
    return trained


TEST_SCENES = (200, 99)  # the number and the seed of scenes that no shipped configuration is trained on


def next_commands(stage: str, config: StageConfig, given: str | Path) -> str:
    """The commands that follow a finished stage. `given` is the configuration as the user named it: a folder, a file or a name.

    For a model that learnt from synthetic scenes they run as they are; for another the test samples, TEST.jsonl, are the user's.
    """
    run, model = Path(config.out), Path(config.out) / FINISHED
    if stage != STAGES[-1]:
        following = STAGES[STAGES.index(stage) + 1]
        file = Path(given).with_name(f"{following}.toml")
        folder = given if Path(given).suffix != ".toml" else file if file.is_file() else "DIR"
        return _listed([("train", following, "--config", folder, f"model={model}")])
    answers, test, images = run / "answers", Path("TEST.jsonl"), Path("examples/images")
    commands: list[tuple[object, ...]] = []
    if config.scenes:
        test, (number, seed) = run.parent / "test", TEST_SCENES
        task = next(iter(parse_mixture(config.scenes_tasks)))
        commands.append(("scenes", test, "--n", number, "--seed", seed, *(("--task", task) if task != "EmoSet-8" else ())))
    commands += [("respond", test, "--model", model, "--out", answers), ("score", answers)]
    if images.is_dir() or config.scenes:
        commands.append(("predict", images if images.is_dir() else test, "--model", model))
    if asked := next(read_rows(run / ROLLOUTS), None) if (run / ROLLOUTS).is_file() else None:
        commands.append(("trace", asked["id"], "--run", run))
    commands.append(("train", "export", run, "--scored", answers / "scores", "--out", run.with_name(f"{run.name}-exported")))
    return _listed(commands)


def _listed(commands: Iterable[Sequence[object]]) -> str:
    """The commands, one a line, after "next:"."""
    return "next: " + "\n      ".join(shlex.join(["emocaliber", *map(str, command)]) for command in commands)


def run_all(folder: str | Path, overrides: Sequence[str] = ()) -> Path:
    """Trains every stage that `folder` has a TOML file for, in order; returns the last model's folder.

    All configurations and output folders are checked before the first stage starts.
    """
    configs = load_stages(folder, overrides)
    on_main_process(lambda: check_workspaces(configs.items()))
    for stage, config in configs.items():
        model = run_stage(stage, config)
    print_once(next_commands(stage, config, folder))
    return model


def check_workspaces(stages: Iterable[tuple[str, StageConfig]]) -> None:
    """Raises UserError for the first stage whose folder holds a run with other settings."""
    for stage, config in stages:
        if has_progress(config):
            stage_workspace(stage, config).check(needed=True)


def has_progress(config: StageConfig) -> bool:
    """Whether a stage's folder holds a model or a checkpoint to resume from; without either, it may start anew with other settings."""
    out = Path(config.out)
    encoder = out / "sight" / "eyes.pt"
    return finished(config) is not None or encoder.is_file() or any(map(complete_checkpoints, (out, encoder.parent)))
