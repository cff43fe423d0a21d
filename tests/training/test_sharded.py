"""FSDP2 and DeepSpeed's ZeRO-3 in two processes (gloo, on the CPU): weights that are spread over both learn what whole ones learn, and go
on after a stop.

Accelerate shards on accelerators only; here it is told that a CPU is one. All else is as the files in `configs/accelerate` set it.
DeepSpeed, which compiles a part of itself, must be installed, and a C++ compiler.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from emocaliber.__main__ import main
from emocaliber.io.rows import read_rows
from microscopic import letters_reward, losses, start_together, write_base

CONFIGS = Path(__file__).parents[2] / "configs" / "accelerate"
RENAMED = {"fsdp_transformer_layer_cls_to_wrap": "FSDP_TRANSFORMER_CLS_TO_WRAP"}  # as `accelerate launch` hands it on
CHECKPOINTED = {"": "optimizer.pt", "fsdp2": "pytorch_model_fsdp.bin", "zero3": "zero_to_fp32.py"}  # each way's own file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("sharded"))


def train(folder: Path, out: str, stage: str, sharding: str) -> Path:
    """Trains four steps in two processes, and returns where; `sharding` is "", "fsdp2" or "zero3"."""
    if stage == "stage2" and not (folder / out).exists():
        (folder / out).mkdir()
        shutil.copy(folder / "stage2" / "scaffold.jsonl", folder / out)
    settings = ["max_steps=4", "logging_steps=1", f"model={folder / 'base'}", f"out={folder / out}"]
    settings += [f"validation={folder / 'scenes' / 'stage0' / 'samples.jsonl'}", "eval_steps=2"] if stage == "stage3" else []
    assert start_together(2, _train, ["train", stage, "--config", str(folder), *settings], sharding) == [0, 0]
    return folder / out


def _train(command: list[str], sharding: str) -> None:
    if sharding:
        {"fsdp2": _fsdp2, "zero3": _zero3}[sharding](yaml.safe_load((CONFIGS / f"{sharding}.yaml").read_text()))
    from emocaliber.training import stage3

    stage3.reward = letters_reward  # type: ignore[attr-defined]
    sys.exit(main(command))


def _fsdp2(config: dict[str, Any]) -> None:
    os.environ["ACCELERATE_USE_FSDP"] = "true"
    os.environ |= {RENAMED.get(name, name.upper()): str(value) for name, value in config["fsdp_config"].items()}
    _shard_on_cpus()


def _zero3(config: dict[str, Any]) -> None:
    os.environ |= {"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu"}
    for name, value in config["deepspeed_config"].items():
        prefix = "ACCELERATE_" if name.startswith("gradient") else "ACCELERATE_DEEPSPEED_"
        os.environ[prefix + name.upper().removesuffix("_FLAG")] = str(value).lower()
    import deepspeed

    deepspeed.init_distributed("gloo", auto_mpi_discovery=False)  # accelerate does it on accelerators only


def _shard_on_cpus() -> None:
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    begin = AcceleratorState.__init__

    def begin_sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **others: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **others)
        if plugin := fsdp_plugin or self.__dict__.get("fsdp_plugin"):
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin

    AcceleratorState.__init__ = begin_sharded


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
@pytest.mark.parametrize("sharding", ["fsdp2", "zero3"])
def test_sharded_training_equals_unsharded_and_resumes(folder: Path, stage: str, sharding: str, capfd: pytest.CaptureFixture[str]) -> None:
    if sharding == "zero3" and (find_spec("deepspeed") is None or shutil.which("c++") is None):
        pytest.skip("DeepSpeed (pip install deepspeed) and a C++ compiler are wanted for this")
    whole, sharded = (train(folder, f"{stage}-{way}", stage, way) for way in ("", sharding))
    for out, way in ((whole, ""), (sharded, sharding)):
        kept = {path.name for path in (out / "checkpoints" / "checkpoint-4").iterdir()}
        assert kept & set(CHECKPOINTED.values()) == {CHECKPOINTED[way]}
    assert losses(sharded) == pytest.approx(losses(whole), rel=1e-4)
    one, other = (load_file(out / "model" / "model.safetensors") for out in (whole, sharded))
    for name in one:
        assert torch.allclose(one[name], other[name], atol=1e-5), name
    assert "once per answer" not in capfd.readouterr().err, "prefixes are shared where weights are sharded, too"

    shutil.rmtree(sharded / "model")
    shutil.rmtree(sharded / "checkpoints" / "checkpoint-4")  # as if it had been killed behind the second step
    train(folder, sharded.name, stage, sharding)
    again = load_file(sharded / "model" / "model.safetensors")
    assert all(torch.equal(again[name], other[name]) for name in other)
    if stage == "stage3":
        looks = [row["step"] for row in read_rows(sharded / "telemetry.jsonl") if row["kind"] == "held_out"]
        assert looks == [0, 2, 4]
