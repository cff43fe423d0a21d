"""What nobody can beat: the best possible numbers where every label's true probability is known.

Two readings:

- `best_possible`: perfect answers and perfect confidence. The model answers the likeliest label and states its probability. Every number
  is the expectation over labels drawn from the posteriors, so it depends on the samples alone.
- `best_possible_same_answers`: the answers as given, with perfect confidence in each, measured against the labels as drawn; the accuracy
  is what these answers were expected to get.

F1 is left out: the likeliest label maximises accuracy, not F1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from emocaliber.evaluation import calibration, ranking, stated
from emocaliber.evaluation.tally import Floats, Tally

Posterior = Mapping[str, float]

_DRAWS = 1000


def best_possible(posteriors: Sequence[Posterior], *, seed: int = 0) -> tuple[float, dict[str, float]]:
    """The expected accuracy of always answering the likeliest label, and the expectation of every confidence metric of stating its
    probability, NaN where it is not defined.

    ECE, Brier and AUROC are exact (AUROC as the expected pairs won over the expected pairs); the others are means over 1,000 drawings
    of the labels. ECE is not 0, because labels are drawn: see `expected_ece`. Raises ValueError without samples.
    """
    top = _chances([max(posterior.values()) for posterior in posteriors])
    level, values = stated.levels(top)
    n = np.bincount(level)
    right = np.random.default_rng(seed).binomial(n, values, size=(_DRAWS, values.size)).astype(float)
    drawn = Tally(values, right, n - right)
    numbers = {name: _mean_of_defined(metric(drawn)) for name, metric in stated.METRICS.items()}
    exact = {"ece": expected_ece(top), "brier": float(np.mean(top * (1 - top))), "auroc": expected_auroc(top)}
    return float(top.mean()), numbers | exact


def best_possible_same_answers(
    posteriors: Sequence[Posterior], answers: Sequence[str | None], correct: Sequence[bool]
) -> tuple[float, dict[str, float]]:
    """The accuracy expected of these answers, and every metric of stating each answer's own probability (0 for no answer)."""
    own = _chances([0.0 if answer is None else posterior.get(answer, 0.0) for posterior, answer in zip(posteriors, answers, strict=True)])
    tally = Tally.of(own, correct)
    return float(own.mean()), {name: float(metric(tally)) for name, metric in stated.METRICS.items()}


def expected_auroc(chances: Floats) -> float:
    """The expected pairs won over the expected pairs, where answer i is right with probability `chances[i]`, which is its confidence.

    An answer is never paired with itself. NaN where no pair is possible.
    """
    values, level = np.unique(chances, return_inverse=True)
    tally = Tally(values, np.bincount(level, chances).astype(float), np.bincount(level, 1 - chances).astype(float))
    alone = float(np.sum(chances * (1 - chances)))
    pairs = float(tally.right.sum() * tally.wrong.sum()) - alone
    if pairs <= 1e-12:
        return float("nan")
    return (float(ranking.auroc(tally)) * float(tally.right.sum() * tally.wrong.sum()) - alone / 2) / pairs


def expected_ece(chances: Floats, bins: int = calibration.BINS) -> float:
    """The ECE to expect of a perfectly calibrated model on this many samples: answer i is right with probability `chances[i]`, as stated.

    Exact: in each bin the number of right answers is Poisson-binomial, and |right - expected| is averaged over its distribution.
    """
    index = calibration.bin_of(chances, bins)
    gap = 0.0
    for b in np.unique(index):
        inside = chances[index == b]
        gap += float(_poisson_binomial(inside) @ np.abs(np.arange(inside.size + 1) - inside.sum()))
    return gap / chances.size


def _chances(values: Sequence[float]) -> Floats:
    if not values:
        raise ValueError("there are no samples, so nothing is possible")
    chances: Floats = np.minimum(np.array(values, dtype=float), 1.0)  # rounded posteriors may sum to a little more
    return chances


def _mean_of_defined(values: Floats) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if 2 * defined.size > values.size else float("nan")


def _poisson_binomial(chances: Floats) -> Floats:
    """The probability of 0, 1, .. n successes in independent trials of the given chances."""
    mass = np.zeros(chances.size + 1)
    mass[0] = 1.0
    for done, chance in enumerate(chances, start=1):
        mass[1 : done + 1] = mass[1 : done + 1] * (1 - chance) + mass[:done] * chance
        mass[0] *= 1 - chance
    return mass
