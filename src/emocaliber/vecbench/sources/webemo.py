"""WebEmo: Panda et al., "Contemplating Visual Emotions: Understanding and Overcoming Dataset Bias", ECCV 2018.

`WEBEmo/images/<split>25/<0..24>/*.jpg`: the number is the place of the emotion among the 25 in alphabetical order; folders that bear
the emotions' names, misspelt as the data set does (`cheerfullness`, `irritabilty`) or not, are read too. About 268,000 images of stock
photography; the authors offer it for download. Give any folder on that path down to `images`.

Skipped: broken images, other files, folders with another number or name. Folders for 7 or 2 classes (`train7`) are not looked into:
those classes follow from the 25.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.vecbench.sources import reader

_SPLITS = ("train", "val", "test")
_BELOW = ("images", "WEBEmo/images", "WebEmo/images")


def read(folder: Path, *, check_images: bool = True, progress: reader.Progress = reader.no_progress) -> reader.LoadedSource:
    """WebEmo as it lies in the folder, with its own splits; see `Reader`."""
    expected = "WEBEmo/images/ with the folders train25 and test25, each with folders 0 to 24"
    root = reader.find_folder(folder, _BELOW, _is_webemo, name="WebEmo", expected=expected)
    return reader.collect("webemo", root, _found(root), check_images=check_images, progress=progress)


def _found(root: Path) -> Iterator[reader.Item | reader.Skipped]:
    emotions = taxonomy("webemo-25")
    for split in _splits(root):
        for path in reader.files_below(root / f"{split}25"):
            word = _emotion(path.split("/")[0], emotions)
            yield reader.labelled(root, f"{split}25/{path}", word, emotions, "webemo", split)


def _emotion(folder: str, emotions: Taxonomy) -> str:
    """The emotion that a folder's name means: a place among the labels, which are in the data set's order, or a word."""
    is_place = folder.isascii() and folder.isdigit() and int(folder) < len(emotions.labels)
    return emotions.labels[int(folder)] if is_place else folder


def _is_webemo(folder: Path) -> bool:
    """Whether the folder's splits hold all 25 emotions between them."""
    emotions = taxonomy("webemo-25")
    words = (_emotion(name, emotions) for split in _splits(folder) for name in reader.subfolders(folder / f"{split}25"))
    return {emotions.canonical(word) for word in words} >= set(emotions.labels)


def _splits(folder: Path) -> list[str]:
    return [split for split in _SPLITS if (folder / f"{split}25").is_dir()]
