"""What a watch tells: a table, a page, a JSON object, and gauges for Prometheus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emocaliber.io.rows import write_atomically
from emocaliber.render.table import NONE, Table, percent
from emocaliber.trust.pages import Drawn, write_page
from emocaliber.trust.watch import WORDS, Watch

_GAUGES: Mapping[str, tuple[str, str]] = {
    "rows_total": ("counter", "Rows seen."),
    "accepted_total": ("counter", "Rows accepted by the certificate's threshold."),
    "labels_total": ("counter", "Labels of accepted rows."),
    "right_total": ("counter", "Accepted rows that their label says are right."),
    "wealth": ("gauge", "Evidence of each test that something changed, to 1."),
    "alarm_wealth": ("gauge", "The evidence at which each test raises the alarm."),
    "alarm": ("gauge", "1 after an alarm, else 0."),
    "voided": ("gauge", "1 if an alarm voided a certificate, else 0."),
}


def metrics_text(watch: Watch) -> str:
    """The state of a watch in Prometheus' text format, as its textfile collector and any scrape read it."""
    alarmed = int(watch.alarm is not None)
    counters = {"rows": watch.rows, "accepted": watch.accepted, "labels": watch.labels, "right": watch.right}
    values: dict[str, Mapping[str, float] | int] = {f"{name}_total": count for name, count in counters.items()}
    values |= {"wealth": watch.wealth, "alarm_wealth": watch.lines, "alarm": alarmed, "voided": int(bool(alarmed and watch.promise))}
    lines = []
    for name, (kind, explained) in _GAUGES.items():
        metric, value = f"emocaliber_watch_{name}", values[name]
        lines += [f"# HELP {metric} {explained}", f"# TYPE {metric} {kind}"]
        if isinstance(value, Mapping):
            lines += [f'{metric}{{test="{test}"}} {number!r}' for test, number in value.items()]
        else:
            lines.append(f"{metric} {value}")
    return "\n".join(lines) + "\n"


def summary_of(watch: Watch) -> dict[str, Any]:
    """The state of a watch as one JSON object."""
    wealth = watch.wealth
    alarm = dict(vars(watch.alarm)) | {"tests": list(watch.alarm.tests), "sentence": watch.alarm.sentence} if watch.alarm else None
    return {
        "rows": watch.rows,
        "accepted": watch.accepted,
        "labels": watch.labels,
        "right": watch.right,
        "alpha": watch.alpha,
        "reference": watch.reference.n,
        "tests": {name: {"wealth": wealth[name], "line": line} for name, line in watch.lines.items()},
        "alarm": alarm,
        "voided": bool(watch.alarm and watch.promise),
    }


def watch_table(watch: Watch) -> Table:
    """The evidence of each test beside its line."""
    wealth, moved = watch.wealth, watch.alarm.tests if watch.alarm else ()
    rows = [
        [name, WORDS[name], _to_one(wealth[name]), _to_one(line), "ALARM" if name in moved else ""] for name, line in watch.lines.items()
    ]
    return Table(["test", "watches", "evidence", "alarm at", ""], rows, words=2, fit=[(1, 0)])


def sentences(watch: Watch) -> list[str]:
    """What has been seen, and what follows from it."""
    seen = f"{watch.rows:,} rows against {watch.reference.n:,} of the reference"
    if watch.promise:
        share = percent(watch.right / watch.labels) if watch.labels else NONE
        target = percent(watch.promise.accuracy)
        seen += f"; {watch.accepted:,} accepted, {watch.labels:,} of them labelled, {share} % right (promised: {target} %)"
    if watch.alarm is None:
        return [f"{seen}. No alarm: no sign of a change that would be too strong for chance."]
    ends = (
        "The certificate is void: certify again, on labelled answers of today" if watch.promise else "Calibrate again, on answers of today"
    )
    return [f"{seen}.", f"ALARM: {watch.alarm.sentence}.", f"{ends}, and start a new watch with a new state."]


def write_watch_page(watch: Watch, folder: str | Path) -> Path:
    """Writes `watch.json`, the control chart `watch.png` and `index.html` to a folder; returns the page."""
    from emocaliber.trust.watch_figure import HOW_TO_READ, watch_png

    folder = Path(folder)
    write_atomically(folder / "watch.json", json.dumps(summary_of(watch), indent=2) + "\n")
    seen, *alarm = sentences(watch)
    return write_page(
        folder,
        "Alarm" if watch.alarm else "No alarm",
        about=f"The chance of any alarm, ever, without a change: {100 * watch.alpha:g} %",
        notice=" ".join(alarm),
        lead=[seen],
        table=watch_table(watch),
        figure=Drawn("watch.png", watch_png(watch), "Control chart", HOW_TO_READ.format(alpha=watch.alpha)),
    )


def _to_one(wealth: float) -> str:
    return f"{wealth:.3g}" if wealth < 1e6 else f"{wealth:.0e}"
