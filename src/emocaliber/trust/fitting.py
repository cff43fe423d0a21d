"""Fitting of calibration maps by scikit-learn, with shrinkage towards a pooled fit.

A question with few answers says little about its own map, but a model that is overconfident on one question tends to be on the next. So
the parametric maps of a question are penalised for leaving the map fitted to the answers to all questions: the prior is centred on the
pooled fit and counts as `PRIOR` answers. It enters as soft targets: the target of each answer is its outcome, averaged with the pooled
map's probability for it at a weight of PRIOR / n. The penalty is least at the pooled parameters, with the curvature of PRIOR answers: to
second order a Gaussian prior centred on the pooled fit, in the metric of the answers' own information (a data augmentation prior: Clogg et
al. 1991; Greenland and Christensen 2001). Where the log-odds of questions differ by 0.4 or so, as those of `tiny` do, 25 answers are about
the right weight: 1 / (0.4² p (1 - p)).

Isotonic regression has no parameters to shrink. It needs more answers instead (`FEWEST_ISOTONIC`; Niculescu-Mizil and Caruana 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emocaliber.confidence.calibrator import RIDGE
from emocaliber.core.calibrators import CLIP, Beta, CalibrationMap, Isotonic, Logistic

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PRIOR = 25.0  # answers that the pooled fit counts as
FEWEST_ISOTONIC = 300  # answers


@dataclass(frozen=True)
class Candidate:
    """A map to try: its method, one of `METHODS`, and its sources."""

    method: str
    sources: tuple[str, ...]

    @property
    def numbers(self) -> int:
        """How many numbers are fitted; those of isotonic regression grow with the answers, and count as many."""
        return {"platt": 2, "beta": 3, "isotonic": 1000}.get(self.method, 1 + len(self.sources))

    def __str__(self) -> str:
        return f"{self.method} on {' + '.join(self.sources)}"


def fit_map(candidate: Candidate, confidences: Floats, right: Bools | Floats, prior: CalibrationMap | None = None) -> CalibrationMap:
    """The map of a candidate, by maximum likelihood (isotonic: least squares) on n answers.

    `confidences` (n, sources) are in [0, 1] and are clipped to [CLIP, 1 - CLIP]; `right` (n,), or, as numbers, the share of people for whom
    each answer is right, which are targets as they are. `prior` is the pooled map of the same
    candidate, towards which parametric maps are shrunk. Without one, targets are Platt's (1999): (N+ + 1) / (N+ + 2) and 1 / (N- + 2), so
    that a map stays finite where the confidence tells right from wrong without fault. Weights of a single source are not negative: a
    confidence that orders answers the wrong way round becomes a constant. Those of beta calibration are dropped one by one where they would
    be (Kull, Silva Filho and Flach 2017, section 4). Fused sources have the slight ridge of stage 2's calibrators, as some, such as
    `commit` and `norm`, hardly differ.
    """
    inside = np.clip(confidences, CLIP, 1 - CLIP)
    if candidate.method == "isotonic":
        return _isotonic(candidate, inside[:, 0], right)
    features = _features(candidate, inside)
    weights, bias = _regression(features, _targets(features, right, prior), signed=candidate.method == "logistic")
    if candidate.method == "beta":
        return Beta(candidate.sources, float(weights[0]), float(weights[1]), bias)
    return Logistic(candidate.sources, tuple(map(float, weights)), bias)


def probabilities(found: CalibrationMap, confidences: Floats) -> Floats:
    """P(right) (n,) by a map, for confidences (n, sources). The same numbers as the map gives one by one."""
    inside = np.clip(confidences, CLIP, 1 - CLIP)
    if isinstance(found, Isotonic):
        steps: Floats = np.interp(inside[:, 0], found.x, found.y)
        return steps
    return _expit(_odds(found, _features(Candidate(found.method, found.sources), inside)))


def _features(candidate: Candidate, inside: Floats) -> Floats:
    if candidate.method == "beta":
        return np.column_stack([np.log(inside[:, 0]), -np.log1p(-inside[:, 0])])
    odds: Floats = np.log(inside) - np.log1p(-inside)
    return odds


def _odds(found: Logistic | Beta, features: Floats) -> Floats:
    weights, bias = ((found.a, found.b), found.c) if isinstance(found, Beta) else (found.weights, found.bias)
    odds: Floats = features @ np.array(weights) + bias
    return odds


def _targets(features: Floats, right: Bools | Floats, prior: CalibrationMap | None) -> Floats:
    n = right.size
    if right.dtype != np.bool_:
        shares: Floats = np.clip(right, CLIP, 1 - CLIP)
        return shares
    if prior is not None and not isinstance(prior, Isotonic):
        shrunk: Floats = (n * right + PRIOR * _expit(_odds(prior, features))) / (n + PRIOR)
        return shrunk
    rights = int(right.sum())
    return np.where(right, (rights + 1) / (rights + 2), 1 / (n - rights + 2))


def _regression(features: Floats, targets: Floats, *, signed: bool) -> tuple[Floats, float]:
    """Weights (k,) and bias of a logistic regression on soft targets (n,); unless `signed`, negative weights are dropped."""
    from sklearn.linear_model import LogisticRegression

    used = list(range(features.shape[1]))
    strength = 1 / (RIDGE * targets.size) if len(used) > 1 and signed else np.inf
    weights = np.zeros(features.shape[1])
    cells, cell = np.unique(features, axis=0, return_inverse=True)  # confidences of two decimals are at most 101 cells
    right, wrong = (np.bincount(cell.ravel(), part) for part in (targets, 1 - targets))
    twice, labels, shares = np.concatenate([cells, cells]), np.repeat([1, 0], len(cells)), np.concatenate([right, wrong])
    while used:
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=2000).fit(twice[:, used], labels, sample_weight=shares)
        found = model.coef_[0]
        if signed or found.min() >= 0:
            weights[used] = found
            return weights, float(model.intercept_[0])
        del used[int(found.argmin())]
    share = float(targets.mean())
    return weights, float(np.log(share / (1 - share)))


def _isotonic(candidate: Candidate, inside: Floats, right: Bools | Floats) -> Isotonic:
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=CLIP, y_max=1 - CLIP, out_of_bounds="clip").fit(inside, right.astype(float))
    return Isotonic(candidate.sources, tuple(map(float, model.X_thresholds_)), tuple(map(float, model.y_thresholds_)))


def _expit(odds: Floats) -> Floats:
    share: Floats = 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
    return share


def candidates_of(sources: Sequence[str], methods: Sequence[str], n: int) -> list[Candidate]:
    """The maps to try on n answers that have these sources: each method on each source, and `logistic` on several.

    Fused are all sources, and each pair.
    """
    single = [method for method in methods if method != "logistic" and (method != "isotonic" or n >= FEWEST_ISOTONIC)]
    found = [Candidate(method, (source,)) for source in sources for method in single]
    if "logistic" in methods and len(sources) > 1:
        pairs = [(first, second) for place, first in enumerate(sources) for second in sources[place + 1 :]]
        found += [Candidate("logistic", each) for each in dict.fromkeys([*pairs, tuple(sources)])]
    return found
