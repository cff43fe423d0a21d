"""Everything that watches a run, put in place in the right order."""

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
from emocaliber.training.config import MonitoredConfig, Stage1Config, StageConfig
from emocaliber.training.distributed import unsharded_for_generation
from emocaliber.training.samples import validation_samples
from emocaliber.training.telemetry import SURE, TELEMETRY, CollapseAlarm, ConfidenceStats, RolloutLogger, StepLog, StoppedByAlarm, Telemetry


def train_monitored(trainer: Any, config: StageConfig, checkpoint: str | None, rollouts_of: Sequence[Mapping[str, Any]] = ()) -> None:
    """Trains on from `checkpoint`, watched; `rollouts_of` are the samples of stage 3. Raises Stopped where an alarm ended the run."""
    out, alarm = Path(config.out), CollapseAlarm(isinstance(config, MonitoredConfig) and config.stop_on_alarm)
    log = StepLog(out / TELEMETRY)
    trainer.add_callback(Telemetry(log, alarm))
    if rollouts_of:
        trainer.add_callback(RolloutLogger(trainer, out, rollouts_of, log, alarm))
    if isinstance(config, MonitoredConfig) and (samples := validation_samples(config)):
        trainer.add_callback(HeldOutEvaluation(trainer, config, samples, log, alarm))
    resume(trainer, checkpoint)
    if alarm.stopped:
        raise StoppedByAlarm(
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
        with plain_worker_errors():
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


# Calibration on samples that are not trained on, looked at every `eval_steps` while training runs.

_REPLICATES = 200  # of the bootstrap; enough for an interval to look at
_SHOWN = ("ece", "brier", "auroc")


class HeldOutEvaluation(TrainerCallback):  # type: ignore[misc]
    """Asks the model in training about held-out samples: before the first step, every `eval_steps` and after the last.

    Nothing that training draws by chance is touched, so a run that is watched ends with the same weights as one that is not.
    """

    def __init__(self, trainer: Any, config: MonitoredConfig, samples: Sequence[Sample], log: StepLog, alarm: CollapseAlarm) -> None:
        self._trainer, self._config, self._samples, self._log, self._alarm = trainer, config, samples, log, alarm

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self._look(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._config.eval_steps == 0 or state.global_step >= state.max_steps:
            self._look(state, control)

    def _look(self, state: Any, control: Any) -> None:
        outcomes = self._outcomes()
        row = {"kind": "held_out", "step": state.global_step, "temperature": self._config.eval_temperature, **held_out_metrics(outcomes)}
        # The plain trainer's: TRL's own would count what the roll-outs have gathered so far as an evaluation.
        due = control.should_log  # which the logging of anything puts out
        Trainer.log(self._trainer, _for_trackers(row))
        control.should_log = due
        reading = ConfidenceStats(**row["reading"]) if row["reading"] else None
        self._log.write([row, *self._alarm.hear("held_out", reading, state.global_step, control)])

    def _outcomes(self) -> list[Outcome]:
        """The outcomes of all samples, in every process. Each asks about equally many, as sharded weights need all of them at once."""
        from accelerate.utils import gather_object

        accelerator, samples = self._trainer.accelerator, self._samples
        share = -(-len(samples) // accelerator.num_processes)
        first = share * accelerator.process_index
        mine = [samples[place % len(samples)] for place in range(first, first + share)]
        with _whole(self._trainer) as model:
            asked = LocalModel.of(
                model,
                self._trainer.processing_class,
                batch_size=self._config.batch_size,
                temperature=self._config.eval_temperature,
                max_new_tokens=self._config.max_new_tokens,
            )
            prompt, confidence = prompt_of_stage(self._config)
            rows = list(respond(mine, asked, prompt=prompt, confidence=confidence, lenient=prompt.lenient))
        found = {row["id"]: outcome(row) for row in gather_object(rows)}
        return [found[sample.id] for sample in samples]


def held_out_metrics(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """`{"n", "source", "malformed", "groups": {GROUP or "overall": M}, "histogram", "reading"}`.

    M has accuracy, ece, brier and auroc, each beside its interval as in `metrics.json` (None where it is not defined). `histogram` counts
    the confidences of `source` in ten bins; `reading` is the alarm's, and None where nothing states a confidence.
    """
    summary = summarise(outcomes, replicates=_REPLICATES)
    source = main_source(summary)
    groups = {}
    for name, metrics in (*summary["groups"].items(), ("overall", summary["overall"])):
        confidence = metrics["confidence"].get(source, {})
        groups[name] = {key: metrics.get(key) for key in ("n", "accuracy", "accuracy_ci")}
        groups[name] |= {key: confidence.get(key) for metric in _SHOWN for key in (metric, f"{metric}_ci")}
    stated = [(value, each.correct) for each in outcomes if (value := each.confidence.get(source)) is not None]
    reading = ConfidenceStats.of(stated)
    return {
        "n": len(outcomes),
        "source": source,
        "malformed": summary["overall"]["malformed"]["share"],
        "groups": groups,
        "histogram": np.bincount(bin_of([value for value, _ in stated]), minlength=BINS).tolist(),
        "reading": reading and vars(reading),
    }


def _for_trackers(row: dict[str, Any]) -> dict[str, float]:
    """`eval_accuracy`, `eval_ID VER/ece` and so on: trackers show them under "eval"."""
    numbers = {"eval_malformed": row["malformed"]}
    for name, metrics in row["groups"].items():
        place = "" if name == "overall" else f"{name}/"
        numbers |= {f"eval_{place}{key}": metrics[key] for key in ("accuracy", *_SHOWN) if metrics[key] is not None}
    if row["reading"]:
        numbers |= {f"eval_above_{SURE}": row["reading"]["sure"], "eval_confidence_spread": row["reading"]["spread"]}
        numbers |= {f"eval_confidence_{place / BINS:.1f}": float(count) for place, count in enumerate(row["histogram"])}
    return numbers


def prompt_of_stage(config: MonitoredConfig) -> tuple[Prompt, bool]:
    """How the stage is asked, and whether for a confidence."""
    if not isinstance(config, Stage1Config):
        return EMOCALIBER, True
    return (EMOCALIBER if config.reasoning else load_prompt("direct")), False


@contextmanager
def _whole(trainer: Any) -> Iterator[Any]:
    """The model in training, its weights gathered if they are sharded, ready to answer; afterwards as it was."""
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
