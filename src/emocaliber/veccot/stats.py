"""Statistics of a ledger: samples by verdict, reasons of rejection, lengths of the steps, tokens and cost, as JSON, tables and a figure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from emocaliber.core.response import STEPS, Response, parse
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import task_order
from emocaliber.evaluation.intervals import clopper_pearson
from emocaliber.io.rows import display_name
from emocaliber.render.figure import BLUE, GREY, VERMILION, PanelFigure, png, style
from emocaliber.render.table import NONE, Table, with_interval
from emocaliber.veccot.ledger import Attempt, Ledger

STATES = ("accepted", "rejected", "failed", "untried")  # of a sample: the best verdict of its attempts
VERDICTS = STATES[:3]
USED = ("prompt_tokens", "completion_tokens", "cost", "seconds")


def ledger_stats(ledger: Path) -> dict[str, Any]:
    """The statistics of a ledger, over all its recipes, for a JSON file.

    - `samples`, and in `tasks` those of each task and each of its `labels`: the number in each of `STATES`, and the share of accepted
      samples among those tried, with a 95 % interval.
    - `attempts`: the number with each verdict. `reasons`: the number of rejected attempts by check.
    - `attempts_needed`: the number of accepted samples by the attempts that they took.
    - `words`: mean, median and 5 % and 95 % quantiles of the words in each step of accepted responses.
    - `used`: tokens, dollars and seconds, in total and `per_accepted` sample (None if there is none).
    - `recipes`: teacher, judge and attempts by verdict of each recipe.

    Raises UserError if the file is no ledger, or a sample in it is not valid.
    """
    with Ledger(ledger) as book:
        where = display_name(ledger)
        samples = {row["id"]: Sample.from_row(row, f"{where}, sample {row['id']!r}") for row in book.samples()}
        tally = _Tally(samples)
        for attempt in book.attempts():
            tally.add(attempt)
    return tally.as_dict()


class _Tally:
    """Counts the attempts while they are read one by one."""

    def __init__(self, samples: dict[str, Sample]) -> None:
        self.samples = samples
        self.state = dict.fromkeys(samples, "untried")
        self.tries: Counter[str] = Counter()
        self.needed: dict[str, int] = {}
        self.words: dict[str, list[int]] = {}  # in the newest accepted attempt, which is the one exported
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.used = dict.fromkeys(USED, 0.0)
        self.recipes: dict[str, dict[str, Any]] = {}

    def add(self, attempt: Attempt) -> None:
        sample = self.samples[attempt.sample]
        self.tries[sample.id] += 1
        self.verdicts[attempt.verdict] += 1
        self.state[sample.id] = min(self.state[sample.id], attempt.verdict, key=STATES.index)
        self.reasons.update({reason.check for reason in attempt.reasons} if attempt.verdict == "rejected" else ())
        for name in USED:
            self.used[name] += getattr(attempt, name)
        people = {"teacher": attempt.teacher, "judge": attempt.judge}
        self.recipes.setdefault(attempt.recipe, people | dict.fromkeys(VERDICTS, 0))[attempt.verdict] += 1
        if attempt.verdict == "accepted":
            self.needed.setdefault(sample.id, self.tries[sample.id])
            parsed = parse(attempt.response or "", sample.candidates)
            if isinstance(parsed, Response):
                self.words[sample.id] = [len(getattr(parsed.reasoning, step).split()) for step in STEPS]

    def as_dict(self) -> dict[str, Any]:
        labels: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for sample in self.samples.values():
            labels[sample.task][sample.ground_truth].append(self.state[sample.id])
        needed = Counter(self.needed.values())
        return {
            "samples": _states(self.state.values()),
            "tasks": {
                task: {
                    **_states(state for states in labels[task].values() for state in states),
                    "labels": {label: _states(labels[task][label]) for label in sorted(labels[task])},
                }
                for task in sorted(labels, key=task_order)
            },
            "attempts": {"n": sum(self.verdicts.values()), **{verdict: self.verdicts[verdict] for verdict in VERDICTS}},
            "reasons": {check: Share(count, self.verdicts["rejected"]).as_dict() for check, count in most_frequent(self.reasons)},
            "attempts_needed": {str(number): needed[number] for number in sorted(needed)},
            "words": _words(list(self.words.values())),
            "used": {name: _whole(value) for name, value in self.used.items()},
            "per_accepted": {name: value / len(self.needed) for name, value in self.used.items()} if self.needed else None,
            "recipes": self.recipes,
        }


def _states(states: Iterable[str]) -> dict[str, Any]:
    count = Counter(states)
    accepted = Share(count["accepted"], count.total() - count["untried"])
    counts = {state: count[state] for state in STATES}
    return {"n": count.total(), **counts, "accepted_share": accepted.value, "accepted_share_ci": list(accepted.interval)}


def _words(lengths: list[list[int]]) -> dict[str, dict[str, float]]:
    if not lengths:
        return {}
    table = np.array(lengths)
    low, median, high = np.quantile(table, (0.05, 0.5, 0.95), axis=0).tolist()
    columns = zip(STEPS, table.mean(axis=0).tolist(), low, median, high, strict=True)
    return {step: dict(zip(("mean", "low", "median", "high"), values, strict=True)) for step, *values in columns}


def _whole(value: float) -> float | int:
    return int(value) if value.is_integer() else value


# Shares with their intervals.


@dataclass(frozen=True)
class Share:
    """`count` out of `total`. If the total is 0, `value` is None and `interval` is (0, 1)."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of Clopper and Pearson (1934)."""
        return clopper_pearson(self.count, self.total) if self.total else (0.0, 1.0)

    def as_dict(self) -> dict[str, object]:
        """For a JSON file."""
        return {"count": self.count, "total": self.total, "share": self.value, "share_ci": list(self.interval)}


def most_frequent(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Names and counts, the most frequent first, ties by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


# The statistics as tables.

_TITLES = {"prompt_tokens": "tokens read", "completion_tokens": "tokens written", "cost": "dollars", "seconds": "seconds of waiting"}


def stats_tables(stats: Mapping[str, Any]) -> list[Table]:
    """Samples by task and by label, reasons of rejection, lengths of the steps, cost, and recipes; tables without rows are left out."""
    tables = [sample_table(stats), *map(_label_table, stats["tasks"], stats["tasks"].values()), reason_table(stats)]
    return [table for table in (*tables, _word_table(stats), used_table(stats), recipe_table(stats)) if table.rows]


def sample_table(stats: Mapping[str, Any]) -> Table:
    """Samples of each task by state."""
    rows = [_state_row(task, states) for task, states in stats["tasks"].items()]
    return _state_table("Samples", "task", [*rows, _state_row("total", stats["samples"])], "Shares are of the samples tried.")


def reason_table(stats: Mapping[str, Any]) -> Table:
    """Rejected attempts by reason; an attempt may have several."""
    rows = [(check, f"{share['count']:,}", with_interval(share["share"], share["share_ci"])) for check, share in stats["reasons"].items()]
    return Table(("reason", "attempts", "% of those rejected"), rows, title="Reasons of rejection", note="An attempt may have several.")


def used_table(stats: Mapping[str, Any]) -> Table:
    """Tokens, dollars and seconds, in all and for each accepted sample; then how many attempts that took."""
    each = stats["per_accepted"]
    rows = [(_TITLES[name], _number(stats["used"][name]), NONE if each is None else _number(each[name])) for name in USED]
    attempts, accepted = stats["attempts"]["n"], stats["samples"]["accepted"]
    rows.append(("attempts", f"{attempts:,}", f"{attempts / accepted:.2f}" if accepted else NONE))
    needed = ", ".join(f"{count:,} after {number}" for number, count in stats["attempts_needed"].items())
    note = f"Accepted samples by attempts: {needed}." if needed else ""
    return Table(("used", "in all", "per accepted sample"), rows, title="Cost", note=note)


def recipe_table(stats: Mapping[str, Any]) -> Table:
    """The attempts of each recipe."""
    rows = [
        (name, made["teacher"], made["judge"], *(f"{made[verdict]:,}" for verdict in VERDICTS)) for name, made in stats["recipes"].items()
    ]
    return Table(("recipe", "teacher", "judge", *VERDICTS), rows, title="Attempts by recipe", words=3)


def _label_table(task: str, states: Mapping[str, Any]) -> Table:
    return _state_table(f"Labels of {task}", "label", [_state_row(label, own) for label, own in states["labels"].items()])


def _state_table(title: str, what: str, rows: list[tuple[str, ...]], note: str = "") -> Table:
    header = (what, "samples", *STATES, "accepted, %")
    return Table(header, rows, title=title, note=note, fit=[(header.index(state), 0) for state in ("untried", "failed")])


def _state_row(name: str, states: Mapping[str, Any]) -> tuple[str, ...]:
    share = with_interval(states["accepted_share"], states["accepted_share_ci"])
    return name, f"{states['n']:,}", *(f"{states[state]:,}" for state in STATES), share


def _word_table(stats: Mapping[str, Any]) -> Table:
    quantiles = ("low", "median", "high")
    rows = [(step, f"{own['mean']:.1f}", *(f"{own[name]:.0f}" for name in quantiles)) for step, own in stats["words"].items()]
    return Table(("step", "mean", "5 %", "median", "95 %"), rows, title="Words in each step of accepted responses")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:,.4g}"


# The statistics as a figure: samples by verdict, reasons of rejection, attempts needed, and lengths of the steps.

_COLOURS = dict(zip(STATES, (BLUE, VERMILION, "#E69F00", "#DDDDDD"), strict=True))
_LONGEST, _LETTER = 26, 0.068  # letters of a name, and inches of a letter
_MOST = 12  # bars of a panel


def stats_figure(stats: Mapping[str, Any]) -> bytes:
    """A PNG file of a ledger's statistics (see `ledger_stats`). Equal statistics give equal bytes."""
    with style():
        return png(_draw(stats))


def _draw(stats: Mapping[str, Any]) -> Figure:
    """The panels that have something to show, and a legend of the states that occur."""
    legend = [Patch(color=colour, label=state) for state, colour in _COLOURS.items() if stats["samples"][state]]
    panels: list[tuple[Callable[[Axes, Any], None], Any]] = [(_samples, stats["tasks"])]
    panels += [(draw, stats[key]) for draw, key in _MORE_PANELS if stats[key]]
    longest = min(max(len(display_name(name)) for _, shown in panels for name in shown), _LONGEST)
    margins = (0.45 + _LETTER * max(longest, len("10 attempts")), 0.3, 0.5, 0.4)
    sheet = PanelFigure(len(panels), "VEC-CoT: what the factory made", legend=legend, width=2.6, height=2.4, margins=margins)
    for place, (draw, shown) in enumerate(panels):
        draw(sheet.axes(place), shown)
    return sheet.figure


def _samples(axes: Axes, tasks: Mapping[str, Any]) -> None:
    """Shares of the states, stacked; if all samples were tried, with the interval of the accepted share."""
    shown = list(tasks.items())[:_MOST]
    for place, (_, states) in enumerate(shown):
        left = 0.0
        for state in STATES:
            share = 100 * states[state] / states["n"]
            axes.barh(place, share, left=left, color=_COLOURS[state], height=0.75)
            left += share
        if states["n"] > states["untried"] == 0:
            low, high = states["accepted_share_ci"]
            axes.plot([100 * low, 100 * high], [place, place], color="black", linewidth=1)
    _label(axes, "Samples", [task for task, _ in shown])
    axes.set(xlim=(0, 100), xlabel="% of the samples; line: 95 % interval")


def _reasons(axes: Axes, reasons: Mapping[str, Any]) -> None:
    shown = list(reasons.items())[:_MOST]
    for place, (_, share) in enumerate(shown):
        low, high = share["share_ci"]
        axes.barh(place, 100 * share["share"], color=VERMILION, height=0.75)
        axes.plot([100 * low, 100 * high], [place, place], color="black", linewidth=1)
    _label(axes, "Reasons of rejection", [check for check, _ in shown])
    axes.set(xlabel="% of rejected attempts; line: 95 % interval")


def _needed(axes: Axes, needed: Mapping[str, int]) -> None:
    total = sum(needed.values()) or 1
    shown = list(needed.items())[:_MOST]
    for place, (_, count) in enumerate(shown):
        axes.barh(place, 100 * count / total, color=BLUE, height=0.75)
    _label(axes, "Attempts until accepted", [f"{number} attempt{'s' * (number != '1')}" for number, _ in shown])
    axes.set(xlim=(0, 100), xlabel="% of accepted samples")


def _words_in_figure(axes: Axes, words: Mapping[str, Any]) -> None:
    for place, length in enumerate(words.values()):
        axes.plot([length["low"], length["high"]], [place, place], color=GREY, linewidth=5, solid_capstyle="butt")
        axes.plot(length["median"], place, "o", color=BLUE, markersize=5)
    _label(axes, "Length of accepted steps", list(words))
    axes.set(xlabel="words: median, and from 5 % to 95 %")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


_MORE_PANELS: tuple[tuple[Callable[[Axes, Any], None], str], ...] = (
    (_reasons, "reasons"),
    (_needed, "attempts_needed"),
    (_words_in_figure, "words"),
)


def _label(axes: Axes, title: str, names: Sequence[str]) -> None:
    """The title, and a name for each bar, the first on top."""
    short = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in map(display_name, names)]
    axes.set_yticks(range(len(names)), short)
    axes.set_ylim(max(len(names), 3) - 0.5, -0.5)
    axes.set_title(title, loc="left")
