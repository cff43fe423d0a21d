"""Stage 2's confidence target (equation 2)."""

from __future__ import annotations

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
