"""FI, Flickr and Instagram: You et al., "Building a Large Scale Dataset for Image Emotion Recognition", AAAI 2016.

`emotion_dataset/<emotion>/*.jpg`, one folder for each of Mikels' eight emotions; about 23,185 photographs, some of them broken.
The authors send it on request. Give `emotion_dataset` or the folder it lies in. Skipped: broken images, other files and folders.
"""

from __future__ import annotations

from pathlib import Path

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.vecbench.sources import reader


def read(folder: Path, *, check_images: bool = True, progress: reader.Progress = reader.no_progress) -> reader.LoadedSource:
    """FI as it lies in the folder; see `Reader`."""
    emotions = taxonomy("mikels-8")
    expected = f"emotion_dataset/ with a folder of photographs for each of {', '.join(emotions.labels)}"
    root = reader.find_folder(folder, ["emotion_dataset"], reader.has_folder_per_label(emotions), name="FI", expected=expected)
    found = (reader.labelled(root, path, path.split("/")[0], emotions, "fi") for path in reader.files_below(root))
    return reader.collect("fi", root, found, check_images=check_images, progress=progress)
