"""What a stage starts from: its model, its processor, and the examples within max_length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from emocaliber.errors import UserError
from emocaliber.training.base.model import build_model
from emocaliber.training.collate import ExampleCollator, TrainingExample
from emocaliber.training.config import Stage1Config
from emocaliber.training.trainer import load_for_training, within_max_length
from stand_ins import photo


@pytest.fixture(scope="module")
def base(processor: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for saved in (build_model(processor.tokenizer, width=64, layers=1, vision_width=64, vision_layers=1), processor):
        saved.save_pretrained(folder)
    return folder


def config(base: Path, **settings: Any) -> Stage1Config:
    return Stage1Config(**{"model": str(base), "out": "o", "samples": "s", "learning_rate": 1.0, "batch_size": 1} | settings)


def test_pixel_limits_reach_the_images(base: Path, tmp_path: Path) -> None:
    path = photo(tmp_path / "large.png", "teal", (400, 400))
    grids = []
    for limits in ({}, {"max_pixels": 56 * 56}, {"min_pixels": 224 * 224, "max_pixels": 224 * 224}):
        _, processor = load_for_training(config(base, **limits))
        grids.append(ExampleCollator(processor)([TrainingExample(str(path), "?", "!")])["image_grid_thw"].tolist())
    assert grids == [[[1, 8, 8]], [[1, 4, 4]], [[1, 16, 16]]]


@pytest.mark.parametrize("frozen", [True, False])
def test_the_vision_encoder_is_trained_unless_frozen(base: Path, frozen: bool) -> None:
    model, _ = load_for_training(config(base, freeze_vision=frozen))
    assert all(weight.requires_grad is not frozen for weight in model.model.visual.parameters())
    assert all(weight.requires_grad for weight in model.model.language_model.parameters())
    assert model.dtype == torch.float32


def test_examples_beyond_max_length_are_dropped_and_counted(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, processor = load_for_training(config(base))
    examples = [TrainingExample("a.png", "What is it?", "The sea. " * count) for count in (1, 100, 2)]
    assert within_max_length(examples, processor, 0) is examples
    kept = within_max_length(examples, processor, 120)
    assert kept == [examples[0], examples[2]]
    assert "1 of 3 examples may have more than 120 tokens, and are left out" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"no example fits into max_length = 10 tokens, of which an image may take 16"):
        within_max_length(examples, processor, 10)
