"""Collections of photographs that `lite` learns from: OASIS, rated by people, and one picture of each ImageNet class, of which the name of
what it shows is known."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emocaliber.emotions.affect import rescaled
from emocaliber.errors import UserError
from emocaliber.photographs.content import OASIS_KINDS, PERSON, Content, of_imagenet_class, of_oasis_theme

OASIS_SCALE = (1.0, 7.0)
_SHEETS = frozenset(
    {"web_site", "comic_book", "crossword_puzzle", "menu", "book_jacket"}
)  # ImageNet's classes of printed pages and screens


@dataclass(frozen=True)
class Ratings:
    """Valence and arousal of a photograph on -1..1: the mean over its raters, and the SD over them."""

    valence: float
    arousal: float
    valence_sd: float
    arousal_sd: float


@dataclass(frozen=True)
class Photograph:
    """A photograph of a collection, with what is known of it: content, people's ratings, whether somebody is in it (None: not known)."""

    name: str
    file: Path
    content: Content
    ratings: Ratings | None = None
    person: bool | None = None


def read_oasis(folder: str | Path) -> list[Photograph]:
    """The photographs of an OASIS folder, `images/` and `ratings.csv` (Kurdi, Lozano & Banaji 2017), by name.

    The columns are `image, category, valence_mean, valence_sd, arousal_mean, arousal_sd`, ratings from 1 to 7. Raises UserError, naming
    file and row, for a folder without them, a category that is not OASIS's, a rating off the scale and an image that is not there.
    """
    file = Path(folder) / "ratings.csv"
    found = [_rated(row, f"{file}, row {number}", Path(folder) / "images") for number, row in _rows(file)]
    if not found:
        raise UserError(f"{file} has no rows; give the folder of OASIS, with ratings.csv and images/")
    return sorted(found, key=lambda photograph: photograph.name)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            yield from enumerate(csv.DictReader(lines), start=2)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}; give the folder of OASIS, with ratings.csv and images/") from error


def _rated(row: dict[str, str], where: str, images: Path) -> Photograph:
    try:
        name, category = row["image"], row["category"]
        means = [float(row[f"{axis}_mean"]) for axis in ("valence", "arousal")]
        sds = [float(row[f"{axis}_sd"]) for axis in ("valence", "arousal")]
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{where}: {error} is missing or is no number; columns are image, category, valence_mean, valence_sd, ..."
        ) from error
    if category not in OASIS_KINDS:
        raise UserError(f"{where}: category is {category!r}; it must be one of {', '.join(OASIS_KINDS)}")
    low, high = OASIS_SCALE
    if not all(low <= mean <= high for mean in means) or not all(0 <= sd <= high - low for sd in sds):
        raise UserError(f"{where}: ratings must lie between {low:g} and {high:g}, with SDs of at most {high - low:g}")
    if not (images / name).is_file():
        raise UserError(f"{where}: {images / name} is not there; put the image back, or leave out its row")
    (valence, arousal), (valence_sd, arousal_sd) = rescaled(means, sds, low, high)
    content = of_oasis_theme(re.sub(r" ?\d+$", "", Path(name).stem), category)
    ratings = Ratings(float(valence), float(arousal), float(valence_sd), float(arousal_sd))
    return Photograph(Path(name).stem, images / name, content, ratings, content.kind == PERSON)


def read_imagenet_samples(folder: str | Path) -> list[Photograph]:
    """The photographs of a folder with one image of each ImageNet class, called `n01440764_tench.jpg` and so on, by WordNet id.

    Classes of printed pages and screens are left out. Raises UserError for a folder that does not hold 1,000 such files.
    """
    files = sorted(file for file in Path(folder).glob("n*_*") if re.fullmatch(r"n\d{8}_.+\.\w+", file.name))
    if len(files) != 1000:
        raise UserError(
            f"{folder} has {len(files):,} files called like n01440764_tench.jpg; give a folder with one of each of 1,000 classes"
        )
    found = []
    for number, file in enumerate(files):
        name = file.stem.split("_", 1)[1]
        content = of_imagenet_class(number, name)
        if name not in _SHEETS:
            found.append(Photograph(file.stem, file, content, person=True if content.kind == PERSON else None))
    return found
