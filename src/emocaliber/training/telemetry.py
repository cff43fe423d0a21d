"""Telemetry of a training run, and the alarm for collapsing confidence.

`OUT/telemetry.jsonl` has one row for each logged step, each evaluation on held-out samples and each alarm; `OUT/rollouts.jsonl` has every
roll-out of stage 3 with its reward. The trackers that `report_to` names (TensorBoard, W&B, MLflow) get the same numbers through
transformers' own callbacks.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from transformers import TrainerCallback

from emocaliber.confidence.rewards import PARTS
from emocaliber.core.response import Malformed, parse
from emocaliber.core.scoring import is_correct
from emocaliber.core.tasks import labels_of
from emocaliber.errors import UserError
from emocaliber.io.rows import Row, RowWriter, read_rows, write_rows
from emocaliber.training.distributed import partial_state

TELEMETRY = "telemetry.jsonl"

# TRL's metrics that are renamed; others keep their names.
_NAMES = {
    "completions/mean_length": "length",
    "completions/max_length": "length_max",
    "completions/clipped_ratio": "cut_off",
    "frac_reward_zero_std": "groups_of_equal_reward",
    "clip_ratio/region_mean": "ratio_clipped",
}
_LEFT_OUT = ("completions/", "clip_ratio/", "num_tokens", "step_time")


class StepLog:
    """A JSON Lines file of rows with a `step`. Only the process that called `resume_at`, the main one, writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: RowWriter | None = None

    def resume_at(self, step: int) -> None:
        """Opens the file and drops rows after `step`, the last checkpoint's: those steps are repeated. With step 0 all rows are dropped."""
        RowWriter(self._path, resume=True, key="step").close()  # repairs a half-written last line
        write_rows(self._path, (row for row in read_rows(self._path) if step and row["step"] <= step))
        self._writer = RowWriter(self._path, resume=True, key="step")

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Appends rows; does nothing in a process that has not opened the file."""
        if self._writer is not None:
            for row in rows:
                self._writer.write(row)

    def rows(self) -> list[Row]:
        """The rows of the file; none in a process that has not opened it."""
        return [] if self._writer is None else list(read_rows(self._path))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Telemetry(TrainerCallback):  # type: ignore[misc]
    """Writes the trainer's metrics. It opens and closes the log, so it must be the first callback that uses it."""

    def __init__(self, log: StepLog, alarm: CollapseAlarm) -> None:
        self._log, self._alarm = log, alarm

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._log.resume_at(state.global_step)
            self._alarm.recall(self._log.rows())

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:  # not the final summary, nor held-out metrics
            self._log.write([{"kind": "train", "step": state.global_step, **_plain(logs)}])

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._log.close()


def _plain(logs: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one log, renamed: `rewards/correct/mean` becomes `reward_correct`."""
    found = {}
    for name, value in logs.items():
        if name.startswith("rewards/"):
            _, part, statistic = name.split("/")
            name = f"reward_{part}" if statistic == "mean" else f"reward_{part}_{statistic}"
        name = _NAMES.get(name, name)
        number = float(value)
        if not name.startswith(_LEFT_OUT) and number - number == 0:  # finite: JSON has no other
            found[name] = number
    return found


SURE = 0.9  # confidence above which an answer counts as sure
FEWEST = 30  # answers with a confidence, for the alarm to judge

_MOST_SURE, _RISE = 0.5, 0.05  # share of sure answers, and its least rise since the start
_LACKING = 0.15  # least shortfall of their accuracy below SURE
_FLAT = 0.02  # standard deviation below which confidence is constant


class StoppedByAlarm(UserError):
    """Training was stopped by an alarm; its last checkpoint is kept."""


@dataclass(frozen=True)
class ConfidenceStats:
    """Statistics of `n` stated confidences: `sure`, the share above `SURE`; `accuracy_if_sure`, theirs (None without any); the mean; and
    `spread`, the standard deviation."""

    n: int
    sure: float
    accuracy_if_sure: float | None
    mean: float
    spread: float

    @classmethod
    def of(cls, stated: Sequence[tuple[float, bool]]) -> ConfidenceStats | None:
        """The statistics of (confidence, right?) pairs; None without any."""
        if not stated:
            return None
        confidences = [confidence for confidence, _ in stated]
        sure = [right for confidence, right in stated if confidence > SURE]
        return cls(len(stated), len(sure) / len(stated), fmean(sure) if sure else None, fmean(confidences), pstdev(confidences))

    def collapse_since(self, start: ConfidenceStats) -> str | None:
        """The collapse of confidence since `start`, in words; None if there is none.

        Overconfidence: most answers are sure, more than at the start, and not right often enough (Table 9's Brier reward). Constant
        confidence: the standard deviation is near 0. The reward alone shows neither, and constant confidence may have a low ECE. Both are
        judged against the start, as reducing a cold start's overconfidence is stage 3's purpose.
        """
        if (
            self.accuracy_if_sure is not None
            and self.sure >= _MOST_SURE
            and self.sure > start.sure + _RISE
            and self.accuracy_if_sure < SURE - _LACKING
        ):
            return (
                f"overconfidence: {100 * self.sure:.0f} % of answers are stated above {SURE} (at first {100 * start.sure:.0f} %), "
                f"and {100 * self.accuracy_if_sure:.0f} % of those are right"
            )
        if self.spread < _FLAT and self.spread < start.spread / 2:
            return (
                f"one confidence for all: it is {self.mean:.2f} with a standard deviation of {self.spread:.3f} "
                f"(at first {start.spread:.3f}), so it no longer tells right from wrong"
            )
        return None


class CollapseAlarm:
    """Compares confidence statistics with the first of their kind; warns on stderr and, with `stop`, ends the run after its step."""

    def __init__(self, stop: bool) -> None:
        self._stop = stop
        self._first: dict[str, ConfidenceStats] = {}
        self.stopped: str | None = None

    def recall(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Restores the first statistics from the telemetry rows of a resumed run."""
        for row in rows:
            if row["kind"] not in self._first and (values := row.get("reading")) and values["n"] >= FEWEST:
                self._first[row["kind"]] = ConfidenceStats(**values)

    def on_stats(self, kind: str, stats: ConfidenceStats | None, step: int, control: Any) -> list[dict[str, Any]]:
        """Judges statistics and returns the telemetry rows of an alarm; sets the trainer's `control` to save and stop if so configured."""
        from accelerate.utils import broadcast_object_list

        main = partial_state().is_main_process
        (what,) = broadcast_object_list([self._judged(kind, stats)])  # so that all processes stop, or none
        if what is None:
            return []
        if main:
            print(f"alarm at step {step}, {kind.replace('_', '-')}: {what}", file=sys.stderr)
        if self._stop:
            self.stopped = f"step {step}: {what}"
            control.should_save = control.should_training_stop = True
        return [{"kind": "alarm", "step": step, "of": kind, "what": what}]

    def _judged(self, kind: str, stats: ConfidenceStats | None) -> str | None:
        if stats is None or stats.n < FEWEST:
            return None
        return stats.collapse_since(self._first.setdefault(kind, stats))


ROLLOUTS = "rollouts.jsonl"

_STEPS_PER_ALARM = 10  # one step has too few roll-outs to judge

RolloutRow = dict[str, Any]


def rollout_rows(
    step: int,
    samples: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    advantages: Sequence[float],
) -> list[RolloutRow]:
    """`{"step", "id", "answer", "correct", "confidence", "malformed", "reward": {"total", PART...}, "advantage", "text"}` each.

    All arguments but the first have one entry per roll-out; `parts` holds the reward's parts by name. A malformed roll-out has no answer
    and no confidence, and `malformed` is the reason.
    """
    rows = []
    for place, (sample, text, advantage) in enumerate(zip(samples, texts, advantages, strict=True)):
        labels = labels_of(sample["task"], sample["candidates"])
        response = parse(text, labels, confidence="required")
        answer, confidence = (None, None) if isinstance(response, Malformed) else (response.answer, response.confidence)
        earned = {name: float(values[place]) for name, values in parts.items()}
        rows.append(
            {
                "step": step,
                "id": sample["id"],
                "answer": answer,
                "correct": is_correct(answer, sample["ground_truth"], labels),
                "confidence": confidence,
                "malformed": str(response.reason) if isinstance(response, Malformed) else None,
                "reward": {"total": sum(earned.values()), **earned},
                "advantage": float(advantage),
                "text": text,
            }
        )
    return rows


def confidences_of(rows: Sequence[RolloutRow]) -> list[tuple[float, bool]]:
    """(confidence, right?) of the roll-outs that state a confidence."""
    return [(row["confidence"], row["correct"]) for row in rows if row["confidence"] is not None]


def rollout_metrics(rows: Sequence[RolloutRow], group_size: int) -> dict[str, float]:
    """Metrics of a step's roll-outs: the share of malformed ones; of stated confidences the mean, the share above 0.9, and the standard
    deviation within a group, averaged over groups (if it is 0, advantages cannot prefer one confidence to another)."""
    numbers = {"rollouts/malformed": fmean(row["malformed"] is not None for row in rows)}
    if confidences := [confidence for confidence, _ in confidences_of(rows)]:
        groups = [confidences_of(rows[start : start + group_size]) for start in range(0, len(rows), group_size)]
        spreads = [pstdev(confidence for confidence, _ in group) for group in groups if len(group) > 1]
        numbers["rollouts/confidence"] = fmean(confidences)
        numbers[f"rollouts/above_{SURE}"] = fmean(confidence > SURE for confidence in confidences)
        numbers |= {"rollouts/spread_within_groups": fmean(spreads)} if spreads else {}
    return numbers


class RolloutLogger(TrainerCallback):  # type: ignore[misc]
    """Writes the roll-outs of each step, adds their metrics to TRL's log, and passes their confidences to the alarm.

    `emocaliber trace ID --run OUT` shows the roll-outs of one sample. They are read from TRL's own table of completions, which gathers
    the last generation of all processes.
    """

    def __init__(self, trainer: Any, out: Path, samples: Sequence[Mapping[str, Any]], telemetry: StepLog, alarm: CollapseAlarm) -> None:
        self._trainer, self._telemetry, self._alarm = trainer, telemetry, alarm
        self._samples = {sample["id"]: sample for sample in samples}
        self._log = StepLog(out / ROLLOUTS)
        self._recent: deque[list[tuple[float, bool]]] = deque(maxlen=_STEPS_PER_ALARM)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._log.resume_at(state.global_step)
        by_step: dict[int, list[RolloutRow]] = {}
        for row in self._log.rows():
            by_step.setdefault(row["step"], []).append(row)
        self._recent.extend(confidences_of(rows) for rows in by_step.values())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if (state.global_step - 1) % (args.steps_per_generation // args.gradient_accumulation_steps):
            return  # a further update on the same roll-outs
        kept = self._trainer.rollout_table()
        if kept is None:
            return  # a release of TRL that keeps none
        samples = [self._samples[identity] for identity in kept["extra"]["id"]]
        parts = {name: list(kept["rewards"][name]) for name in PARTS}
        rows = rollout_rows(state.global_step, samples, [text_of(each) for each in kept["completion"]], parts, list(kept["advantages"]))
        for name, value in rollout_metrics(rows, self._trainer.num_generations).items():
            self._trainer.log_metric(name, value)
        self._log.write(rows)
        self._recent.append(confidences_of(rows))
        if state.global_step % _STEPS_PER_ALARM == 0:
            stats = ConfidenceStats.of([each for step in self._recent for each in step])
            row = {"kind": "rollouts", "step": state.global_step, "reading": stats and vars(stats)}
            self._telemetry.write([row, *self._alarm.on_stats("rollouts", stats, state.global_step, control)])

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._log.close()


def text_of(completion: Any) -> str:
    """The text of a TRL completion, which is a string or a conversation of one message."""
    return str(completion if isinstance(completion, str) else completion[0]["content"])
