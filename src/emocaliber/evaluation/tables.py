"""Tables for people, in Markdown: percentages with two decimals, like the paper's; an en dash where a number is not defined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emocaliber.errors import UserError
from emocaliber.scoring import VERBALIZED

Summary = Mapping[str, Any]
Metrics = Mapping[str, Any]

_NONE = "–"  # noqa: RUF001
_CEILING = "posterior"


def markdown(summary: Summary) -> str:
    """The tables of one run: every task, group and overall with its verbalized confidence; then a table for each other source.

    Where every sample of a row carries a posterior, the best possible accuracy, Brier and AUROC stand beside it.
    """
    scopes = [*summary["tasks"].items(), *summary["groups"].items(), ("Overall", summary["overall"])]
    with_ceiling = any(m["best_possible"] for _, m in scopes)
    header = ["", "n", "Acc", "F1 macro", "F1 weighted", "Malformed", "Coverage", "ECE", "Brier", "AUROC"]
    if with_ceiling:
        header += ["Best Acc", "Best Brier", "Best AUROC"]
    rows = []
    for name, m in scopes:
        row = [name, str(m["n"]), *map(_percent, (m["accuracy"], m["f1_macro"], m["f1_weighted"], m["malformed"]["share"]))]
        row += _confidence(m, VERBALIZED, ("coverage", "ece", "brier", "auroc"))
        if with_ceiling:
            best = m["best_possible"] or {}
            row += [_percent(best.get("accuracy")), *_confidence(best, _CEILING, ("brier", "auroc"))]
        rows.append(row)
    note = "Accuracy and F1 of a group are means over its tasks; the rest is over samples. Confidence as stated in the text."
    parts = [_table(header, rows), note]
    for source in summary["settings"]["sources"]:
        if source != VERBALIZED:
            columns = ("coverage", "ece", "brier", "auroc")
            others = [[name, *_confidence(m, source, columns)] for name, m in scopes]
            parts.append(_table([f"Confidence: {source}", "Coverage", "ECE", "Brier", "AUROC"], others))
    return "\n\n".join(parts) + "\n"


def evolvement_table(named_summaries: Mapping[str, Summary], source: str = VERBALIZED) -> str:
    """How a model grew over its stages, after the paper's Table 6: one table per group and overall, one row per summary, in their order.

    The last row is the best possible where the samples carry posteriors. Raises UserError where the summaries were not made on the
    same samples, as far as their counts and best possible numbers tell.
    """
    first, *others = named_summaries
    parts = []
    for scope, metrics in _scopes(named_summaries[first]):
        members = {first: metrics}
        for name in others:
            other = dict(_scopes(named_summaries[name])).get(scope)
            if other is None or other["n"] != metrics["n"] or other["best_possible"] != metrics["best_possible"]:
                raise UserError(f"{first!r} and {name!r} were not scored on the same {scope} samples; score both on the same file")
            members[name] = other
        rows = [[name, *_numbers(m, source), _percent(m["malformed"]["share"])] for name, m in members.items()]
        if best := metrics["best_possible"]:
            rows.append(["best possible", *_numbers(best, _CEILING), _percent(0.0)])
        parts.append(_table([scope, "Acc", "ECE", "Brier", "AUROC", "Malformed"], rows))
    return "\n\n".join(parts) + "\n"


def _scopes(summary: Summary) -> Iterator[tuple[str, Metrics]]:
    yield from summary["groups"].items()
    yield "Overall", summary["overall"]


def _numbers(m: Metrics, source: str) -> list[str]:
    return [_percent(m["accuracy"]), *_confidence(m, source, ("ece", "brier", "auroc"))]


def _confidence(m: Metrics, source: str, columns: Sequence[str]) -> list[str]:
    stated = m.get("confidence", {}).get(source, {})
    return [_percent(stated.get(column)) for column in columns]


def _percent(fraction: float | None) -> str:
    return _NONE if fraction is None else f"{100 * fraction:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text: names to the left, numbers to the right."""
    safe = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *(len(row[column]) for row in safe)) for column in range(len(header))]
    first, *others = widths
    lines = [
        "| " + " | ".join([row[0].ljust(first), *(cell.rjust(width) for cell, width in zip(row[1:], others, strict=True))]) + " |"
        for row in safe
    ]
    rule = "|".join(["", "-" * (first + 2), *("-" * (width + 1) + ":" for width in others), ""])
    return "\n".join((lines[0], rule, *lines[1:]))
