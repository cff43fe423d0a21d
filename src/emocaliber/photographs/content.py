"""What a photograph shows, in words: about fifty contents, each a person, an animal, a place or a thing (`contents.toml`).

They are as fine as two collections tell: ImageNet's classes and OASIS's themes. Finer names would be guesses.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

PERSON, ANIMAL, PLACE, THING = KINDS = ("person", "animal", "place", "thing")
OASIS_KINDS = {"Person": PERSON, "Animal": ANIMAL, "Scenery": PLACE, "Object": THING}  # the categories of OASIS


@dataclass(frozen=True)
class Content:
    """A content: its key, its kind (one of `KINDS`) and the words for it, such as "a dog"."""

    key: str
    kind: str
    words: str


@cache
def contents() -> dict[str, Content]:
    """All contents by key."""
    return {key: Content(key, entry["kind"], entry["words"]) for key, entry in _entries().items()}


def of_imagenet_class(number: int, name: str) -> Content:
    """The content of an ImageNet class: its number (0..999) in the order of WordNet ids, and its name ("soccer_ball")."""
    for key, entry in _entries().items():
        for given in entry["classes"]:
            first, _, last = given.partition("-")
            if given == name or (first.isdecimal() and int(first) <= number <= int(last or first)):
                return contents()[key]
    return contents()["thing"]


def of_oasis_theme(theme: str, category: str) -> Content:
    """The content of an OASIS photograph: its theme ("Angry face", without the number) and category (a key of `OASIS_KINDS`).

    A theme can occur in several categories ("Wedding"), with a content for each. A theme that is not listed is the kind's plainest content.
    """
    kind = OASIS_KINDS[category]
    of_kind = {key: entry for key, entry in _entries().items() if entry["kind"] == kind}
    found = next((key for key, entry in of_kind.items() if theme in entry["themes"]), None)
    return contents()[found or {PERSON: "pose", ANIMAL: "rodent", PLACE: "nature", THING: "thing"}[kind]]


@cache
def _entries() -> dict[str, dict[str, Any]]:
    text = (files("emocaliber.photographs") / "contents.toml").read_text("utf-8")
    return dict(tomllib.loads(text))
