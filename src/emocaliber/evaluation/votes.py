"""Votes as draws from an unknown share: the Beta distribution of a share of people, and the Beta-binomial one of their votes.

A share is Beta(m k, (1 - m) k), m its mean and k its concentration; of n people then c give the answer with the Beta-binomial probability.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, gammaln

from emocaliber.evaluation.metrics import Floats

Bools = NDArray[np.bool_]
_WIDEST, _NARROWEST, _STEPS = -3.0, 10.0, 53  # log concentrations, to look at first
_HALVINGS = 25


def concentration_of(means: Floats, low: Floats, high: Floats, level: float) -> Floats:
    """The concentration (n,) at which a Beta distribution of each mean has the probability `level` between `low` and `high`, (n,) each.

    The largest, as near 0 and 1 there can be several. It is looked for between exp(-3) and exp(10), one of which is returned where the
    interval is wider or narrower than any of these distributions'.
    """
    inside = np.clip(means, 1e-6, 1 - 1e-6)[:, None]

    def enough(logs: Floats) -> Bools:
        a, b = inside * np.exp(logs), (1 - inside) * np.exp(logs)
        held: Bools = betainc(a, b, high[:, None]) - betainc(a, b, low[:, None]) >= level
        return held

    grid = np.linspace(_NARROWEST, _WIDEST, _STEPS)
    held = enough(np.broadcast_to(grid, (means.size, _STEPS)))
    last = np.where(held.all(axis=1), _STEPS, np.argmin(held, axis=1))  # the first step, from the narrowest, that holds too little
    most, least = grid[np.maximum(last - 1, 0)], grid[np.minimum(last, _STEPS - 1)]
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        narrow = enough(middle[:, None])[:, 0]
        least, most = np.where(narrow, least, middle), np.where(narrow, middle, most)
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
