"""What all readers of data sets share: the labelled images of a source, the files left out with their reasons, and finding its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NoReturn, Protocol

from emocaliber.emotions.taxonomy import Taxonomy
from emocaliber.errors import UserError
from emocaliber.io.images import ImageError, ImageLimits, open_images
from emocaliber.io.inputs import SUFFIXES
from emocaliber.io.rows import display_name


class SkipReason(StrEnum):
    """Why a file of a data set is left out."""

    BROKEN_IMAGE = "broken image"
    MISSING_IMAGE = "missing image"
    MISSING_ANNOTATION = "missing annotation"
    TIE = "tie"
    UNKNOWN_LABEL = "unknown label"
    NOT_AN_IMAGE = "not an image"
    LISTED_TWICE = "listed twice"


@dataclass(frozen=True)
class Item:
    """One labelled image of a source. `image` is an absolute path; `label` is one of the source's taxonomy, aliases resolved.

    `split` is the data set's own ("train", "val", "test") where it has one. `votes` are people's, by label, where they are known.
    """

    image: str
    label: str
    source: str
    split: str | None = None
    votes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that is left out: its path within the data set, the reason, and a detail for people."""

    path: str
    reason: SkipReason
    detail: str


@dataclass(frozen=True)
class LoadedSource:
    """A data set as a reader loaded it: items in the order of their paths, and all files left out."""

    source: str
    folder: Path
    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...]


# From the files found to a loaded source: every file becomes an item or is skipped with a reason, and every image is opened once.

Progress = Callable[[int], None]

# The limits under which images are opened later, so that no item fails then; the hint makes large photographs decode fast.
_LIMITS = ImageLimits(max_side=64)


class Reader(Protocol):
    """Reads one data set.

    With `check_images` every image is decoded and the broken ones are skipped; without it, the data set's own lists and file
    names are trusted. `progress` is called with the number of images done. Raises UserError if the folder is not the data set.
    """

    def __call__(self, folder: Path, *, check_images: bool = True, progress: Progress = ...) -> LoadedSource: ...


def no_progress(count: int) -> None:
    """Reports no progress."""


def labelled(root: Path, path: str, word: str, taxonomy: Taxonomy, source: str, split: str | None = None) -> Item | Skipped:
    """The item for the file at `path` below `root`, which the data set labels with `word`, or why it is skipped."""
    if os.path.splitext(path)[1].lower() not in SUFFIXES:
        return Skipped(display_name(path), SkipReason.NOT_AN_IMAGE, "by its suffix")
    if (label := taxonomy.canonical(word)) is None:
        return Skipped(display_name(path), SkipReason.UNKNOWN_LABEL, f"{display_name(word)!r} is not one of {', '.join(taxonomy.labels)}")
    return Item(os.path.normpath(root / path), label, source, split)


def collect(source: str, root: Path, found: Iterable[Item | Skipped], *, check_images: bool, progress: Progress) -> LoadedSource:
    """The loaded source, in the order of paths. An image that is found twice has the label under which it was found first.

    Raises UserError if no item is left, or if opening an image failed for a transient fault: skipping an intact image would make
    the build non-deterministic.
    """
    items: dict[str, Item] = {}
    skipped: list[Skipped] = []
    for each in found:
        if isinstance(each, Skipped):
            skipped.append(each)
        elif first := items.get(each.image):
            skipped.append(Skipped(_within(root, each.image), SkipReason.LISTED_TWICE, f"{_described(each)}; before: {_described(first)}"))
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
    return LoadedSource(source, root, tuple(kept), tuple(sorted(skipped, key=lambda each: (each.path, each.reason))))


def with_votes(item: Item | Skipped, votes: dict[str, int]) -> Item | Skipped:
    """The item with the votes it was labelled by."""
    return replace(item, votes=votes) if isinstance(item, Item) else item


def majority_label(votes: dict[str, int]) -> str | None:
    """The label with the most votes, or None for a tie."""
    most = max(votes.values())
    winners = [label for label, count in votes.items() if count == most]
    return winners[0] if len(winners) == 1 else None


def skipped_tie(path: str, votes: dict[str, int]) -> Skipped:
    """The skipped file of an image without a label that has the most votes."""
    shown = ", ".join(f"{label} {count}" for label, count in sorted(votes.items(), key=lambda each: -each[1]) if count)
    return Skipped(display_name(path), SkipReason.TIE, shown or "no votes")


def _faults(images: Sequence[str], progress: Progress) -> dict[str, tuple[SkipReason, str]]:
    return {image: fault for image, result in _opened(images, progress) if (fault := _fault(image, result))}


def _opened(images: Sequence[str], progress: Progress) -> Iterator[tuple[str, ImageError | None]]:
    for count, (image, result) in enumerate(zip(images, open_images(images, _LIMITS), strict=True), 1):
        yield image, result if isinstance(result, ImageError) else None
        progress(count)


def _fault(image: str, error: ImageError | None) -> tuple[SkipReason, str] | None:
    if error is None:
        return None
    if error.code in ("internal", "timeout"):
        raise UserError(f"{error.message} The fault may be the machine's, so nothing was left out: mend it, or remove the file.")
    reason = SkipReason.MISSING_IMAGE if error.code == "not_found" else SkipReason.BROKEN_IMAGE
    return reason, error.message.removeprefix(f"{display_name(image)}: ")


def _within(root: Path, image: str) -> str:
    return display_name(Path(os.path.relpath(image, root)).as_posix())


def _described(item: Item) -> str:
    return f"{item.label}, {item.split}" if item.split else item.label


# Finding a data set and its files in the folder that a user names.

_SHOWN = 12


def find_folder(given: Path, below: Sequence[str], is_it: Callable[[Path], bool], *, name: str, expected: str) -> Path:
    """The absolute path of the first folder that `is_it` among the given one and the paths `below` it.

    Raises UserError, saying what was expected and what was found instead, if there is none.
    """
    present = [folder for folder in (given, *(given / path for path in below)) if folder.is_dir()]
    if not present:
        raise UserError(f"{display_name(given)}: no such folder; give the folder of {name}: {expected}.")
    for folder in present:
        try:
            if is_it(folder):
                return Path(os.path.abspath(folder))
        except OSError as error:
            _unreadable(error)
    raise not_the_data_set(present[-1], name, expected)


def not_the_data_set(folder: Path, name: str, expected: str) -> UserError:
    """The error for a folder that is not the data set `name`; it lists what was found there."""
    return UserError(f"{display_name(folder)}: this is not {name}. Expected {expected}; found {_contents(folder)}.")


def files_below(folder: Path) -> list[str]:
    """The paths, relative and with slashes, of all files in the folder and its subfolders, sorted. Hidden ones are left out.

    Linked folders are entered, each once. Raises UserError for a folder that cannot be read, as it would go missing otherwise.
    """
    found: list[str] = []
    entered: set[tuple[int, int]] = set()
    for path, folders, files in os.walk(folder, onerror=_unreadable, followlinks=True):
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(_visible(folders))  # the order decides under which name a folder that is linked twice is entered
        inner = Path(os.path.relpath(path, folder)).as_posix()
        found += [name if inner == "." else f"{inner}/{name}" for name in _visible(files)]
    return sorted(found)


def subfolders(folder: Path) -> list[str]:
    """The names of the folders directly in it, sorted, without hidden ones."""
    return sorted(_visible(entry.name for entry in os.scandir(folder) if entry.is_dir()))


def has_folder_per_label(taxonomy: Taxonomy) -> Callable[[Path], bool]:
    """Whether a folder holds one for each label of the taxonomy, aliases included, for `find_folder`."""
    return lambda folder: {taxonomy.canonical(name) for name in subfolders(folder)} >= set(taxonomy.labels)


def _contents(folder: Path) -> str:
    names = sorted(_visible(entry.name + "/" * entry.is_dir() for entry in os.scandir(folder)))
    if not names:
        return "nothing in it"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(display_name, names[:_SHOWN])) + more


def _visible(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _unreadable(error: OSError) -> NoReturn:
    raise UserError(f"{display_name(error.filename)}: this folder cannot be read ({error.strerror}); change its permissions.") from error
