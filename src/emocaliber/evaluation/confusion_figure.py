"""Which emotions are taken for which: truth by answer, in the order of the emotion loop, so that near misses lie near the diagonal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from emocaliber.canvas import Sheet
from emocaliber.rows import display_name

_MALFORMED = "malformed"
_MOST_SLANTED, _MOST_COUNTS = 10, 30  # labels, above which names stand upright, and counts could not be read
_LONGEST = 40  # letters of a name
_LETTER = 0.068  # inches


def confusion_figure(task: str, confusion: Mapping[str, Any]) -> Figure:
    """The confusion of a task as in `metrics.json`, shaded by the share of its row. Cells without answers are empty."""
    labels, rows = confusion["labels"], confusion["rows"]
    answers = [*labels, *([_MALFORMED] if any(_MALFORMED in row for row in rows.values()) else [])]
    counts = np.array([[rows.get(truth, {}).get(answer, 0) for answer in answers] for truth in labels], dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side, upright = _side(len(labels)), len(labels) > _MOST_SLANTED
    truths = [f"{_short(label)} ({int(total):,})" for label, total in zip(labels, totals[:, 0], strict=True)]
    below = _LETTER * max(map(len, map(_short, answers))) * (1 if upright else 0.75)
    margins = (0.2 + _LETTER * max(map(len, truths)), 0.65, 0.2 + below, 0.2)
    sheet = Sheet(1, f"{display_name(task)}: truth by answer", width=side * len(answers), height=side * len(labels), margins=margins)
    axes = sheet.axes(0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = 8 if side > 0.3 else 6.5
    turned = {"rotation": 90} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(answers)), list(map(_short, answers)), fontsize=max(size, 7), **turned)
    axes.set_yticks(range(len(labels)), truths, fontsize=max(size, 7))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    if len(labels) <= _MOST_COUNTS:
        for truth, answer in np.argwhere(counts):
            shade = "white" if shares[truth, answer] > 0.55 else "black"
            axes.text(answer, truth, f"{int(counts[truth, answer])}", ha="center", va="center", color=shade, fontsize=size)
    if len(answers) > len(labels):
        axes.axvline(len(labels) - 0.5, color="white", linewidth=3)
    bar = sheet.beside(0, 0.12)
    sheet.figure.colorbar(image, cax=bar, ticks=[0, 0.5, 1]).outline.set_visible(False)
    bar.set_title("of row", fontsize=7)
    return sheet.figure


def _side(labels: int) -> float:
    """Of a cell, in inches: counts of four digits fit in while they are written."""
    return 0.5 if labels <= _MOST_SLANTED else 0.3 if labels <= _MOST_COUNTS else max(0.13, 9 / labels)


def _short(label: str) -> str:
    name = display_name(label)
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
