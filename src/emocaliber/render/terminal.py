"""Output for people: notices on standard error, and tables that fit the terminal. In pipes and logs, tables are plain text."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from emocaliber.render.layout import GAP, cells, fitted, folded, padded, shortened, total
from emocaliber.render.table import Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_HEAD = "bold"
_MARKS = {"best": "bold", "second": "underline"}

_quiet = False
_live: Console | None = None  # that of the progress bar on the terminal now, which prints above it


@contextmanager
def quiet(on: bool = True) -> Iterator[None]:
    """Within this context there are no notices and no progress, if `on`."""
    global _quiet
    before, _quiet = _quiet, on or _quiet
    try:
        yield
    finally:
        _quiet = before


def is_quiet() -> bool:
    """Whether notices and progress are switched off."""
    return _quiet


@contextmanager
def printing_above(console: Console) -> Iterator[None]:
    """Within this context, output for the terminal goes through this console, which keeps its progress bar below."""
    global _live
    before, _live = _live, console
    try:
        yield
    finally:
        _live = before


def say(sentence: str) -> None:
    """Prints a notice on standard error, after the program's name, unless output is quiet."""
    if not _quiet:
        complain(sentence)


def complain(sentence: str) -> None:
    """Prints sentences that must be seen, one a line, on standard error; a terminal breaks them between words."""
    width = width_of(sys.stderr)
    for line in sentence.splitlines():
        line = f"emocaliber: {line}"
        if width is not None:
            line = textwrap.fill(line, max(width, 20), break_long_words=False, break_on_hyphens=False)
        print(line, file=sys.stderr)


def width_of(stream: TextIO) -> int | None:
    """The width of the terminal in cells; None if the stream is not a terminal."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def console_for(stream: TextIO) -> Console:
    """The console that prints on a terminal: that of the progress bar, if one is shown."""
    if _live is not None:
        return _live
    from rich.console import Console

    return Console(file=stream, highlight=False)


def emit(line: str | Text) -> None:
    """Prints a line on standard output at once, above a progress bar on the same terminal; the terminal wraps what is too long."""
    if sys.stdout.isatty():
        console_for(sys.stdout).print(line, soft_wrap=True, markup=False, highlight=False)
    else:
        print(line, flush=True)


def explain(text: str) -> None:
    """Prints a text on standard output; a terminal breaks it between words."""
    if sys.stdout.isatty():
        console_for(sys.stdout).print(text, markup=False, highlight=False)
    else:
        print(text, flush=True)


def conclude(sentences: Iterable[str]) -> None:
    """Prints the sentences that end a command on standard output, those with a command to copy ("next: ...") without line breaks."""
    for sentence in sentences:
        emit(sentence) if sentence.startswith("next: ") else explain(sentence)


def show(*tables: Table) -> None:
    """Prints tables on standard output, each under its title, with an empty line between them.

    On a terminal they fit its width: columns are narrowed and left out in the order that the table declares (`Table.fit`); what is still
    too wide is cut into blocks, one below the other. In pipes and logs they are printed in full, as `Table.as_text`.
    """
    width = width_of(sys.stdout)
    for number, table in enumerate(tables):
        if number:
            emit("")
        if table.title:
            emit(table.title if width is None else styled([(table.title, _HEAD)]))
        if width is None:
            print(table.as_text(), flush=True)
            continue
        for line in _lines(table, width):
            emit(line)
        if table.note:
            explain(table.note)


def styled(parts: Sequence[tuple[str, str]]) -> Text:
    """A line of a terminal from pairs of text and style."""
    from rich.text import Text

    line = Text.assemble(*((text, style) for text, style in parts if text))
    line.rstrip()
    return line


def _lines(table: Table, room: int) -> Iterator[Text]:
    """The lines of a table in `room` cells; a list of the columns left out, if any, is the last."""
    columns = list(zip(table.header, *table.rows, strict=True))
    natural = [max(3, *map(cells, column)) for column in columns]
    widths = fitted(natural, room, table.fit or [(column, 12) for column in range(table.words)])
    if not table.fit and total(widths) > room:
        widths = list(natural)  # it is folded anyway
    # In every block of a folded table, the names stand beside at least one other column.
    names = [(column, 4) for column in range(table.words)]
    widths[: table.words] = fitted([*widths[: table.words], max(widths[table.words :], default=0)], room, names)[: table.words]
    for number, block in enumerate(folded(widths, room, table.words)):
        if number:
            yield styled([])
        yield styled([(part, _HEAD) for part in _line(table, table.header, block, widths)])
        for place, row in enumerate(table.rows):
            marks = (_MARKS.get(table.marks.get((place, column), ""), "") for column in block)
            yield styled(list(zip(_line(table, row, block, widths), marks, strict=True)))
    left_out = [name for name, width in zip(table.header, widths, strict=True) if not width]
    if left_out:
        yield styled([(f"(a wider terminal also shows {', '.join(left_out)})", "dim")])


def _line(table: Table, row: Sequence[str], block: Sequence[int], widths: Sequence[int]) -> list[str]:
    """The cells of a row that stand in a block, shortened or padded, with the gaps after them."""
    last = block[-1]
    return [
        padded(shortened(row[column], widths[column]), widths[column], right=column >= table.words) + " " * (GAP if column != last else 0)
        for column in block
    ]
