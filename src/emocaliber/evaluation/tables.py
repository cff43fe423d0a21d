"""A run's tables in text, Markdown and LaTeX: percentages with two decimals, like the paper's; an en dash where a number is not defined."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emocaliber.core.scoring import CONFIDENCE, VERBALIZED
from emocaliber.core.tasks import GROUPS
from emocaliber.errors import UserError
from emocaliber.evaluation.paper_tables import EVOLVEMENT_TABLE, is_synthetic, is_whole, paper_rows, paper_tables
from emocaliber.evaluation.stated import NOT_SHARES, added_metrics
from emocaliber.io.rows import display_name
from emocaliber.render.table import NONE, Table, decimal, interval, marks_of, percent, with_interval

Summary = Mapping[str, Any]
Metrics = Mapping[str, Any]

WIDEST = 132

_CEILING = "posterior"
_CALIBRATION = {
    "ece_equal_mass": "ECE equal mass",
    "ece_debiased": "ECE debiased",
    "ece_smooth": "ECE smooth",
    "mce": "MCE",
    "brier_reliability": "Reliability",
    "brier_resolution": "Resolution",
    "brier_uncertainty": "Uncertainty",
    "brier_skill": "Brier skill",
    "nll": "NLL",
    "spiegelhalter_z": "Z",
    "spiegelhalter_p": "p",
}
_RANKING = {"aurc": "AURC", "augrc": "AUGRC", "coverage_at_80": "Coverage at 80", "coverage_at_90": "Coverage at 90"}
_PENALISED = {"ece": "ECE", "brier": "Brier", "auroc": "AUROC"}
_EMOTION = {
    "loop_distance": "Loop distance",
    "polarity_flips": "Polarity flips",
    "accuracy_at_7": "Acc at 7",
    "accuracy_at_2": "Acc at 2",
    "agreement": "Agreement",
    "agreement_best": "Best agreement",
}
_PEOPLE = {
    "mae": "Distance",
    "rms": "Rms",
    "brier": "Brier",
    "correlation": "Correlation",
    "interval_coverage": "Covered",
    "interval_width": "Width",
    "ignorance_spearman": "Width and distance",
}


def markdown(summary: Summary, name: str = "this run") -> str:
    """All tables of one run in Markdown: beside the paper's for VECBench's tasks, in full, and with the best possible numbers where
    known."""
    return "\n\n".join([_how_to_read(summary), *(table.as_markdown() for table in tables(summary, name))]) + "\n"


def latex(summary: Summary, name: str = "this run") -> str:
    """All tables of one run in LaTeX, for the packages booktabs and graphicx."""
    head = f"% {_how_to_read(summary)}\n% \\usepackage{{booktabs}} \\usepackage{{graphicx}}"
    return "\n\n".join([head, *(table.as_latex() for table in tables(summary, name))]) + "\n"


def headline(summary: Summary, width: int = WIDEST) -> str:
    """`headline_table` as text."""
    return f"{headline_table(summary, width).as_text()}\n"


def headline_table(summary: Summary, width: int = WIDEST) -> Table:
    """A short table for a terminal of `width` columns: every task, group and overall, without intervals if they do not fit."""
    source = main_source(summary)
    note = "Percentages, 95 % intervals in brackets. "
    if source in summary["settings"]["sources"]:
        named = "as given" if source == CONFIDENCE else display_name(source)
        note += f"Confidence: {named}. If calibrated: ECE of perfectly calibrated models."
    else:
        note += "No answer has a confidence."
    full = Table(
        ("", "n", "Acc", "Malformed", "ECE", "If calibrated", "Brier", "AUROC", "Coverage"),
        [
            [
                name,
                f"{m['n']:,}",
                _number(m, "accuracy"),
                percent(m.get("malformed", {}).get("share")),
                _number(c := _stated(m, source), "ece"),
                interval(c.get("ece_null")),
                percent(c.get("brier")),
                _number(c, "auroc"),
                percent(c.get("coverage")),
            ]
            for name, m in _scopes(summary)
        ],
    )
    if (needed := max(map(len, full.as_text().splitlines()))) > width:
        shorter = [[cell.split(" [")[0] if column else cell for column, cell in enumerate(row)] for row in full.rows]
        full, note = (
            Table(full.header, shorter),
            note.replace(
                ", 95 % intervals in brackets.", f"; their 95 % intervals are in tables.md, or shown in a terminal of {needed} columns."
            ),
        )
    partial = f"Not the whole run: {summary['settings']['partial']}.\n" if "partial" in summary["settings"] else ""
    # The columns that a narrower terminal leaves out, the least important first.
    gives_way = [(full.header.index(name), 0) for name in ("Coverage", "If calibrated", "Brier")]
    return replace(full, note=f"\n{partial}{note}", fit=[(0, 16), *gives_way])


def main_source(summary: Summary) -> str:
    """The source of confidence to show first: the requested one, else the verbalized one, among those with a confidence."""
    sources = summary["settings"]["sources"]
    used = [source for source in sources if _stated(summary["overall"], source).get("coverage")]
    return str(used[0]) if used else VERBALIZED


def sources_of(summary: Summary) -> list[str]:
    """The sources of confidence, the main one first."""
    first = main_source(summary)
    return [first, *(source for source in summary["settings"]["sources"] if source != first)]


def tables(summary: Summary, name: str) -> Iterator[Table]:
    """The tables of one run in order. `name` is the run's name in those that also list the paper's systems."""
    sources = sources_of(summary)
    yield from paper_tables(summary, display_name(name))
    yield _answers(summary)
    for source in sources:
        yield _confidence(summary, source)
    for source in sources:
        if any(_stated(m, source).get("coverage") for _, m in _scopes(summary)):
            yield from _more_on_confidence(summary, source)
    if any(is_synthetic(m) for _, m in _scopes(summary)):
        yield _best_possible(summary, sources[0])
    yield from _emotion(summary)
    yield from _people(summary)


def evolvement_table(named_summaries: Mapping[str, Summary], source: str = VERBALIZED) -> str:
    """A model's metrics by training stage, after the paper's Table 6: one table per group and overall, one row per summary, in Markdown.

    Numbers are percentages with their 95 % intervals. The paper's rows come first in a group that has all its tasks of VECBench; the last
    row is the best possible where the samples carry posteriors. Raises UserError if the summaries' counts or best possible numbers show
    that they were not made on the same samples.
    """
    first, *others = named_summaries
    parts = []
    for scope, metrics in _wholes(named_summaries[first]):
        members = {first: metrics}
        for name in others:
            other = dict(_wholes(named_summaries[name])).get(scope)
            if other is None or other["n"] != metrics["n"] or other.get("best_possible") != metrics.get("best_possible"):
                raise UserError(f"{first!r} and {name!r} were not scored on the same {scope} samples; score both on the same file")
            members[name] = other
        rows = [[name, *_evolved(m, source), percent(m.get("malformed", {}).get("share"))] for name, m in members.items()]
        if best := metrics.get("best_possible"):
            rows.append(["best possible", *_evolved(best, _CEILING), percent(0.0)])
        elif scope in named_summaries[first]["groups"] and is_whole(named_summaries[first], scope):
            rows = [*_papers_evolvement(scope), *rows]
        parts.append(Table([scope, "Acc", "ECE", "Brier", "AUROC", "Malformed"], rows).as_markdown())
    return "\n\n".join(parts) + "\n"


def _how_to_read(summary: Summary) -> str:
    settings, tasks = summary["settings"], len(summary["tasks"])
    text = f"**Not the whole run: {settings['partial']}.** " if "partial" in settings else ""
    text += f"n = {summary['n']:,} samples in {tasks} {'task' if tasks == 1 else 'tasks'}. Numbers are percentages; {NONE}: not defined."
    if "replicates" in settings:
        text += (
            f" In brackets: {100 * settings['level']:g} % intervals, exact for shares, by inverting a test for AUROC, and else of "
            f"{settings['replicates']:,} bootstrap replicates over images."
        )
    if settings.get("strict"):
        text += f" {settings['strict']:,} of {summary['n']:,} answers were read strictly: they had to keep to the five steps."
    return text


def _answers(summary: Summary) -> Table:
    steps = any(m.get("format") is not None for _, m in _scopes(summary))
    header = ["", "n", "Acc", "Acc pooled", "F1 macro", "F1 weighted", "Malformed", *(["Five steps"] if steps else [])]
    rows = [
        [
            name,
            f"{m['n']:,}",
            *(_number(m, key) for key in ("accuracy", "accuracy_pooled", "f1_macro", "f1_weighted")),
            _number(m.get("malformed", {}), "share"),
            *([_number(m, "format")] if steps else []),
        ]
        for name, m in _scopes(summary)
    ]
    note = "In a group and overall, Acc and F1 are means over its tasks; Acc pooled and all else are over samples."
    if steps:
        note += " Five steps: the share of samples whose text keeps to the five steps."
    return Table(header, rows, "Answers", note)


def _confidence(summary: Summary, source: str) -> Table:
    rows = []
    for name, m in _scopes(summary):
        c = _stated(m, source)
        stated = (_number(c, "ece"), interval(c.get("ece_null")), _number(c, "brier"), _number(c, "auroc"))
        lost = percent(m.get("malformed", {}).get("share"))
        rows.append([name, lost, percent(c.get("coverage")), *stated, *(_number(c, each) for each in added_metrics())])
    header = ["", "Malformed", "Coverage", "ECE", "ECE if calibrated", "Brier", "AUROC", *added_metrics()]
    note = "If calibrated: the ECE range of 95 % of perfectly calibrated models with these confidences; above 0 for any finite n."
    return Table(header, rows, f"Confidence: {_title(source)}", note)


def _best_possible(summary: Summary, source: str) -> Table:
    header = ["", "Acc", "Best Acc", *(f"{kind}{metric}" for metric in _PENALISED.values() for kind in ("", "Same answers ", "Best "))]
    rows = []
    for name, m in _scopes(summary):
        best, same = m.get("best_possible") or {}, m.get("best_possible_same_answers") or {}
        row = [name, percent(m.get("accuracy")), percent(best.get("accuracy"))]
        for key in _PENALISED:
            row += [percent(c.get(key)) for c in (_stated(m, source), _stated(same, _CEILING), _stated(best, _CEILING))]
        rows.append(row)
    note = (
        "Best: answering the likeliest emotion with its true probability as confidence. Same answers: this run's answers, each with its "
        f"true probability as confidence. The first number is this run's ({display_name(source)})."
    )
    return Table(header, rows, "Best possible", note)


def _more_on_confidence(summary: Summary, source: str) -> Iterator[Table]:
    scopes = [(name, _stated(m, source)) for name, m in _scopes(summary)]
    note = (
        "Reliability, resolution and uncertainty: the terms of Brier = reliability - resolution + uncertainty. "
        "NLL (nats), Spiegelhalter's Z and its p are not percentages. Intervals are in metrics.json."
    )
    yield from _columns(scopes, _CALIBRATION, f"Calibration, further metrics: {_title(source)}", note)
    note = "Coverage at 80: the largest share of answers that a confidence threshold keeps at an accuracy of 80 %."
    yield from _columns(scopes, _RANKING, f"Ranking and selective prediction: {_title(source)}", note)
    penalised = [(name, c.get("penalised") or {}) for name, c in scopes]
    if any(c.get(key) != p.get(key) for (_, c), (_, p) in zip(scopes, penalised, strict=True) for key in _PENALISED if p):
        note = "Every malformed answer and every missing confidence counts as a wrong answer at confidence 1."
        yield from _columns(penalised, _PENALISED, f"Penalised (missing or malformed = wrong at confidence 1): {_title(source)}", note)


def _emotion(summary: Summary) -> Iterator[Table]:
    scopes = [(name, m.get("emotion") or {}) for name, m in _scopes(summary)]
    note = (
        "Loop distance: mean distance of wrong answers from the truth on the emotion loop, in percent of its length (50 is opposite). "
        "Polarity flips: the share of samples answered with the opposite polarity. Acc at 7 and at 2: WebEmo-25 in coarser classes. "
        "Agreement: the share of annotators who would give the same answer."
    )
    yield from _columns(scopes, _EMOTION, "Emotion errors", note, intervals=True)
    correlations = [(name, {s: c.get("value") for s, c in (e.get("agreement_spearman") or {}).items()}) for name, e in scopes]
    found = {source: _title(source) for source in summary["settings"]["sources"]}
    note = "Spearman's rank correlation of confidence with the share of annotators who would give the same answer, times 100."
    yield from _columns(correlations, found, "Spearman correlation of confidence with annotator agreement", note)


def _people(summary: Summary) -> Iterator[Table]:
    note = (
        "The expected share of people who would give the answer, against the posterior or the votes. Distance: its mean; rms: the root "
        "of its mean square, without the scatter of votes. Brier: against the vote of one person. Covered: true shares in their "
        "intervals, which should be 80 %. Correlations (Spearman's, times 100): of expected and true shares, and of width and distance."
    )
    yield from _columns([(name, m.get("people") or {}) for name, m in _scopes(summary)], _PEOPLE, "Share of people", note, intervals=True)


def _columns(
    scopes: Sequence[tuple[str, Metrics]], titles: Mapping[str, str], title: str, note: str, *, intervals: bool = False
) -> Iterator[Table]:
    """A table with a column for each metric that any scope has; none without such a metric."""
    keys = [key for key in titles if any(m.get(key) is not None for _, m in scopes)]
    if keys:
        rows = [[name, *(_number(m, key, intervals=intervals) for key in keys)] for name, m in scopes]
        yield Table(["", *(titles[key] for key in keys)], rows, title, note)


def _scopes(summary: Summary) -> list[tuple[str, Metrics]]:
    tasks = [(display_name(task), m) for task, m in summary["tasks"].items()]
    return tasks if len(tasks) == 1 and not summary["groups"] else [*tasks, *_wholes(summary)]  # one custom task is all there is


def _wholes(summary: Summary) -> list[tuple[str, Metrics]]:
    return [*summary["groups"].items(), ("Overall", summary["overall"])]


def _stated(m: Metrics, source: str) -> Metrics:
    found: Metrics = m.get("confidence", {}).get(source, {})
    return found


def _evolved(m: Metrics, source: str) -> list[str]:
    return [_number(m, "accuracy"), *(_number(_stated(m, source), key) for key in ("ece", "brier", "auroc"))]


def _papers_evolvement(group: str) -> Iterator[list[str]]:
    for row in paper_rows(EVOLVEMENT_TABLE):
        yield [f"{row.system} (paper)", *(percent(row.figures[group, metric]) for metric in ("acc", "ece", "brier")), NONE, NONE]


def _number(m: Metrics, key: str, *, intervals: bool = True) -> str:
    if key in NOT_SHARES:
        return decimal(m.get(key))
    return with_interval(m.get(key), m.get(f"{key}_ci") if intervals else None)


def _title(source: str) -> str:
    return {VERBALIZED: "verb (stated in the text)", CONFIDENCE: "as given"}.get(source, display_name(source))


# Ablations, after the paper's Tables 7 to 9

_ABLATION_HEADINGS = {"accuracy": "Acc", "f1_weighted": "F1", "f1_macro": "F1 macro", "brier": "Brier", "ece": "ECE", "auroc": "AUROC"}
_OF_ANSWERS = ("accuracy", "f1_weighted", "f1_macro")
_LOWER_IS_BETTER = ("brier", "ece")

Number = tuple[float | None, Sequence[float] | None]


@dataclass(frozen=True)
class AblationRow:
    """One row of an ablation table: name, values of the varied settings (none for the untrained model), and summary."""

    name: str
    settings: Mapping[str, Any]
    summary: Summary


def check_metrics(metrics: Sequence[str], where: str) -> None:
    """Raises UserError, naming `where`, for a metric that these tables do not have."""
    if unknown := next((metric for metric in metrics if metric not in _ABLATION_HEADINGS), None):
        raise UserError(f"{where}: there is no metric {unknown!r}; there are {', '.join(_ABLATION_HEADINGS)}")


def ablation_table(rows: Sequence[AblationRow], metrics: Sequence[str], title: str) -> Table:
    """One row per run: its settings, and `metrics` (such as accuracy and brier) for each group that all runs have, with 95 % intervals.

    With several groups, also their mean, as in the paper; its interval treats the groups as independent samples.
    """
    settings = list(dict.fromkeys(name for row in rows for name in row.settings))
    groups = [group for group in GROUPS if all(group in row.summary["groups"] for row in rows)]
    columns: list[list[Number]] = []
    heading, higher = [], []
    for group in groups:
        for metric in metrics:
            columns.append([_ablated_number(row.summary["groups"][group], metric) for row in rows])
            heading.append(f"{group} {_ABLATION_HEADINGS[metric]}")
            higher.append(metric not in _LOWER_IS_BETTER)
    if len(groups) > 1:
        for place, metric in enumerate(metrics):
            of_groups = columns[place : len(groups) * len(metrics) : len(metrics)]
            columns.append([_mean([column[at] for column in of_groups]) for at in range(len(rows))])
            heading.append(f"Average {_ABLATION_HEADINGS[metric]}")
            higher.append(metric not in _LOWER_IS_BETTER)
    columns.append([_ablated_number(row.summary["overall"], "malformed") for row in rows])
    heading.append("Malformed")
    higher.append(False)
    words = 1 + len(settings)
    cells = [
        [row.name, *(_setting(row.settings.get(name)) for name in settings), *(with_interval(*column[at]) for column in columns)]
        for at, row in enumerate(rows)
    ]
    marks = marks_of(
        (words + place, [value for value, _ in column], better) for place, (column, better) in enumerate(zip(columns, higher, strict=True))
    )
    note = "Percentages, 95 % intervals in brackets. All runs answered the same samples: differences are more precise."
    return Table(["Model", *settings, *heading], cells, title, note, words, marks)


def _ablated_number(metrics: Mapping[str, Any], name: str) -> Number:
    if name == "malformed":
        return metrics.get(name, {}).get("share"), metrics.get(name, {}).get("share_ci")
    found = metrics if name in _OF_ANSWERS else metrics.get("confidence", {}).get(VERBALIZED, {})
    return found.get(name), found.get(f"{name}_ci")


def _mean(numbers: Sequence[Number]) -> Number:
    values = [value for value, _ in numbers if value is not None]
    if len(values) < len(numbers):
        return None, None
    mean = math.fsum(values) / len(values)
    ends = [interval for _, interval in numbers if interval is not None]
    if len(ends) < len(values):
        return mean, None
    low, high = (math.hypot(*(value - end[side] for value, end in zip(values, ends, strict=True))) / len(values) for side in (0, 1))
    return mean, (mean - low, mean + high)


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value is None else f"{value:g}" if isinstance(value, float) else str(value)
