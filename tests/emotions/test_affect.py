"""P(label | VAD): a distribution over viewers, which follows its stated formula and behaves as feelings do."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from emocaliber.emotions.affect import PICTURES, label_distribution, most_named, positive_share, rescaled
from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import BUILT_IN, Taxonomy, taxonomy
from emocaliber.errors import UserError

BUILT_INS = pytest.mark.parametrize("name", BUILT_IN)
unit = st.floats(-1, 1)
vads = st.tuples(unit, unit, unit)
sds = st.tuples(*[st.floats(0, 0.6)] * 3)
CALM, ALARM = VAD(0.5, -0.6, 0.2), VAD(-0.7, 0.8, -0.3)
OASIS_SD = (0.36, 0.56, 0.2)  # of lay viewers, more than the typical ones


def entropy(shares: np.ndarray) -> np.ndarray:
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1)


def grid_shares(mean: tuple[float, ...], sd: tuple[float, ...], points: np.ndarray, steps: int = 41) -> np.ndarray:
    """The integral over viewers by a fine grid of five SDs to either side, for ideal points (labels, 4)."""
    z = np.linspace(-5, 5, steps)
    density = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    viewers = np.array(mean) + np.stack(np.meshgrid(z, z, z, indexing="ij"), -1).reshape(-1, 3) * np.array(sd)
    utility = points[:, 3] - (np.array(PICTURES.weight) * (viewers[:, None] - points[:, :3]) ** 2).sum(-1) / 2
    named = np.exp(utility) / np.exp(utility).sum(-1, keepdims=True)
    return np.einsum("i,j,k->ijk", density, density, density).ravel() @ named


@BUILT_INS
@given(felt=vads, sd=sds)
@settings(max_examples=25, deadline=None)
def test_the_shares_are_a_distribution_over_the_labels(name: str, felt: tuple[float, ...], sd: tuple[float, ...]) -> None:
    for axes in (2, 3):
        shares = label_distribution(felt[:axes], name, sd[:axes])
        assert shares.shape == (len(taxonomy(name).labels),)
        assert (shares >= 0).all()
        assert shares.sum() == pytest.approx(1)


def test_without_spread_two_labels_follow_the_logit_by_hand() -> None:
    model = replace(PICTURES, offset=VAD(0, 0, 0), scale=VAD(1, 1, 1), weight=VAD(4, 2, 1), places={})
    own = {"calm": VAD(0.5, 0, 0), "alarm": VAD(-0.5, 1, 0)}
    # From the origin: calm 4 * .25 / 2 = .5; alarm 4 * .25 / 2 + 2 * 1 / 2 = 1.5.
    assert label_distribution((0, 0, 0), own, 0, model) == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))])


@pytest.mark.parametrize("sd", [tuple(PICTURES.typical_sd), OASIS_SD], ids=["typical", "lay viewers"])
def test_the_quadrature_agrees_with_a_fine_grid(sd: tuple[float, ...]) -> None:
    labels = taxonomy("mikels-8")
    points = np.array([PICTURES.places[label] for label in labels.labels])
    for mean in [(0.0, 0.0, 0.0), (0.7, 0.3, 0.5), (-0.6, 0.5, -0.4), (-0.2, -0.3, 0.1)]:
        assert label_distribution(mean, labels, sd) == pytest.approx(grid_shares(mean, sd, points), abs=0.002)


@given(valence=unit, other=unit, sd=st.floats(0, 1))
def test_positive_rises_with_valence_and_is_the_share_above_the_midpoint(valence: float, other: float, sd: float) -> None:
    low, high = sorted((valence, other))
    shares = label_distribution([(low, 0), (high, 0)], "polarity-2", [(sd, 0)])
    assert shares[0, 0] <= shares[1, 0]
    if sd > 0:
        assert shares[:, 0] == pytest.approx(norm.sf(0, [low, high], sd), abs=1e-12)


def test_without_any_spread_polarity_is_certain_but_at_the_midpoint() -> None:
    assert positive_share([-0.1, 0, 0.1], 0).tolist() == [0, 0.5, 1]


@given(valence=unit, sd=st.floats(0, 1), more=st.floats(0, 1))
def test_the_more_viewers_differ_the_more_they_disagree_about_polarity(valence: float, sd: float, more: float) -> None:
    narrow, wide = (label_distribution((valence, 0), "polarity-2", (each, 0)) for each in (sd, sd + more))
    assert entropy(narrow) <= entropy(wide) + 1e-9


@BUILT_INS
def test_the_more_viewers_differ_the_more_they_disagree(name: str) -> None:
    """On the average picture: a picture on the border of two labels gains no entropy from a third."""
    felt = np.random.default_rng(0).uniform(-0.8, 0.8, (300, 3))
    means = [entropy(label_distribution(felt, name, sd)).mean() for sd in (0, 0.1, 0.2, 0.4, 0.8)]
    assert all(a < b for a, b in pairwise(means))


@BUILT_INS
@given(felt=vads, seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_labels_does_not_matter(name: str, felt: tuple[float, ...], seed: int) -> None:
    labels = taxonomy(name)
    order = np.random.default_rng(seed).permutation(len(labels.labels))
    shuffled = replace(labels, labels=tuple(labels.labels[i] for i in order))
    assert label_distribution(felt, shuffled) == pytest.approx(label_distribution(felt, labels)[order])


@given(word=vads, others=st.lists(vads, min_size=1, max_size=5))
@settings(deadline=None)
def test_a_label_of_ones_own_is_likeliest_at_its_place(word: tuple[float, ...], others: list[tuple[float, ...]]) -> None:
    far = [other for other in others if math.dist(word, other) > 1.3]
    own = {"own": VAD(*word)} | {f"other{i}": VAD(*other) for i, other in enumerate(far)}
    if len(own) > 1:
        assert label_distribution(PICTURES.place(VAD(*word)), own, 0.02).argmax() == 0


def test_a_label_that_people_were_asked_about_has_its_fitted_place() -> None:
    moved = {"joy": VAD(-1, -1, -1), "dread": VAD(-0.8, 0.6, -0.5)}
    assert label_distribution((0.5, 0.2, 0.1), moved)[0] > 0.9
    assert (label_distribution((0, 0, 0), moved) == label_distribution((0, 0, 0), {**moved, "joy": VAD(0, 0, 0)})).all()


def test_dominance_that_was_not_rated_follows_valence_and_arousal() -> None:
    intercept, on_valence, on_arousal, error = PICTURES.dominance
    valence, arousal = 0.4, -0.2
    spread = (0.1, 0.3, math.hypot(error, PICTURES.typical_sd.dominance))
    full = label_distribution((valence, arousal, intercept + on_valence * valence + on_arousal * arousal), "mikels-8", spread)
    assert label_distribution((valence, arousal), "mikels-8", spread[:2]) == pytest.approx(full)


def test_a_family_is_no_likelier_for_having_more_labels() -> None:
    fine, coarse = taxonomy("webemo-25"), taxonomy("webemo-7")
    felt = np.random.default_rng(1).uniform(-0.8, 0.8, (20, 3))
    shares = label_distribution(felt, fine)
    by_family = np.stack([shares[:, [fine.parents[label] == family for label in fine.labels]].sum(1) for family in coarse.labels], 1)
    assert by_family == pytest.approx(label_distribution(felt, coarse))


def test_a_family_that_is_no_word_of_webemo_lies_amid_its_labels() -> None:
    own = {"calm": CALM, "serene": CALM, "alarm": ALARM}
    nested = Taxonomy("own", tuple(own), {"calm": "quiet", "serene": "quiet", "alarm": "loud"}, vad=own, hierarchical=True)
    flat = label_distribution((0, 0, 0), {"calm": CALM, "alarm": ALARM})
    assert label_distribution((0, 0, 0), nested) == pytest.approx([flat[0] / 2, flat[0] / 2, flat[1]])


def test_many_pictures_at_once_give_what_each_gives_alone() -> None:
    felt = np.random.default_rng(2).uniform(-1, 1, (3, 400, 3))  # more than are held at once
    together = label_distribution(felt, "webemo-25")
    assert together.shape == (3, 400, 25)
    for at in [(0, 0), (1, 233), (2, 399)]:
        assert together[at] == pytest.approx(label_distribution(felt[at], "webemo-25"))


def test_an_emotion_is_felt_where_one_would_expect_it() -> None:
    likeliest = {
        (0.8, 0.7, 0.5): "amusement",
        (0.6, -0.4, 0.5): "contentment",
        (-0.6, -0.6, -0.5): "sadness",
        (-0.8, 0.8, -0.6): "fear",
    }
    for felt, label in likeliest.items():
        assert taxonomy("mikels-8").labels[label_distribution(felt, "mikels-8").argmax()] == label


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=8))
def test_the_label_that_most_name_is_surer_than_a_viewers_share(raw: list[float]) -> None:
    shares = np.array(raw) / sum(raw)
    named = most_named(shares)
    assert named.sum() == pytest.approx(1)
    assert named.max() >= shares.max() - 1e-12
    assert (np.argsort(named, kind="stable") == np.argsort(shares, kind="stable")).all()
    assert most_named(shares, replace(PICTURES, sharpness=1)) == pytest.approx(shares)


def test_ratings_are_brought_to_the_scale() -> None:
    mean, sd = rescaled([1, 4, 7], [3, 1.5, 0], 1, 7)
    assert mean.tolist() == [-1, 0, 1]
    assert sd.tolist() == [1, 0.5, 0]


@pytest.mark.parametrize(
    ("vad", "labels", "sd", "message"),
    [
        ((6.2, 0.1), "mikels-8", None, r"vad: 6\.2 is not within -1\.\.1; bring ratings to that scale with `rescaled`"),
        ((0, math.nan), "mikels-8", None, r"vad: nan is not within"),
        ((0.1,), "mikels-8", None, r"vad has shape \(1,\); its last axis must be valence and arousal"),
        (0.1, "mikels-8", None, r"vad has shape \(\)"),
        ((0, 0), "mikels-8", -0.1, r"sd: -0\.1 is not a standard deviation"),
        ((0, 0), "mikels-8", (0.1, math.nan), r"sd: nan is not a standard deviation"),
        ((0, 0), "mikels-8", (0.1, 0.1, 0.1), r"sd has shape \(3,\), which does not fit the shape \(2,\) of vad"),
        ((0, 0), Taxonomy("moods", ("joy", "whimsy")), None, r"taxonomy 'moods': no VAD value for 'whimsy', .*\(amusement, anger"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(vad: object, labels: object, sd: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        label_distribution(vad, labels, sd)  # type: ignore[arg-type]
