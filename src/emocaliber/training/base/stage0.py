"""Stage 0: a base checkpoint for `tiny`, by vision pre-training and then captioning of synthetic scenes, without labels or confidences.

It takes the place of the public base checkpoint from which larger models start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from emocaliber.core.response import render
from emocaliber.emotions.taxonomy import BUILT_IN, taxonomy
from emocaliber.scenes.concepts import Scene, random_scene
from emocaliber.scenes.template_teacher import caption, write_response
from emocaliber.training.base.vision import pretrain_vision
from emocaliber.training.collate import TrainingExample
from emocaliber.training.config import Stage0Config
from emocaliber.training.samples import training_rows
from emocaliber.training.trainer import freeze_vision, train_supervised

QUESTION = "Describe this image."


def tokenizer_texts(count: int, seed: int) -> list[str]:
    """The tokenizer's training texts: captions, reasoning, and the emotion labels in all their contexts."""
    rng = np.random.default_rng(seed)
    labels = [label for name in BUILT_IN for label in taxonomy(name).labels]
    texts = [QUESTION, "system user assistant You are a helpful assistant."] * 50
    for index in range(count):
        scene, label = random_scene(rng), labels[index % len(labels)]
        texts += [caption(*scene, rng), render(write_response(*scene, label, rng)), f"'{label}', {label}; {label.capitalize()}"]
    return texts


def train(config: Stage0Config) -> Path:
    """Trains the base model and returns its folder."""
    from emocaliber.training.base.model import build_model, build_processor, build_tokenizer

    rows = training_rows(config)
    processor = build_processor(build_tokenizer(tokenizer_texts(4000, config.seed), config.vocabulary), config.image_side)
    torch.manual_seed(config.seed)
    model = build_model(
        processor.tokenizer, width=config.width, layers=config.layers, vision_width=config.vision_width, vision_layers=config.vision_layers
    )
    pretrain_vision(config, model, processor, rows)
    if config.freeze_vision:
        freeze_vision(model)
    return train_supervised(config, model, processor, [_example(row, config.seed + index) for index, row in enumerate(rows)])


def _example(row: dict[str, Any], seed: int) -> TrainingExample:
    return TrainingExample(row["image"], QUESTION, caption(*Scene(**row["scene"]), np.random.default_rng(seed)), sample=row["id"])
