"""Scenes on disk: any number of known-answer samples, drawn from a seed, with their exact posteriors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from emocaliber.emotions import Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.response import render
from emocaliber.rows import RowWriter, read_rows
from emocaliber.scenes.kinds import KINDS, unfamiliar_kind
from emocaliber.scenes.unfamiliar import UNFAMILIAR, is_unfamiliar
from emocaliber.vecbench import Sample, labels_of, task


def draw_samples(
    out: str | Path,
    n: int,
    seed: int,
    task_name: str = "EmoSet-8",
    *,
    size: int = 224,
    split: str = "test",
    unfamiliar: float = 0.0,
    workers: int | None = None,
) -> Iterator[int]:
    """Draws samples 0..n-1 of `seed` into `out/images` and `out/samples.jsonl`, and yields how many are done after each.

    A row is a sample row plus `scene` (its concepts) and `response` (the narrator's five steps for its label). The same seed gives the same
    bytes for one task, and other scenes for another (`kinds`); a broken run goes on where it stopped, and a larger `n` later adds to what
    is there. A share `unfamiliar` of the pictures shows nothing that this world knows. Raises UserError where `out` holds samples of
    another task, split or size, or where only one of the two has unfamiliar pictures.
    """
    out, known = Path(out), task(task_name)
    task_name, labels = known.name, taxonomy(known.taxonomy)
    (out / "images").mkdir(parents=True, exist_ok=True)
    _check_same(out, task_name, split, size, unfamiliar)
    with RowWriter(out / "samples.jsonl", resume=True) as rows:
        missing = [index for index in range(n) if _name(seed, index) not in rows.done]
        yield n - len(missing)
        make = partial(_make, out, seed, task_name, labels, size, split, unfamiliar)
        with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
            for done, row in enumerate(pool.map(make, missing, chunksize=32), start=n - len(missing) + 1):
                rows.write(row)
                yield done


def _check_same(out: Path, task_name: str, split: str, size: int, unfamiliar: float) -> None:
    """Samples of one folder are of one kind; what is there already tells which."""
    rows = out / "samples.jsonl"
    first = next(read_rows(rows), None) if rows.is_file() and rows.stat().st_size else None
    if first is None or not (out / first["image"]).is_file():
        return
    with Image.open(out / first["image"]) as image:
        there = _described(first["task"], first["split"], image.width, first["scene"]["element"] == UNFAMILIAR.key)
    wanted = _described(task_name, split, size, is_unfamiliar(0, unfamiliar))
    if there != wanted:
        raise UserError(f"{rows} holds samples of {there}, and these would be of {wanted}; give another folder")


def _described(task_name: str, split: str, size: int, unfamiliar: bool) -> str:
    return f"{task_name}, split {split}, {size} px" + (", with unfamiliar pictures" if unfamiliar else "")


def _name(seed: int, index: int) -> str:
    return f"scene-{seed}-{index:06d}"


def _make(out: Path, seed: int, task_name: str, labels: Taxonomy, size: int, split: str, unfamiliar: float, index: int) -> dict[str, Any]:
    """Draws one image to its file and returns its row."""
    kind = unfamiliar_kind(task_name) if is_unfamiliar(index, unfamiliar) else KINDS[task_name]
    rng = kind.generator(seed, index)
    scene = kind.choose(index, rng)
    shares = kind.shares(scene, labels)
    label = labels.labels[rng.choice(len(shares), p=shares)]
    image = Path("images") / f"{_name(seed, index)}.png"
    kind.paint(scene, rng, size).save(out / image, compress_level=1)
    sample = Sample(
        id=_name(seed, index),
        image=image.as_posix(),
        task=task_name,
        candidates=labels_of(task_name, labels.labels),
        ground_truth=label,
        source="scenes",
        split=split,
        posterior=dict(zip(labels.labels, np.round(shares, 6).tolist(), strict=True)),
    )
    return sample.to_row() | {"scene": scene._asdict(), "response": render(kind.tell(scene, label, rng))}
