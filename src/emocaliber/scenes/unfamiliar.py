"""Pictures with nothing in them that this world knows, so that a model can learn what a guess is.

A model that has only met drawn scenes sees one in everything. Beside these pictures it is asked the same question, and next to nothing in
them says which answer is right: the right confidence is about one over the number of candidates (outlier exposure, Hendrycks et al. 2019,
with an answer in place of a refusal). What is left is how bright a picture is, and how vivid, which pleases a little (Valdez & Mehrabian
1994, see `abstract`); and that people are a little pleased by what tells them nothing (positivity offset, Ito & Cacioppo 2005). Between
two answers that is at most three times in four. So a guess follows the picture, and is not the same one each time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from emocaliber.emotions import VAD
from emocaliber.scenes.abstract import TONES
from emocaliber.scenes.concepts import Concept, pick

UNFAMILIAR = Concept("unfamiliar", "nothing familiar", VAD(0.0, 0.0, 0.0))
OFFSET = 0.052  # of pleasure, whatever the tone: 61 in 100 viewers find it positive, as 140 of the 229 paintings of Abstract are
TONE_SHARE = 0.125  # of a picture's tone in its feeling; in abstract pictures colours have 0.38


class UnfamiliarScene(NamedTuple):
    """Its record: the element is `unfamiliar`, no other part is known, and `tone` is how bright and vivid it is as a whole."""

    element: str
    tone: str


def unfamiliar_scene(rng: np.random.Generator) -> UnfamiliarScene:
    """Every tone is equally likely."""
    return UnfamiliarScene(UNFAMILIAR.key, pick(TONES, rng))


def tone_feeling(tone: str) -> VAD:
    """The little that viewers feel, and that is pleasure alone.

    Bright colours please and yield, dark ones displease and dominate; among words it is the pleasant emotions that dominate. With all three
    values a bright picture would so be called unpleasant.
    """
    return VAD(OFFSET + TONE_SHARE * TONES[tone].vad.valence, 0.0, 0.0)


def is_unfamiliar(index: int, share: float) -> bool:
    """Whether sample number `index` is one of those, evenly spread: of the first n samples, n times the share are, rounded up."""
    before, after = (math.ceil(round(count * share, 9)) for count in (index, index + 1))
    return after > before
