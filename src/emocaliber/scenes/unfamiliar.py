"""Pictures with nothing in them that this world knows, so that a model can learn what a guess is.

A model that has only met drawn scenes sees one in everything. Beside these pictures it is asked the same question, and next to nothing in
them says which answer is right: the right confidence is about one over the number of candidates (outlier exposure, Hendrycks et al. 2019,
with an answer in place of a refusal). What is left is whether a picture is bright and vivid, which pleases a little (Valdez & Mehrabian
1994, see `abstract`): between two answers, at most two times in three. So a guess follows the picture, and is not the same one each time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from emocaliber.emotions import VAD
from emocaliber.scenes.abstract import TONES
from emocaliber.scenes.concepts import Concept, pick

UNFAMILIAR = Concept("unfamiliar", "nothing familiar", VAD(0.0, 0.0, 0.0))


TONE_SHARE = 0.2  # of a picture's tone in its feeling; in abstract pictures colours have 0.38


class UnfamiliarScene(NamedTuple):
    """Its record: the element is `unfamiliar`, no other part is known, and `tone` is how bright and vivid it is as a whole."""

    element: str
    tone: str


def unfamiliar_scene(rng: np.random.Generator) -> UnfamiliarScene:
    """Every tone is equally likely."""
    return UnfamiliarScene(UNFAMILIAR.key, pick(TONES, rng))


def tone_feeling(tone: str) -> VAD:
    """The little that a tone makes viewers feel."""
    return VAD(*(TONE_SHARE * value for value in TONES[tone].vad))


def is_unfamiliar(index: int, share: float) -> bool:
    """Whether sample number `index` is one of those, evenly spread: of the first n samples, n times the share are, rounded up."""
    before, after = (math.ceil(round(count * share, 9)) for count in (index, index + 1))
    return after > before
