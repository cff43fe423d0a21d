"""Stages 1 to 3 learn the same, to the last digit, from the same rows in every form."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from emocaliber.core.response import Response, parse, render
from emocaliber.io.rows import read_rows, write_rows
from emocaliber.training.config import Stage2Config, StageConfig, load_config
from forms import FORMS_OF_OTHERS, in_form, written
from microscopic import train_one, write_base

OWN = "our own"
SHORT: dict[str, dict[str, Any]] = {"stage1": {}, "stage2": {"anchor": 0.0}, "stage3": {"temperature": 1.0}}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that knows nothing, and scenes for each stage."""
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def _own_threads() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def config_of(folder: Path, stage: str, samples: Path, out: Path, **changes: Any) -> StageConfig:
    config = load_config(stage, folder, [f"model={folder / 'base'}", f"samples={samples}", f"out={out}", "max_steps=2", "logging_steps=1"])
    return dataclasses.replace(config, save_steps=2, **SHORT[stage], **changes)


def losses(out: Path) -> list[float]:
    state = json.loads((out / "checkpoints" / "checkpoint-2" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def rows_of(folder: Path, stage: str) -> list[dict[str, Any]]:
    file = folder / "scenes" / stage / "samples.jsonl"
    rows = [row | {"image": str(file.parent / row["image"])} for row in read_rows(file)]
    return [row if stage == "stage1" else {key: value for key, value in row.items() if key != "response"} for row in rows]


def trained(folder: Path, stage: str, form: str, out: Path) -> list[float]:
    rows = rows_of(folder, stage)
    out.parent.mkdir()
    samples = written(out.parent / f"{stage}.jsonl", rows if form == OWN else [in_form(form, row) for row in rows])
    config = config_of(folder, stage, samples, out)
    if isinstance(config, Stage2Config):  # a model that knows nothing says nothing well-formed
        out.mkdir(parents=True)
        write_rows(out / "scaffold.jsonl", read_rows(folder / "stage2" / "scaffold.jsonl"))
    train_one(stage, config)
    return losses(out)


@pytest.mark.parametrize("stage", SHORT)
def test_every_form_trains_to_the_same_losses(folder: Path, tmp_path: Path, stage: str) -> None:
    ours, *theirs = (trained(folder, stage, form, tmp_path / form / stage) for form in (OWN, *FORMS_OF_OTHERS))
    assert len(ours) == 2
    assert all(each == ours for each in theirs), dict(zip(FORMS_OF_OTHERS, theirs, strict=True))


def test_the_confidences_of_a_file_are_learnt_without_a_scaffold(folder: Path, tmp_path: Path) -> None:
    rows = [row | {"response": row_with_confidence(row)} for row in read_rows(folder / "scenes" / "stage1" / "samples.jsonl")]
    rows = [row | {"image": str(folder / "scenes" / "stage1" / row["image"])} for row in rows]
    bare = [{key: in_form("ms-swift", row)[key] for key in ("messages", "images")} for row in rows]
    samples = written(tmp_path / "stage2_43k_w_conf.jsonl", bare)
    config = config_of(folder, "stage2", samples, tmp_path / "given", targets="given")
    train_one("stage2", config)
    assert not (tmp_path / "given" / "scaffold.jsonl").exists()
    assert len(losses(tmp_path / "given")) == 2


def row_with_confidence(row: dict[str, Any]) -> str:
    response = parse(row["response"], row["candidates"])
    assert isinstance(response, Response)
    return render(dataclasses.replace(response, confidence=0.35))
