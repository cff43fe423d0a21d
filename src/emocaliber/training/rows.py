"""The rows a stage learns from: read from its file, after drawing them if they are scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from emocaliber.errors import UserError
from emocaliber.rows import read_rows
from emocaliber.training.config import StageConfig
from emocaliber.vecbench import Sample


def training_rows(config: StageConfig) -> list[dict[str, Any]]:
    """The sample rows of a stage, with absolute image paths.

    Raises UserError for a file without rows, for a row that is not a sample, and for rows of a test split, which may not be trained on.
    """
    path = Path(config.samples)
    if config.scenes:
        from emocaliber.scenes import draw_samples

        progress = tqdm(total=config.scenes, desc=f"drawing {path.parent}", unit="scene", mininterval=1)
        for done in draw_samples(path.parent, config.scenes, config.scenes_seed, size=config.scenes_size, split="train"):
            progress.update(done - progress.n)
        progress.close()
    rows = list(read_rows(path))
    if not rows:
        raise UserError(f"{path} has no rows to train on")
    for line, row in enumerate(rows, start=1):
        sample = Sample.from_row(row, f"{path}, line {line}")
        if sample.split == "test":
            raise UserError(f"{path}, line {line}: split is 'test'; training and validation must not see the test split")
        row["image"] = str(path.absolute().parent / sample.image)
    return rows[: config.scenes] if config.scenes else rows
