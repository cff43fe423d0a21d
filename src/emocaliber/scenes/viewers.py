"""Simulated viewers: how a scene feels, and which emotion each of a population would name.

A scene's feeling is the weighted mean of its concepts' VAD values, moved away from neutral by `GAIN` (an average of several impressions is
blander than a picture is). A viewer names the label nearest to that feeling after taste has its say: random utility with Gumbel tastes, the
multinomial logit of McFadden (1974). So for any taxonomy the share of viewers who name a label is known exactly,

    P(label | scene) is proportional to exp(-|feeling - VAD(label)|^2 / (2 TEMPERATURE^2)),

and a perfect model can do no better than that.
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
TEMPERATURE = 0.4428  # `python benchmarks/fit_viewers.py`: 11 simulated votes disagree as much as 11 people did on Flickr-LDL

# Shares of element, human and context in a scene's feeling, by whether somebody is there and how close the element is.
WEIGHTS = {
    (True, CLOSE): (0.48, 0.34, 0.18),
    (True, APART): (0.30, 0.34, 0.36),
    (False, CLOSE): (0.70, 0.00, 0.30),
    (False, APART): (0.45, 0.00, 0.55),
}


def feeling(element: str, human: str, context: str, interaction: str) -> VAD:
    """The valence, arousal and dominance of a whole scene, each in [-GAIN, GAIN]."""
    weights = WEIGHTS[human != NOBODY, interaction]
    parts = np.array([ELEMENTS[element].vad, HUMANS[human].vad, CONTEXTS[context].vad])
    return VAD(*(GAIN * np.asarray(weights) @ parts).tolist())


def blend(feelings: Sequence[VAD], weights: Sequence[float]) -> VAD:
    """The weighted mean of several feelings; the weights need not sum to 1."""
    return VAD(*np.average(np.array(feelings), axis=0, weights=weights).tolist())


def posterior(felt: npt.ArrayLike, taxonomy: Taxonomy, temperature: float = TEMPERATURE) -> Floats:
    """P(label | scene) for feelings of shape (..., 3): an array of shape (..., labels) in the taxonomy's order."""
    squared = ((np.asarray(felt, dtype=float)[..., None, :] - _points(taxonomy)) ** 2).sum(-1)
    return _softmax(-squared / (2 * temperature**2))


def leaning(felt: VAD, taxonomy: Taxonomy, temperature: float = TEMPERATURE) -> Floats:
    """P(label | picture) where viewers make out nothing: every label is as likely as any other, but for the little that `felt` says for it.

    Proportional to exp(felt . VAD(label) / temperature^2): the posterior, less what labels far from neutral lose in it.
    """
    return _softmax(_points(taxonomy) @ np.asarray(felt) / temperature**2)


def _points(taxonomy: Taxonomy) -> Floats:
    """VAD(label) of every label, (labels, 3)."""
    return np.array([taxonomy.vad[label] for label in taxonomy.labels])


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def vote_entropy(counts: npt.ArrayLike) -> Floats:
    """The plug-in entropy, in nats, of each row of vote counts (scenes, labels)."""
    counts = np.asarray(counts, dtype=float)
    shares = counts / counts.sum(-1, keepdims=True)
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(-1))


def fit_temperature(feelings: Sequence[VAD], taxonomy: Taxonomy, votes: npt.ArrayLike, seed: int = 0) -> float:
    """The temperature at which simulated votes on `feelings` have the mean entropy of real `votes` (images, labels).

    As many viewers vote on each scene as people did on each image, so both entropies carry the same small-sample bias. Raises ValueError if
    the rows of `votes` hold different numbers of votes, or if no temperature in [0.05, 3] gives that entropy.
    """
    votes = np.asarray(votes)
    viewers = int(votes[0].sum())
    if not (votes.sum(-1) == viewers).all():
        raise ValueError("every image must have the same number of votes")
    target = float(vote_entropy(votes).mean())

    def excess(temperature: float) -> float:
        rng = np.random.default_rng(seed)  # the same draws at every temperature keep the function smooth enough to bracket
        shares = posterior(feelings, taxonomy, temperature)
        return float(vote_entropy(rng.multinomial(viewers, shares)).mean()) - target

    if excess(0.05) > 0 or excess(3.0) < 0:
        raise ValueError(f"no temperature gives a mean vote entropy of {target:.3f} nats")
    return float(brentq(excess, 0.05, 3.0, xtol=1e-4))
