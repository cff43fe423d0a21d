"""Files of samples in any form (`core.forms`): JSON Lines, a JSON list, Parquet, Arrow, folders of those, data sets of Hugging Face."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from emocaliber.core.forms import Form, checked, form_of, image_file
from emocaliber.core.samples import identified
from emocaliber.errors import UserError
from emocaliber.io.datasets import rows_file
from emocaliber.io.row_formats import DELIMITED, Place, located_rows, located_values
from emocaliber.io.rows import Row


class Examined(NamedTuple):
    """A row of a file: its place, the row as it stands there, the file's form, and the sample row, or why there is none."""

    place: Place
    raw: Row
    form: Form
    row: Row | UserError


def placed_rows(source: str | Path, images: str = "") -> Iterator[tuple[Place, Row]]:
    """The sample rows of a file, with absolute image paths, and their places, which messages name. `images` is as in `image_file`.

    Raises UserError for the first row that is no sample, naming file, line and what was expected; and for a file that cannot be read, holds
    no row, or is of no known form.
    """
    for each in examined_rows(source, images):
        if isinstance(each.row, UserError):
            raise each.row
        yield each.place, each.row


def examined_rows(source: str | Path, images: str = "") -> Iterator[Examined]:
    """All rows of a file, those that are no samples with the reason. Raises UserError as `placed_rows` does for the file itself."""
    path, file = Path(source), rows_file(str(source))
    folder, root = (file if file.is_dir() else file.parent).absolute(), Path(images) if images else None
    form: Form | None = None
    seen: dict[str, Place] = {}
    for place, value in _values(file):
        if not place.file.is_relative_to(path):
            place = place._replace(file=path)  # it was unpacked, and the user knows it by this name
        form = form or form_of(value, str(place))
        try:
            ((where, row),) = identified(form.read([(place, value)]), required=True, seen=seen)
            row = checked(row, where)
            yield Examined(place, value, form, row | {"image": image_file(row["image"], folder, root)})
        except UserError as error:
            yield Examined(place, value, form, error)


def _values(file: Path) -> Iterator[tuple[Place, Row]]:
    """The rows of a file, a folder of shards or a saved data set. Raises UserError for what is no row, and if there is none."""
    if file.suffix.lower() in DELIMITED:
        list(located_rows(file))  # which says that CSV loses nesting
    for place, value in located_values(file, needed_by="training"):
        if not isinstance(value, Mapping):
            raise UserError(f"{place}: is a JSON {type(value).__name__}; every row must be a JSON object with its fields by name")
        yield place, dict(value)
