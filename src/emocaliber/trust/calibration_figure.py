"""Reliability before and after calibration, one panel for each question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from emocaliber.evaluation.calibration import reliability_bins
from emocaliber.evaluation.metrics import Tally
from emocaliber.io.rows import display_name
from emocaliber.render.figure import BLUE, GREY, VERMILION, PanelFigure, png, style
from emocaliber.trust.calibrate import Judged
from emocaliber.trust.fitting import Floats

_SIDE = 0.008  # how far the two series are moved apart


def reliability_figure(judged: Sequence[Judged]) -> bytes:
    """A PNG: accuracy by confidence in ten bins, before and after, with 95 % intervals (Clopper and Pearson); the area of a point is the
    share of answers in its bin."""
    with style():
        legend = [
            Line2D([], [], color=VERMILION, marker="o", linestyle="", label="before"),
            Line2D([], [], color=BLUE, marker="o", linestyle="", label="after, on other images"),
            Line2D([], [], color=GREY, linestyle="--", label="calibrated"),
        ]
        sheet = PanelFigure(len(judged), "Accuracy by confidence", legend=legend)
        for panel, each in enumerate(judged):
            axes = sheet.axes(panel)
            axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=0.8)
            _draw(axes, each.before, each.right, VERMILION, -_SIDE)
            _draw(axes, each.after, each.right, BLUE, _SIDE)
            axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="Confidence", ylabel="Accuracy")
            axes.set_title(f"{display_name(each.task)} ({each.right.size:,}), before: {each.source}")
        return png(sheet.figure)


def _draw(axes: Axes, confidences: Floats, right: Floats, colour: str, aside: float) -> None:
    bins = reliability_bins(Tally.of(np.clip(confidences, 0, 1), right))
    x = np.array([each.confidence for each in bins]) + aside
    y = np.array([each.accuracy for each in bins])
    ends = np.array([each.accuracy_ci for each in bins]).T
    axes.errorbar(x, y, yerr=np.abs(ends - y), fmt="none", ecolor=colour, elinewidth=1, alpha=0.6)
    axes.scatter(x, y, s=[6 + 120 * each.n / right.size for each in bins], color=colour, alpha=0.8, linewidths=0)
