"""Everything that watches a run, put in place in the right order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from emocaliber.errors import UserError
from emocaliber.training.alarm import Alarm, Stopped
from emocaliber.training.collate import plain_errors
from emocaliber.training.config import StageConfig, WatchedConfig
from emocaliber.training.heldout import HeldOut
from emocaliber.training.rollouts import RolloutTable
from emocaliber.training.telemetry import TELEMETRY, StepLog, Telemetry
from emocaliber.training.validation import validation_samples


def train_watched(trainer: Any, config: StageConfig, checkpoint: str | None, rollouts_of: Sequence[Mapping[str, Any]] = ()) -> None:
    """Trains on from `checkpoint`, watched; `rollouts_of` are the samples of stage 3. Raises Stopped where an alarm ended the run."""
    out, alarm = Path(config.out), Alarm(isinstance(config, WatchedConfig) and config.stop_on_alarm)
    log = StepLog(out / TELEMETRY)
    trainer.add_callback(Telemetry(log, alarm))
    if rollouts_of:
        trainer.add_callback(RolloutTable(trainer, out, rollouts_of, log, alarm))
    if isinstance(config, WatchedConfig) and (samples := validation_samples(config)):
        trainer.add_callback(HeldOut(trainer, config, samples, log, alarm))
    resume(trainer, checkpoint)
    if alarm.stopped:
        raise Stopped(
            f"training was stopped by an alarm at {alarm.stopped}. The checkpoint is kept in {out / 'checkpoints'}; "
            "with stop_on_alarm=false the same command goes on from it"
        )


class _Complete(Exception):
    """The checkpoint that was loaded is that of the last step."""


class _StopWhenComplete(TrainerCallback):  # type: ignore[misc]
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps:
            raise _Complete


def resume(trainer: Any, checkpoint: str | None) -> None:
    """Trains on from `checkpoint`. The one of the last step, which a run has that was killed before it had saved its model, is only loaded:
    with `max_steps` in the middle of an epoch, transformers would do one step more.
    """
    trainer.add_callback(_StopWhenComplete())
    try:
        with plain_errors():
            trainer.train(resume_from_checkpoint=checkpoint)
    except _Complete:
        trainer.is_in_train = False
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)


def trackers(names: str) -> list[str] | str:
    """The names of trackers as transformers takes them. Raises UserError for one that it does not know or that is not installed."""
    from transformers.integrations import get_available_reporting_integrations

    given = [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]
    there = get_available_reporting_integrations()
    if missing := next((name for name in given if name not in there), None):
        raise UserError(f"report_to: there is no tracker {missing!r} here; installed are {', '.join(there) or 'none'}")
    return given or "none"
