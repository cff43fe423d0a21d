"""FSDP2 in two processes (gloo, on the CPU): weights that are spread over both learn what whole ones learn, and go on after a stop.

Accelerate shards on accelerators only; here it is told that a CPU is one. All else is as `configs/accelerate/fsdp2.yaml` sets it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from emocaliber.__main__ import main
from emocaliber.rows import read_rows
from microscopic import letters_reward, losses, start_together, write_base

FSDP2 = Path(__file__).parents[2] / "configs" / "accelerate" / "fsdp2.yaml"
RENAMED = {"fsdp_transformer_layer_cls_to_wrap": "FSDP_TRANSFORMER_CLS_TO_WRAP"}  # as `accelerate launch` hands it on


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("sharded"))


def train(folder: Path, out: str, stage: str, *, sharded: bool) -> Path:
    """Trains four steps in two processes, and returns where."""
    if stage == "stage2" and not (folder / out).exists():
        (folder / out).mkdir()
        shutil.copy(folder / "stage2" / "scaffold.jsonl", folder / out)
    settings = ["max_steps=4", "logging_steps=1", f"model={folder / 'base'}", f"out={folder / out}"]
    settings += [f"validation={folder / 'scenes' / 'stage0' / 'samples.jsonl'}", "eval_steps=2"] if stage == "stage3" else []
    assert start_together(2, _train, ["train", stage, "--config", str(folder), *settings], sharded) == [0, 0]
    return folder / out


def _train(command: list[str], sharded: bool) -> None:
    if sharded:
        settings = yaml.safe_load(FSDP2.read_text())["fsdp_config"]
        os.environ["ACCELERATE_USE_FSDP"] = "true"
        os.environ |= {RENAMED.get(name, name.upper()): str(value) for name, value in settings.items()}
        _shard_on_cpus()
    from emocaliber.training import stage3

    stage3.reward = letters_reward  # type: ignore[attr-defined]
    sys.exit(main(command))


def _shard_on_cpus() -> None:
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    begin = AcceleratorState.__init__

    def begin_sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **others: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **others)
        if plugin := fsdp_plugin or self.__dict__.get("fsdp_plugin"):
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin

    AcceleratorState.__init__ = begin_sharded


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_sharded_weights_learn_what_whole_ones_do_and_go_on_after_a_stop(
    folder: Path, stage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, sharded = (train(folder, f"{stage}-{name}", stage, sharded=name == "sharded") for name in ("whole", "sharded"))
    assert [(out / "checkpoints" / "checkpoint-4" / "pytorch_model_fsdp.bin").is_file() for out in (whole, sharded)] == [False, True]
    assert losses(sharded) == pytest.approx(losses(whole), rel=1e-4)
    one, other = (load_file(out / "model" / "model.safetensors") for out in (whole, sharded))
    for name in one:
        assert torch.allclose(one[name], other[name], atol=1e-5), name
    assert "once for each answer" not in capfd.readouterr().err, "groups are read together where weights are sharded, too"

    shutil.rmtree(sharded / "model")
    shutil.rmtree(sharded / "checkpoints" / "checkpoint-4")  # as if it had been killed behind the second step
    train(folder, sharded.name, stage, sharded=True)
    again = load_file(sharded / "model" / "model.safetensors")
    assert all(torch.equal(again[name], other[name]) for name in other)
    if stage == "stage3":
        looks = [row["step"] for row in read_rows(sharded / "telemetry.jsonl") if row["kind"] == "held_out"]
        assert looks == [0, 2, 4]
