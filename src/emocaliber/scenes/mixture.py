"""Synthetic samples of several subtasks in one file, as the training examples of VEC-CoT are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.rows import RowWriter, read_rows
from emocaliber.scenes.world import draw_samples, drawn_rows, scene_id
from emocaliber.vecbench import task


def parse_mixture(text: str) -> dict[str, int]:
    """The subtasks and their shares in, for example, "EmoSet-8 3, FI-8" (of four samples three are EmoSet-8's).

    Raises UserError for a subtask that does not exist or comes twice, or a share that is not a positive whole number.
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
    """`n` dealt out by shares; the last samples of a division that does not come out even go to the first subtasks."""
    counts = {name: n * share // sum(shares.values()) for name, share in shares.items()}
    for name in list(shares)[: n - sum(counts.values())]:
        counts[name] += 1
    return counts


def mixture_ids(shares: Mapping[str, int], n: int, seed: int) -> list[str]:
    """The ids of the `n` samples that `draw_mixture` draws, in their order: which rows of the file are meant, whatever else it holds."""
    alone = len(shares) == 1
    counts = mixture_counts(shares, n).items()
    return [f"{'' if alone else f'{name}/'}{scene_id(seed, index)}" for name, count in counts for index in range(count)]


def draw_mixture(
    out: Path, shares: Mapping[str, int], n: int, seed: int, *, size: int, split: str, unfamiliar: float = 0.0, workers: int | None = None
) -> Iterator[int]:
    """Draws `n` samples into `out/samples.jsonl`, and yields how many are done after each, as `draw_samples` does.

    One subtask is drawn into `out` itself, each of several into a folder of its name there, which the joint file refers to. Samples of
    other seeds, counts and shares that are there stay: drawing takes long, and ids say whose they are. So read those of `mixture_ids` only.
    """
    draw = partial(draw_samples, size=size, split=split, unfamiliar=unfamiliar, workers=workers, other_seeds=True)
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
            for row in drawn_rows(out / name, count, seed):
                if (identity := f"{name}/{row['id']}") not in rows.done:
                    rows.write({**row, "id": identity, "image": f"{name}/{row['image']}"})


def _holds(file: Path, ids: Iterable[str]) -> bool:
    try:
        return file.is_file() and {row["id"] for row in read_rows(file)} >= set(ids)
    except UserError:  # a row that is half-written, or just being written
        return False
