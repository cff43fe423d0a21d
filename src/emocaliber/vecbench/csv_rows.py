"""Tables that other people wrote as CSV, read whole: each row with its place, every complaint with file, line and column."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from emocaliber.errors import UserError
from emocaliber.row_formats import Place
from emocaliber.rows import display_name, opened


@dataclass(frozen=True)
class Table:
    """A CSV file: its columns, and each row after its place. Cells are texts without space at their ends."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[Place, dict[str, str]], ...]

    @property
    def header(self) -> str:
        """The columns, for a complaint about them."""
        return ", ".join(map(display_name, self.columns))


def read_table(path: Path, *, quote: str = '"') -> Table:
    """The table in a UTF-8 file whose first line names the columns; a BOM and blank lines are allowed.

    Raises UserError, naming file, line and remedy, for a file that cannot be read, a column named twice, or a row of another length.
    """
    name = display_name(path)
    with opened(path) as file:
        data = file.read()
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), quotechar=quote, skipinitialspace=True, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name}: not a CSV file in UTF-8 ({error}); save it as one.") from None
    if not lines:
        raise UserError(f"{name}: the file is empty; its first line must name the columns.")
    columns = lines[0][1]
    if repeated := next((column for column in columns if columns.count(column) > 1), None):
        raise UserError(f"{name}, line 1: the column '{display_name(repeated)}' occurs twice; give each its own name.")
    for line, cells in lines[1:]:
        if len(cells) != len(columns):
            raise UserError(
                f"{name}, line {line}: {len(cells)} values under {len(columns)} columns; make them agree, with quotes around commas."
            )
    return Table(path, tuple(columns), tuple((Place(path, line), dict(zip(columns, cells, strict=True))) for line, cells in lines[1:]))


def whole_number(text: str, where: Place, column: str) -> int:
    """The count in a cell. Raises UserError if it is none."""
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"{where}: column '{display_name(column)}' holds {text!r}; it must be a whole number of votes, such as 7.")
    return int(text)


def number(text: str, where: Place, column: str) -> float:
    """The finite number in a cell. Raises UserError if it is none."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise UserError(f"{where}: column '{display_name(column)}' holds {text!r}; it must be a number, such as 4.25.")
    return value
