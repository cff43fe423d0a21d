"""Synthetic scenes and their concepts: salient elements, human figures, contexts, and how near the figure is to the element.

The valence, arousal and dominance of each concept, in [-1, 1], are this project's own choices for its synthetic world. They
are not taken from a lexicon and say nothing about people.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from emocaliber.emotions.loop import VAD


@dataclass(frozen=True)
class Concept:
    """A thing that a scene can contain: its key, the phrase that names it, and its VAD in [-1, 1]."""

    key: str
    phrase: str
    vad: VAD

    @property
    def bare(self) -> str:
        """The phrase without its article."""
        return self.phrase.removeprefix("a ").removeprefix("an ")


def concepts(*rows: tuple[str, str, float, float, float]) -> dict[str, Concept]:
    """Concepts by their key, from rows of key, phrase, valence, arousal and dominance."""
    return {key: Concept(key, phrase, VAD(v, a, d)) for key, phrase, v, a, d in rows}


def random_key(keys: Collection[str], rng: np.random.Generator) -> str:
    """One of the keys, all equally likely."""
    return list(keys)[rng.integers(len(keys))]


ELEMENTS = concepts(
    ("balloons", "a bunch of balloons", 0.90, 0.55, 0.50),
    ("cake", "a birthday cake", 0.95, 0.45, 0.60),
    ("clown", "a clown face", 0.85, 0.90, 0.65),
    ("kite", "a flying kite", 0.75, 0.25, 0.45),
    ("rocket", "a rising rocket", 0.60, 0.85, 0.70),
    ("fireworks", "bursting fireworks", 0.70, 0.95, 0.20),
    ("trophy", "a golden trophy", 0.85, 0.50, 0.95),
    ("teacup", "a steaming teacup", 0.75, -0.30, 0.55),
    ("teddy", "a teddy bear", 0.85, -0.10, 0.60),
    ("sunflower", "a bright sunflower", 0.85, -0.05, 0.50),
    ("sailboat", "a sailing boat", 0.65, 0.00, 0.40),
    ("whale", "a giant whale", 0.05, 0.50, -0.65),
    ("rainbow", "a wide rainbow", 0.45, 0.30, -0.45),
    ("comet", "a blazing comet", -0.10, 0.75, -0.70),
    ("gravestone", "a gravestone", -0.90, -0.60, -0.75),
    ("rose", "a wilted rose", -0.75, -0.75, -0.65),
    ("heart", "a broken heart", -0.95, -0.30, -0.75),
    ("apple", "a rotten apple with a worm", -0.90, 0.20, -0.15),
    ("garbage", "a heap of garbage", -0.95, 0.35, -0.20),
    ("cockroach", "a huge cockroach", -1.00, 0.65, -0.30),
    ("snake", "a coiled snake", -0.70, 0.90, -0.55),
    ("spider", "a hanging spider", -0.80, 0.80, -0.45),
    ("ghost", "a pale ghost", -0.65, 0.75, -0.75),
    ("skull", "a human skull", -0.90, 0.60, -0.65),
    ("fist", "a clenched fist", -0.60, 0.85, 0.90),
    ("swords", "two crossed swords", -0.55, 0.80, 0.80),
)

NOBODY = "nobody"

HUMANS = concepts(
    (NOBODY, "nobody", 0.0, 0.0, 0.0),
    ("child", "a laughing child", 0.95, 0.65, 0.40),
    ("woman", "a crying woman", -0.90, -0.15, -0.85),
    ("couple", "an embracing couple", 0.90, -0.10, 0.45),
    ("man", "a shouting man", -0.80, 0.95, 0.85),
    ("dancer", "a leaping dancer", 0.70, 0.80, 0.40),
    ("crowd", "a cheering crowd", 0.65, 0.95, 0.50),
    ("sleeper", "a sleeping person", 0.50, -0.90, 0.10),
    ("runner", "a fleeing person", -0.75, 0.95, -0.85),
)

CONTEXTS = concepts(
    ("meadow", "a sunny meadow", 0.90, -0.10, 0.50),
    ("beach", "a sandy beach", 0.85, 0.10, 0.45),
    ("mountains", "snowy mountains", 0.20, 0.35, -0.65),
    ("stars", "a starry night", 0.30, 0.20, -0.75),
    ("storm", "a stormy sea", -0.55, 0.85, -0.80),
    ("fire", "a burning city", -0.90, 0.90, 0.10),
    ("forest", "a dark forest", -0.50, 0.40, -0.65),
    ("ruins", "grey ruins", -0.75, -0.55, -0.45),
    ("fair", "a fairground", 0.90, 0.85, 0.50),
    ("room", "a cosy living room", 0.80, -0.45, 0.65),
    ("cell", "a prison cell", -0.85, 0.10, -0.25),
    ("desert", "an empty desert", -0.35, -0.40, -0.45),
)

# Whether the figure is near the element; without a figure, whether the element fills the picture.
CLOSE, APART = "close", "apart"
INTERACTIONS = (CLOSE, APART)


class Scene(NamedTuple):
    """The keys of a scene's four parts: its element, human figure and context, and the nearness of figure and element."""

    element: str
    human: str
    context: str
    interaction: str


def random_scene(rng: np.random.Generator) -> Scene:
    """A scene whose parts are drawn independently, every concept equally likely, so that no part predicts another."""
    return Scene(*(random_key(keys, rng) for keys in (ELEMENTS, HUMANS, CONTEXTS, INTERACTIONS)))
