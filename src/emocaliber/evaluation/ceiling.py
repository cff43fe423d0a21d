"""What nobody can beat: the best possible numbers where every label's true probability is known.

Two readings, each of them `(value, details)` by metric name:

- `best_possible`: perfect answers and perfect confidence. The model answers the likeliest label and states its probability. Every number
  is the expectation over labels drawn from the posteriors, so it depends on the samples alone.
- `best_possible_same_answers`: the answers as given, with perfect confidence in each. Brier, ECE and AUROC are measured against the
  labels as drawn; the accuracy is what these answers were expected to get.

F1 is left out: the likeliest label maximises accuracy, not F1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from emocaliber.evaluation.metrics import BINS, NO_SAMPLES, Result, auroc, bin_of, brier, ece, weighted_auroc

Posterior = Mapping[str, float]


def best_possible(posteriors: Sequence[Posterior]) -> dict[str, Result]:
    """Expected `accuracy, ece, brier, auroc` of always answering the likeliest label and stating its probability.

    AUROC is the expected number of pairs won over the expected number of pairs. ECE is not 0, because labels are drawn: see `expected_ece`.
    """
    top = np.array([max(posterior.values()) for posterior in posteriors], dtype=float)
    if top.size == 0:
        return dict.fromkeys(("accuracy", "ece", "brier", "auroc"), (None, {"reason": NO_SAMPLES}))
    return {
        "accuracy": (float(top.mean()), {"n": top.size}),
        "ece": expected_ece(top),
        "brier": (float(np.mean(top * (1 - top))), {"n": top.size}),
        "auroc": weighted_auroc(top, top, 1 - top),
    }


def best_possible_same_answers(
    posteriors: Sequence[Posterior], answers: Sequence[str | None], correct: Sequence[bool]
) -> dict[str, Result]:
    """`accuracy` expected of these answers, and realised `ece, brier, auroc` of stating each answer's own probability (0 for no answer)."""
    own = np.array(
        [0.0 if answer is None else posterior.get(answer, 0.0) for posterior, answer in zip(posteriors, answers, strict=True)], dtype=float
    )
    expected: Result = (float(own.mean()), {"n": own.size}) if own.size else (None, {"reason": NO_SAMPLES})
    return {"accuracy": expected, "ece": ece(own, correct), "brier": brier(own, correct), "auroc": auroc(own, correct)}


def expected_ece(chances: NDArray[np.float64], bins: int = BINS) -> Result:
    """The ECE to expect of a perfectly calibrated model on this many samples: answer i is right with probability `chances[i]`, as stated.

    Exact: in each bin the number of right answers is Poisson-binomial, and |right - expected| is averaged over its distribution.
    """
    if chances.size == 0:
        return None, {"reason": NO_SAMPLES}
    index = bin_of(chances, bins)
    gap = 0.0
    for b in np.unique(index):
        inside = chances[index == b]
        gap += float(_poisson_binomial(inside) @ np.abs(np.arange(inside.size + 1) - inside.sum()))
    return gap / chances.size, {"n": chances.size}


def _poisson_binomial(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of 0, 1, .. n successes in independent trials of the given chances."""
    mass = np.zeros(chances.size + 1)
    mass[0] = 1.0
    for done, chance in enumerate(chances, start=1):
        mass[1 : done + 1] = mass[1 : done + 1] * (1 - chance) + mass[:done] * chance
        mass[0] *= 1 - chance
    return mass
