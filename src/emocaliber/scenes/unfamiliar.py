"""Pictures with nothing in them that this world knows, so that a model can learn what a guess is.

A model that has only met drawn scenes sees one in everything. Beside these pictures it is asked the same question, every answer is equally
often right, and nothing in them says which: the right confidence is one over the number of candidates (outlier exposure, Hendrycks et al.
2019, with an answer in place of a refusal).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from emocaliber.emotions import VAD
from emocaliber.scenes.concepts import Concept

UNFAMILIAR = Concept("unfamiliar", "nothing familiar", VAD(0.0, 0.0, 0.0))


class UnfamiliarScene(NamedTuple):
    """Its record: the element is `unfamiliar`, and no other part is known."""

    element: str = UNFAMILIAR.key


def is_unfamiliar(index: int, share: float) -> bool:
    """Whether sample number `index` is one of those, evenly spread: of the first n samples, n times the share are, rounded up."""
    before, after = (math.ceil(round(count * share, 9)) for count in (index, index + 1))
    return after > before
