"""Files of pictures to train on: views of photographs, and sheets that are no photographs. The same seed makes the same files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image

from emocaliber.errors import UserError
from emocaliber.io.images import ImageError, open_image
from emocaliber.photographs.collection import Photograph
from emocaliber.photographs.sheets import drawn_sheet
from emocaliber.photographs.views import random_view

_QUALITY = 92


def views_of(
    photographs: Sequence[Photograph],
    folder: str | Path,
    *,
    count: int,
    side: int,
    seed: int = 0,
    done: Callable[[int], None] = lambda views: None,
) -> dict[str, list[Path]]:
    """The files of `count` views of each photograph by its name; the first view is the photograph itself, the others lie in `folder`.

    Files that are there are kept. Raises UserError for a photograph that cannot be opened.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    found = {}
    for photograph in photographs:
        files = [photograph.file, *(Path(folder) / f"{photograph.name}-{number}.jpg" for number in range(1, count))]
        opened: Image.Image | None = None
        for number, file in enumerate(files[1:], start=1):
            if not file.is_file():
                opened = opened or _opened(photograph.file)
                rng = np.random.default_rng([seed, crc32(photograph.name.encode()), number])
                _save(random_view(opened, rng, side), file)
        found[photograph.name] = files
        done(1)
    return found


def sheets(
    folder: str | Path, n: int, *, side: int, seed: int, after: Sequence[Photograph] = (), done: Callable[[int], None] = lambda sheets: None
) -> list[Path]:
    """The files of `n` pictures that are no photographs in `folder`; line drawings are made `after` these. Kept as views are."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = [Path(folder) / f"sheet-{seed}-{number:05d}.png" for number in range(n)]
    for number, file in enumerate(files):
        if not file.is_file():
            rng = np.random.default_rng([seed, number])
            photograph = after[int(rng.integers(len(after)))].file if after else None
            _save(drawn_sheet(rng, side, _opened(photograph) if photograph else None), file)
        done(1)
    return files


def _opened(file: Path) -> Image.Image:
    try:
        return open_image(file).image.convert("RGB")
    except ImageError as error:
        raise UserError(f"{error} Leave the photograph out, or replace it") from error


def _save(image: Image.Image, file: Path) -> None:
    half = file.with_name(f".{file.name}")
    image.save(half, quality=_QUALITY)
    half.replace(file)  # a run that goes on after a kill finds whole files alone
