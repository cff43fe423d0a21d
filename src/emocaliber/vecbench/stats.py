"""Counts of a benchmark's samples by file, task and label, beside the paper's, as tables, JSON and a figure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from emocaliber.core.samples import read_samples
from emocaliber.core.tasks import paper_counts, task_order, taxonomy_of
from emocaliber.emotions.colours import emotion_colour
from emocaliber.io.rows import display_name
from emocaliber.render.figure import BLUE, GREY, VERMILION, PanelFigure, png, style
from emocaliber.render.table import NONE, Table, decimal
from emocaliber.scenes.annotators import vote_entropy_nats
from emocaliber.vecbench.manifest import sample_files


@dataclass(frozen=True)
class TaskStats:
    """The samples of one task in one file: `labels` counts each candidate, in their order.

    `voted` samples have votes; `entropy_bits` is the mean of their vote entropies, in bits (0 where people agree), and None without votes.
    """

    labels: Mapping[str, int]
    voted: int
    entropy_bits: float | None

    @property
    def samples(self) -> int:
        return sum(self.labels.values())


@dataclass(frozen=True)
class Stats:
    """`tasks[file][task]` for the files that are there ("train", "test", "stage1" ..) and their tasks, VECBench's first, in its order."""

    tasks: Mapping[str, Mapping[str, TaskStats]]

    def as_dict(self) -> dict[str, object]:
        """The same for a JSON file, with the paper's count beside each of ours (None where the paper has none)."""
        return {
            file: {
                task: {
                    "samples": stats.samples,
                    "paper": paper_counts().get(file, {}).get(task),
                    "labels": dict(stats.labels),
                    "voted": stats.voted,
                    "vote_entropy_bits": stats.entropy_bits,
                }
                for task, stats in tasks.items()
            }
            for file, tasks in self.tasks.items()
        }

    def as_markdown(self) -> str:
        """The tables for a page."""
        return "\n\n".join(table.as_markdown() for table in self.tables())

    def tables(self) -> list[Table]:
        """Samples by file and task beside the paper's, then the labels of each task, then how far people agree where they voted."""
        names = list(dict.fromkeys(task for tasks in self.tasks.values() for task in tasks))
        names.sort(key=task_order)
        votes = self._votes(names)
        return [self._samples(names), *map(self._labels, names), *([votes] if votes else [])]

    def _samples(self, names: list[str]) -> Table:
        paper = paper_counts()
        header = ["task", *(column for file in self.tasks for column in (file, "paper"))]
        rows = []
        for name in names:
            cells = [name]
            for file, tasks in self.tasks.items():
                cells += [f"{tasks[name].samples:,}" if name in tasks else NONE, _count(paper.get(file, {}).get(name))]
            rows.append(cells)
        total = ["total"]
        for file, tasks in self.tasks.items():
            total += [f"{sum(stats.samples for stats in tasks.values()):,}", _count(sum(paper.get(file, {}).values()))]
        note = "The paper's: Figure 3 for train and test, Table 1 for the stages of VEC-CoT."
        return Table(header, [*rows, total], title="Samples", note=note)

    def _labels(self, name: str) -> Table:
        held = {file: tasks[name] for file, tasks in self.tasks.items() if name in tasks}
        labels = list(dict.fromkeys(label for stats in held.values() for label in stats.labels))
        rows = [[label, *(cell for stats in held.values() for cell in _share(stats, label))] for label in labels]
        return Table(["label", *(column for file in held for column in (file, "%"))], rows, title=f"Labels of {name}")

    def _votes(self, names: list[str]) -> Table | None:
        rows = [
            [name, file, f"{stats.voted:,}", decimal(stats.entropy_bits)]
            for name in names
            for file, tasks in self.tasks.items()
            if (stats := tasks.get(name)) is not None and stats.voted
        ]
        note = "0 bits where people agree; one bit is a tie of two emotions."
        return Table(["task", "file", "voted on", "entropy (bits)"], rows, title="Votes", note=note, words=2) if rows else None


def benchmark_stats(*places: str | Path) -> Stats:
    """Counts the samples of files, and of a benchmark's files in folders. Files of one name are told apart by their paths.

    Raises UserError if a folder has none of train.jsonl, test.jsonl and stage1..3.jsonl, or a file has a row that is no sample.
    """
    files = sample_files([Path(place) for place in places])
    stems = Counter(file.stem for file in files)
    return Stats(MappingProxyType({file.stem if stems[file.stem] == 1 else display_name(file): _by_task(file) for file in files}))


def _by_task(path: Path) -> Mapping[str, TaskStats]:
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    entropies: dict[str, list[float]] = defaultdict(list)  # in bits
    for sample in read_samples(path):
        labels[sample.task].update(dict.fromkeys(sample.candidates, 0))
        labels[sample.task][sample.ground_truth] += 1
        if sample.votes is not None:
            entropies[sample.task].append(float(vote_entropy_nats(list(sample.votes.values()))) / math.log(2))
    found = {}
    for task in sorted(labels, key=task_order):
        entropy = entropies[task]
        found[task] = TaskStats(MappingProxyType(labels[task]), len(entropy), math.fsum(entropy) / len(entropy) if entropy else None)
    return MappingProxyType(found)


def _count(number: int | None) -> str:
    return f"{number:,}" if number else NONE


def _share(stats: TaskStats, label: str) -> tuple[str, str]:
    count = stats.labels.get(label, 0)
    return f"{count:,}", f"{100 * count / stats.samples:.1f}"


# The figure: how often each label occurs, a panel per task, in training and in the test.

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
    sheet = PanelFigure(
        len(tasks), "How often each label occurs", legend=legend, width=1.9, height=_HEIGHT, margins=(1.1, 0.15, 0.45, 0.35)
    )
    for panel, task in enumerate(tasks):
        axes = sheet.axes(panel)
        for number, file in enumerate(files):
            counts = _labels(stats, file, task)
            total = sum(counts.values()) or 1
            places = [place + (number - (len(files) - 1) / 2) * 0.8 / len(files) for place in range(len(labels[task]))]
            shares = [100 * counts.get(label, 0) / total for label in labels[task]]
            axes.barh(places, shares, 0.8 / len(files), color=_COLOURS.get(file, _OTHER))
        axes.set_yticks(range(len(labels[task])), labels[task])
        axes.tick_params(axis="y", length=0, pad=8)
        for place, label in enumerate(labels[task]):
            colour = emotion_colour(label, taxonomy_of(task)).light
            axes.plot(-0.025, place, "s", color=colour, markersize=4, transform=axes.get_yaxis_transform(), clip_on=False)
        axes.set_ylim(len(labels[task]) - 0.5, -0.5)
        axes.set_xlabel("% of the task")
        axes.set_title(task, loc="left")
    return sheet.figure


def _labels(stats: Stats, file: str, task: str) -> dict[str, int]:
    found = stats.tasks[file].get(task)
    return dict(found.labels) if found else {}
