"""The control chart of a watch: the evidence of each test over the stream, on a logarithmic scale, with the alarm line."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from emocaliber.render.figure import GREY, LINES, VERMILION, PanelFigure, png, style
from emocaliber.trust.watch import Watch

_LOWEST = 1e-3  # evidence below which a line is drawn at the lower edge
HOW_TO_READ = (
    "A line that reaches the alarm is evidence of a change such as chance alone gives, ever, in at most {alpha:g} of all streams; "
    "the shaded rows are those since the estimated start of the change."
)


def watch_figure(watch: Watch) -> Figure:
    """The chart: rows against evidence / alarm line of each test, the alarm line at 1, and the moment of the alarm."""
    names = list(watch.lines)
    colours = {name: LINES[place % len(LINES)] for place, name in enumerate(names)}
    dashes: dict[str, Any] = {name: "-" if place < len(LINES) else "--" for place, name in enumerate(names)}
    moved = watch.alarm.tests if watch.alarm else ()
    legend = [Line2D([], [], color=colours[name], linestyle=dashes[name], label=name) for name in names]
    with style():
        title = "Evidence of a change" + (f": alarm at {watch.alarm.counted} {watch.alarm.row:,}" if watch.alarm else "")
        panel = PanelFigure(1, title, legend=legend, width=6.4, height=2.8, margins=(0.7, 0.2, 0.6, 0.2))
        axes = panel.axes(0)
        rows = watch.chart.get("rows", [])
        for name in names:
            points = [max(math.exp(log) / watch.lines[name], _LOWEST) for log in watch.chart.get("log_wealth", {}).get(name, [])]
            axes.plot(rows, points, color=colours[name], linestyle=dashes[name], linewidth=1.8 if name in moved else 0.9)
        axes.axhline(1, color=VERMILION, linewidth=1)
        axes.text(0.005, 1.15, "alarm", color=VERMILION, va="bottom", transform=axes.get_yaxis_transform())
        if watch.alarm and rows:
            axes.axvline(rows[-1], color=GREY, linewidth=0.8, linestyle=":")
            if watch.alarm.counted == "row":
                axes.axvspan(watch.alarm.since, rows[-1], color=VERMILION, alpha=0.08, linewidth=0)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(_LOWEST, max(10.0, *axes.get_ylim()))
        axes.set_xlim(0, max([1, *rows]))
        axes.set_xlabel("Rows of the stream")
        axes.set_ylabel("Evidence / alarm line")
    return panel.figure


def watch_png(watch: Watch) -> bytes:
    """The chart as a PNG file."""
    with style():
        return png(watch_figure(watch))
