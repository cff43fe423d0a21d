"""The picture of a benchmark: how often each label occurs, task by task, in training and in the test."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from emocaliber.canvas import BLUE, GREY, VERMILION, Sheet, png, style
from emocaliber.vecbench.stats import Stats

_COLOURS = {"train": BLUE, "test": VERMILION}
_OTHER = GREY
_HEIGHT = 3.1  # inches, in which 25 labels can be read


def label_figure(stats: Stats) -> bytes:
    """A PNG file: a panel per task with the share of each label in train and test (in the stages' files where there is neither).

    Equal statistics give equal bytes.
    """
    with style():
        return png(_draw(stats))


def _draw(stats: Stats) -> Figure:
    files = [file for file in stats.tasks if file in _COLOURS] or list(stats.tasks)[:1]
    tasks = list(dict.fromkeys(task for file in files for task in stats.tasks[file]))
    labels = {task: list(dict.fromkeys(label for file in files for label in _labels(stats, file, task))) for task in tasks}
    legend = [Patch(color=_COLOURS.get(file, _OTHER), label=file) for file in files]
    sheet = Sheet(len(tasks), "How often each label occurs", legend=legend, width=1.9, height=_HEIGHT, margins=(1.1, 0.15, 0.45, 0.35))
    for panel, task in enumerate(tasks):
        axes = sheet.axes(panel)
        for number, file in enumerate(files):
            counts = _labels(stats, file, task)
            total = sum(counts.values()) or 1
            places = [place + (number - (len(files) - 1) / 2) * 0.8 / len(files) for place in range(len(labels[task]))]
            shares = [100 * counts.get(label, 0) / total for label in labels[task]]
            axes.barh(places, shares, 0.8 / len(files), color=_COLOURS.get(file, _OTHER))
        axes.set_yticks(range(len(labels[task])), labels[task])
        axes.set_ylim(len(labels[task]) - 0.5, -0.5)
        axes.set_xlabel("% of the task")
        axes.set_title(task, loc="left")
    return sheet.figure


def _labels(stats: Stats, file: str, task: str) -> dict[str, int]:
    found = stats.tasks[file].get(task)
    return dict(found.labels) if found else {}
