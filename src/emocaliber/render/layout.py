"""Widths of text on a terminal, and which columns of a table fit into how many of its cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

GAP = 2  # cells between columns
_ELLIPSIS = "…"


def cells(text: str) -> int:
    """The width of a text in terminal cells: 2 for a CJK character or an emoji, 0 for a combining mark."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text with spaces after it, or before it with `right`, up to `width` cells. A longer text is returned as it is."""
    space = " " * (width - cells(text))
    return space + text if right else text + space


def shortened(text: str, width: int) -> str:
    """The text in at most `width` cells: an ellipsis replaces what is left out of its middle, nearer to its start than to its end.

    Of a path, that keeps the file's name.
    """
    if cells(text) <= width:
        return text
    if width < 1:
        return ""
    head = (width - 1) // 3
    start = next(text[:end] for end in range(len(text), -1, -1) if cells(text[:end]) <= head)
    rest = next(text[begin:] for begin in range(len(text) + 1) if cells(text[begin:]) <= width - 1 - cells(start))
    # Without a combining mark whose letter is gone, and without what a cut sequence of joined characters is wider by.
    while rest and (not cells(rest[0]) or cells(f"{start}{_ELLIPSIS}{rest}") > width):
        rest = rest[1:]
    return f"{start}{_ELLIPSIS}{rest}"


def shortened_list(text: str, width: int) -> str:
    """A list with commas in at most `width` cells: whole items are left out from its end; an ellipsis tells."""
    if cells(text) <= width:
        return text
    items = text.split(", ")
    while items and cells(shown := ", ".join([*items, _ELLIPSIS])) > width:
        items.pop()
    return shown if items else ""


def fitted(widths: Sequence[int], room: int, order: Sequence[tuple[int, int]]) -> list[int]:
    """The widths of the columns, narrowed to fit into `room` cells with `GAP` cells between them; 0 for a column left out.

    `order` lists (column, least width): columns are narrowed one after the other, each to its least width at most, until all fit. A least
    width of 0 leaves the column out, which gives its room to those narrowed before. The result may still be too wide.
    """
    found = list(widths)
    for step, (column, least) in enumerate(order):
        excess = total(found) - room
        if excess <= 0:
            break
        if found[column] and least:
            found[column] = max(found[column] - excess, min(least, found[column]))
        elif found[column]:
            left = [0 if each == column or not found[each] else width for each, width in enumerate(widths)]
            found = fitted(left, room, [earlier for earlier in order[:step] if earlier[1]])
    return found


def folded(widths: Sequence[int], room: int, names: int) -> Iterator[list[int]]:
    """The columns of each block of a table that is cut into blocks of at most `room` cells; the first `names` columns lead each block."""
    leading = [column for column in range(names) if widths[column]]
    block: list[int] = []
    for column in range(names, len(widths)):
        if not widths[column]:
            continue
        if block and total([widths[each] for each in (*leading, *block, column)]) > room:
            yield [*leading, *block]
            block = []
        block.append(column)
    yield [*leading, *block]


def total(widths: Sequence[int]) -> int:
    """The cells that columns of these widths take with the gaps between them."""
    shown = [width for width in widths if width]
    return sum(shown) + GAP * (len(shown) - 1)
