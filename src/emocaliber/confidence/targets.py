"""Stage 2's confidence targets: equation 2 of the paper, and, ours, a calibrated probability or people's share.

Equation 2 gives a target from one label and the model's mean token probability: about 0.97 for a right answer and 0.42 for a wrong one,
nothing in between. A model that cannot tell the two apart learns two heaps of numbers, whose mean is far better than the one that is
decoded. The other two targets are probabilities that the answer is right, and the digits learn a narrow bump around them
(`decimal_targets`), so that the decoded number is the target itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from emocaliber.core.scoring import is_correct
from emocaliber.emotions.labels import Labels

FARTHEST = 0.5  # the largest distance on an emotion loop of length 1


def confidence_target(answer: str, ground_truth: str, mean_probability: float, labels: Labels) -> float:
    """c* in [0, 1] for one answer: at least 0.5 if it is right, at most 0.5 if it is wrong (equation 2).

    `mean_probability` is E_j[p_j], the mean token probability of the response; the error of a wrong answer is its distance on the labels'
    emotion loop. Labels without a loop, such as a custom task's, are `FARTHEST` from each other, like the two of a sentiment question.
    Raises ValueError for a probability outside [0, 1].
    """
    if not 0 <= mean_probability <= 1:
        raise ValueError(f"the mean token probability must lie in [0, 1], not {mean_probability}")
    if is_correct(answer, ground_truth, labels):
        return 0.5 * (1 + mean_probability)
    distance = labels.distance(answer, ground_truth)
    return 0.5 - (FARTHEST if distance is None else distance) * mean_probability


class DecimalTargets(NamedTuple):
    """The distributions that the two decimals of a stated confidence learn: P(first), and P(second | first) for each of the ten."""

    first: tuple[float, ...]
    second: tuple[tuple[float, ...], ...]


def decimal_targets(probability: float, width: float) -> DecimalTargets:
    """A bump of the confidence 0.dd around `probability`, as distributions of its decimals.

    P(first = k) is proportional to exp(-(c - q)^2 / 2 width^2), c the centre of the numbers 0.k0 to 0.k9. P(second = j | first = k) is a
    bump around q of half that width over the ten numbers 0.kj, so that a first decimal beside the target takes a second one that is near
    it. Raises ValueError for a width that is not above 0. Ours, not the paper's.
    """
    if not width > 0:
        raise ValueError(f"the width of a target must be above 0, not {width}")
    first = _bump([(k + 0.45) / 10 for k in range(10)], probability, width)
    return DecimalTargets(first, tuple(_bump([k / 10 + j / 100 for j in range(10)], probability, width / 2) for k in range(10)))


def _bump(values: list[float], centre: float, width: float) -> tuple[float, ...]:
    logits = [-((value - centre) ** 2) / (2 * width**2) for value in values]
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    return tuple(weight / math.fsum(weights) for weight in weights)
