"""Two processes (gloo, on the CPU) train as one does with twice the accumulation: the same losses, the same weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

from emocaliber.__main__ import main
from emocaliber.io.rows import read_rows
from microscopic import losses, start_together, write_base

LAUNCH = sorted((Path(__file__).parents[2] / "configs" / "accelerate").glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("processes"))


def launched(folder: Path, stage: str, count: int, *settings: str) -> set[int | None]:
    """`emocaliber train` in `count` processes; their exit codes."""
    command = ["train", stage, "--config", str(folder), f"model={folder / 'base'}", *settings]
    return set(start_together(count, _train, command))


def _train(command: list[str]) -> None:
    sys.exit(main(command))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_two_processes_train_as_one(folder: Path, stage: str) -> None:
    outs = [folder / f"{stage}-{name}" for name in ("one", "two")]
    for out, processes, accumulation in zip(outs, (1, 2), (2, 1), strict=True):
        out.mkdir()
        if stage == "stage2":
            (out / "scaffold.jsonl").write_bytes((folder / "stage2" / "scaffold.jsonl").read_bytes())
        settings = ("max_steps=4", "logging_steps=1", f"accumulation={accumulation}", f"out={out}")
        assert launched(folder, stage, processes, *settings) == {0}
    one, two = (losses(out) for out in outs)
    assert len(one) == 4
    assert two == pytest.approx(one, rel=1e-4)
    before = load_file(folder / "base" / "model.safetensors")
    first, second = (load_file(out / "model" / "model.safetensors") for out in outs)
    assert any(not torch.equal(before[name], first[name]) for name in first)
    for name in first:
        assert torch.allclose(first[name], second[name], atol=1e-5), name


@pytest.mark.slow
def test_scaffold_answers_are_shared_out_and_joined_in_order(folder: Path) -> None:
    files = []
    for processes in (1, 2):
        out = folder / f"answers-{processes}"
        # A model that knows nothing says nothing well-formed, and that ends the stage when all have answered.
        assert launched(folder, "stage2", processes, f"out={out}") == {2}
        files.append([(row["id"], row["response"]) for row in read_rows(out / "scaffold.jsonl")])
    assert files[0] == files[1]
    assert [name for name, _ in files[0]] == [row["id"] for row in read_rows(folder / "scenes" / "stage2" / "samples.jsonl")]


@pytest.mark.parametrize("path", LAUNCH, ids=lambda path: path.stem)
def test_accelerate_takes_every_launch_configuration(path: Path) -> None:
    values = load_config_from_file(str(path))
    assert values.num_processes == 8 * values.num_machines
    assert set(yaml.safe_load(path.read_text())) <= set(vars(values)), "accelerate would refuse a key that it does not know"
