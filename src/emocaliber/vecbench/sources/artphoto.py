"""ArtPhoto: Machajdik & Hanbury, "Affective Image Classification Using Features Inspired by Psychology and Art Theory", ACM MM 2010.

`testImages_artphoto/<emotion>_<id>.jpg`: 806 artistic photographs, the emotion being the one the artist meant, sadness spelt `sad`.
The authors offer it for download. Give `testImages_artphoto` or the folder it lies in. Skipped: broken images, other files.
"""

from __future__ import annotations

from pathlib import Path

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.vecbench.sources import reader


def read(folder: Path, *, check_images: bool = True, progress: reader.Progress = reader.no_progress) -> reader.LoadedSource:
    """ArtPhoto as it lies in the folder; see `Reader`."""
    emotions = taxonomy("mikels-8")
    expected = f"testImages_artphoto/ with files named EMOTION_ID.jpg for each of {', '.join(emotions.labels)}"
    root = reader.find_folder(folder, ["testImages_artphoto"], _is_artphoto, name="ArtPhoto", expected=expected)
    found = (reader.labelled(root, path, _emotion(path), emotions, "artphoto") for path in reader.files_below(root))
    return reader.collect("artphoto", root, found, check_images=check_images, progress=progress)


def _emotion(path: str) -> str:
    return path.split("/")[-1].partition("_")[0]


def _is_artphoto(folder: Path) -> bool:
    emotions = taxonomy("mikels-8")
    return {emotions.canonical(_emotion(file.name)) for file in folder.iterdir() if file.is_file()} >= set(emotions.labels)
