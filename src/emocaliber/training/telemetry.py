"""What a run leaves to be watched by: `OUT/telemetry.jsonl`, one row for each logged step, each look at held-out samples and each alarm.

The trackers that `report_to` names (TensorBoard, W&B, MLflow) get the same numbers through transformers' own callbacks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from emocaliber.rows import Row, RowWriter, read_rows, write_rows
from emocaliber.training.alarm import Alarm

TELEMETRY = "telemetry.jsonl"

# Plain names for what TRL logs; every other number keeps its own.
_NAMES = {
    "completions/mean_length": "length",
    "completions/max_length": "length_max",
    "completions/clipped_ratio": "cut_off",
    "frac_reward_zero_std": "groups_of_equal_reward",
    "clip_ratio/region_mean": "ratio_clipped",
}
_LEFT_OUT = ("completions/", "clip_ratio/", "num_tokens", "step_time")


class StepLog:
    """A JSON Lines file whose rows carry a `step`. Only the main process writes it, after `go_on_from`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: RowWriter | None = None

    def go_on_from(self, step: int) -> None:
        """Opens the file, without what a broken run wrote after its last checkpoint: those steps are done again, and with no checkpoint
        (`step` is 0) the look before the first step too."""
        RowWriter(self._path, resume=True, key="step").close()  # mends a half-written last line
        write_rows(self._path, (row for row in read_rows(self._path) if step and row["step"] <= step))
        self._writer = RowWriter(self._path, resume=True, key="step")

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Appends rows; nothing in a process that has not opened the file."""
        if self._writer is not None:
            for row in rows:
                self._writer.write(row)

    def rows(self) -> list[Row]:
        """What the file holds; nothing in a process that has not opened it."""
        return [] if self._writer is None else list(read_rows(self._path))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Telemetry(TrainerCallback):  # type: ignore[misc]
    """Writes what the trainer logs. It opens and closes the log, so it comes first among those who write to it."""

    def __init__(self, log: StepLog, alarm: Alarm) -> None:
        self._log, self._alarm = log, alarm

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._log.go_on_from(state.global_step)
            self._alarm.recall(self._log.rows())

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:  # not the summary at the end, nor what held-out samples gave
            self._log.write([{"kind": "train", "step": state.global_step, **_plain(logs)}])

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._log.close()


def _plain(logs: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one log under plain names: `rewards/correct/mean` becomes `reward_correct`."""
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
