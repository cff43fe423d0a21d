"""A run's figures: reliability diagrams, risk-coverage curves, confidence histograms and confusion matrices."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from scipy.special import betaincinv

from emocaliber.core.scoring import Outcome
from emocaliber.core.source_words import source_words
from emocaliber.core.tasks import taxonomy_of
from emocaliber.emotions.colours import emotion_colour
from emocaliber.evaluation.calibration import BINS, bin_of, reliability_bins
from emocaliber.evaluation.metrics import Floats, Tally, tally_of
from emocaliber.evaluation.ranking import aurc, risk_coverage
from emocaliber.evaluation.shown import MOST_SOURCES, shown_labels, shown_sources
from emocaliber.io.rows import display_name, write_atomically
from emocaliber.render.figure import BLUE, GREY, LINES, VERMILION, PanelFigure, png, style
from emocaliber.render.table import interval, percent, with_interval

Summary = Mapping[str, Any]

MOST_TASKS = 30  # shown in a figure and given a confusion matrix: the largest tasks
_LOWEST_COVERAGE, _FEWEST = 0.05, 10  # share and number of answers below which their risk is too noisy to draw
_AREAS_PER_LINE = 2
_NO_NAMES: Mapping[str, str] = {}
_ROUGH = 100  # answers, below which a figure says that it is rough


def draw_figures(
    summary: Summary, outcomes: Sequence[Outcome], folder: str | Path, *, most_tasks: int = MOST_TASKS, most_sources: int = MOST_SOURCES
) -> list[Path]:
    """Writes the figures as PNG files into a folder and returns their paths in order.

    `summary` is the outcomes' summary. Without confidences there are no figures about them, with one task none by task. Of more than
    `most_tasks` tasks only the largest are drawn; of more than `most_sources` sources of confidence the main one and those with the most
    answers. Raises UserError if a file cannot be written.
    """
    paths = []
    with style():
        for name, figure in _figures(summary, outcomes, most_tasks, most_sources):
            paths.append(Path(folder) / f"{name}.png")
            write_atomically(paths[-1], png(figure))
    return paths


def _figures(summary: Summary, outcomes: Sequence[Outcome], most_tasks: int, most_sources: int) -> Iterator[tuple[str, Figure]]:
    tasks = _largest(summary, most_tasks)
    overall = {source: tally for source in shown_sources(summary, most_sources) if (tally := tally_of(outcomes, source)).n}
    if overall:
        stated = {source: summary["overall"]["confidence"][source] for source in overall}
        axes = {source: source_words(source).axis for source in overall}
        yield "reliability", reliability_figure("Reliability diagram. All answers", overall, stated, axes)
        yield "risk_coverage", risk_coverage_figure("Risk-coverage curve. All answers", {"overall": overall}, list(overall))
        yield "confidence", confidence_figure("Confidence of right and of wrong answers. All answers", overall, axes)
    if len(tasks) > 1:
        yield from _figures_by_task(summary, outcomes, tasks, list(overall))
    names: set[str] = set()
    for task in tasks:
        if confusion := (summary["tasks"][task].get("emotion") or {}).get("confusion"):
            yield _file_name("confusion", task, names), confusion_figure(task, confusion)


def _figures_by_task(
    summary: Summary, outcomes: Sequence[Outcome], tasks: Sequence[str], sources: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    """The figures with one panel per task: risk-coverage curves of all sources, the others of the first source."""
    answers = {task: [outcome for outcome in outcomes if outcome.task == task] for task in tasks}
    tallies = {task: {source: tally for source in sources if (tally := tally_of(answers[task], source)).n} for task in tasks}
    of_first = {task: found[sources[0]] for task, found in tallies.items() if sources and sources[0] in found}
    if of_first:
        stated = {task: summary["tasks"][task]["confidence"][sources[0]] for task in of_first}
        by_task = f"By task ({display_name(sources[0])})"
        axes = dict.fromkeys(of_first, source_words(sources[0]).axis)
        yield "reliability_by_task", reliability_figure(f"Reliability diagrams. {by_task}", of_first, stated, axes)
        yield "risk_coverage_by_task", risk_coverage_figure("Risk-coverage curves. By task", tallies, sources)
        yield "confidence_by_task", confidence_figure(f"Confidence of right and of wrong answers. {by_task}", of_first, axes)


def reliability_figure(
    title: str, tallies: Mapping[str, Tally], stated: Mapping[str, Mapping[str, Any]], names: Mapping[str, str] = _NO_NAMES
) -> Figure:
    """Reliability diagrams: accuracy against mean confidence per bin with Clopper-Pearson intervals, above the number of answers per bin.

    `names` has the name of the axis of confidence in each panel.
    """
    sheet = PanelFigure(len(tallies), title, height=3.0)
    for panel, (name, tally) in enumerate(tallies.items()):
        bins = reliability_bins(tally)
        above, below = sheet.axes(panel, 0.3, 1.0), sheet.axes(panel, 0.0, 0.24)
        m = stated[name]
        ece = with_interval(m.get("ece"), m.get("ece_ci"))
        null = f"; if calibrated {interval(m['ece_null'])}" if m.get("ece_null") else ""
        above.set_title(f"{display_name(name)}, n = {int(tally.n):,}\nECE {ece}{null}", loc="left")
        above.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
        accuracy = np.array([each.accuracy for each in bins])
        ends = np.abs(np.array([each.accuracy_ci for each in bins]).T - accuracy)
        at = [each.confidence for each in bins]
        above.plot(at, accuracy, color=BLUE, linewidth=1, alpha=0.35)
        above.errorbar(at, accuracy, yerr=ends, color=BLUE, fmt="o", markersize=3.5, elinewidth=0.9, capsize=2, clip_on=False)
        _unit_axis(above, "Accuracy")
        above.set_xticklabels([])
        edges, sizes = [each.low for each in bins], [each.n for each in bins]
        below.bar(edges, sizes, 1 / BINS, align="edge", color=BLUE, edgecolor="white", linewidth=0.6)
        most = int(max(sizes))
        below.set(xlim=(0, 1), ylim=(0, most), yticks=[0, most], yticklabels=["0", f"{most:,}"])
        below.set(xlabel=names.get(name, "Confidence"), ylabel="Answers")
    return sheet.figure


def risk_coverage_figure(title: str, panels: Mapping[str, Mapping[str, Tally]], sources: Sequence[str]) -> Figure:
    """Risk-coverage curves: the error rate of the most confident answers against the share kept, with chance and a perfect ranking."""
    # Colours are reused dashed.
    look: dict[str, dict[str, Any]] = {
        source: {"color": LINES[place % len(LINES)], "linestyle": "-" if place < len(LINES) else "--", "linewidth": 1.2}
        for place, source in enumerate(sources)
    }
    handles = [Line2D([], [], **look[source], label=display_name(source)) for source in sources]
    handles += [
        Line2D([], [], color=GREY, linewidth=0.8, linestyle="--", label="chance"),
        Line2D([], [], color=GREY, linewidth=0.8, linestyle=":", label="perfect"),
    ]
    lines = 2 + max((len(_areas(tallies)) for tallies in panels.values()), default=1)
    sheet = PanelFigure(len(panels), title, legend=handles, margins=(0.6, 0.15, 0.45, 0.15 * lines))
    for panel, (name, tallies) in enumerate(panels.items()):
        axes = sheet.axes(panel)
        highest, most = 0.05, 0
        for source, tally in tallies.items():
            coverage, risk = risk_coverage(tally)
            least = max(_LOWEST_COVERAGE, min(_FEWEST / float(tally.n), 0.5))
            start = int(np.searchsorted(coverage, least - 1e-9))
            before = [0.0] if start == 0 else []  # the strictest threshold keeps many answers: extend its risk to 0
            axes.plot([*before, *coverage[start:]], [*risk[: len(before)], *risk[start:]], **look[source])
            highest, most = max(highest, *risk[start:]), max(most, int(tally.n))
        if tallies:
            tally = next(iter(tallies.values()))
            right = float(tally.rights / tally.n)
            kept = np.linspace(max(right, 1e-9), 1, 50)
            axes.axhline(1 - right, color=GREY, linewidth=0.8, linestyle="--")
            axes.plot(kept, 1 - right / kept, color=GREY, linewidth=0.8, linestyle=":")
        few = ": few, so rough" if 0 < most < _ROUGH else ""
        axes.set_title("\n".join([f"{display_name(name)}, n = {most:,}{few}", *(_areas(tallies) or ["AURC not defined"])]), loc="left")
        axes.set(xlim=(0, 1), ylim=(0, min(1.1 * highest, 1.02)), xlabel="Share of answers kept", ylabel="Share of them wrong")
    return sheet.figure


def _areas(tallies: Mapping[str, Tally]) -> list[str]:
    """Lines of a title with the area under each curve."""
    separator = ",\n"
    areas = [f"{display_name(source)} {percent(float(aurc(tally)))}" for source, tally in tallies.items()]
    lines = [", ".join(areas[place : place + _AREAS_PER_LINE]) for place in range(0, len(areas), _AREAS_PER_LINE)]
    return f"AURC {separator.join(lines)}".splitlines() if lines else []


def confidence_figure(title: str, tallies: Mapping[str, Tally], names: Mapping[str, str] = _NO_NAMES) -> Figure:
    """Histograms of confidence for right and for wrong answers, with Clopper-Pearson intervals, after the paper's Figure 6.

    The bars of either colour sum to 1. `names` has the name of the axis of confidence in each panel.
    """
    legend = [Patch(color=BLUE, label="right answers"), Patch(color=VERMILION, label="wrong answers")]
    sheet = PanelFigure(len(tallies), title, legend=legend)
    for panel, (name, tally) in enumerate(tallies.items()):
        axes = sheet.axes(panel)
        for side, (counts, colour) in enumerate(((tally.right, BLUE), (tally.wrong, VERMILION))):
            total = counts.sum()
            inside = np.bincount(bin_of(tally.values), counts, minlength=BINS).astype(float)
            if total:
                at = (np.arange(BINS) + 0.3 + 0.4 * side) / BINS
                errors = _distances_to_interval(inside, total)
                axes.bar(at, inside / total, 0.4 / BINS, color=colour, yerr=errors, error_kw={"elinewidth": 0.7, "ecolor": "#333333"})
        right, n = int(tally.rights), int(tally.n)
        axes.set_title(f"{display_name(name)}\n{right:,} right, {n - right:,} wrong", loc="left")
        axes.set(xlim=(0, 1), xlabel=names.get(name, "Confidence"), ylabel="Share of all answers of that colour")
        axes.set_ylim(bottom=0)
    return sheet.figure


def _distances_to_interval(counts: Floats, total: float) -> Floats:
    """(2, B): the distances from `counts / total` to the ends of its 95 % Clopper-Pearson interval; 0 for a count of 0."""
    low = betaincinv(np.maximum(counts, 1), total - counts + 1, 0.025)
    high = betaincinv(counts + 1, np.maximum(total - counts, 1e-9), 0.975)
    ends: Floats = np.stack([counts / total - low, np.where(counts < total, high, 1) - counts / total])
    return np.where(counts > 0, np.maximum(ends, 0), 0)


def _unit_axis(axes: Axes, label: str) -> None:
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=ticks, yticks=ticks, ylabel=label)


def _largest(summary: Summary, most: int) -> list[str]:
    """The `most` largest tasks, in the order of the summary."""
    largest = sorted(summary["tasks"], key=lambda task: -summary["tasks"][task]["n"])[:most]
    return [task for task in summary["tasks"] if task in largest]


def _file_name(kind: str, task: str, taken: set[str]) -> str:
    """A file name of letters, digits, `-` and `_`, unique without regard to case; task names may hold any characters."""
    plain = f"{kind}_{re.sub(r'[^A-Za-z0-9_-]+', '_', task).strip('_')[:100] or 'task'}"
    name, number = plain, 2
    while name.casefold() in taken:
        name, number = f"{plain}_{number}", number + 1
    taken.add(name.casefold())
    return name


# Confusion matrices

_MALFORMED = "malformed"
_GRID = "#d9e2ec"
_MOST_SLANTED, _MOST_COUNTS = 10, 30  # labels, above which names are vertical, and counts are left out
_LONGEST = 40  # letters of a name
_LETTER = 0.068  # inches


def confusion_figure(task: str, confusion: Mapping[str, Any]) -> Figure:
    """A task's confusion matrix from `metrics.json`, truth by answer, shaded by the share of its row.

    Labels are in the order of the emotion loop, so that near misses lie near the diagonal; also those that do not occur. Cells without
    answers are empty.
    """
    labels, rows = shown_labels(task, confusion["labels"]), confusion["rows"]
    answers = [*labels, *([_MALFORMED] if any(_MALFORMED in row for row in rows.values()) else [])]
    counts = np.array([[rows.get(truth, {}).get(answer, 0) for answer in answers] for truth in labels], dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    side, upright = _side(len(labels)), len(labels) > _MOST_SLANTED
    truths = [f"{_short(label)} ({int(total):,})" for label, total in zip(labels, totals[:, 0], strict=True)]
    below = _LETTER * max(map(len, map(_short, answers))) * (1 if upright else 0.75)
    margins = (0.4 + _LETTER * max(map(len, truths)), 0.65, 0.4 + below, 0.2)
    sheet = PanelFigure(1, f"{display_name(task)}: truth by answer", width=side * len(answers), height=side * len(labels), margins=margins)
    axes = sheet.axes(0)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = 8 if side > 0.3 else 6.5
    turned = {"rotation": 90} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(answers)), list(map(_short, answers)), fontsize=max(size, 7), **turned)
    axes.set_yticks(range(len(labels)), truths, fontsize=max(size, 7))
    axes.set_xlabel("Answer", fontweight="bold")
    axes.set_ylabel("Truth (number of answers)", fontweight="bold")
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0, pad=7)
    axes.set_xticks(np.arange(len(answers) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=_GRID, linewidth=0.5)
    colours = [emotion_colour(label, taxonomy_of(task)).light for label in labels]
    for place, colour in enumerate(colours):
        axes.add_patch(Rectangle((-0.5, place - 0.5), -0.09, 1, color=colour, clip_on=False, linewidth=0))
        axes.add_patch(Rectangle((place - 0.5, len(labels) - 0.5), 1, 0.09, color=colour, clip_on=False, linewidth=0))
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
    """The side of a cell in inches; shown counts of four digits fit."""
    return 0.5 if labels <= _MOST_SLANTED else 0.3 if labels <= _MOST_COUNTS else max(0.13, 9 / labels)


def _short(label: str) -> str:
    name = display_name(label)
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
