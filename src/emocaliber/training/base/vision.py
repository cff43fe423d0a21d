"""Sight: before it is joined to a language model, the vision encoder of `tiny` learns to tell what a scene holds.

It plays the part of the vision pre-training behind a public base checkpoint. Each image token votes for every concept, and a picture's
votes are the log-sum-exp over its tokens (multiple-instance learning): one token that sees a snake is enough.
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

Row = Mapping[str, Any]
CONCEPTS = {"element": tuple(ELEMENTS), "human": tuple(HUMANS), "context": tuple(CONTEXTS), "interaction": INTERACTIONS}


class ConceptClassifier(nn.Module):
    """A vision encoder with one linear head for each kind of concept."""

    def __init__(self, visual: Any, width: int) -> None:
        super().__init__()
        self.visual = visual
        self.heads = nn.ModuleDict({kind: nn.Linear(width, len(keys)) for kind, keys in CONCEPTS.items()})

    def forward(self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """`labels` (B, 4) index the concepts of each picture. Returns the summed cross-entropy, and every kind's logits side by side."""
        features = self.visual(pixel_values, grid_thw=image_grid_thw).pooler_output
        sizes = (image_grid_thw.prod(-1) // self.visual.spatial_merge_size**2).tolist()
        pictures = torch.split(features, sizes) if isinstance(features, torch.Tensor) else features
        votes = [torch.stack([head(tokens).logsumexp(0) for tokens in pictures]) for head in self.heads.values()]
        loss = torch.stack([cross_entropy(vote, label) for vote, label in zip(votes, labels.T, strict=True)]).sum()
        return {"loss": loss, "logits": torch.cat(votes, -1)}


class _Pictures(Dataset[Row]):
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
    """Trains the vision encoder of `model` in place, or loads it from `OUT/sight/eyes.pt` where that is done."""
    done = Path(config.out) / "sight" / "eyes.pt"
    visual = model.model.visual
    if not done.is_file():
        arguments = common_arguments(config) | {
            "output_dir": str(done.parent / "checkpoints"),
            "num_train_epochs": config.sight_epochs,
            "learning_rate": config.sight_learning_rate,
            "dataloader_num_workers": 1,
        }
        sight = ConceptClassifier(visual, config.width)
        collator = partial(_collate, processor)
        trainer = Trainer(model=sight, args=TrainingArguments(**arguments), train_dataset=_Pictures(rows), data_collator=collator)
        resume(trainer, last_checkpoint(done.parent))
        half = done.with_suffix(".half")
        torch.save(visual.state_dict(), half)
        half.replace(done)
    visual.load_state_dict(torch.load(done, weights_only=True))
