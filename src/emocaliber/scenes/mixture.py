"""Samples of several subtasks in one file, as the lessons of VEC-CoT are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.rows import read_rows, write_rows
from emocaliber.scenes.world import draw_samples
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


def draw_mixture(
    out: Path, shares: Mapping[str, int], n: int, seed: int, *, size: int, split: str, unfamiliar: float = 0.0, workers: int | None = None
) -> Iterator[int]:
    """Draws `n` samples into `out/samples.jsonl`, and yields how many are done after each, as `draw_samples` does.

    One subtask is drawn into `out` itself, each of several into a folder of its name there, which the joint file refers to.
    """
    if len(shares) == 1:
        yield from draw_samples(out, n, seed, next(iter(shares)), size=size, split=split, unfamiliar=unfamiliar, workers=workers)
        return
    rows, before = [], 0
    for name, count in mixture_counts(shares, n).items():
        for done in draw_samples(out / name, count, seed, name, size=size, split=split, unfamiliar=unfamiliar, workers=workers):
            yield before + done
        drawn = sorted(read_rows(out / name / "samples.jsonl"), key=lambda row: str(row["id"]))[:count]
        rows += [{**row, "id": f"{name}/{row['id']}", "image": f"{name}/{row['image']}"} for row in drawn]
        before += count
    write_rows(out / "samples.jsonl", rows)
