"""Votes as draws from an unknown share: the Beta distribution of a share of people, and the Beta-binomial one of their votes.

A share is Beta(m k, (1 - m) k), m its mean and k its concentration; of n people then c give the answer with the Beta-binomial probability.
"""

from __future__ import annotations

import numpy as np
from scipy.special import betainc, betaln, gammaln

from emocaliber.evaluation.metrics import Floats

_WIDEST, _NARROWEST = -3.0, 10.0  # log concentrations
_HALVINGS = 40


def concentration_of(means: Floats, low: Floats, high: Floats, level: float) -> Floats:
    """The concentration (n,) at which a Beta distribution of each mean has the probability `level` between `low` and `high`, (n,) each.

    By bisection between exp(-3) and exp(10), one of which is returned where the interval is too wide or too narrow for any other.
    """
    inside = np.clip(means, 1e-6, 1 - 1e-6)
    least, most = np.full(means.shape, _WIDEST), np.full(means.shape, _NARROWEST)
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        a, b = inside * np.exp(middle), (1 - inside) * np.exp(middle)
        enough = betainc(a, b, high) - betainc(a, b, low) >= level
        least, most = np.where(enough, least, middle), np.where(enough, middle, most)
    found: Floats = np.exp((least + most) / 2)
    return found


def vote_probabilities(counts: Floats, people: Floats, means: Floats, concentration: Floats) -> tuple[Floats, Floats]:
    """P(fewer votes than `counts`) and P(as many), (n,) each, where each answer was put to so many `people` (n,)."""
    a, b = (means * concentration)[:, None], ((1 - means) * concentration)[:, None]
    votes, n = np.arange(int(people.max()) + 1)[None, :], people[:, None]
    others = np.maximum(n - votes, 0)
    logs = gammaln(n + 1) - gammaln(votes + 1) - gammaln(others + 1) + betaln(votes + a, others + b) - betaln(a, b)
    each = np.where(votes <= n, np.exp(logs), 0.0)
    below: Floats = np.where(votes < counts[:, None], each, 0.0).sum(axis=1)
    equal: Floats = np.where(votes == counts[:, None], each, 0.0).sum(axis=1)
    return below, equal


def central_coverage(below: Floats, equal: Floats, level: float) -> Floats:
    """(n,): how much of the step [below, below + equal] of a distribution function lies in its central part of probability `level`.

    Its mean over votes that do follow the distribution is `level` exactly, which it could not be if a vote were only inside or outside.
    """
    low, high = (1 - level) / 2, (1 + level) / 2
    overlap = np.minimum(below + equal, high) - np.maximum(below, low)
    found: Floats = np.clip(np.divide(overlap, equal, out=np.zeros_like(equal), where=equal > 0), 0.0, 1.0)
    return found
