"""What a linear readout of the eyes' features knows of a picture: how it feels, what kind of thing it shows, if it is a photograph at all.

Ridge regressions on the mean and the maximum of the features over all cells. They give the readout row of a lite model its weights, and
photographs without ratings a belief about theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import Ridge

from emocaliber.emotions.affect import PICTURES
from emocaliber.models.lite.vision import CONTENT, READOUT, ReadoutHead
from emocaliber.photographs.collection import Photograph
from emocaliber.photographs.content import KINDS

Floats = npt.NDArray[np.float64]
RATED = 4  # targets of rated photographs: valence, arousal, and the logarithms of their raters' SDs
_BLOCKS = (slice(0, RATED), slice(RATED, RATED + 4), slice(RATED + 4, RATED + 5), slice(RATED + 5, RATED + 6))  # each known or not
TARGETS = RATED + len(CONTENT)
_FOLDS = 5


def pooled_features(features: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Mean and maximum over the cells, (2 C,), of a feature map (rows, columns, C), as `ReadoutHead` pools them."""
    cells = features.reshape(-1, features.shape[-1]).astype(np.float32)
    return np.concatenate([cells.mean(0), cells.max(0)])


def targets_of(photograph: Photograph | None) -> Floats:
    """What the readout learns of a photograph, (10,): `RATED`, then `CONTENT` as 1 or -1; NaN where it is not known.

    None stands for a picture that is no photograph, of which only that is known.
    """
    found = np.full(TARGETS, np.nan)
    found[-1] = -1.0 if photograph is None else 1.0
    if photograph is None:
        return found
    found[RATED : RATED + len(KINDS)] = [1.0 if photograph.content.kind == kind else -1.0 for kind in KINDS]
    if photograph.ratings is not None:
        r = photograph.ratings
        found[:RATED] = (r.valence, r.arousal, np.log(r.valence_sd), np.log(r.arousal_sd))
        found[-2] = 1.0 if photograph.person else -1.0
    return found


@dataclass(frozen=True)
class Seen:
    """Pictures by their views: pooled features (n, 2 C), targets (n, 10) and the number of the picture that each is a view of (n,)."""

    pooled: npt.NDArray[np.float32]
    targets: Floats
    picture: npt.NDArray[np.int64]

    @classmethod
    def of(cls, pictures: Sequence[tuple[npt.NDArray[np.float32], Floats]]) -> Seen:
        """Of each picture the pooled features of its views (views, 2 C), and its targets (10,)."""
        numbers = np.repeat(np.arange(len(pictures)), [len(views) for views, _ in pictures])
        return cls(np.concatenate([views for views, _ in pictures]), np.stack([pictures[int(n)][1] for n in numbers]), numbers)

    def at(self, chosen: npt.NDArray[np.bool_]) -> Seen:
        """The chosen views, (n,) of bool."""
        return Seen(self.pooled[chosen], self.targets[chosen], self.picture[chosen])


@dataclass(frozen=True)
class Readout:
    """Linear maps of pooled features: `weight` (2 C, 10) and `bias` (10,) to `targets_of`. `error` (2,) is the SD of what they miss of
    valence and arousal in photographs not seen."""

    weight: Floats
    bias: Floats
    error: tuple[float, float] = (0.0, 0.0)

    def __call__(self, pooled: npt.NDArray[np.float32]) -> Floats:
        """(n, 10) of pooled features (n, 2 C)."""
        return np.asarray(pooled @ self.weight + self.bias)

    def put_into(self, head: ReadoutHead) -> None:
        """Makes the readout row of a lite model read what this readout does."""
        constant = told_values(np.zeros((1, TARGETS)))[0]
        matrix = told_values(np.eye(TARGETS)) - constant  # (10, 12): dominance is linear in valence and arousal
        with torch.no_grad():
            head.read.weight.copy_(torch.from_numpy((self.weight @ matrix).T))
            head.read.bias.copy_(torch.from_numpy(self.bias @ matrix + constant))


def told_values(read: Floats) -> Floats:
    """`READOUT`, (n, 12), of what a readout reads, (n, 10): dominance follows valence and arousal as in people's ratings, with a constant
    spread."""
    intercept, on_valence, on_arousal, _ = PICTURES.dominance
    dominance = intercept + on_valence * read[:, 0] + on_arousal * read[:, 1]
    spread = np.full(len(read), np.log(PICTURES.typical_sd.dominance))
    found = np.concatenate([np.stack([read[:, 0], read[:, 1], dominance, read[:, 2], read[:, 3], spread], -1), read[:, RATED:]], -1)
    assert found.shape[-1] == len(READOUT)
    return found


def fit_readout(seen: Seen, alpha: float) -> Readout:
    """The readout of these pictures. Features are standardised, and `alpha` is the penalty of a picture's views together.

    The error is measured by cross-validation over the rated photographs.
    """
    rated = seen.at(~np.isnan(seen.targets[:, 0]))
    missed = (cross_fitted_readings(rated, alpha, blocks=1) - rated.targets)[:, :2]
    error = missed.std(0)
    return Readout(*_ridge(seen, alpha, len(_BLOCKS)), (float(error[0]), float(error[1])))


def cross_fitted_readings(seen: Seen, alpha: float, blocks: int = len(_BLOCKS)) -> Floats:
    """What readouts fitted on the other pictures read from each view: (n, 10). Only the first `blocks` of targets are fitted."""
    fold = np.random.default_rng(0).permutation(int(seen.picture.max()) + 1)[seen.picture] % _FOLDS
    found = np.empty((len(seen.pooled), TARGETS))
    for number in range(_FOLDS):
        weight, bias = _ridge(seen.at(fold != number), alpha, blocks)
        found[fold == number] = seen.pooled[fold == number] @ weight + bias
    return found


def _ridge(seen: Seen, alpha: float, blocks: int) -> tuple[Floats, Floats]:
    weight, bias = np.zeros((seen.pooled.shape[1], TARGETS)), np.zeros(TARGETS)
    for block in _BLOCKS[:blocks]:
        known = seen.at(~np.isnan(seen.targets[:, block.start]))
        if not len(known.pooled):
            continue
        mean, sd = known.pooled.mean(0, dtype=float), known.pooled.std(0, dtype=float) + 1e-6
        views = len(known.pooled) / np.unique(known.picture).size
        fitted = Ridge(alpha=alpha * views).fit((known.pooled - mean) / sd, known.targets[:, block])
        weight[:, block] = (np.atleast_2d(fitted.coef_) / sd).T
        bias[block] = fitted.intercept_ - mean @ weight[:, block]
    return weight, bias
