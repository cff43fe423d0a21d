"""What a training run prints: a bar, and one line of numbers for each log entry, in place of transformers' dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import ProgressCallback, TrainerCallback
from transformers.trainer_callback import PrinterCallback

from emocaliber.render.progress import Progress
from emocaliber.render.terminal import say

# Keys of transformers' and TRL's log entries in the order of the line, with their names and formats; "%" is a share.
_SHOWN = {
    "loss": ("loss", ".4f"),
    "reward": ("reward", ".3f"),
    "rewards/correct/mean": ("reward for the answer", ".3f"),
    "rewards/confidence/mean": ("for the confidence", ".3f"),
    "kl": ("KL", ".2g"),
    "rollouts/malformed": ("malformed", "%"),
    "rollouts/confidence": ("mean confidence", "%"),
    "completions/mean_length": ("length", ".0f"),
    "completions/clipped_ratio": ("cut off", "%"),
    "grad_norm": ("gradient norm", ".2f"),
    "learning_rate": ("learning rate", ".2g"),
}


def log_line(logs: Mapping[str, Any], step: int, steps: int, stage: str = "") -> str:
    """One line for a log entry: "step 4 of 12: loss 0.1975, gradient norm 0.54, learning rate 0.00046"; a sentence for the last one.

    The line begins with the name of the `stage`, if there is one.
    """
    if stage:
        return f"{stage}: {log_line(logs, step, steps)}"
    if "train_runtime" in logs:
        return f"trained for {logs['train_runtime']:,.0f} s, {logs.get('train_samples_per_second', 0):.3g} samples a second"
    # GRPO's loss says nothing: its advantages have a mean of 0.
    numbers = {key: logs[key] for key in _SHOWN if isinstance(logs.get(key), int | float) and not (key == "loss" and "reward" in logs)}
    shown = [f"{_SHOWN[key][0]} {_formatted(value, _SHOWN[key][1])}" for key, value in numbers.items()]
    return f"step {step:,} of {steps:,}: {', '.join(shown)}"


def _formatted(value: float, form: str) -> str:
    return f"{100 * value:.0f} %" if form == "%" else f"{value:{form}}"


class ReadableProgress(TrainerCallback):  # type: ignore[misc]
    """The bar of a training run, and readable lines above it that begin with the name of the stage."""

    def __init__(self, stage: str = "") -> None:
        self._stage = stage
        self._bar: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            resumed = f", resumed after step {state.global_step:,}" if state.global_step else ""
            say(f"{self._stage or 'training'}: {state.max_steps:,} steps{resumed}")
            self._bar = Progress(f"training {self._stage}".strip(), "steps", state.max_steps, done=state.global_step)
            self._bar.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._bar:
            self._bar.to(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if self._bar and logs:
            say(log_line(logs, state.global_step, state.max_steps, self._stage))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._bar:
            self._bar.__exit__(None, None, None)
            self._bar = None


def show_readably(trainer: Any, stage: str = "") -> None:
    """Replaces what transformers prints about a trainer's run, which is that of `stage`."""
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(ReadableProgress(stage))
