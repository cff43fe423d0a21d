"""Seconds per step and peak memory of stages 1, 2 and 3 against TRL's own trainers, alternating, with the same model, data and settings.

    python benchmarks/train_speed.py [--stages 1 2 3] [--steps 4] [--repeats 3] [--clock wall]

The model is a random Qwen2.5-VL of tiny's shape, the data are scenes of 448 x 448 pixels, which are 256 image tokens: about 280 tokens of
prompt and 128 of answer, groups of 8. Each run is a separate process. Times are medians over all steps
but each run's first, which is warm-up. Both run as they do by default: ours loads data in a worker (by the wall clock), TRL's does not.
`passes` are forward and backward passes of policy and reference without roll-outs; `step` is a
whole step. On a busy machine, `--clock cpu` measures the process's CPU time, which is the wall time of an idle machine (use it with
OMP_NUM_THREADS=1). Memory is the peak resident size of training minus that before it. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

STAGES = (1, 2, 3)
WHOSE = ("ours", "trl")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
SIDE, GROUP, ANSWER = 448, 8, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=2, help="of a step of stage 3; a step of stages 1 and 2 has four times as many")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--one", nargs=3, metavar=("STAGE", "WHOSE", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one_run(int(args.one[0]), args.one[1], Path(args.one[2]), args)))
        return
    result: dict[str, Any] = {"benchmark": "train_speed", "threads": torch.get_num_threads(), "clock": args.clock, "prompts": args.prompts}
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), 16 * args.prompts)
        for stage in args.stages:
            runs: dict[str, list[Any]] = {whose: [] for whose in WHOSE}
            for _ in range(args.repeats):
                for whose in WHOSE:
                    runs[whose].append(run_apart(stage, whose, folder, args))
                    load.append(os.getloadavg()[0])
            result[f"stage{stage}"] = summary(runs)
            print(f"stage {stage}: {describe(result[f'stage{stage}'])}", flush=True)
    print(json.dumps(result | {"load_of_the_machine": [round(min(load), 1), round(max(load), 1)], "cores": os.cpu_count()}))


def run_apart(stage: int, whose: str, folder: str, args: argparse.Namespace) -> Any:
    options = ["--steps", str(args.steps), "--prompts", str(args.prompts), "--clock", args.clock]
    command = [sys.executable, __file__, "--one", str(stage), whose, folder, *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def summary(runs: dict[str, list[Any]]) -> dict[str, Any]:
    """Medians of both, and by how much ours is better."""
    found: dict[str, Any] = {
        whose: {
            "passes": statistics.median(value for run in each for value in run["passes"][1:]),
            "step": statistics.median(value for run in each for value in run["steps"][1:]),
            "memory": statistics.median(run["memory"] for run in each),
            "loss": each[0]["losses"],
            "grad_norm": each[0]["grad_norms"],
        }
        for whose, each in runs.items()
    }
    ours, trl = found["ours"], found["trl"]
    return found | {
        "times_faster": {name: round(trl[name] / ours[name], 2) for name in ("passes", "step")},
        "share_of_memory": round(ours["memory"] / trl["memory"], 2),
        "largest_difference": {name: max(abs(a - b) for a, b in zip(ours[name], trl[name], strict=True)) for name in ("loss", "grad_norm")},
    }


def describe(found: dict[str, Any]) -> str:
    ours, trl = found["ours"], found["trl"]
    return (
        f"passes {ours['passes']:.2f} s against {trl['passes']:.2f} s, {found['times_faster']['passes']} times as fast; "
        f"step {ours['step']:.2f} s against {trl['step']:.2f} s, {found['times_faster']['step']} times; "
        f"memory {ours['memory'] / 2**20:.0f} MiB against {trl['memory'] / 2**20:.0f} MiB, {found['share_of_memory']} of it; "
        f"losses differ by {found['largest_difference']['loss']:.1e} at most (first {ours['loss'][0]:.6f} and {trl['loss'][0]:.6f})"
    )


def prepare(folder: Path, count: int) -> None:
    """Scenes, and the random model from which all runs begin."""
    from transformers import AutoTokenizer

    from emocaliber.scenes.dataset import draw_samples
    from emocaliber.training.base.model import build_model, build_processor

    for _ in draw_samples(folder / "scenes", count, seed=0, size=SIDE, split="train", workers=1):
        pass
    tokenizer = AutoTokenizer.from_pretrained(Path(__file__).parent.parent / "src/emocaliber/checkpoints/tiny")
    torch.manual_seed(0)
    build_model(tokenizer).save_pretrained(folder / "model")
    build_processor(tokenizer, SIDE).save_pretrained(folder / "model")


def one_run(stage: int, whose: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """A few steps of one trainer in this process: seconds of each, their losses, and the memory that training took, in bytes."""
    watch = Watch(CLOCKS[args.clock])
    # As a stage runs, its next batch is made meanwhile; what that computes is in another process, which the clock of this one would miss.
    own = {"dataloader_num_workers": int(args.clock == "wall"), "dataloader_persistent_workers": args.clock == "wall"}
    make = grpo if stage == 3 else partial(supervised, stage, own if whose == "ours" else {})
    trainer = make(whose, folder, args.steps, args.prompts, watch)
    trainer.add_callback(watch.callback())
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident size begins anew
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "passes": watch.passes,
        "steps": watch.steps,
        "memory": resident("VmHWM") - before,
        "losses": [entry["loss"] for entry in logs],
        "grad_norms": [entry["grad_norm"] for entry in logs],
    }


def resident(name: str) -> int:
    """Bytes, from Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class Watch:
    """Where the time of a trainer goes, and the same random numbers for each step whoever takes it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.passes: list[float] = []
        self.steps: list[float] = []
        self._end = 0.0
        self._passing = 0.0

    def callback(self) -> Any:
        from transformers import TrainerCallback

        watch = self

        class Steps(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                watch._end = watch.clock()

            def on_step_begin(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
                torch.manual_seed(state.global_step)

            def on_step_end(self, *_: Any, **__: Any) -> None:
                now = watch.clock()
                watch.steps.append(now - watch._end)
                watch.passes.append(watch._passing)
                watch._end, watch._passing = now, 0.0

        return Steps()

    def timed(self, kind: type) -> type:
        """A trainer whose passes are watched: all of a training step but making its inputs, of which only the reference's passes count."""
        watch = self

        class Timed(kind):  # type: ignore[misc, valid-type]
            def training_step(self, *args: Any, **kwargs: Any) -> Any:
                start = watch.clock()
                result = super().training_step(*args, **kwargs)
                watch._passing += watch.clock() - start
                return result

            def _prepare_inputs(self, inputs: Any) -> Any:
                start = watch.clock()
                result = super()._prepare_inputs(inputs)
                watch._passing -= watch.clock() - start
                return result

            def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
                start = watch.clock()
                result = super()._get_per_token_logps_and_entropies(*args, **kwargs)
                if not torch.is_grad_enabled():
                    watch._passing += watch.clock() - start
                return result

        return Timed


def common(folder: Path, steps: int) -> dict[str, Any]:
    """The settings of all stages."""
    model, out = str(folder / "model"), str(folder / "out")
    return dict(model=model, out=out, samples="", learning_rate=1e-5, max_steps=steps, schedule="constant", save_steps=10**6)


def scenes(folder: Path) -> list[dict[str, Any]]:
    from emocaliber.io.rows import read_rows

    return [row | {"image": str(folder / "scenes" / row["image"])} for row in read_rows(folder / "scenes" / "samples.jsonl")]


def loaded(whose: str, folder: str) -> tuple[Any, Any]:
    """Model and processor: as a stage of ours loads them, or the model as transformers does, which is how TRL gets it."""
    from transformers import AutoModelForImageTextToText

    from emocaliber.training.trainer import load_checkpoint

    model, processor = load_checkpoint(folder)
    return model if whose == "ours" else AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32), processor


def moved(model: Any) -> Any:
    """The policy a little away from its reference, so that the KL, which is all there is to the value of the loss, is not 0."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
    return model


def grpo(whose: str, folder: Path, steps: int, prompts: int, watch: Watch) -> Any:
    import trl

    from emocaliber.training.config import Stage3Config
    from emocaliber.training.seam import SharedPrefixMixin
    from emocaliber.training.stage3 import grpo_arguments, prompt_dataset

    class Ours(SharedPrefixMixin, trl.GRPOTrainer):  # type: ignore[misc]
        pass

    config = Stage3Config(**common(folder, steps), batch_size=prompts * GROUP, group_size=GROUP, max_new_tokens=ANSWER)
    model, processor = loaded(whose, config.model)
    kind = watch.timed(Ours if whose == "ours" else trl.GRPOTrainer)
    return kind(
        model=moved(model),
        args=grpo_arguments(config, model),
        processing_class=processor,
        train_dataset=prompt_dataset(scenes(folder)),
        reward_funcs=letters,
    )


def letters(completions: Sequence[Any], **_: Any) -> list[float]:
    """A reward that differs within groups, though a random model says nothing well-formed."""
    return [len(set(completion[0]["content"])) / 10 for completion in completions]


def supervised(stage: int, further: dict[str, Any], whose: str, folder: Path, steps: int, prompts: int, watch: Watch) -> Any:
    import trl

    from emocaliber.inference.engine import question_for
    from emocaliber.training.collate import IGNORED, ExampleCollator, TrainingExample
    from emocaliber.training.config import Stage1Config
    from emocaliber.training.trainer import LossSettings, SupervisedTrainer, common_arguments, freeze_vision

    confidence = "<confidence>0.35</confidence>"
    made = [
        TrainingExample(row["image"], question_for(row["task"], row["candidates"], confidence=stage == 2), *texts)
        for row in scenes(folder)
        for texts in [(row["response"], "") if stage == 1 else (confidence, row["response"])]
    ]
    config = Stage1Config(**common(folder, steps), batch_size=4 * prompts)
    model, processor = loaded(whose, config.model)
    freeze_vision(model)
    collate = ExampleCollator(processor)
    arguments = common_arguments(config) | further | {"logging_steps": 1}
    if whose == "ours":
        from transformers import TrainingArguments

        kind = watch.timed(SupervisedTrainer)
        return kind(model=model, args=TrainingArguments(**arguments), train_dataset=made, data_collator=collate, settings=LossSettings())

    def plain(batch: Sequence[TrainingExample]) -> dict[str, torch.Tensor]:
        """The same batch, with what TRL's loss wants to know of it."""
        inputs = collate(batch)
        completion = inputs.pop("in_completion")
        del inputs["decimals"]
        return inputs | {"labels": inputs["labels"].masked_fill(~completion, IGNORED)}

    from datasets import Dataset

    return watch.timed(trl.SFTTrainer)(
        model=model,
        args=trl.SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_list([vars(example) for example in made]),
        data_collator=lambda rows: plain([TrainingExample(**row) for row in rows]),
        processing_class=processor,
    )


if __name__ == "__main__":
    main()
