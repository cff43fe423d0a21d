"""cleanlab's two tables: `labels_multiannotator` (who said what about which image) and `pred_probs` (what the model says).

`cleanlab.multiannotator` takes both: consensus labels, each person's quality, and which image to ask about next (Goh et al., 2022).
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.predictions import by_file_name
from emocaliber.integrations.prediction_files import answered, calibrated_shares, read_predictions
from emocaliber.io.rows import Row, display_name, numbered_rows, write_atomically


@dataclass(frozen=True)
class Tables:
    """N images, M people, K labels.

    `said` (N, M) holds the number of a label, None where that person said nothing; `probabilities` is (N, K).
    """

    images: tuple[str, ...]
    people: tuple[str, ...]
    labels: tuple[str, ...]
    said: tuple[tuple[int | None, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]

    def save(self, folder: Path) -> None:
        """Writes labels_multiannotator.csv and pred_probs.csv, whose first column is the image, and labels.csv."""
        cells = [["" if cell is None else str(cell) for cell in row] for row in self.said]
        write_atomically(folder / "labels_multiannotator.csv", self._csv(self.people, cells))
        write_atomically(folder / "pred_probs.csv", self._csv(self.labels, [[repr(each) for each in row] for row in self.probabilities]))
        write_atomically(folder / "labels.csv", "number,label\n" + "".join(f"{at},{label}\n" for at, label in enumerate(self.labels)))

    def _csv(self, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        held = io.StringIO()
        writer = csv.writer(held, lineterminator="\n")
        writer.writerow(["image", *names])
        writer.writerows([image, *row] for image, row in zip(self.images, rows, strict=True))
        return held.getvalue()


def cleanlab_tables(votes: Path, predictions: Path) -> Tables:
    """The tables of the votes of `emocaliber label` and the predictions of `emocaliber predict` about the same images and labels.

    Of several votes of one person on an image the last counts; images on which nobody has a vote are not in the tables. Raises UserError
    where an image with votes has no prediction, or one without a distribution over the labels.
    """
    cast, candidates = _votes(votes)
    known = {os.path.abspath(str(row["image"])): row for row in answered(read_predictions(predictions))}  # paths are as typed, from here
    images = [image for image, by_person in cast.items() if any(said is not None for said in by_person.values())]
    if not set(images) <= known.keys() and (same := by_file_name(images, known)) is not None:
        known = {image: known[other] for image, other in same.items()}
    if lacking := [image for image in images if image not in known]:
        raise UserError(
            f"{display_name(predictions)} has no answer for {len(lacking):,} of the {len(images):,} images with votes, such as "
            f"{lacking[0]}; predict the same images."
        )
    people = sorted({person for image in images for person, said in cast[image].items() if said is not None})
    place = {label: number for number, label in enumerate(candidates)}
    said = [tuple(None if (label := cast[image].get(person)) is None else place[label] for person in people) for image in images]
    probabilities = [distribution(known[image], candidates) for image in images]
    names = tuple(Path(os.path.relpath(image, votes.absolute().parent)).as_posix() for image in images)
    return Tables(names, tuple(people), tuple(candidates), tuple(said), tuple(probabilities))


def distribution(row: Row, candidates: Labels) -> tuple[float, ...]:
    """P(label) for each candidate, in their order: see `calibrated_shares`.

    Raises UserError where a prediction gives no distribution over these labels.
    """
    found = {candidates.named(label): share for label, share in (calibrated_shares(row) or {}).items()}
    if set(found) != set(candidates):
        raise UserError(f"{row['image']}: this prediction has no probability for each of {', '.join(candidates)}, which cleanlab needs.")
    return tuple(found[label] for label in candidates)


def _votes(path: Path) -> tuple[dict[str, dict[str, str | None]], Labels]:
    cast: dict[str, dict[str, str | None]] = {}
    candidates: Labels | None = None
    for number, row in numbered_rows(path):
        where = f"{display_name(path)}, line {number}"
        missing = [name for name in ("image", "person", "candidates") if not row.get(name)]
        if missing or "emotion" not in row:
            raise UserError(f"{where}: field '{(missing or ['emotion'])[0]}' is missing; votes are those of `emocaliber label`.")
        own = Labels.of(row["candidates"])
        candidates = candidates or own
        if list(own) != list(candidates):
            raise UserError(f"{where}: this vote is among other labels than the first one; keep each question in a file of its own.")
        said = None if row["emotion"] is None else candidates.named(str(row["emotion"]))
        if row["emotion"] is not None and said is None:
            raise UserError(f"{where}: field 'emotion' is {row['emotion']!r}, which is not among {', '.join(candidates)}.")
        cast.setdefault(_place(path, str(row["image"])), {})[str(row["person"])] = said
    if candidates is None:
        raise UserError(f"{display_name(path)}: there are no votes in it.")
    return cast, candidates


def _place(file: Path, image: str) -> str:
    return os.path.normpath(file.absolute().parent / image)
