"""Valence, arousal and dominance: where a word lies in the space of affect."""

from __future__ import annotations

import math
from typing import NamedTuple


class VAD(NamedTuple):
    """Valence, arousal and dominance, each in [-1, 1]: the scale of the NRC VAD lexicon, version 2."""

    valence: float
    arousal: float
    dominance: float

    def distance(self, other: VAD) -> float:
        """The Euclidean distance between two points."""
        return math.dist(self, other)
