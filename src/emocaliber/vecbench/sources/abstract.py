"""Abstract: Machajdik & Hanbury, "Affective Image Classification Using Features Inspired by Psychology and Art Theory", ACM MM 2010.

`testImages_abstract/abstract_0001.jpg` ..., 280 paintings of colour and texture alone, and `ABSTRACT_groundTruth.csv` with about 14
people's votes for each: every value in single quotes, first the image, then one column of counts for each of Amusement, Anger, Awe,
Content, Disgust, Excitement, Fear and Sad. The label is the one with the most votes. The authors offer it for download. Give the
folder of the CSV, which may lie beside the images or in the folder around them.

Skipped: ties (51 of the 280), images without votes, missing and broken images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.io.row_formats import CsvTable, read_table, whole_number
from emocaliber.io.rows import display_name
from emocaliber.vecbench.sources import reader

_CSV = "ABSTRACT_groundTruth.csv"
_IMAGES = "testImages_abstract"


def read(folder: Path, *, check_images: bool = True, progress: reader.Progress = reader.no_progress) -> reader.LoadedSource:
    """Abstract as its votes describe it; see `Reader`. Raises UserError, too, for a vote that is no whole number."""
    expected = f"{_CSV}, with {_IMAGES}/ or the images beside it"
    home = reader.find_folder(folder, [_IMAGES], lambda path: (path / _CSV).is_file(), name="Abstract", expected=expected)
    root = home / _IMAGES if (home / _IMAGES).is_dir() else home
    table = read_table(home / _CSV, quote="'")
    emotions = taxonomy("mikels-8")
    columns = {column: label for column in table.columns[1:] if (label := emotions.canonical(column))}
    if set(columns.values()) != set(emotions.labels):
        raise reader.not_the_data_set(
            home, "Abstract", f"{_CSV} with a column for each of {', '.join(emotions.labels)}, not {table.header}"
        )
    return reader.collect("abstract", root, _found(root, table, columns, emotions), check_images=check_images, progress=progress)


def _found(root: Path, table: CsvTable, columns: dict[str, str], emotions: Taxonomy) -> Iterator[reader.Item | reader.Skipped]:
    listed = set[str]()
    for where, row in table.rows:
        image = row[table.columns[0]]
        listed.add(image)
        votes = {label: whole_number(row[column], where, column) for column, label in columns.items()}
        winner = reader.majority_label(votes)
        yield (
            reader.skipped_tie(image, votes)
            if winner is None
            else reader.with_votes(reader.labelled(root, image, winner, emotions, "abstract"), votes)
        )
    for path in reader.files_below(root):
        if path not in listed and path != _CSV:
            yield reader.Skipped(display_name(path), reader.SkipReason.MISSING_ANNOTATION, f"{_CSV} does not list it")
