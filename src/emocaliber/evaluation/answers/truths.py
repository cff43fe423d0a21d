"""The truths of answers, in a file or a table of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.evaluation.answers.cells import label_text
from emocaliber.evaluation.answers.columns import Columns, columns_of
from emocaliber.evaluation.answers.logs import plain_rows
from emocaliber.io.row_formats import Place, located_values
from emocaliber.io.rows import Row, display_name

IN_MEMORY = "truth"  # the name of truths that are in no file


@dataclass(frozen=True)
class Truths:
    """The truths in a file or a table of their own, by id."""

    name: str
    by_id: Mapping[str, tuple[Place, Row]]
    columns: Columns
    numbered: bool

    @classmethod
    def read(cls, file: Path | Sequence[Row], *, by_image: bool = False) -> Truths:
        """The truths in a file, or in rows; `by_image` takes their images as ids where they have any.

        Raises UserError, naming the file or the row, for a file without a column of truths and for an id that is missing or repeated.
        """
        name = display_name(file) if isinstance(file, Path) else IN_MEMORY
        given = located_values(file) if isinstance(file, Path) else ((Place(Path(name), n), row) for n, row in enumerate(file, 1))
        _, placed = plain_rows(list(given))
        columns = columns_of([row for _, row in placed], name, {}, (), ("truth",))
        if columns.truth is None:
            raise UserError(
                f"{name}: no column has the usual name of the truth; rename it to 'truth'. Columns: "
                f"{', '.join(dict.fromkeys(display_name(column) for _, row in placed for column in row))}."
            )
        if by_image and columns.image is not None:
            columns = replace(columns, id=columns.image)
        by_id: dict[str, tuple[Place, Row]] = {}
        for number, (place, row) in enumerate(placed, 1):
            key = label_text(row.get(columns.id)) if columns.id is not None else str(number)
            if key is None or key in by_id:
                raise UserError(f"{place}: column '{columns.id}' is {key!r}; every row needs an id of its own.")
            by_id[key] = (place, row)
        return cls(name, by_id, columns, columns.id is None)

    def values(self) -> list[Any]:
        """The true labels, as they are spelt in the file."""
        return [row.get(self.columns.truth) for _, row in self.by_id.values() if self.columns.truth]
