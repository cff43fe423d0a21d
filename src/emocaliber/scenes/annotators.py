"""Simulated annotators: the VAD of a scene, and the share of a population that names each emotion for it.

A scene's VAD is the weighted mean of its concepts' VADs, scaled away from neutral by `GAIN`, because an average of several impressions is
blander than a picture is. Each annotator names the label with the highest random utility: minus the squared distance between the VADs of
scene and label, plus Gumbel noise. That is the multinomial logit of McFadden (1974), so the share of annotators who name a label is known
exactly for any taxonomy,

    P(label | scene) is proportional to exp(-|VAD(scene) - VAD(label)|^2 / (2 TEMPERATURE^2)),

and is the best possible confidence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import Taxonomy
from emocaliber.scenes.concepts import APART, CLOSE, CONTEXTS, ELEMENTS, HUMANS, NOBODY

Floats = npt.NDArray[np.float64]

GAIN = 1.5
TEMPERATURE = 0.4428  # `python benchmarks/fit_annotators.py`: 11 simulated votes disagree as much as 11 people did on Flickr-LDL

# Weights of element, human and context in a scene's VAD, by whether a figure is there and how close the element is.
WEIGHTS = {
    (True, CLOSE): (0.48, 0.34, 0.18),
    (True, APART): (0.30, 0.34, 0.36),
    (False, CLOSE): (0.70, 0.00, 0.30),
    (False, APART): (0.45, 0.00, 0.55),
}


def scene_vad(element: str, human: str, context: str, interaction: str) -> VAD:
    """The valence, arousal and dominance of a whole scene, each within [-GAIN, GAIN]."""
    weights = WEIGHTS[human != NOBODY, interaction]
    parts = np.array([ELEMENTS[element].vad, HUMANS[human].vad, CONTEXTS[context].vad])
    return VAD(*(GAIN * np.asarray(weights) @ parts).tolist())


def weighted_vad(vads: Sequence[VAD], weights: Sequence[float]) -> VAD:
    """The weighted mean of several VADs; the weights need not sum to 1."""
    return VAD(*np.average(np.array(vads), axis=0, weights=weights).tolist())


def posterior(vad: npt.ArrayLike, taxonomy: Taxonomy, temperature: float = TEMPERATURE) -> Floats:
    """P(label | scene) for VADs of shape (..., 3): shape (..., labels), in the taxonomy's order."""
    squared = ((np.asarray(vad, dtype=float)[..., None, :] - _points(taxonomy)) ** 2).sum(-1)
    return _softmax(-squared / (2 * temperature**2))


def ood_posterior(vad: VAD, taxonomy: Taxonomy, temperature: float = TEMPERATURE) -> Floats:
    """P(label | picture) of an out-of-distribution picture: nearly uniform, tilted by the little that its `vad` says; shape (labels,).

    It is proportional to exp(vad . VAD(label) / temperature^2): `posterior` without the term |VAD(label)|^2, by which labels far from
    neutral would be less likely.
    """
    return _softmax(_points(taxonomy) @ np.asarray(vad) / temperature**2)


def _points(taxonomy: Taxonomy) -> Floats:
    """VAD(label) of every label, (labels, 3)."""
    return np.array([taxonomy.vad[label] for label in taxonomy.labels])


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def vote_entropy_nats(counts: npt.ArrayLike) -> Floats:
    """The plug-in entropy, in nats, of vote counts (..., labels), each with at least one vote: shape (...)."""
    counts = np.asarray(counts, dtype=float)
    shares = counts / counts.sum(-1, keepdims=True)
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(-1))


def fit_temperature(vads: Sequence[VAD], taxonomy: Taxonomy, votes: npt.ArrayLike, seed: int = 0) -> float:
    """The temperature at which simulated votes on scenes with these `vads` have the mean entropy of people's `votes` (images, labels).

    As many annotators are simulated for each scene as people voted on each image, so both entropies carry the same small-sample bias.

    Raises:
        ValueError: the rows of `votes` hold different numbers of votes, or no temperature in [0.05, 3] gives that entropy.
    """
    votes = np.asarray(votes)
    annotators = int(votes[0].sum())
    if not (votes.sum(-1) == annotators).all():
        raise ValueError("every image must have the same number of votes")
    target = float(vote_entropy_nats(votes).mean())

    def excess(temperature: float) -> float:
        rng = np.random.default_rng(seed)  # the same draws at every temperature keep the function smooth enough to bracket
        shares = posterior(vads, taxonomy, temperature)
        return float(vote_entropy_nats(rng.multinomial(annotators, shares)).mean()) - target

    if excess(0.05) > 0 or excess(3.0) < 0:
        raise ValueError(f"no temperature gives a mean vote entropy of {target:.3f} nats")
    return float(brentq(excess, 0.05, 3.0, xtol=1e-4))
