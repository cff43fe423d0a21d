"""P(label | valence, arousal, dominance): the share of a picture's viewers who would name each label, from people's ratings of it.

Each viewer has a point x in VAD space, drawn from N(mean, diag(sd^2)), the mean and SD of people's ratings of the picture, and names a
label by the multinomial logit of McFadden (1974) with an ideal point for each label:

    P(label | x) is proportional to exp(commonness(label) - sum over axes of weight * (x - place(label))^2 / 2).

The share of the viewers is the mean of that over x. The place of a label is an affine map of its lexicon value, since pictures are rated
less extremely than words are. Labels that people were asked about have a fitted place and commonness; any other label has its mapped place
and a commonness of 0. In a hierarchical taxonomy the viewer names a family first, then a label of it (McFadden's nested logit): a family
would otherwise be likelier the more labels it has. Positive and negative alone are another question: the share of viewers on either side
of the scale's midpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import POLARITIES, Taxonomy, label_key, taxonomy
from emocaliber.errors import UserError

Floats = npt.NDArray[np.float64]

_NODES = 7  # of the Gauss-Hermite quadrature on each axis; shares are within 0.002 of a fine grid at people's spreads
_CELLS = 2_000_000  # numbers held at once


@dataclass(frozen=True)
class AffectModel:
    """The fitted numbers. VAD is on the scale -1..1 throughout.

    `offset` and `scale` map a word of the lexicon to its place among pictures; `weight` is the metric, 1 / (variance of a viewer's
    perception) on each axis. `places` has (valence, arousal, dominance, commonness) of the labels that people were asked about.
    `dominance` is (intercept, slope on valence, slope on arousal, SD of the residuals), for pictures rated on valence and arousal alone.
    `typical_sd` is the spread of a picture's viewers where none is given. `sharpness` is the power of `most_named`.
    """

    offset: VAD
    scale: VAD
    weight: VAD
    places: Mapping[str, tuple[float, float, float, float]]
    dominance: tuple[float, float, float, float]
    typical_sd: VAD
    sharpness: float

    def place(self, word: VAD) -> VAD:
        """Where a label with this lexicon value lies among pictures."""
        return VAD(*(o + s * x for o, s, x in zip(self.offset, self.scale, word, strict=True)))


# Fitted by `python benchmarks/fit_affect.py` (EEmo-Bench's ratings, Flickr-LDL's votes); docs/affect.md shows the fit and how sure it is.
PICTURES = AffectModel(
    offset=VAD(-0.004, 0.074, -0.009),
    scale=VAD(0.402, 0.431, 0.433),
    weight=VAD(9.75, 9.13, 15.21),
    places={
        "amusement": (0.341, 0.365, 0.254, -0.088),
        "anger": (-0.277, 0.544, 0.173, 0.030),
        "awe": (0.505, 0.281, -0.182, 0.606),
        "contentment": (0.298, 0.169, 0.235, 0.505),
        "disgust": (-0.437, 0.261, -0.046, -0.229),
        "excitement": (0.315, 0.233, 0.191, -0.749),
        "fear": (-0.094, 0.338, -0.280, 0.071),
        "joy": (0.396, 0.182, -0.025, 0.190),
        "neutral": (-0.151, 0.014, -0.043, 0.534),
        "sadness": (-0.228, -0.049, -0.158, -0.121),
        "surprise": (0.089, 0.296, -0.002, -0.475),
    },
    dominance=(0.056, 0.670, -0.032, 0.101),
    typical_sd=VAD(0.158, 0.233, 0.189),
    sharpness=3.15,
)


def rescaled(mean: npt.ArrayLike, sd: npt.ArrayLike, low: float, high: float) -> tuple[Floats, Floats]:
    """Ratings on a scale from `low` to `high` (such as 1 to 9) as mean and SD on -1..1."""
    half = (high - low) / 2
    return (np.asarray(mean, dtype=float) - low) / half - 1, np.asarray(sd, dtype=float) / half


def label_distribution(
    vad: npt.ArrayLike,
    labels: Taxonomy | str | Path | Mapping[str, VAD],
    sd: npt.ArrayLike | None = None,
    model: AffectModel = PICTURES,
) -> Floats:
    """The share of viewers who would name each label, for pictures of mean ratings `vad`: shape (..., labels), rows sum to 1.

    `vad` has shape (..., 3), or (..., 2) without dominance, which then follows valence as in people's ratings. `labels` is a taxonomy, its
    name or file, or a mapping of one's own labels to their lexicon values; a label in `model.places` has that place, whatever its value.
    `sd` is the SD of the ratings over viewers, of any shape that broadcasts to that of `vad`; by default a typical one. A regression's
    uncertainty adds to it: sqrt(people^2 + regression^2).

    Raises UserError for a label without a value, a VAD outside -1..1, and a shape or SD that cannot be.
    """
    chosen = labels if not isinstance(labels, Mapping) else Taxonomy("labels", tuple(labels), vad=labels)
    chosen = taxonomy(chosen)
    mean, spread = _ratings(vad, sd, model)
    if is_polarity(chosen.labels):
        positive = positive_share(mean[..., 0], spread[..., 0])
        return np.stack([positive if label_key(label) == "positive" else 1 - positive for label in chosen.labels], -1)
    if mean.shape[-1] == 2:
        mean, spread = _with_dominance(mean, spread, model)
    shares = _expected_shares(mean.reshape(-1, 3), spread.reshape(-1, 3), chosen, model)
    return shares.reshape(*mean.shape[:-1], len(chosen.labels))


def is_polarity(labels: Sequence[str]) -> bool:
    """Whether these are positive and negative alone, of which the side of the scale's midpoint decides."""
    return {label_key(label) for label in labels} == set(POLARITIES)


def positive_share(valence: npt.ArrayLike, sd: npt.ArrayLike) -> Floats:
    """The normal share of viewers whose valence is above the midpoint of the scale; without any spread 0, 1/2 or 1. Shape of `valence`."""
    valence, sd = np.broadcast_arrays(np.asarray(valence, dtype=float), np.asarray(sd, dtype=float))
    certain = np.where(valence == 0, 0.0, np.copysign(np.inf, valence))
    with np.errstate(over="ignore"):  # next to no spread is none
        z = np.divide(valence, sd, out=certain, where=sd > 0)
    return np.asarray(np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)), otypes=[float])(z))


def most_named(shares: npt.ArrayLike, model: AffectModel = PICTURES) -> Floats:
    """P(each label is the one that most viewers name), as data sets label a picture: shares to the power `sharpness`, normalised."""
    power = np.asarray(shares, dtype=float) ** model.sharpness
    return np.asarray(power / power.sum(-1, keepdims=True))


class _Ideal(NamedTuple):
    """Ideal points: place (labels, 3) and commonness (labels,)."""

    place: Floats
    commonness: Floats

    @classmethod
    def of(cls, rows: Sequence[Sequence[float]]) -> _Ideal:
        points = np.array(rows, dtype=float)
        return cls(points[:, :3], points[:, 3])


def _ideal_points(labels: Taxonomy, model: AffectModel) -> _Ideal:
    """Those of the labels. Raises UserError for a label of which neither a fitted place nor a lexicon value is known."""
    fitted = {label: model.places.get(label_key(label)) for label in labels.labels}
    if missing := [label for label in labels.labels if fitted[label] is None and label not in labels.vad]:
        raise UserError(
            f"taxonomy '{labels.name}': no VAD value for '{missing[0]}', and it is not among the labels fitted on people's ratings "
            f"({', '.join(model.places)}); give its [valence, arousal, dominance], each from -1 to 1, or a lexicon that has the word"
        )
    return _Ideal.of([fitted[label] or (*model.place(labels.vad[label]), 0.0) for label in labels.labels])


def _families(labels: Taxonomy, ideal: _Ideal, model: AffectModel) -> tuple[list[list[int]], _Ideal]:
    """The labels of each family, as positions, and the families' ideal points: their names' own, else the mean place of their labels."""
    words, names = taxonomy("webemo-7").vad, sorted(set(labels.parents.values()))
    members = [[i for i, label in enumerate(labels.labels) if labels.parents[label] == name] for name in names]
    rows: list[Sequence[float]] = []
    for name, positions in zip(names, members, strict=True):
        known = model.places.get(label_key(name)) or ((*model.place(words[name]), 0.0) if name in words else None)
        rows.append(known or (*ideal.place[positions].mean(0).tolist(), 0.0))
    return members, _Ideal.of(rows)


def _ratings(vad: npt.ArrayLike, sd: npt.ArrayLike | None, model: AffectModel) -> tuple[Floats, Floats]:
    """Mean and SD of the ratings, checked, both of shape (..., 2) or (..., 3)."""
    mean = np.asarray(vad, dtype=float)
    if mean.ndim == 0 or mean.shape[-1] not in (2, 3):
        raise UserError(f"vad has shape {mean.shape}; its last axis must be valence and arousal, or valence, arousal and dominance")
    if not (np.abs(mean) <= 1).all():
        worst = mean[~(np.abs(mean) <= 1)][0]
        raise UserError(f"vad: {worst:g} is not within -1..1; bring ratings to that scale with `rescaled`, and clip a regression's values")
    given = model.typical_sd[: mean.shape[-1]] if sd is None else sd
    try:
        spread = np.broadcast_to(np.asarray(given, dtype=float), mean.shape)
    except ValueError:
        raise UserError(f"sd has shape {np.shape(given)}, which does not fit the shape {mean.shape} of vad") from None
    if not ((spread >= 0) & np.isfinite(spread)).all():
        raise UserError(f"sd: {spread[~((spread >= 0) & np.isfinite(spread))][0]:g} is not a standard deviation; it must be 0 or more")
    return mean, spread


def _with_dominance(mean: Floats, spread: Floats, model: AffectModel) -> tuple[Floats, Floats]:
    """Mean and SD with dominance from its regression on valence and arousal: viewers differ, and the regression errs."""
    intercept, on_valence, on_arousal, error = model.dominance
    dominance = intercept + on_valence * mean[..., :1] + on_arousal * mean[..., 1:]
    sd = np.full_like(dominance, math.hypot(error, model.typical_sd.dominance))
    return np.concatenate([mean, dominance], -1), np.concatenate([spread, sd], -1)


def _expected_shares(mean: Floats, spread: Floats, labels: Taxonomy, model: AffectModel) -> Floats:
    """The mean of the logit over N(mean, diag(spread^2)), rows of (pictures, 3), by quadrature: (pictures, labels)."""
    ideal = _ideal_points(labels, model)
    members, families = _families(labels, ideal, model) if labels.hierarchical else ([list(range(len(labels.labels)))], None)
    at, share = np.polynomial.hermite_e.hermegauss(_NODES)
    axes = [at if spread[:, axis].any() else np.zeros(1) for axis in range(3)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    node_shares = np.einsum("i,j,k->ijk", *(share / share.sum() if grid.size > 1 else np.ones(1) for grid in axes)).ravel()
    result = np.empty((len(mean), len(labels.labels)))
    step = max(1, _CELLS // (len(nodes) * len(labels.labels)))
    for start in range(0, len(mean), step):
        part = slice(start, start + step)
        viewers = mean[part, None] + spread[part, None] * nodes
        family = _logit(viewers, families, model) if families else np.ones((*viewers.shape[:-1], 1))
        for k, positions in enumerate(members):
            within = _logit(viewers, _Ideal(ideal.place[positions], ideal.commonness[positions]), model)
            result[part, positions] = np.einsum("pnl,pn,n->pl", within, family[..., k], node_shares)
    return result


def _logit(viewers: Floats, ideal: _Ideal, model: AffectModel) -> Floats:
    """P(label | x) for each viewer: (..., labels)."""
    weight = np.array(model.weight)
    logits = viewers @ (weight * ideal.place).T + ideal.commonness - (weight * ideal.place**2).sum(-1) / 2
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))
