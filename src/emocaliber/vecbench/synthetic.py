"""VECBench's subtasks made of synthetic scenes, in place of data sets that are not available: same names and splits, exact posteriors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from emocaliber.core.tasks import TASKS
from emocaliber.io.rows import Row
from emocaliber.scenes.dataset import draw_samples, read_scene_rows

# Training samples per test sample; out-of-domain subtasks have none.
TRAIN_RATIO = 4


def draw_synthetic_subtasks(
    folder: Path, tasks: Iterable[str], n: int, seed: int, *, size: int, workers: int | None, progress: Callable[[str, int], None]
) -> tuple[list[Row], list[Row]]:
    """(train, test): `n` test rows of each task and, in-domain, `TRAIN_RATIO` times as many to train on, drawn below `folder`.

    Image paths are absolute. Rows keep `scene` and `response`. Samples that exist are not drawn again.
    """
    train: list[Row] = []
    test: list[Row] = []
    for task in tasks:
        test += _drawn(folder, task, "test", n, 2 * seed, size, workers, progress)
        if TASKS[task].group != "OOD VER":
            train += _drawn(folder, task, "train", TRAIN_RATIO * n, 2 * seed + 1, size, workers, progress)
    return train, test


def _drawn(
    folder: Path, task: str, split: str, n: int, seed: int, size: int, workers: int | None, progress: Callable[[str, int], None]
) -> list[Row]:
    # The seed is in the name because a folder holds the samples of one seed.
    place = folder / f"{task}-{split}-seed{seed}"
    for done in draw_samples(place, n, seed, task, size=size, split=split, workers=workers):
        progress(f"{task} {split}", done)
    rows = read_scene_rows(place, n, seed)
    return [{**row, "id": f"{task}/{split}-{row['id']}", "image": str(place.absolute() / row["image"])} for row in rows]
