"""Anyone's own data set: a folder for each label, or a CSV file that lists images.

A folder: `<label>/**/*.jpg`; without given labels, the folders' names are the labels.

A CSV: the column `image` holds paths relative to `images`, by default the CSV's folder; then one of

- `label`: a label for each image, or
- votes: whole numbers of people, in columns `votes.<label>`, or in columns that bear the labels' names if the labels are given. Without
  a column `label`, the label is the one with the most votes; ties are skipped, or
- ratings, if a `midpoint` is given: `valence_mean`, `valence_sd` and `n` (or `valence_n`), as in OASIS. The label is positive or
  negative, as the mean is above or below the midpoint of the scale; on it, the image is a tie. The votes are the people that a
  normal distribution puts on either side.

A column `split` may say train, val or test. Skipped: unknown labels, ties, missing and broken images, files that are no images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import NormalDist

from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.io.row_formats import CsvTable, Place, number, read_table, whole_number
from emocaliber.io.rows import display_name
from emocaliber.vecbench.sources import reader

_VOTES = "votes."
_SPLITS = ("train", "val", "test")

# What a row says about its image: the label (None for a tie) and the votes (empty where nobody was asked).
_Judgement = Callable[[Place, dict[str, str]], tuple[str | None, dict[str, int]]]


def read(
    path: Path,
    name: str,
    labels: Taxonomy | Sequence[str] | None = None,
    *,
    midpoint: float | None = None,
    images: Path | None = None,
    check_images: bool = True,
    progress: reader.Progress = reader.no_progress,
) -> reader.LoadedSource:
    """The data set called `name`, laid out as this module describes. Without `labels`, they are the ones that occur.

    Raises UserError, saying what was expected and what was found, for a folder or CSV that is laid out otherwise.
    """
    if not path.is_dir():
        root = Path(os.path.abspath(images or path.parent))
        given = None if labels is None else _as_taxonomy(name, labels)
        found = _listed(root, read_table(path), name, given, midpoint)
    elif midpoint is not None or images is not None:
        raise UserError(f"{display_name(path)}: a folder; midpoint and images belong to a CSV file, so give that or leave them out.")
    else:
        expected = "a folder of images for each label"
        root = reader.find_folder(
            path, [], lambda folder: len(reader.subfolders(folder)) > 1, name=f"a data set such as '{name}'", expected=expected
        )
        emotions = _as_taxonomy(name, reader.subfolders(root) if labels is None else labels)
        found = (reader.labelled(root, file, file.split("/")[0], emotions, name) for file in reader.files_below(root))
    return reader.collect(name, root, found, check_images=check_images, progress=progress)


def _listed(
    root: Path, table: CsvTable, name: str, given: Taxonomy | None, midpoint: float | None
) -> Iterator[reader.Item | reader.Skipped]:
    if "image" not in table.columns:
        raise UserError(f"{display_name(table.path)}: no column 'image'; found {table.header}.")
    if midpoint is not None:
        emotions, judge = _by_ratings(table, given or taxonomy("polarity-2"), midpoint)
    else:
        emotions, judge = _by_labels_or_votes(table, name, given)
    for where, row in table.rows:
        image = row["image"]
        if not image:
            raise UserError(f"{where}: column 'image' is empty; give the path of an image.")
        label, votes = judge(where, row)
        if label is None:
            yield reader.skipped_tie(image, votes)
        else:
            item = reader.labelled(root, image, label, emotions, name, _split(where, row))
            yield reader.with_votes(item, votes) if votes else item


def _by_labels_or_votes(table: CsvTable, name: str, given: Taxonomy | None) -> tuple[Taxonomy, _Judgement]:
    columns = {column: column.removeprefix(_VOTES) for column in table.columns if column.startswith(_VOTES)}
    if not columns and given is not None:
        columns = {column: column for column in table.columns if column not in ("image", "label", "split") and given.canonical(column)}
    if not columns and "label" not in table.columns:
        expected = "'label', 'votes.<label>' for each label, columns named after labels that you give, or ratings with a midpoint"
        raise UserError(f"{display_name(table.path)}: nothing says what the images evoke; expected {expected}; found {table.header}.")
    labels = columns.values() if columns else sorted({row["label"] for _, row in table.rows if row["label"]})
    emotions = given or _as_taxonomy(name, list(labels))
    canonical = {column: _known(label, column, table, emotions) for column, label in columns.items()}
    if len(set(canonical.values())) < len(canonical):
        raise UserError(f"{display_name(table.path)}: two columns count votes for the same label; found {table.header}.")
    return emotions, partial(_label_or_majority, canonical)


def _label_or_majority(columns: dict[str, str], where: Place, row: dict[str, str]) -> tuple[str | None, dict[str, int]]:
    votes = {label: whole_number(row[column], where, column) for column, label in columns.items()}
    return row["label"] if "label" in row else reader.majority_label(votes), votes if any(votes.values()) else {}


def _by_ratings(table: CsvTable, emotions: Taxonomy, midpoint: float) -> tuple[Taxonomy, _Judgement]:
    if set(emotions.labels) != {"positive", "negative"}:
        raise UserError(
            f"{display_name(table.path)}: with a midpoint the labels are positive and negative; leave out {', '.join(emotions.labels)}."
        )
    people = next((column for column in ("n", "valence_n") if column in table.columns), None)
    if people is None or not {"valence_mean", "valence_sd"} <= set(table.columns):
        expected = "the columns valence_mean, valence_sd and n, as there is a midpoint"
        raise UserError(f"{display_name(table.path)}: expected {expected}; found {table.header}.")
    return emotions, partial(_polarity, midpoint, people)


def _polarity(midpoint: float, people: str, where: Place, row: dict[str, str]) -> tuple[str | None, dict[str, int]]:
    mean, spread = (number(row[column], where, column) for column in ("valence_mean", "valence_sd"))
    if spread < 0:
        raise UserError(f"{where}: column 'valence_sd' holds {spread:g}; a standard deviation is not negative.")
    share_above = 1 - NormalDist(mean, spread).cdf(midpoint) if spread else float(mean > midpoint)
    count = whole_number(row[people], where, people)
    positive = round(count * share_above)
    votes = {"positive": positive, "negative": count - positive} if count else {}
    return None if mean == midpoint else "positive" if mean > midpoint else "negative", votes


def _known(label: str, column: str, table: CsvTable, emotions: Taxonomy) -> str:
    if (known := emotions.canonical(label)) is None:
        named = ", ".join(emotions.labels)
        raise UserError(f"{display_name(table.path)}: the column '{display_name(column)}' counts votes for none of {named}; rename it.")
    return known


def _split(where: Place, row: dict[str, str]) -> str | None:
    split = row.get("split") or None
    if split is not None and split not in _SPLITS:
        raise UserError(f"{where}: column 'split' holds {split!r}; it must be one of {', '.join(_SPLITS)}, or empty.")
    return split


def _as_taxonomy(name: str, labels: Taxonomy | Sequence[str]) -> Taxonomy:
    return labels if isinstance(labels, Taxonomy) else Taxonomy(name, tuple(labels))
