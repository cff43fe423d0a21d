"""Synthetic samples on disk: images and sample rows with exact posteriors, of one subtask or a mixture of several, drawn from a seed."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from emocaliber.core.response import render
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import labels_of, task
from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.io.rows import Row, RowWriter, read_rows
from emocaliber.io.workspace import Workspace, record_of
from emocaliber.scenes.out_of_domain import OOD_ELEMENT, is_ood
from emocaliber.scenes.subtasks import SCENE_SUBTASKS, ood_subtask


def draw_samples(
    out: str | Path,
    n: int,
    seed: int,
    task_name: str = "EmoSet-8",
    *,
    size: int = 224,
    split: str = "test",
    ood_share: float = 0.0,
    workers: int | None = None,
    other_seeds: bool = False,
) -> Iterator[int]:
    """Draws samples 0..n-1 of `seed` into `out/images` and `out/samples.jsonl`, and yields after each how many exist.

    A row is a sample row plus `scene` (the keys of its concepts) and `response` (the template teacher's five steps for its label). The same
    task and seed give the same bytes; every task has scenes of its own. An interrupted run resumes, and a larger `n` later adds to the
    samples that exist. A share `ood_share` of the pictures is out-of-distribution. Images have `size` x `size` pixels.

    The settings are kept in `out/samples.run.json`. Samples of other seeds are refused, because a reader of the file would take them for
    one set; with `other_seeds` they are kept and these are added, for callers that read their own with `read_scene_rows`.

    Raises:
        UserError: `out` holds samples of another task, split, size, share or seed, or another process is drawing there.
    """
    out, known = Path(out), task(task_name)
    task_name, labels = known.name, taxonomy(known.taxonomy)
    file, settings = out / "samples.jsonl", {"task": task_name, "split": split, "size": size, "unfamiliar": ood_share}
    if record_of(file).is_file() and _settings_agree(file, settings, seed, other_seeds) and _is_whole(out, n, seed):
        yield n  # without the lock, so that any number of processes may use samples that exist
        return
    (out / "images").mkdir(parents=True, exist_ok=True)
    with _workspace(file, settings), RowWriter(file, resume=True) as rows:
        _settings_agree(file, settings, seed, other_seeds, write=True)
        missing = [index for index in range(n) if scene_id(seed, index) not in rows.done]
        yield n - len(missing)
        make = partial(_make, out, seed, task_name, labels, size, split, ood_share)
        with ProcessPoolExecutor(workers or os.cpu_count(), initializer=_end_with_parent) as pool:
            for done, row in enumerate(pool.map(make, missing, chunksize=32), start=n - len(missing) + 1):
                rows.write(row)
                yield done


def read_scene_rows(out: str | Path, n: int, seed: int) -> list[Row]:
    """The rows of samples 0..n-1 of `seed` in `out/samples.jsonl`, ordered by number; the file may hold others, in any order."""
    found = {place[1]: row for row in read_rows(Path(out) / "samples.jsonl") if (place := _place(row)) and place[0] == seed}
    return [found[index] for index in sorted(found) if index < n]


def _is_whole(out: Path, n: int, seed: int) -> bool:
    try:
        return len(read_scene_rows(out, n, seed)) == n
    except UserError:  # a row that is half-written, or just being written
        return False


def _workspace(file: Path, settings: Mapping[str, Any], seeds: Iterable[int] = (), free: Collection[str] = ()) -> Workspace:
    remedy = "Give the same settings, or another folder"
    return Workspace(record_of(file), {**settings, "seeds": sorted(seeds)}, path=file, remedy=remedy, free=free)


def _settings_agree(file: Path, settings: Mapping[str, Any], seed: int, other_seeds: bool, *, write: bool = False) -> bool:
    """Whether `file` holds samples. Raises UserError if they were drawn with other settings than these.

    The settings of samples are those of their record, or, without a record, those inferred from the rows. With `write` the record is
    written.
    """
    before = None
    if file.is_file() and file.stat().st_size:
        before = _workspace(file, settings).read() or _inferred_settings(file, settings)
    seeds = {seed, *(before.get("seeds", ()) if before and other_seeds else ())}
    workspace = _workspace(file, settings, seeds, ["seeds"] if other_seeds else ())
    if before is not None:
        workspace.compare(before)
    if write:
        workspace.write()
    return before is not None


def _inferred_settings(file: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings of samples without a record (older versions wrote none), from their rows and first image; None without samples.

    The rows do not determine the OOD share, but show whether it is the one in `settings`.
    """
    rows = [(place, row) for row in read_rows(file) if (place := _place(row))]
    if not rows:
        return None
    shown = [row["scene"].get("element") == OOD_ELEMENT.key for _, row in rows]  # abstract scenes have none
    as_set = shown == [is_ood(index, settings["unfamiliar"]) for (_, index), _ in rows]
    first = rows[0][1]
    size, image = settings["size"], file.parent / first["image"]
    if image.is_file():
        with Image.open(image) as opened:
            size = opened.width
    return {
        "task": first["task"],
        "split": first["split"],
        "size": size,
        "unfamiliar": settings["unfamiliar"] if as_set else round(sum(shown) / len(shown), 4),
        "seeds": sorted({seed for (seed, _), _ in rows}),
    }


def scene_id(seed: int, index: int) -> str:
    """The id of sample number `index` of `seed`."""
    return f"scene-{seed}-{index:06d}"


def _place(row: Row) -> tuple[int, int] | None:
    """Seed and number in a row's id; None if the id is not that of a scene."""
    found = re.fullmatch(r"scene-(\d+)-(\d+)", str(row.get("id")))
    return (int(found[1]), int(found[2])) if found else None


def _end_with_parent() -> None:
    """Ends a worker when its parent is killed; otherwise it would wait for work for ever."""

    def wait() -> None:
        if parent := parent_process():
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _make(out: Path, seed: int, task_name: str, labels: Taxonomy, size: int, split: str, ood_share: float, index: int) -> dict[str, Any]:
    """Draws one image to its file and returns its row."""
    subtask = ood_subtask(task_name) if is_ood(index, ood_share) else SCENE_SUBTASKS[task_name]
    rng = subtask.generator(seed, index)
    scene = subtask.choose(index, rng)
    shares = subtask.posterior(scene, labels)
    label = labels.labels[rng.choice(len(shares), p=shares)]
    image = Path("images") / f"{scene_id(seed, index)}.png"
    subtask.draw(scene, rng, size).save(out / image, compress_level=1)
    sample = Sample(
        id=scene_id(seed, index),
        image=image.as_posix(),
        task=task_name,
        candidates=labels_of(task_name, labels.labels),
        ground_truth=label,
        source="scenes",
        split=split,
        posterior=dict(zip(labels.labels, np.round(shares, 6).tolist(), strict=True)),
    )
    return sample.to_row() | {"scene": scene._asdict(), "response": render(subtask.write(scene, label, rng))}


# Mixtures: samples of several subtasks in one file, as in VEC-CoT.


def parse_mixture(text: str) -> dict[str, int]:
    """The share of each subtask in a text such as "EmoSet-8 3, FI-8": of four samples three are EmoSet-8's.

    Raises UserError for a subtask that does not exist or comes twice, and for a share that is not a positive whole number.
    """
    shares: dict[str, int] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition(" ")
        known = task(name).name
        if known in shares or not (share or "1").strip().isdecimal() or not int(share or 1):
            raise UserError(
                f"{part.strip()!r} in {text!r}: give each subtask once, with a whole number for its share, as in 'EmoSet-8 3, FI-8'"
            )
        shares[known] = int(share or 1)
    return shares


def mixture_counts(shares: Mapping[str, int], n: int) -> dict[str, int]:
    """`n` divided by the shares; the remainder goes to the first subtasks."""
    counts = {name: n * share // sum(shares.values()) for name, share in shares.items()}
    for name in list(shares)[: n - sum(counts.values())]:
        counts[name] += 1
    return counts


def mixture_ids(shares: Mapping[str, int], n: int, seed: int) -> list[str]:
    """The ids of the `n` samples that `draw_mixture` draws, in their order; the file may hold other rows too."""
    alone = len(shares) == 1
    counts = mixture_counts(shares, n).items()
    return [f"{'' if alone else f'{name}/'}{scene_id(seed, index)}" for name, count in counts for index in range(count)]


def draw_mixture(
    out: Path, shares: Mapping[str, int], n: int, seed: int, *, size: int, split: str, ood_share: float = 0.0, workers: int | None = None
) -> Iterator[int]:
    """Draws `n` samples into `out/samples.jsonl`, and yields after each how many exist, as `draw_samples` does.

    One subtask is drawn into `out` itself, several into folders named after them, to which the joint file refers. Samples of other seeds,
    counts and shares are kept, because drawing takes long; so readers must select the rows of `mixture_ids`.
    """
    draw = partial(draw_samples, size=size, split=split, ood_share=ood_share, workers=workers, other_seeds=True)
    if len(shares) == 1:
        yield from draw(out, n, seed, next(iter(shares)))
        return
    counts, before = mixture_counts(shares, n), 0
    for name, count in counts.items():
        for done in draw(out / name, count, seed, name):
            yield before + done
        before += count
    joint = out / "samples.jsonl"
    if _holds(joint, mixture_ids(shares, n, seed)):
        return
    with RowWriter(joint, resume=True) as rows:
        for name, count in counts.items():
            for row in read_scene_rows(out / name, count, seed):
                if (identity := f"{name}/{row['id']}") not in rows.done:
                    rows.write({**row, "id": identity, "image": f"{name}/{row['image']}"})


def _holds(file: Path, ids: Iterable[str]) -> bool:
    try:
        return file.is_file() and {row["id"] for row in read_rows(file)} >= set(ids)
    except UserError:  # a row that is half-written, or just being written
        return False
