"""Running stages: one, or all that a folder has configurations for, each from the one before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import MISSING, asdict, fields
from importlib import import_module
from pathlib import Path

from emocaliber.inference.plan import identity_of_model, sha256_of
from emocaliber.io.workspace import Workspace
from emocaliber.training.checks import check_stage, load_stages
from emocaliber.training.config import FINISHED, SETTINGS, STAGES, ModelConfig, StageConfig
from emocaliber.training.distributed import on_main_process, print_once, world_size
from emocaliber.training.trainer import finished, whole_checkpoints

# Settings that change neither the data nor the mathematics of a step, and so may differ when a run goes on. `threads`,
# `gradient_checkpointing` and `inference_batch` say how the same numbers are computed, and change no more than their rounding, as another
# machine does. `save_steps` and `logging_steps` say how often something is written; `report_to` and what begins with `eval_`, like
# `validation` and `stop_on_alarm`, how the run is watched, which draws nothing by chance; `out` is the folder itself.
FREE = (
    *("out", "threads", "gradient_checkpointing", "inference_batch"),
    *("save_steps", "logging_steps", "report_to", "validation", "eval_steps", "eval_temperature", "stop_on_alarm"),
)

_MODULES = {stage: f"emocaliber.training.{stage}" for stage in STAGES} | {"stage0": "emocaliber.training.base.stage0"}


def stage_workspace(stage: str, config: StageConfig) -> Workspace:
    """The folder of a stage, `config.out`, whose `config.json` keeps all settings, and the digests of what it was made from.

    These are the SHA-256 of the file of samples, or for scenes the settings that draw them, and that of the model folder that it goes on
    from, or its commit on the hub: so a former stage that was trained again is noticed, and a folder that was moved is not. Images are not
    read. The product of batch size, accumulation and devices must stay the same, not each of them.
    """
    made_from: dict[str, str | None] = {"samples": None, "model": None, "commit": None}
    if not config.scenes and Path(config.samples).is_file():
        made_from["samples"] = sha256_of(Path(config.samples))
    if isinstance(config, ModelConfig):
        model = identity_of_model(config.model)
        made_from |= {"model": model["sha256"], "commit": model["commit"]}
    # A finished stage was trained on as many devices as it was, whatever there are now.
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


def run_stage(stage: str, config: StageConfig) -> Path:
    """Trains one stage and returns the folder of its model; a finished stage is left as it is.

    Raises UserError if the folder holds a run with other settings, finished or not, and while another command trains there.
    """
    if finished(config) is None:
        check_stage(config)
    with ExitStack() as held:

        def begin() -> bool:
            workspace = held.enter_context(stage_workspace(stage, config))
            if has_progress(config):
                workspace.check(needed=True)
            if finished(config) is None:
                workspace.write()
            return finished(config) is not None

        if on_main_process(begin):
            folder = Path(config.out) / FINISHED
            print_once(f"{stage}: already finished, {folder}; remove {config.out} to train it again")
            return folder
        trained: Path = import_module(_MODULES[stage]).train(config)
    print_once(f"{stage}: finished, {trained}")
    return trained


def next_commands(stage: str, config: StageConfig) -> str:
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
    """Trains every stage that `folder` has a TOML file for. All of them, and the folders that they go on in, are checked before the first
    begins."""
    configs = load_stages(folder, overrides)
    on_main_process(lambda: check_workspaces(configs.items()))
    for stage, config in configs.items():
        model = run_stage(stage, config)
    print_once(next_commands(stage, config))
    return model


def check_workspaces(stages: Iterable[tuple[str, StageConfig]]) -> None:
    """Raises UserError for the first stage whose folder holds a run with other settings."""
    for stage, config in stages:
        if has_progress(config):
            stage_workspace(stage, config).check(needed=True)


def has_progress(config: StageConfig) -> bool:
    """Whether a folder holds anything that training would go on from: a run that ended before that may begin anew with other settings."""
    out = Path(config.out)
    eyes = out / "sight" / "eyes.pt"
    return finished(config) is not None or eyes.is_file() or any(map(whole_checkpoints, (out, eyes.parent)))
