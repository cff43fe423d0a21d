"""What a linear readout of the eyes' features knows of a photograph: how it feels, and whether somebody is in it.

A ridge regression on the mean and the maximum of the features over all cells, fitted on rated photographs. It gives the affect row of a
lite model its weights, and photographs without ratings a belief about theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold

from emocaliber.emotions.affect import PICTURES
from emocaliber.models.lite.vision import AFFECT, AffectHead
from emocaliber.photographs.collection import Photograph

Floats = npt.NDArray[np.float64]
_FOLDS = 10
_PERSON_C = 0.001


def pooled_features(features: npt.NDArray[np.float16]) -> Floats:
    """Mean and maximum over the cells, (2 C,), of a feature map (rows, columns, C), as `AffectHead` pools them."""
    cells = features.reshape(-1, features.shape[-1]).astype(np.float32)
    return np.concatenate([cells.mean(0), cells.max(0)]).astype(np.float64)


def targets_of(photographs: Sequence[Photograph]) -> Floats:
    """What the readout learns of rated photographs, (n, 4): valence, arousal, and the logarithms of their raters' SDs."""
    rated = [photograph.ratings for photograph in photographs]
    return np.array([(r.valence, r.arousal, np.log(r.valence_sd), np.log(r.arousal_sd)) for r in rated if r])


@dataclass(frozen=True)
class Readout:
    """Linear maps of pooled features: `weight` (2 C, 4) and `bias` (4,) to `targets_of`; `error` (2,), the SD of what they miss of valence
    and arousal in photographs not seen."""

    weight: Floats
    bias: Floats
    error: tuple[float, float]

    def __call__(self, pooled: Floats) -> Floats:
        """(n, 4) of pooled features (n, 2 C)."""
        return np.asarray(pooled @ self.weight + self.bias)

    def affect(self, pooled: Floats) -> Floats:
        """The values of `AFFECT`, (n, 6), of pooled features (n, 2 C)."""
        return _affect_of(self(pooled))

    def put_into(self, head: AffectHead) -> None:
        """Makes the affect row of a lite model read what this readout does."""
        values = _affect_of(np.eye(4)), _affect_of(np.zeros((1, 4)))[0]
        matrix, constant = values[0] - values[1], values[1]  # (4, 6) and (6,): dominance is linear in the others
        with torch.no_grad():
            head.read.weight.copy_(torch.from_numpy((self.weight @ matrix).T))
            head.read.bias.copy_(torch.from_numpy(self.bias @ matrix + constant))


def _affect_of(read: Floats) -> Floats:
    """`AFFECT` of what a readout reads, (n, 4): dominance follows valence and arousal as in people's ratings, at a constant spread."""
    intercept, on_valence, on_arousal, _ = PICTURES.dominance
    dominance = intercept + on_valence * read[:, 0] + on_arousal * read[:, 1]
    spread = np.full(len(read), np.log(PICTURES.typical_sd.dominance))
    found = np.stack([read[:, 0], read[:, 1], dominance, read[:, 2], read[:, 3], spread], -1)
    assert found.shape[-1] == len(AFFECT)
    return found


def fit_readout(views: Floats, targets: Floats, alpha: float) -> Readout:
    """A readout of rated photographs: pooled features of their views (n, views, 2 C) and targets (n, 4).

    Features are standardised, and `alpha` is the penalty of that. The error is measured on the first views by cross-validation over
    photographs.
    """
    predicted = cross_fitted_readings(views, targets, alpha)[:, 0]
    error = np.std(predicted[:, :2] - targets[:, :2], axis=0)
    return Readout(*_ridge(views, targets, alpha), (float(error[0]), float(error[1])))


def cross_fitted_readings(views: Floats, targets: Floats, alpha: float) -> Floats:
    """What readouts fitted on other photographs read from each view: (n, views, 4)."""
    found = np.empty((*views.shape[:2], targets.shape[1]))
    for fitted, held_out in GroupKFold(min(_FOLDS, len(views))).split(views, groups=np.arange(len(views))):
        weight, bias = _ridge(views[fitted], targets[fitted], alpha)
        found[held_out] = views[held_out] @ weight + bias
    return found


def _ridge(views: Floats, targets: Floats, alpha: float) -> tuple[Floats, Floats]:
    flat = views.reshape(-1, views.shape[-1])
    mean, sd = flat.mean(0), flat.std(0) + 1e-6
    fitted = Ridge(alpha=alpha * views.shape[1]).fit((flat - mean) / sd, np.repeat(targets, views.shape[1], axis=0))
    weight = (fitted.coef_ / sd).T
    return weight, fitted.intercept_ - mean @ weight


def fit_person(views: Floats, person: Sequence[bool]) -> LogisticRegression:
    """P(somebody is in a photograph), a logistic regression on pooled features of views (n, views, 2 C)."""
    flat = views.reshape(-1, views.shape[-1])
    scale = flat.std(0) + 1e-6
    model = LogisticRegression(C=_PERSON_C / views.shape[1], max_iter=2000)
    model.fit((flat - flat.mean(0)) / scale, np.repeat(np.asarray(person), views.shape[1]))
    model.intercept_ -= (flat.mean(0) / scale) @ model.coef_[0]
    model.coef_ /= scale
    return model
