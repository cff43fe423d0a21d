"""What every reader of a data set gives: the labelled images it found, and what it left out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Reason(StrEnum):
    """Why a file of a data set is not an item."""

    BROKEN_IMAGE = "broken image"
    MISSING_IMAGE = "missing image"
    MISSING_ANNOTATION = "missing annotation"
    TIE = "tie"
    UNKNOWN_LABEL = "unknown label"
    NOT_AN_IMAGE = "not an image"
    LISTED_TWICE = "listed twice"


@dataclass(frozen=True)
class Item:
    """One labelled image of a source. `image` is an absolute path; `label` is one of the source's taxonomy, aliases resolved.

    `split` is the data set's own ("train", "val", "test") where it has one. `votes` are people's, by label, where they are known.
    """

    image: str
    label: str
    source: str
    split: str | None = None
    votes: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that is no item: its path within the data set, why, and what was found."""

    path: str
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Reading:
    """A data set as read: items in the order of their paths, and everything left out."""

    source: str
    folder: Path
    items: tuple[Item, ...]
    skipped: tuple[Skipped, ...]
