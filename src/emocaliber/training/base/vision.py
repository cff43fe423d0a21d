"""Vision pre-training of `tiny`'s encoder: it learns to classify the concepts of synthetic scenes before it is joined to a language model.

It takes the place of the vision pre-training behind a public base checkpoint. Each image token has a logit for every concept, and an
image's logits are the log-sum-exp over its tokens (multiple-instance learning), so that one token that shows a snake suffices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from emocaliber.scenes.concepts import CONTEXTS, ELEMENTS, HUMANS, INTERACTIONS
from emocaliber.training.collate import training_image
from emocaliber.training.config import Stage0Config
from emocaliber.training.trainer import common_arguments, last_checkpoint
from emocaliber.training.watching import resume

ENCODER = Path("sight") / "eyes.pt"  # in OUT: the pre-trained encoder's weights

Row = Mapping[str, Any]
CONCEPTS = {"element": tuple(ELEMENTS), "human": tuple(HUMANS), "context": tuple(CONTEXTS), "interaction": INTERACTIONS}


class ConceptClassifier(nn.Module):
    """A vision encoder with one linear classification head per kind of concept."""

    def __init__(self, visual: Any, width: int) -> None:
        super().__init__()
        self.visual = visual
        self.heads = nn.ModuleDict({kind: nn.Linear(width, len(keys)) for kind, keys in CONCEPTS.items()})

    def forward(self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """`labels` (B, 4) index the concepts of each image. Returns the summed cross-entropy and the kinds' concatenated logits."""
        features = self.visual(pixel_values, grid_thw=image_grid_thw).pooler_output
        sizes = (image_grid_thw.prod(-1) // self.visual.spatial_merge_size**2).tolist()
        images = torch.split(features, sizes) if isinstance(features, torch.Tensor) else features
        logits = [torch.stack([head(tokens).logsumexp(0) for tokens in images]) for head in self.heads.values()]
        loss = torch.stack([cross_entropy(each, label) for each, label in zip(logits, labels.T, strict=True)]).sum()
        return {"loss": loss, "logits": torch.cat(logits, -1)}


class _Images(Dataset[Row]):
    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]


def _collate(processor: Any, batch: Sequence[Row]) -> dict[str, torch.Tensor]:
    images = processor.image_processor([training_image(row["image"], row["id"]) for row in batch], return_tensors="pt")
    labels = [[keys.index(row["scene"][kind]) for kind, keys in CONCEPTS.items()] for row in batch]
    return {**images, "labels": torch.tensor(labels)}


def pretrain_vision(config: Stage0Config, model: Any, processor: Any, rows: Sequence[Row]) -> None:
    """Trains the vision encoder of `model` in place, or loads it from `OUT/sight/eyes.pt` if that exists."""
    encoder = Path(config.out) / ENCODER
    visual = model.model.visual
    if not encoder.is_file():
        arguments = common_arguments(config) | {
            "output_dir": str(encoder.parent / "checkpoints"),
            "num_train_epochs": config.sight_epochs,
            "learning_rate": config.sight_learning_rate,
            "dataloader_num_workers": 1,
        }
        classifier = ConceptClassifier(visual, config.width)
        collator = partial(_collate, processor)
        trainer = Trainer(model=classifier, args=TrainingArguments(**arguments), train_dataset=_Images(rows), data_collator=collator)
        resume(trainer, last_checkpoint(encoder.parent), "stage0, vision encoder")
        half = encoder.with_suffix(".half")
        torch.save(visual.state_dict(), half)
        half.replace(encoder)
    visual.load_state_dict(torch.load(encoder, weights_only=True))
