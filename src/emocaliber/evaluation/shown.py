"""What pages and figures show of a summary: which sources of confidence, and which labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from emocaliber.core.tasks import taxonomy_of
from emocaliber.evaluation.tables import sources_of

MOST_SOURCES = 4


def shown_sources(summary: Mapping[str, Any], most: int = MOST_SOURCES) -> list[str]:
    """The main source of confidence, then those with the most answers, `most` in all; without sources that have none."""
    answers = {source: summary["overall"].get("confidence", {}).get(source, {}).get("coverage") or 0.0 for source in sources_of(summary)}
    first, *others = answers
    chosen = {first, *sorted(others, key=lambda source: -answers[source])[: most - 1]}
    return [source for source in answers if source in chosen and answers[source]]


def shown_labels(task: str, occurring: Iterable[str]) -> list[str]:
    """The labels of a task in the order of its emotion loop, also those that do not occur; then occurring ones of none of its labels."""
    known = taxonomy_of(task)
    order = known.loop().order if known else ()
    occurring = list(occurring)
    return [*order, *(label for label in occurring if label not in order)] if set(order) & set(occurring) else occurring
