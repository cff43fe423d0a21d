"""From what a reader finds to what it gives: every file an item or left out with its reason, every image opened once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from emocaliber.emotions import Taxonomy
from emocaliber.errors import UserError
from emocaliber.images import ImageError, Limits, open_images
from emocaliber.inputs import SUFFIXES
from emocaliber.rows import display_name
from emocaliber.vecbench.sources.base import Item, Reading, Reason, Skipped

Progress = Callable[[int], None]

# The limits under which images are opened later, so that no item fails then; the hint makes large photographs decode fast.
_LIMITS = Limits(max_side=64)


class Reader(Protocol):
    """Reads one data set.

    With `check_images` every image is decoded and the broken ones are skipped; without it, the data set's own lists and file
    names are trusted. `progress` is told now and then how many images are done. Raises UserError if the folder is not the data set.
    """

    def __call__(self, folder: Path, *, check_images: bool = True, progress: Progress = ...) -> Reading: ...


def silent(count: int) -> None:
    """Progress that nobody watches."""


def labelled(root: Path, path: str, word: str, taxonomy: Taxonomy, source: str, split: str | None = None) -> Item | Skipped:
    """The file at `path` below `root`, which the data set labels with `word`."""
    if os.path.splitext(path)[1].lower() not in SUFFIXES:
        return Skipped(display_name(path), Reason.NOT_AN_IMAGE, "by its suffix")
    if (label := taxonomy.canonical(word)) is None:
        return Skipped(display_name(path), Reason.UNKNOWN_LABEL, f"{display_name(word)!r} is not one of {', '.join(taxonomy.labels)}")
    return Item(os.path.normpath(root / path), label, source, split)


def collect(source: str, root: Path, found: Iterable[Item | Skipped], *, check_images: bool, progress: Progress) -> Reading:
    """The reading of everything found, in the order of paths. An image that is found twice counts where it is found first.

    Raises UserError if no item is left, or where opening an image failed for a fault of the machine: leaving out what is
    whole would make the next reading another one.
    """
    items: dict[str, Item] = {}
    skipped: list[Skipped] = []
    for each in found:
        if isinstance(each, Skipped):
            skipped.append(each)
        elif first := items.get(each.image):
            skipped.append(Skipped(_within(root, each.image), Reason.LISTED_TWICE, f"{_described(each)}; before: {_described(first)}"))
        else:
            items[each.image] = each
    kept = [items[image] for image in sorted(items)]
    if check_images:
        faults = _faults([item.image for item in kept], progress)
        skipped += [Skipped(_within(root, image), reason, detail) for image, (reason, detail) in faults.items()]
        kept = [item for item in kept if item.image not in faults]
    else:
        progress(len(kept))
    if not kept:
        reasons = ", ".join(f"{display_name(each.path)}: {each.reason}" for each in skipped[:3])
        raise UserError(f"{display_name(root)}: no usable image in it" + (f" ({reasons})." if reasons else "; add the images."))
    return Reading(source, root, tuple(kept), tuple(sorted(skipped, key=lambda each: (each.path, each.reason))))


def with_votes(item: Item | Skipped, votes: dict[str, int]) -> Item | Skipped:
    """The item with the votes it was labelled by."""
    return replace(item, votes=votes) if isinstance(item, Item) else item


def most_chosen(votes: dict[str, int]) -> str | None:
    """The label with the most votes, or None for a tie."""
    most = max(votes.values())
    winners = [label for label, count in votes.items() if count == most]
    return winners[0] if len(winners) == 1 else None


def tie(path: str, votes: dict[str, int]) -> Skipped:
    """An image about which its voters could not agree."""
    shown = ", ".join(f"{label} {count}" for label, count in sorted(votes.items(), key=lambda each: -each[1]) if count)
    return Skipped(display_name(path), Reason.TIE, shown or "no votes")


def _faults(images: Sequence[str], progress: Progress) -> dict[str, tuple[Reason, str]]:
    return {image: fault for image, result in _opened(images, progress) if (fault := _fault(image, result))}


def _opened(images: Sequence[str], progress: Progress) -> Iterator[tuple[str, ImageError | None]]:
    for count, (image, result) in enumerate(zip(images, open_images(images, _LIMITS), strict=True), 1):
        yield image, result if isinstance(result, ImageError) else None
        progress(count)


def _fault(image: str, error: ImageError | None) -> tuple[Reason, str] | None:
    if error is None:
        return None
    if error.code in ("internal", "timeout"):
        raise UserError(f"{error.message} The fault may be the machine's, so nothing was left out: mend it, or remove the file.")
    reason = Reason.MISSING_IMAGE if error.code == "not_found" else Reason.BROKEN_IMAGE
    return reason, error.message.removeprefix(f"{display_name(image)}: ")


def _within(root: Path, image: str) -> str:
    return display_name(Path(os.path.relpath(image, root)).as_posix())


def _described(item: Item) -> str:
    return f"{item.label}, {item.split}" if item.split else item.label
