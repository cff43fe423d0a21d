"""UnbiasedEmo: Panda et al., "Contemplating Visual Emotions: Understanding and Overcoming Dataset Bias", ECCV 2018.

`UnBiasedEmo/images/<emotion>/<object>/*.jpg`, six emotions, each with the same objects; 3,045 photographs. The authors offer it for
download with WebEmo. Give any folder on that path down to `images`. Skipped: broken images, other files and folders.
"""

from __future__ import annotations

from pathlib import Path

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.vecbench.sources import reader

_BELOW = ("images", "UnBiasedEmo/images", "UnbiasedEmo/images")


def read(folder: Path, *, check_images: bool = True, progress: reader.Progress = reader.no_progress) -> reader.LoadedSource:
    """UnbiasedEmo as it lies in the folder; see `Reader`."""
    emotions = taxonomy("unbiasedemo-6")
    expected = f"UnBiasedEmo/images/ with a folder of objects for each of {', '.join(emotions.labels)}"
    root = reader.find_folder(folder, _BELOW, reader.has_folder_per_label(emotions), name="UnbiasedEmo", expected=expected)
    found = (reader.labelled(root, path, path.split("/")[0], emotions, "unbiasedemo") for path in reader.files_below(root))
    return reader.collect("unbiasedemo", root, found, check_images=check_images, progress=progress)
