"""Everything that watches a run, put in place in the right order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    with plain_errors():
        trainer.train(resume_from_checkpoint=checkpoint)
    if alarm.stopped:
        raise Stopped(
            f"training was stopped by an alarm at {alarm.stopped}. The checkpoint is kept in {out / 'checkpoints'}; "
            "with stop_on_alarm=false the same command goes on from it"
        )


def trackers(names: str) -> list[str] | str:
    """The names of trackers as transformers takes them. Raises UserError for one that it does not know or that is not installed."""
    from transformers.integrations import get_available_reporting_integrations

    given = [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]
    there = get_available_reporting_integrations()
    if missing := next((name for name in given if name not in there), None):
        raise UserError(f"report_to: there is no tracker {missing!r} here; installed are {', '.join(there) or 'none'}")
    return given or "none"
