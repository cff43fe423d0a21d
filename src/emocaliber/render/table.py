"""Tables as data, rendered as Markdown, LaTeX or plain text; and the formatting of their numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from emocaliber.render.layout import cells, padded

NONE = "–"  # noqa: RUF001

Mark = Literal["best", "second"]

_MARKDOWN = {"best": "**{}**", "second": "<u>{}</u>"}
_LATEX = {"best": "\\textbf{{{}}}", "second": "\\underline{{{}}}"}
_LATEX_LETTERS = str.maketrans(
    {letter: f"\\{letter}" for letter in "&%$#_{}"}
    | {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    | {NONE: "--", "<": "\\textless{}", ">": "\\textgreater{}"}
)


@dataclass(frozen=True)
class Table:
    """A table of text cells. The first `words` columns are names, the others numbers; `marks[row, column]` highlights cells.

    `fit` is the order in which columns give way on a terminal that is too narrow: (column, least width in cells), 0 to leave it out. By
    default the names are shortened.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    words: int = 1
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    fit: Sequence[tuple[int, int]] = ()

    def as_markdown(self) -> str:
        """Markdown: the title as heading, if any, the table with aligned columns, and the note, if any."""
        lines = list(_aligned([list(map(_markdown, self.header)), *self._marked(_MARKDOWN, _markdown)], self.words))
        widths = [cells(cell) for cell in lines[0]]
        rule = "|".join(
            ["", *("-" * (w + 2) if column < self.words else "-" * (w + 1) + ":" for column, w in enumerate(widths)), ""],
        )
        head, *body = ("| " + " | ".join(line) + " |" for line in lines)
        parts = [f"### {_markdown(self.title)}" if self.title else "", "\n".join((head, rule, *body)), self.note]
        return "\n\n".join(filter(None, parts))

    def as_latex(self) -> str:
        """LaTeX: a floating booktabs table, scaled down to the text width if it is wider, with title and note as caption."""
        body = [list(map(_latex, self.header)), *self._marked(_LATEX, _latex)]
        # After the end of a row, LaTeX would read a bracket or a star at the start of the next line as its option.
        lines = (" & ".join(line) + " \\\\" for line in body)
        head, *rows = (f"{{}}{line}" if line.startswith(("[", "*")) else line for line in lines)
        alignment = "l" * self.words + "r" * (len(self.header) - self.words)
        caption = " ".join(filter(None, (f"{self.title}." if self.title else "", self.note)))
        return "\n".join(
            (
                "\\begin{table*}[t]",
                "\\centering",
                *([f"\\caption{{{caption.translate(_LATEX_LETTERS)}}}"] if caption else []),
                "\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%",
                f"\\begin{{tabular}}{{{alignment}}}",
                "\\toprule",
                head,
                "\\midrule",
                *rows,
                "\\bottomrule",
                "\\end{tabular}}",
                "\\end{table*}",
            )
        )

    def as_text(self) -> str:
        """Plain text: aligned columns without rules or marks, and the note."""
        lines = ["  ".join(line).rstrip() for line in _aligned([self.header, *self.rows], self.words)]
        return "\n".join([*lines, *([self.note] if self.note else [])])

    def _marked(self, styles: Mapping[str, str], escape: Callable[[str], str]) -> Iterator[list[str]]:
        for number, row in enumerate(self.rows):
            yield [styles.get(self.marks.get((number, column), ""), "{}").format(escape(cell)) for column, cell in enumerate(row)]


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with two decimals, as in the paper; an en dash for None."""
    return NONE if fraction is None else f"{100 * fraction:.2f}"


def decimal(value: float | None) -> str:
    """A number to three significant digits; an en dash for None."""
    return NONE if value is None else f"{value:.3g}"


def interval(ends: Sequence[float] | None) -> str:
    """`[low, high]` in percent; an en dash for None."""
    return NONE if ends is None else f"[{percent(ends[0])}, {percent(ends[1])}]"


def with_interval(fraction: float | None, ends: Sequence[float] | None) -> str:
    """A percentage followed by its interval, if it has one."""
    return percent(fraction) if fraction is None or ends is None else f"{percent(fraction)} {interval(ends)}"


def marks_of(columns: Iterable[tuple[int, Sequence[float | None], bool]]) -> dict[tuple[int, int], Mark]:
    """The marks of the best and second best cells of the columns, each given as (index, numbers by row, whether higher is better).

    Numbers that print alike are ties. A column with fewer than two numbers has no marks.
    """
    marks: dict[tuple[int, int], Mark] = {}
    for column, values, higher in columns:
        printed = [None if value is None else float(percent(value)) for value in values]
        ranking = sorted({value for value in printed if value is not None}, reverse=higher)
        if sum(value is not None for value in printed) > 1:
            for row, value in enumerate(printed):
                if value is not None and value in ranking[:2]:
                    marks[row, column] = "best" if value == ranking[0] else "second"
    return marks


def _aligned(lines: Sequence[Sequence[str]], words: int) -> Iterator[list[str]]:
    """The cells padded to the widths of their columns: names aligned left, numbers right."""
    widths = [max(3, *map(cells, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield [padded(cell, width, right=column >= words) for column, (cell, width) in enumerate(zip(line, widths, strict=True))]


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _latex(text: str) -> str:
    return text.translate(_LATEX_LETTERS)
