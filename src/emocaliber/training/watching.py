"""Monitoring of a training run: telemetry, roll-outs, calibration on held-out samples, and resuming."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from transformers import Trainer, TrainerCallback

from emocaliber.core.prompts import EMOCALIBER, Prompt, load_prompt
from emocaliber.core.samples import Sample
from emocaliber.core.scoring import Outcome, outcome
from emocaliber.errors import UserError
from emocaliber.evaluation.calibration import BINS, bin_of
from emocaliber.evaluation.summary import summarise
from emocaliber.evaluation.tables import main_source
from emocaliber.inference.engine import respond
from emocaliber.models.local import LocalModel
from emocaliber.training.collate import plain_worker_errors
from emocaliber.training.config import CONFIGS, MonitoredConfig, Stage1Config, StageConfig
from emocaliber.training.distributed import unsharded_for_generation
from emocaliber.training.progress import show_readably
from emocaliber.training.samples import validation_samples
from emocaliber.training.telemetry import SURE, TELEMETRY, CollapseAlarm, ConfidenceStats, RolloutLogger, StepLog, StoppedByAlarm, Telemetry


def train_monitored(trainer: Any, config: StageConfig, checkpoint: str | None, rollouts_of: Sequence[Mapping[str, Any]] = ()) -> None:
    """Trains from `checkpoint` (None: from the start) with all callbacks in order; `rollouts_of` are the samples of stage 3, for its
    roll-outs.

    Raises StoppedByAlarm if an alarm ended the run.
    """
    out, alarm = Path(config.out), CollapseAlarm(isinstance(config, MonitoredConfig) and config.stop_on_alarm)
    log = StepLog(out / TELEMETRY)
    trainer.add_callback(Telemetry(log, alarm))
    if rollouts_of:
        trainer.add_callback(RolloutLogger(trainer, out, rollouts_of, log, alarm))
    if isinstance(config, MonitoredConfig) and (samples := validation_samples(config)):
        trainer.add_callback(HeldOutEvaluation(trainer, config, samples, log, alarm))
    resume(trainer, checkpoint, next((stage for stage, kind in CONFIGS.items() if type(config) is kind), ""))
    if alarm.stopped:
        raise StoppedByAlarm(
            f"training was stopped by an alarm at {alarm.stopped}. The checkpoint is kept in {out / 'checkpoints'}; "
            "with stop_on_alarm=false the same command resumes from it"
        )


class _Complete(Exception):
    """The loaded checkpoint is the last step's."""


class _StopWhenComplete(TrainerCallback):  # type: ignore[misc]
    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= state.max_steps:
            raise _Complete


def resume(trainer: Any, checkpoint: str | None, stage: str = "") -> None:
    """Trains from `checkpoint`, None for the start; what is printed begins with `stage`.

    The last step's checkpoint, left by a run killed before it saved its model, is loaded without training: with `max_steps` inside an
    epoch, transformers would do one step more.
    """
    show_readably(trainer, stage)
    trainer.add_callback(_StopWhenComplete())
    try:
        with plain_worker_errors():
            trainer.train(resume_from_checkpoint=checkpoint)
    except _Complete:
        trainer.is_in_train = False
        trainer.callback_handler.on_train_end(trainer.args, trainer.state, trainer.control)


def trackers(names: str) -> list[str] | str:
    """Tracker names for transformers' `report_to`. Raises UserError for a tracker that is unknown or not installed."""
    from transformers.integrations import get_available_reporting_integrations

    given = [name.strip() for name in names.split(",") if name.strip() not in ("", "none")]
    there = get_available_reporting_integrations()
    if missing := next((name for name in given if name not in there), None):
        raise UserError(f"report_to: there is no tracker {missing!r} here; installed are {', '.join(there) or 'none'}")
    return given or "none"


_REPLICATES = 200  # of the bootstrap; enough for monitoring
_SHOWN = ("ece", "brier", "auroc")


class HeldOutEvaluation(TrainerCallback):  # type: ignore[misc]
    """Evaluates the model on held-out samples: before the first step, every `eval_steps` steps and after the last.

    No random state of training is used, so a monitored run ends with the same weights as an unmonitored one.
    """

    def __init__(self, trainer: Any, config: MonitoredConfig, samples: Sequence[Sample], log: StepLog, alarm: CollapseAlarm) -> None:
        self._trainer, self._config, self._samples, self._log, self._alarm = trainer, config, samples, log, alarm

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self._evaluate(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._config.eval_steps == 0 or state.global_step >= state.max_steps:
            self._evaluate(state, control)

    def _evaluate(self, state: Any, control: Any) -> None:
        outcomes = self._outcomes()
        row = {"kind": "held_out", "step": state.global_step, "temperature": self._config.eval_temperature, **held_out_metrics(outcomes)}
        # Trainer.log, not TRL's, which would report the roll-outs' metrics so far as an evaluation.
        due = control.should_log  # logging resets it
        Trainer.log(self._trainer, _for_trackers(row))
        control.should_log = due
        stats = ConfidenceStats(**row["reading"]) if row["reading"] else None
        self._log.write([row, *self._alarm.on_stats("held_out", stats, state.global_step, control)])

    def _outcomes(self) -> list[Outcome]:
        """The outcomes of all samples, in every process. All answer equally many, as sharded weights need every process in each pass."""
        from accelerate.utils import gather_object

        accelerator, samples = self._trainer.accelerator, self._samples
        share = -(-len(samples) // accelerator.num_processes)
        first = share * accelerator.process_index
        mine = [samples[place % len(samples)] for place in range(first, first + share)]
        with _evaluation_mode(self._trainer) as model:
            answering = LocalModel.of(
                model,
                self._trainer.processing_class,
                batch_size=self._config.batch_size,
                temperature=self._config.eval_temperature,
                max_new_tokens=self._config.max_new_tokens,
            )
            prompt, confidence = prompt_of_stage(self._config)
            rows = list(respond(mine, answering, prompt=prompt, confidence=confidence, lenient=prompt.lenient))
        found = {row["id"]: outcome(row) for row in gather_object(rows)}
        return [found[sample.id] for sample in samples]


def held_out_metrics(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`{"n", "source", "malformed", "groups": {GROUP or "overall": M}, "histogram", "reading"}`.

    M has accuracy, ece, brier and auroc, each with its interval as in `metrics.json` (None where undefined). `histogram` counts the
    confidences of `source` in ten bins; `reading` holds the alarm's statistics, None if no answer states a confidence.
    """
    summary = summarise(outcomes, replicates=_REPLICATES)
    source = main_source(summary)
    groups = {}
    for name, metrics in (*summary["groups"].items(), ("overall", summary["overall"])):
        confidence = metrics["confidence"].get(source, {})
        groups[name] = {key: metrics.get(key) for key in ("n", "accuracy", "accuracy_ci")}
        groups[name] |= {key: confidence.get(key) for metric in _SHOWN for key in (metric, f"{metric}_ci")}
    stated = [(value, each.correct) for each in outcomes if (value := each.confidence.get(source)) is not None]
    stats = ConfidenceStats.of(stated)
    return {
        "n": len(outcomes),
        "source": source,
        "malformed": summary["overall"]["malformed"]["share"],
        "groups": groups,
        "histogram": np.bincount(bin_of([value for value, _ in stated]), minlength=BINS).tolist(),
        "reading": stats and vars(stats),
    }


def _for_trackers(row: dict[str, Any]) -> dict[str, float]:
    """The row's metrics for trackers, named `eval_accuracy`, `eval_ID VER/ece` and so on."""
    numbers = {"eval_malformed": row["malformed"]}
    for name, metrics in row["groups"].items():
        place = "" if name == "overall" else f"{name}/"
        numbers |= {f"eval_{place}{key}": metrics[key] for key in ("accuracy", *_SHOWN) if metrics[key] is not None}
    if row["reading"]:
        numbers |= {f"eval_above_{SURE}": row["reading"]["sure"], "eval_confidence_spread": row["reading"]["spread"]}
        numbers |= {f"eval_confidence_{place / BINS:.1f}": float(count) for place, count in enumerate(row["histogram"])}
    return numbers


def prompt_of_stage(config: MonitoredConfig) -> tuple[Prompt, bool]:
    """The prompt of a stage, and whether it asks for a confidence."""
    if not isinstance(config, Stage1Config):
        return EMOCALIBER, True
    return (EMOCALIBER if config.reasoning else load_prompt("direct")), False


@contextmanager
def _evaluation_mode(trainer: Any) -> Iterator[Any]:
    """The model in training, in evaluation mode with sharded weights gathered; its state is restored afterwards."""
    from trl.models.utils import unwrap_model_for_generation

    wrapped = trainer.model_wrapped if trainer.model_wrapped is not None else trainer.model
    with unwrap_model_for_generation(wrapped, trainer.accelerator) as model:
        training, settings, caching = model.training, model.generation_config, model.config.use_cache
        model.eval()
        model.config.use_cache = True
        try:
            with unsharded_for_generation(model):
                yield model
        finally:
            model.train(training)
            model.generation_config, model.config.use_cache = settings, caching
