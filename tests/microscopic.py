"""Training at microscopic scale: every stage with its real classes, in a few seconds, and in a process that can be killed."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from multiprocessing import get_context, set_start_method
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from emocaliber.io.rows import read_rows
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training import stage3
from emocaliber.training.config import STAGES, StageConfig
from emocaliber.training.run import run_all, run_stage

COMMON = {"learning_rate": 1e-3, "batch_size": 4, "save_steps": 2, "threads": 1}
SETTINGS: dict[str, dict[str, Any]] = {
    "stage0": {"width": 64, "layers": 1, "vision_width": 64, "vision_layers": 1, "image_side": 56, "vocabulary": 512, "sight_epochs": 1},
    "stage1": {},
    "stage2": {"anchor": 1.0, "max_new_tokens": 40, "inference_batch": 4},
    "stage3": {"group_size": 2, "max_new_tokens": 24, "max_steps": 6, "schedule": "constant"},
}

# Its children have everything heavy imported and nothing run, so that they start at once.
_context = get_context("forkserver")
_context.set_forkserver_preload(["trl.trainer.grpo_trainer", "emocaliber.training.base.vision", "emocaliber.training.stage2"])


def write_configs(folder: Path, count: int = 32) -> Path:
    """Four configurations whose stages write into `folder`, each with scenes of its own, and the scaffold's answers as if it gave them.

    A model this small says nothing well-formed, so stage 2 finds the template teacher's answers where it would have left its own.
    """
    for seed, (before, stage) in enumerate(zip((None, *STAGES), STAGES, strict=False), start=5):
        samples = folder / "scenes" / stage / "samples.jsonl"
        for _ in draw_samples(samples.parent, count, seed=seed, size=56, split="train", workers=1):
            pass
        values = COMMON | SETTINGS[stage] | {"out": str(folder / stage), "samples": str(samples)}
        if before:
            values["model"] = str(folder / before / "model")
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        (folder / f"{stage}.toml").write_text("\n".join(lines))
    samples = folder / "scenes" / "stage2" / "samples.jsonl"
    answers = [
        row | {"image": str(samples.parent / row["image"]), "confidence": {"verb": None, "ans": None, "avg": 0.8}}
        for row in read_rows(samples)
    ]
    (folder / "stage2").mkdir()
    (folder / "stage2" / "scaffold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return folder


def save_untrained(processor: Any, folder: Path) -> None:
    """A base model that has learnt nothing, where stage 0 would have left its own."""
    from emocaliber.training.base.model import build_model

    torch.manual_seed(0)
    build_model(processor.tokenizer, width=64, layers=1, vision_width=64, vision_layers=1).save_pretrained(folder)
    processor.save_pretrained(folder)


def write_base(folder: Path) -> Path:
    """`write_configs`, and a base model that knows nothing in `folder/base`."""
    from emocaliber.training.base.model import build_processor, build_tokenizer
    from emocaliber.training.base.stage0 import tokenizer_texts

    write_configs(folder)
    save_untrained(build_processor(build_tokenizer(tokenizer_texts(60, seed=0), vocabulary=512), side=56), folder / "base")
    return folder


def losses(out: Path) -> list[float]:
    """The logged losses of a run of four steps."""
    state = json.loads((out / "checkpoints" / "checkpoint-4" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def letters_reward(text: str, *_: object, **__: object) -> tuple[float, Mapping[str, float]]:
    """Stands in for the reward: all that such a model says is malformed and would earn the same, so that nothing would be learnt."""
    parts = {"format": text.count("a") / 4, "correct": float(len(text) % 2), "confidence": -text.count("e") / 8}
    return sum(parts.values()), parts


def train_all(folder: Path) -> None:
    """`train all`. Each training that begins is noted in `begun.jsonl`: whose it is, and the step from which it goes on."""
    begin = Trainer.train

    def train(self: Trainer, resume_from_checkpoint: str | None = None) -> Any:
        step = int(resume_from_checkpoint.rsplit("-", 1)[1]) if resume_from_checkpoint else 0
        with (folder / "begun.jsonl").open("a") as file:
            file.write(json.dumps({"whose": str(Path(self.args.output_dir).parent.relative_to(folder)), "from": step}) + "\n")
        return begin(self, resume_from_checkpoint=resume_from_checkpoint)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train", train)
        patch.setattr(stage3, "reward", letters_reward)
        run_all(folder)


def train_one(stage: str, config: StageConfig) -> None:
    """One stage, with the same reward."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage3, "reward", letters_reward)
        run_stage(stage, config)


def begun(folder: Path) -> list[tuple[str, int]]:
    return [(row["whose"], row["from"]) for row in read_rows(folder / "begun.jsonl")]


def start(target: Any, *args: Any) -> BaseProcess:
    process = _context.Process(target=_run, args=(target, *args))
    process.start()
    return process


def _run(target: Any, *args: Any) -> None:
    set_start_method("fork", force=True)  # a child of the fork server would have its data loaders start theirs there too
    target(*args)


def start_together(count: int, target: Any, *args: Any) -> list[int | None]:
    """Runs `target` in `count` processes, with the environment in which torchrun and accelerate start them; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    team = [start(_join, rank, count, port, target, *args) for rank in range(count)]
    for process in team:
        process.join()
    return [process.exitcode for process in team]


def _join(rank: int, count: int, port: int, target: Any, *args: Any) -> None:
    if count > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    target(*args)


def kill_when(process: BaseProcess, folder: Path, pattern: str, seconds: float = 120) -> None:
    """Kills the process, and leaves it no time to say goodbye, as soon as `folder` holds a file of that pattern that is not empty."""
    end = time.monotonic() + seconds
    while not any(path.stat().st_size for path in folder.glob(pattern)):
        assert process.is_alive(), f"it ended before there was any {pattern}"
        assert time.monotonic() < end, f"there was no {pattern} in {seconds} seconds"
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -9, "it ended before it could be killed"
