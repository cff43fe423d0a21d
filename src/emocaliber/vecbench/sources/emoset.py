"""EmoSet-118K: Yang et al., "EmoSet: A Large-scale Visual Emotion Dataset with Rich Attributes", ICCV 2023.

`info.json` (the emotions and attributes), `train.json`, `val.json` and `test.json` (lists of `[emotion, id, image path, annotation
path]`; lists without the id are read too), `image/<emotion>/*.jpg`, `annotation/<emotion>/*.json`; 118,102 images. The authors
offer it for download after registration. Give the folder that holds `info.json`, or the one around it.

Skipped: images or annotations that are listed but not there, broken images. Files in no list are no part of the data set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.io.rows import display_name, opened
from emocaliber.vecbench.sources import reader

_SPLITS = ("train", "val", "test")
_FILES = ("info.json", *(f"{split}.json" for split in _SPLITS))
_BELOW = ("EmoSet-118K", "EmoSet")


def read(folder: Path, *, check_images: bool = True, progress: reader.Progress = reader.no_progress) -> reader.LoadedSource:
    """EmoSet as its lists describe it, with its own splits; see `Reader`. Raises UserError, too, for a list that is none."""
    expected = f"{', '.join(_FILES)} beside image/ and annotation/"
    root = reader.find_folder(folder, _BELOW, _is_emoset, name="EmoSet-118K", expected=expected)
    _check_emotions(root / "info.json")
    return reader.collect("emoset", root, _found(root, check_images), check_images=check_images, progress=progress)


def _found(root: Path, check_annotations: bool) -> Iterator[reader.Item | reader.Skipped]:
    emotions = taxonomy("mikels-8")
    for split in _SPLITS:
        for emotion, image, annotation in _listed(root / f"{split}.json"):
            if check_annotations and not (root / annotation).is_file():
                yield reader.Skipped(display_name(image), reader.SkipReason.MISSING_ANNOTATION, f"there is no {display_name(annotation)}")
            else:
                yield reader.labelled(root, image, emotion, emotions, "emoset", split)


def _listed(path: Path) -> Iterator[tuple[str, str, str]]:
    """Emotion, image and annotation of each entry in a list."""
    entries = _json(path)
    if not isinstance(entries, list):
        raise UserError(f"{display_name(path)}: not a list of images; unpack EmoSet-118K anew.")
    for number, entry in enumerate(entries, 1):
        if not (isinstance(entry, list) and len(entry) in (3, 4) and all(isinstance(part, str) for part in (entry[0], *entry[-2:]))):
            shape = "[emotion, id, image path, annotation path]"
            raise UserError(f"{display_name(path)}, entry {number}: expected {shape}, found {str(entry)[:100]}; unpack EmoSet-118K anew.")
        yield entry[0], entry[-2], entry[-1]


def _is_emoset(folder: Path) -> bool:
    return all((folder / name).is_file() for name in _FILES)


def _check_emotions(path: Path) -> None:
    info = _json(path)
    emotion = info.get("emotion") if isinstance(info, dict) else None
    index = emotion.get("label2idx") if isinstance(emotion, dict) else None
    labels = set(index) if isinstance(index, dict) else set()
    expected = taxonomy("mikels-8").labels
    if labels != set(expected):
        found = ", ".join(map(display_name, sorted(labels))) or "none"
        raise UserError(f"{display_name(path)}: not EmoSet-118K's: expected the emotions {', '.join(expected)}; found {found}.")


def _json(path: Path) -> Any:
    with opened(path) as file:
        try:
            return json.load(file)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{display_name(path)}: not valid JSON ({error}); unpack EmoSet-118K anew.") from None
