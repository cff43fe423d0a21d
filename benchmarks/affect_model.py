"""The fit of `emocaliber.emotions.affect`: maximum likelihood with priors, on EEmo-Bench's points and Flickr-LDL's votes.

    EMOCALIBER_DATA=... OMP_NUM_THREADS=1 python benchmarks/affect_model.py      # about a minute

Step 1, EEmo-Bench: each viewer's three emotions are a Plackett-Luce ranking by the viewer's P(label | x), so P gives the points that each
emotion is expected to get; the cross-entropy of these with the points it got is least at the truth. Of emotions not named, the sum of the
points is known.
The likelihood knows products of weight and scale well and each alone badly, so priors decide: scale N(.5, .05), offset N(0, .1), the shift
of a label's place from its mapped lexicon value N(0, .1) on each axis, commonness N(0, .5).
Step 2, Flickr-LDL: its votes have no VAD. The commonness of Mikels' four positive emotions, and a shift of awe's valence (N(0, .2)), are
those at which the mean shares of the labels, in pictures most found positive and in the others, are people's, when EEmo's pictures are
weighted by exp(tilt . (valence, arousal)), as Flickr's pictures are others. Step 1's numbers stay. The last line is one JSON object.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from affect_data import POINTS, SEVEN, Eemo, Floats, folder, read_eemo, read_words
from emocaliber.emotions.affect import AffectModel
from emocaliber.emotions.loop import VAD
from fit_annotators import LABELS as EIGHT
from fit_annotators import read_votes

POSITIVE = 4  # the first four of Mikels' eight
_AWE = EIGHT.index("awe")
_VOTES_WEIGH = 1_000  # votes' likelihood, as of so many pictures: their sampling error is not what limits the fit
_SIGNS = torch.tensor([(a, b, c) for a in (-1.0, 1.0) for b in (-1.0, 1.0) for c in (-1.0, 1.0)], dtype=torch.float64)
Tensor = torch.Tensor


def _tensor(values: npt.ArrayLike) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=float))


def _viewers(vad: Floats, sd: Floats) -> Tensor:
    """Two points on each axis, one SD from the mean, as quadrature: (pictures, 8, 3)."""
    return _tensor(vad)[:, None] + _tensor(sd)[:, None] * _SIGNS


def _logit(viewers: Tensor, places: Tensor, commonness: Tensor, weight: Tensor) -> Tensor:
    return torch.softmax(viewers @ (weight * places).T + commonness - (weight * places**2).sum(-1) / 2, -1)


def expected_points(p: Tensor) -> Tensor:
    """The share of one viewer's nine points that each label is expected to get, ranked by Plackett-Luce with `p` (..., labels)."""
    odds = p / (1 - p).clamp_min(1e-9)
    second = p * (odds.sum(-1, keepdim=True) - odds)
    left = (1 - p[..., :, None] - p[..., None, :]).clamp_min(1e-9)
    pairs = odds[..., :, None] * p[..., None, :] / left * (1 - torch.eye(p.shape[-1], dtype=p.dtype))
    third = p * (pairs.sum((-1, -2))[..., None] - pairs.sum(-1) - pairs.sum(-2))
    return (POINTS[0] * p + POINTS[1] * second + POINTS[2] * third) / sum(POINTS)


def fit_ratings(eemo: Eemo, chosen: npt.NDArray[np.int64], words: Mapping[str, VAD], unseen: str | None = None) -> AffectModel:
    """Step 1 on the pictures `chosen`; as if nobody had been asked about the label `unseen`, if any: without the pictures that name it."""
    labels = [label for label in SEVEN if label != unseen]
    columns = [SEVEN.index(label) for label in labels]
    if unseen:
        chosen = chosen[eemo.points[chosen, SEVEN.index(unseen)] == 0]
    lexicon = _tensor([words[label] for label in labels])
    points, rest = _tensor(eemo.points[np.ix_(chosen, columns)]), _tensor(eemo.rest[chosen])
    unnamed = points == 0
    viewers = _viewers(eemo.vad[chosen], eemo.sd[chosen])
    numbers = (
        torch.cat([torch.zeros(3), torch.full((3,), 0.5), torch.full((3,), math.log(7)), torch.zeros(4 * len(labels))])
        .double()
        .requires_grad_()
    )
    search = torch.optim.LBFGS([numbers], max_iter=80, line_search_fn="strong_wolfe", history_size=20)

    def parts() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        offset, scale, weight = numbers[:3], numbers[3:6], numbers[6:9].exp()
        commonness, shift = numbers[9 : 9 + len(labels)], numbers[9 + len(labels) :].reshape(-1, 3)
        return offset, scale, weight, commonness, shift, offset + scale * lexicon + shift

    def loss() -> Tensor:
        search.zero_grad()
        offset, scale, weight, commonness, shift, places = parts()
        share = expected_points(_logit(viewers, places, commonness, weight)).mean(1).clamp_min(1e-9)
        likelihood = (points * share.log()).sum() + (rest * (share * unnamed).sum(1).clamp_min(1e-9).log()).sum()
        prior = (
            ((commonness / 0.5) ** 2).sum() + ((shift / 0.1) ** 2).sum() + ((offset / 0.1) ** 2).sum() + (((scale - 0.5) / 0.05) ** 2).sum()
        )
        value = prior / 2 - likelihood
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)
    with torch.no_grad():
        offset, scale, weight, commonness, _, places = (part.numpy() for part in parts())
    places_by_label = {label: (*places[i].tolist(), float(commonness[i])) for i, label in enumerate(labels)}
    vad = eemo.vad[chosen]
    design = np.column_stack([np.ones(len(vad)), vad[:, :2]])
    slopes, *_ = np.linalg.lstsq(design, vad[:, 2], rcond=None)
    error = float((vad[:, 2] - design @ slopes).std(ddof=3))
    typical = VAD(*eemo.sd[chosen].mean(0).tolist())
    return AffectModel(
        VAD(*offset.tolist()), VAD(*scale.tolist()), VAD(*weight.tolist()), places_by_label, (*slopes.tolist(), error), typical, 1.0
    )


def predicted_points(model: AffectModel, vad: Floats, sd: Floats) -> Floats:
    """The share of the points that each of EEmo's seven emotions is expected to get, (pictures, 7)."""
    rows = _tensor([model.places[label] for label in SEVEN])
    shares = _logit(_viewers(vad, sd), rows[:, :3], rows[:, 3], _tensor(model.weight))
    return np.asarray(expected_points(shares).mean(1).numpy())


def shares_by_polarity(votes: npt.NDArray[np.int64]) -> Floats:
    """Joint shares (2, 8) of the picture's majority, positive then negative, and the label of a vote; ties have no majority."""
    shares = votes / votes.sum(1, keepdims=True)
    positive = votes[:, :POSITIVE].sum(1) - votes[:, POSITIVE:].sum(1)
    joint = np.stack([shares[positive > 0].sum(0), shares[positive < 0].sum(0)])
    return np.asarray(joint / joint.sum())


def predicted_by_polarity(shares: Tensor, weights: Tensor, voters: int) -> Tensor:
    """The same joint shares where each picture's votes are drawn from its `shares` (pictures, 8); `weights` of the pictures sum to 1."""
    positive = shares[:, :POSITIVE].sum(1).clamp(1e-9, 1 - 1e-9)
    count = torch.arange(voters + 1, dtype=torch.float64)
    ways = _tensor([math.comb(voters, k) for k in range(voters + 1)])
    chance = ways * positive[:, None] ** count * (1 - positive[:, None]) ** (voters - count)
    rows = []
    for majority in (count > voters / 2, count < voters / 2):
        for_positive = (chance * count * majority).sum(1) * weights / voters / positive
        for_negative = (chance * (voters - count) * majority).sum(1) * weights / voters / (1 - positive)
        rows.append(
            torch.cat([(for_positive[:, None] * shares[:, :POSITIVE]).sum(0), (for_negative[:, None] * shares[:, POSITIVE:]).sum(0)])
        )
    joint = torch.stack(rows)
    return joint / joint.sum()


def fit_votes(
    model: AffectModel, eemo: Eemo, votes: npt.NDArray[np.int64], words: Mapping[str, VAD], labels_too: bool = True
) -> tuple[AffectModel, Floats, Floats]:
    """Step 2: the model with Mikels' positive emotions, the weights of EEmo's pictures, and the predicted `shares_by_polarity`.

    The negative emotions' commonness in these votes is fitted too, and not kept: it differs by collection, and EEmo's is in the model.
    With `labels_too` False only the weights are fitted, for votes on a collection that the labels are tested on.
    """
    start = [model.places.get(label) or (*model.place(words[label]), 0.0) for label in EIGHT]
    places, commonness = _tensor([row[:3] for row in start]), _tensor([row[3] for row in start])
    people, voters = _tensor(shares_by_polarity(votes)), int(votes[0].sum())
    viewers, vad, weight = _viewers(eemo.vad, eemo.sd), _tensor(eemo.vad), _tensor(model.weight)
    numbers = torch.zeros(2 + len(EIGHT) + 1, dtype=torch.float64)
    numbers[-1] = 0.3  # awe's valence has a second, worse optimum below its start
    numbers.requires_grad_()
    search = torch.optim.LBFGS([numbers], max_iter=80, line_search_fn="strong_wolfe")
    axis = torch.zeros(8, 3, dtype=torch.float64)
    axis[_AWE, 0] = float(labels_too)

    def parts() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tilted = torch.softmax(vad[:, :2] @ numbers[:2], 0)
        common = commonness + numbers[2:-1] * float(labels_too)
        at = places + numbers[-1] * axis
        return tilted, at, common, predicted_by_polarity(_logit(viewers, at, common, weight).mean(1), tilted, voters)

    def loss() -> Tensor:
        search.zero_grad()
        prior = ((numbers[:2] / 5) ** 2).sum() + ((numbers[2:-1] / 0.5) ** 2).sum() + (numbers[-1] / 0.2) ** 2
        value = prior / 2 - _VOTES_WEIGH * (people * parts()[-1].log()).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)
    with torch.no_grad():
        tilted, at, common, joint = (part.numpy() for part in parts())
    fitted = {label: (*at[i].tolist(), float(common[i])) for i, label in enumerate(EIGHT[:POSITIVE])}
    both = AffectModel(
        model.offset, model.scale, model.weight, {**model.places, **fitted}, model.dominance, model.typical_sd, model.sharpness
    )
    return (both if labels_too else model), tilted, joint


def as_text(model: AffectModel) -> str:
    """The model as lines for `emotions/affect.py`."""

    def listed(values: tuple[float, ...], digits: int = 3) -> str:
        return ", ".join(f"{value:.{digits}f}" for value in values)

    lines = ["PICTURES = AffectModel(", f"    offset=VAD({listed(model.offset)}),", f"    scale=VAD({listed(model.scale)}),"]
    lines += [f"    weight=VAD({listed(model.weight, 2)}),", "    places={"]
    lines += [f'        "{label}": ({listed(model.places[label])}),' for label in sorted(model.places)]
    lines += ["    },", f"    dominance=({listed(model.dominance)}),", f"    typical_sd=VAD({listed(model.typical_sd)}),"]
    return "\n".join([*lines, f"    sharpness={model.sharpness:.2f},", ")"])


def main() -> int:
    data = folder()
    eemo, words = read_eemo(data / "eemo" / "ratings.csv"), read_words(data / "vad_words.tsv")
    model = fit_ratings(eemo, np.arange(len(eemo.first)), words)
    model, _, _ = fit_votes(model, eemo, read_votes(data / "votes" / "flickr_ldl.txt"), words)
    print(as_text(model))
    print(json.dumps({"weight": [round(x, 3) for x in model.weight]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
