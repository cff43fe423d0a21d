"""Stage 1 without reasoning, as EmoVIT's baseline: the target is the label alone, with the `direct` prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from emocaliber.core.response import Response, parse
from emocaliber.core.samples import read_samples
from emocaliber.inference.engine import respond
from emocaliber.inference.plan import read_run_config
from emocaliber.io.rows import read_rows, write_rows
from emocaliber.models import load_model
from emocaliber.scenes.dataset import draw_samples
from emocaliber.training.base.model import build_model
from emocaliber.training.config import load_config
from emocaliber.training.run import run_stage

BASELINES = Path(__file__).parents[2] / "configs" / "baselines"


@pytest.fixture
def base(processor: Any, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "base"
    build_model(processor.tokenizer, width=64, layers=1, vision_width=64, vision_layers=1).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_base_model_trained_on_labels_answers_with_a_label_alone(base: Path, tmp_path: Path) -> None:
    samples = tmp_path / "scenes" / "samples.jsonl"
    for _ in draw_samples(samples.parent, 16, seed=5, size=56, split="train", workers=1):
        pass
    write_rows(samples, [{name: value for name, value in row.items() if name != "response"} for row in read_rows(samples)])
    overrides = {"model": f'"{base}"', "out": f'"{tmp_path / "out"}"', "samples": f'"{samples}"', "bf16": "false"}
    overrides |= {"gradient_checkpointing": "false", "accumulation": 1, "learning_rate": 1e-2, "max_steps": 60}
    config = load_config("stage1", BASELINES / "emovit", [f"{name}={value}" for name, value in overrides.items()])

    model = load_model(str(run_stage("stage1", config)), max_new_tokens=40)

    plan = read_run_config(BASELINES / "emovit.toml")
    rows = list(respond(list(read_samples(samples)), model, prompt=plan.prompt, confidence=plan.confidence))
    for row in rows:
        assert row["response"].startswith("<answer>")
        read = parse(row["response"], row["candidates"], lenient=True)
        assert isinstance(read, Response)
        assert read.reasoning.analysis == ""
        assert row["confidence"]["verb"] is None
        assert row["confidence"]["ans"] == pytest.approx(row["confidence"]["commit"]), "nothing is named before the answer"
    assert len(rows) == 16
