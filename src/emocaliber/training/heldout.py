"""Calibration on samples that are not trained on, looked at every `eval_steps` while training runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from transformers import Trainer, TrainerCallback

from emocaliber.answering import respond
from emocaliber.evaluation import summarise
from emocaliber.evaluation.calibration import BINS, bin_of
from emocaliber.evaluation.tables import main_source
from emocaliber.models.local import LocalModel
from emocaliber.prompts import EMOCALIBER, Prompt, load_prompt
from emocaliber.scoring import Outcome, outcome
from emocaliber.training.alarm import SURE, Alarm, Reading
from emocaliber.training.config import Stage1Config, WatchedConfig
from emocaliber.training.processes import ready_to_generate
from emocaliber.training.telemetry import StepLog
from emocaliber.vecbench import Sample

_REPLICATES = 200  # of the bootstrap; enough for an interval to look at
_SHOWN = ("ece", "brier", "auroc")


class HeldOut(TrainerCallback):  # type: ignore[misc]
    """Asks the model in training about held-out samples: before the first step, every `eval_steps` and after the last.

    Nothing that training draws by chance is touched, so a run that is watched ends with the same weights as one that is not.
    """

    def __init__(self, trainer: Any, config: WatchedConfig, samples: Sequence[Sample], log: StepLog, alarm: Alarm) -> None:
        self._trainer, self._config, self._samples, self._log, self._alarm = trainer, config, samples, log, alarm

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self._look(state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._config.eval_steps == 0 or state.global_step >= state.max_steps:
            self._look(state, control)

    def _look(self, state: Any, control: Any) -> None:
        outcomes = self._outcomes()
        row = {"kind": "held_out", "step": state.global_step, "temperature": self._config.eval_temperature, **held_out_numbers(outcomes)}
        # The plain trainer's: TRL's own would count what the roll-outs have gathered so far as an evaluation.
        due = control.should_log  # which the logging of anything puts out
        Trainer.log(self._trainer, _for_trackers(row))
        control.should_log = due
        reading = Reading(**row["reading"]) if row["reading"] else None
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
            prompt, confidence = question_of(self._config)
            rows = list(respond(mine, asked, prompt=prompt, confidence=confidence, lenient=prompt.lenient))
        found = {row["id"]: outcome(row) for row in gather_object(rows)}
        return [found[sample.id] for sample in samples]


def held_out_numbers(outcomes: Sequence[Outcome]) -> dict[str, Any]:
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
    reading = Reading.of(stated)
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


def question_of(config: WatchedConfig) -> tuple[Prompt, bool]:
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
            with ready_to_generate(model):
                yield model
        finally:
            model.train(training)
            model.generation_config, model.config.use_cache = settings, caching
