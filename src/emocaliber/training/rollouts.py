"""Every roll-out of stage 3 with what it earned, in `OUT/rollouts.jsonl`; `emocaliber trace ID --run OUT` shows those of one sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from transformers import TrainerCallback

from emocaliber.confidence import PARTS
from emocaliber.response import Malformed, parse
from emocaliber.scoring import is_correct
from emocaliber.training.alarm import SURE, Alarm, Reading
from emocaliber.training.telemetry import StepLog
from emocaliber.vecbench import labels_of

ROLLOUTS = "rollouts.jsonl"

_STEPS_PER_READING = 10  # one step has too few roll-outs for an alarm

Row = dict[str, Any]


def rollout_rows(
    step: int,
    samples: Sequence[Mapping[str, Any]],
    texts: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    advantages: Sequence[float],
) -> list[Row]:
    """`{"step", "id", "answer", "correct", "confidence", "malformed", "reward": {"total", PART...}, "advantage", "text"}` each.

    All arguments but the first run over the roll-outs; `parts` holds the reward's parts by name. An answer that the parser refuses has
    no answer and no confidence, and `malformed` says why.
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


def stated(rows: Sequence[Row]) -> list[tuple[float, bool]]:
    """(confidence, right?) of those roll-outs that state one."""
    return [(row["confidence"], row["correct"]) for row in rows if row["confidence"] is not None]


def rollout_numbers(rows: Sequence[Row], group_size: int) -> dict[str, float]:
    """The share of malformed roll-outs, and of those with a confidence: how many are above 0.9, the mean, and the spread within groups
    (the mean over groups of the standard deviation; without any, stage 3 has nothing to choose from)."""
    numbers = {"rollouts/malformed": fmean(row["malformed"] is not None for row in rows)}
    if confidences := [confidence for confidence, _ in stated(rows)]:
        groups = [stated(rows[start : start + group_size]) for start in range(0, len(rows), group_size)]
        spreads = [pstdev(confidence for confidence, _ in group) for group in groups if len(group) > 1]
        numbers["rollouts/confidence"] = fmean(confidences)
        numbers[f"rollouts/above_{SURE}"] = fmean(confidence > SURE for confidence in confidences)
        numbers |= {"rollouts/spread_within_groups": fmean(spreads)} if spreads else {}
    return numbers


class RolloutTable(TrainerCallback):  # type: ignore[misc]
    """Writes the roll-outs of each step, adds their numbers to what TRL logs, and lets the alarm hear of them.

    TRL keeps the last generation of all processes for its own table of completions; that is where they are read.
    """

    def __init__(self, trainer: Any, out: Path, samples: Sequence[Mapping[str, Any]], telemetry: StepLog, alarm: Alarm) -> None:
        self._trainer, self._telemetry, self._alarm = trainer, telemetry, alarm
        self._samples = {sample["id"]: sample for sample in samples}
        self._log = StepLog(out / ROLLOUTS)
        self._recent: deque[list[tuple[float, bool]]] = deque(maxlen=_STEPS_PER_READING)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._log.go_on_from(state.global_step)
        by_step: dict[int, list[Row]] = {}
        for row in self._log.rows():
            by_step.setdefault(row["step"], []).append(row)
        self._recent.extend(stated(rows) for rows in by_step.values())

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if (state.global_step - 1) % (args.steps_per_generation // args.gradient_accumulation_steps):
            return  # a further update on the same roll-outs
        kept = self._trainer._logs
        samples = [self._samples[identity] for identity in kept["extra"]["id"]]
        parts = {name: list(kept["rewards"][name]) for name in PARTS}
        rows = rollout_rows(state.global_step, samples, [text_of(each) for each in kept["completion"]], parts, list(kept["advantages"]))
        for name, value in rollout_numbers(rows, self._trainer.num_generations).items():
            self._trainer._metrics["train"][name].append(value)
        self._log.write(rows)
        self._recent.append(stated(rows))
        if state.global_step % _STEPS_PER_READING == 0:
            reading = Reading.of([each for step in self._recent for each in step])
            row = {"kind": "rollouts", "step": state.global_step, "reading": reading and vars(reading)}
            self._telemetry.write([row, *self._alarm.hear("rollouts", reading, state.global_step, control)])

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._log.close()


def text_of(completion: Any) -> str:
    """The text of a completion as TRL hands it on: itself, or a conversation of one message."""
    return str(completion if isinstance(completion, str) else completion[0]["content"])
