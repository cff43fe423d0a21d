"""Figures: shared colours and style, panels of fixed size, and PNG output. No display is needed."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# The colour-blind safe palette of Okabe and Ito (2008).
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#777777"
LINES = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_DPI = 130
_COLUMNS = 3
_MARGINS = (0.6, 0.15, 0.45, 0.45)  # inches to the left, right, bottom and top of each panel
_HEAD, _LEGEND_ROW = 0.3, 0.17  # inches above the panels: the title, and each row of the legend
_NARROWEST, _LETTER, _ENTRY = 4.2, 0.092, 1.2  # widths in inches: the narrowest figure, a letter of the title, an entry of the legend
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a task may be called a$b$
}


class PanelFigure:
    """A figure of panels in rows under a title and one legend, each panel `width` x `height` inches. The layout is fixed."""

    def __init__(
        self,
        panels: int,
        title: str,
        *,
        legend: Sequence[Artist] = (),
        width: float = 2.7,
        height: float = 2.5,
        margins: tuple[float, float, float, float] = _MARGINS,
    ) -> None:
        left, right, bottom, top = margins
        self._columns = 2 if panels == 4 else min(_COLUMNS, panels)
        self._cell = (left + width + right, bottom + height + top)
        self._corner = (left, bottom)
        self._panel = (width, height)
        width = max(self._columns * self._cell[0], left + _LETTER * len(title), _NARROWEST)
        entries = max(1, int((width - _MARGINS[0]) / _ENTRY))
        rows = math.ceil(len(legend) / entries)
        self._head = _HEAD + _LEGEND_ROW * rows
        self._size = (width, math.ceil(panels / self._columns) * self._cell[1] + self._head)
        self.figure = Figure(figsize=self._size, dpi=_DPI)
        x, y = (_MARGINS[0] / width, 1 / self._size[1])
        self.figure.text(x, 1 - 0.1 * y, title, va="top", fontsize=10, fontweight="bold")
        if legend:
            columns, corner = math.ceil(len(legend) / rows), (x, 1 - 0.33 * y)
            self.figure.legend(handles=legend, loc="upper left", bbox_to_anchor=corner, ncols=columns, borderpad=0, borderaxespad=0)

    def axes(self, panel: int, bottom: float = 0.0, top: float = 1.0) -> Axes:
        """The axes of a panel, counted from 0, or of the part of its height from `bottom` to `top`."""
        left, base = self._origin(panel)
        width, height = self._panel
        return self._axes(left, base + bottom * height, width, (top - bottom) * height)

    def beside(self, panel: int, width: float) -> Axes:
        """Narrow axes to the right of a panel, in its margin."""
        left, base = self._origin(panel)
        return self._axes(left + self._panel[0] + width, base, width, self._panel[1])

    def _origin(self, panel: int) -> tuple[float, float]:
        row, column = divmod(panel, self._columns)
        return column * self._cell[0] + self._corner[0], self._size[1] - self._head - (row + 1) * self._cell[1] + self._corner[1]

    def _axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        whole_width, whole_height = self._size
        return self.figure.add_axes((left / whole_width, bottom / whole_height, width / whole_width, height / whole_height))


@contextmanager
def style() -> Iterator[None]:
    """A context in which figures have the shared style. Characters missing from all fonts are drawn as boxes, without a warning."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def png(figure: Figure) -> bytes:
    """The bytes of the figure as a PNG file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
