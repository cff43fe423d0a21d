"""The rows a stage learns from: read from its file, after drawing them if they are scenes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from emocaliber.errors import UserError
from emocaliber.rows import numbered_rows
from emocaliber.training.config import StageConfig
from emocaliber.training.processes import in_first
from emocaliber.vecbench import Sample


def training_rows(config: StageConfig) -> list[dict[str, Any]]:
    """The sample rows of a stage, with absolute image paths. Raises UserError as `sample_rows` does, and for a file without rows.

    Scenes are drawn first. Those of another `scenes_seed`, of another number or of other subtasks may lie in the same file: ids choose.
    """
    path = Path(config.samples)
    if not config.scenes:
        return [row for _, row in sample_rows(path)]
    from emocaliber.scenes.mixture import draw_mixture, mixture_ids, parse_mixture

    shares = parse_mixture(config.scenes_tasks)

    def draw() -> None:
        drawn = draw_mixture(
            path.parent,
            shares,
            config.scenes,
            config.scenes_seed,
            size=config.scenes_size,
            split="train",
            unfamiliar=config.scenes_unfamiliar,
        )
        with tqdm(total=config.scenes, desc=f"drawing {path.parent}", unit="scene", mininterval=1) as progress:
            for done in drawn:
                progress.update(done - progress.n)

    in_first(draw)
    rows = {row["id"]: row for _, row in sample_rows(path)}
    return [rows[identity] for identity in mixture_ids(shares, config.scenes, config.scenes_seed)]


def sample_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and rows of a file of samples, with absolute image paths.

    Raises UserError for a file that is not there or has no rows, for a row that is not a sample, and for rows of a test split, which may be
    neither trained on nor validated on.
    """
    folder, line = Path(path).absolute().parent, 0
    for line, row in numbered_rows(path):
        sample = Sample.from_row(row, f"{path}, line {line}")
        if sample.split == "test":
            raise UserError(f"{path}, line {line}: split is 'test'; training and validation must not see the test split")
        yield line, row | sample.to_row() | {"image": str(folder / sample.image)}  # labels spelt as the candidates are
    if not line:
        raise UserError(f"{path} has no rows to train on")
