"""ArtPhoto: Machajdik & Hanbury, "Affective Image Classification Using Features Inspired by Psychology and Art Theory", ACM MM 2010.

`testImages_artphoto/<emotion>_<id>.jpg`: 806 artistic photographs, the emotion being the one the artist meant, sadness spelt `sad`.
The authors offer it for download. Give `testImages_artphoto` or the folder it lies in. Skipped: broken images, other files.
"""

from __future__ import annotations

from pathlib import Path

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.vecbench.sources.reader import LoadedSource, Progress, collect, files_below, find_folder, labelled, no_progress


def read(folder: Path, *, check_images: bool = True, progress: Progress = no_progress) -> LoadedSource:
    """ArtPhoto as it lies in the folder; see `Reader`."""
    emotions = taxonomy("mikels-8")
    expected = f"testImages_artphoto/ with files named EMOTION_ID.jpg for each of {', '.join(emotions.labels)}"
    root = find_folder(folder, ["testImages_artphoto"], _is_artphoto, name="ArtPhoto", expected=expected)
    found = (labelled(root, path, _emotion(path), emotions, "artphoto") for path in files_below(root))
    return collect("artphoto", root, found, check_images=check_images, progress=progress)


def _emotion(path: str) -> str:
    return path.split("/")[-1].partition("_")[0]


def _is_artphoto(folder: Path) -> bool:
    emotions = taxonomy("mikels-8")
    return {emotions.canonical(_emotion(file.name)) for file in folder.iterdir() if file.is_file()} >= set(emotions.labels)
