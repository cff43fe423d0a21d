"""A run in the form of the paper's Tables 2 to 5, beside the systems printed there, and the printed figures of Tables 2 to 6.

Synthetic scenes share only the task names with VECBench: for a run on them, the best possible numbers replace the paper's systems.

Wu, Yang, Ma and Zhou: "EmoCaliber: Advancing Reliable Visual Emotion Comprehension via Confidence Verbalization and Calibration".
`paper_rows/` holds the figures, in percent as printed. The paper's macro F1 is F1 weighted by support: the authors' script computes that,
and their tables show it. "Average" is the mean over tasks, except for one printed figure: the accuracy of Qwen2.5-VL on ID VER, 40.73,
where the mean of its row is 40.95. ECE, Brier and AUC are pooled over samples.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from emocaliber.core.tasks import TASKS, paper_counts
from emocaliber.render.table import NONE, Table, interval, marks_of, percent

Metrics = Mapping[str, Any]

PAPER = "The other rows are the paper's."
SCENES = "The samples are synthetic scenes: these numbers are not comparable with the paper's, whose systems are left out."

_AVERAGE = "average"
_HEADINGS = {"acc": "Acc", "f1": "F1", "ece": "ECE", "brier": "Brier", "auc": "AUC", _AVERAGE: "Average"}
_LOWER_IS_BETTER = ("ece", "brier")
_KEYS = {"acc": "accuracy", "f1": "f1_weighted", "ece": "ece", "brier": "brier", "auc": "auroc"}

Column = tuple[str, str]


@dataclass(frozen=True)
class _Run:
    """One row of the run: its names, and the metrics that hold each column's number."""

    names: tuple[str, ...]
    numbers: Mapping[Column, Metrics]

    def values(self, columns: Sequence[Column]) -> list[float | None]:
        return [self.numbers[column].get(_KEYS[column[1]]) for column in columns]

    def intervals(self, columns: Sequence[Column], suffix: str) -> list[str]:
        return [interval(self.numbers[column].get(f"{_KEYS[column[1]]}_{suffix}")) for column in columns]


def paper_tables(summary: Metrics, name: str) -> Iterator[Table]:
    """Tables 2 to 4, each for the run's tasks of its group, and Table 5 for the groups of which the run has every task."""
    for group in ANSWER_TABLES:
        if group in summary["groups"]:
            yield _answers(summary, group, name)
    groups = [group for group in ANSWER_TABLES if is_whole(summary, group)]
    if groups and summary["settings"]["sources"]:
        yield _confidence(summary, groups, name)


def is_whole(summary: Metrics, group: str) -> bool:
    """Whether the run has every task of the group; otherwise its numbers are not comparable with the paper's."""
    return all(task in summary["tasks"] for task in group_tasks(group))


def is_synthetic(metrics: Metrics) -> bool:
    """Whether the samples are synthetic scenes: only for those the best possible numbers are known."""
    return bool(metrics.get("best_possible"))


def _answers(summary: Metrics, group: str, name: str) -> Table:
    tasks = [task for task in group_tasks(group) if task in summary["tasks"]]
    scopes: dict[str, Metrics] = {task: summary["tasks"][task] for task in tasks}
    if is_whole(summary, group):
        scopes[_AVERAGE] = summary["groups"][group]
    columns = [(scope, metric) for scope in scopes for metric in ("acc", "f1")]
    run = _Run((name,), {column: scopes[column[0]] for column in columns})
    synthetic = any(map(is_synthetic, scopes.values()))
    best = _Run(("best possible",), {column: scopes[column[0]].get("best_possible") or {} for column in columns})
    table = ANSWER_TABLES[group]
    note = ["F1 is weighted by support: the paper prints that, under the name of macro F1.", _malformed(summary, [group])]
    if _AVERAGE in scopes:
        note.append("The average is the mean over the tasks.")
    note += [SCENES] if synthetic else [PAPER, _other_samples(summary, tasks)]
    return _beside(
        f"Answers on {group}, after the paper's Table {table}",
        ("System",),
        columns,
        [] if synthetic else [((row.system,), row.figures) for row in paper_rows(table)],
        [run],
        [best] if synthetic else [],
        " ".join(filter(None, note)),
    )


def _confidence(summary: Metrics, groups: Sequence[str], name: str) -> Table:
    columns = [(group, metric) for group in groups for metric in ("ece", "brier", "auc")]
    scopes = {group: summary["groups"][group] for group in groups}
    runs = [
        _Run((name, source), {column: scopes[column[0]].get("confidence", {}).get(source, {}) for column in columns})
        for source in summary["settings"]["sources"]
    ]
    synthetic = any(map(is_synthetic, scopes.values()))
    posteriors = {group: (m.get("best_possible") or {}).get("confidence", {}).get("posterior", {}) for group, m in scopes.items()}
    best = _Run(("best possible", "posterior"), {column: posteriors[column[0]] for column in columns})
    note = [
        "Over all samples of a group that have a confidence. If calibrated: the ECE range of 95 % of perfectly calibrated",
        "models with the same confidences.",
        _malformed(summary, groups),
    ]
    note += [SCENES] if synthetic else [PAPER, _other_samples(summary, [task for group in groups for task in group_tasks(group)])]
    return _beside(
        f"Confidence, after the paper's Table {CONFIDENCE_TABLE}",
        ("System", "Confidence"),
        columns,
        [] if synthetic else [((row.system, row.source), row.figures) for row in paper_rows(CONFIDENCE_TABLE)],
        runs,
        [best] if synthetic else [],
        " ".join(filter(None, note)),
    )


def _beside(
    title: str,
    names: tuple[str, ...],
    columns: Sequence[Column],
    paper: Sequence[tuple[tuple[str, ...], Mapping[Column, float | None]]],
    runs: Sequence[_Run],
    best: Sequence[_Run],
    note: str,
) -> Table:
    """The paper's rows, the run's with their intervals below, and the best possible; the best of each column is marked among the first
    two."""
    rows: list[tuple[tuple[str, ...], list[str]]] = []
    numbers: list[list[float | None]] = []
    blank: list[float | None] = [None] * len(columns)
    for labels, figures in paper:
        numbers.append([figures.get(column) for column in columns])
        rows.append((labels, list(map(percent, numbers[-1]))))
    for run in runs:
        numbers.append(run.values(columns))
        rows.append((run.names, list(map(percent, numbers[-1]))))
        for label, suffix in (("95 % interval", "ci"), ("if calibrated", "null")):
            ends = run.intervals(columns, suffix)
            if any(end != NONE for end in ends):
                numbers.append(blank)
                rows.append(((label, *run.names[1:]), ends))
    rows += [(run.names, list(map(percent, run.values(columns)))) for run in best]
    heading = [f"{_HEADINGS.get(scope, scope)} {_HEADINGS[metric]}" for scope, metric in columns]
    by_column = list(zip(*numbers, strict=True))
    marks = marks_of((len(names) + at, by_column[at], metric not in _LOWER_IS_BETTER) for at, (_, metric) in enumerate(columns))
    return Table((*names, *heading), [(*labels, *cells) for labels, cells in rows], title, note, len(names), marks)


def _malformed(summary: Metrics, groups: Sequence[str]) -> str:
    """A note with the share of malformed answers; empty where it is not known."""
    shares = {group: summary["groups"][group].get("malformed", {}).get("share") for group in groups}
    told = ", ".join(f"{group} {percent(share)}" for group, share in shares.items() if share is not None)
    return f"Malformed answers of this run, which are wrong and have no confidence: {told}." if told else ""


def _other_samples(summary: Metrics, tasks: Sequence[str]) -> str:
    """A note listing the tasks whose sample count differs from VECBench's test split; empty if none does."""
    theirs = paper_counts()["test"]
    sizes = {task: summary["tasks"][task]["n"] for task in tasks}
    other = [f"{task} {n:,} (theirs: {theirs[task]:,})" for task, n in sizes.items() if n != theirs[task]]
    return f"The run has other samples than VECBench's test split: {', '.join(other)}." if other else ""


# The printed figures

ANSWER_TABLES: Mapping[str, int] = MappingProxyType({"ID VER": 2, "ID VSA": 3, "OOD VER": 4})
CONFIDENCE_TABLE, EVOLVEMENT_TABLE = 5, 6


@dataclass(frozen=True)
class PaperRow:
    """One printed row: `figures[scope, metric]` in [0, 1], such as `figures["FI-8", "acc"]`, None where a dash is printed.

    The metrics are acc, f1, ece, brier and auc; the scopes are tasks, groups and "average". `source` is Verb, Ans or Avg in Table 5.
    """

    system: str
    source: str
    figures: Mapping[tuple[str, str], float | None]


@cache
def paper_rows(table: int) -> tuple[PaperRow, ...]:
    """The rows of one of the paper's Tables 2 to 6, in the order of print."""
    file = resources.files("emocaliber.evaluation") / "paper_rows" / f"table{table}.csv"
    return tuple(
        PaperRow(row.pop("system"), row.pop("source", ""), {_column(name): _fraction(figure) for name, figure in row.items()})
        for row in csv.DictReader(file.read_text("utf-8").splitlines())
    )


def group_tasks(group: str) -> tuple[str, ...]:
    """The tasks of a group in the order of the paper's columns."""
    scopes = dict.fromkeys(scope for scope, _ in paper_rows(ANSWER_TABLES[group])[0].figures)
    return tuple(scope for scope in scopes if scope in TASKS)


def _column(name: str) -> tuple[str, str]:
    scope, _, metric = name.rpartition(" ")
    return scope, metric


def _fraction(figure: str) -> float | None:
    return float(figure) / 100 if figure else None
