"""The share of people who would give an answer, and how far the true share may be from it, fitted where answers have votes or a posterior.

The mean is a calibration map fitted to shares in place of single labels. The distance is that of a Beta distribution around it whose
concentration may depend on the confidences: where they say that the model is on known ground, the interval is narrower. Votes are binomial
draws from the share (a Beta-binomial model), so that the scatter of few votes is not taken for the model's error.

A part of exact shares may be anything in this, so that outliers do not decide.

Map and concentration are fitted on three fifths of the images; on the others, the central part of the distribution is made as wide as
needed to hold the true shares of 80 %: split conformal prediction (Vovk et al. 2005; Lei et al. 2018) with the distance of the
distribution function from 1/2 as the score (Chernozhukov et al. 2021). For a new answer like these, the probability that its share lies in
the interval is at least 80 %, and at most 80 % + 1 / (n + 1), whatever the shapes of the distributions. With votes the same holds for the
number of votes of as many new people (with a step of the distribution function broken at random); for the share behind them it then
holds as far as the Beta-binomial model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import betainc, betaincinv, betaln, psi

from emocaliber.confidence.calibrator import RIDGE
from emocaliber.core.calibrators import CLIP, LEAST_LOG, MOST_LOG, PEOPLE, PEOPLE_LEVEL, PeopleModel
from emocaliber.core.scoring import Outcome
from emocaliber.evaluation.votes import vote_probabilities
from emocaliber.trust.fitting import Candidate, Floats, candidates_of, fit_map, probabilities
from emocaliber.trust.selection import FEWEST, FOLDS, Answered, within_one_error

FEWEST_VOTES = 3  # for an answer; with fewer, people who disagree look like a model that errs
FITTING = 0.6  # of the images; the others set the width
STRAY = 0.1  # the part of answers whose share the model is not expected to know at all
NEAREST = 0.002  # shares are kept so far from 0 and 1, where a Beta density may be 0

NO_SHARES = "no answer has votes or a posterior"
POSTERIOR, VOTES = "posterior", "votes"


@dataclass(frozen=True)
class Shares:
    """The share of people behind each of n answers, (n,), and the number of `people` asked (n,), None where shares are exact."""

    share: Floats
    people: Floats | None = None

    @property
    def truth(self) -> str:
        """What the shares are: "posterior" or "votes"."""
        return POSTERIOR if self.people is None else VOTES

    def part(self, which: Any) -> Shares:
        """Those of some of the answers."""
        return Shares(self.share[which], None if self.people is None else self.people[which])


def shares_of(outcomes: Sequence[Outcome]) -> Shares | str:
    """The shares of people behind answers, or why there are none that a model could be fitted to."""
    posteriors = sum(each.posterior is not None for each in outcomes)
    voted = sum(each.votes is not None for each in outcomes)
    known = [each.agreement for each in outcomes if each.agreement is not None]
    if not known:
        return NO_SHARES
    if lacking := len(outcomes) - len(known):
        return f"{lacking:,} of {len(outcomes):,} answers have neither votes nor a posterior; leave them out, or give them votes"
    if (images := len({each.image or each.id for each in outcomes})) < FEWEST:
        return f"the answers are about {images:,} images, and a share of people needs at least {FEWEST}"
    if posteriors == len(outcomes):
        return Shares(np.array(known, dtype=float))
    if voted < len(outcomes):
        return f"{posteriors:,} of {len(outcomes):,} answers have a posterior, the others votes; give one of the two for all"
    people = np.array([sum((each.votes or {}).values()) for each in outcomes], dtype=float)
    if few := int((people < FEWEST_VOTES).sum()):
        return f"{few:,} of {len(outcomes):,} answers have fewer than {FEWEST_VOTES} votes; with so few, disagreement looks like error"
    share = np.array([(each.votes or {}).get(each.answer or "", 0) for each in outcomes], dtype=float) / people
    return Shares(share, people)


def fit_people(
    answered: Answered, shares: Shares, methods: Sequence[str], seed: int = 0, *, concentrations: Sequence[str] | None = None
) -> dict[str, Any]:
    """The model of the share of people, fitted on n answers, as its entry in the file: see `PeopleModel.from_json`.

    The map is that of the least cross-validated squared distance from the shares, or one with fewer numbers within a standard error of it;
    the concentration likewise, by the logarithmic score. `concentrations` are the sources that it may depend on, by default all, and the
    expected share.
    """
    images = sorted(set(answered.images))
    order = np.random.default_rng((seed, 2)).permutation(len(images))
    place = {images[number]: rank for rank, number in enumerate(order.tolist())}
    rank = np.array([place[image] for image in answered.images])
    inside = rank < round(FITTING * len(images))
    fold, known = rank[inside] % FOLDS, shares.part(inside)
    confidences = answered.confidences[inside]
    candidate, means, tried_maps = _chosen_map(answered.sources, confidences, known, fold, methods)
    column = {source: number for number, source in enumerate(answered.sources)}
    found_map = fit_map(candidate, confidences[:, [column[source] for source in candidate.sources]], known.share)
    features = {PEOPLE: _log_odds(means)} | {source: _log_odds(confidences[:, number]) for source, number in column.items()}
    features = {name: feature for name, feature in features.items() if concentrations is None or name in concentrations}
    sources, tried = _chosen_sources(features, means, known, fold)
    weights, bias = _concentration(_stacked(features, sources, means.size), means, known)
    unlevelled = PeopleModel(found_map, sources, tuple(map(float, weights)), float(bias), PEOPLE_LEVEL)
    rest = answered.confidences[~inside]
    new_means = np.clip(probabilities(found_map, rest[:, [column[source] for source in candidate.sources]]), CLIP, 1 - CLIP)
    concentration = _concentrations(unlevelled, {source: rest[:, number] for source, number in column.items()}, new_means)
    held_out = shares.part(~inside)
    inner = _inner(new_means, concentration, held_out, seed)
    model = PeopleModel(found_map, sources, unlevelled.weights, unlevelled.bias, inner)
    low, high = (_quantile(new_means, concentration, (1 + sign * inner) / 2) for sign in (-1, 1))
    return {
        "truth": shares.truth,
        "fitted": int(inside.sum()),
        "levelled": int((~inside).sum()),
        **model.to_json(),
        "tried": {"map": tried_maps, "concentration": tried},
        "distance": round(float(np.abs(new_means - held_out.share).mean()), 6),
        "width": round(float((np.maximum(high, new_means) - np.minimum(low, new_means)).mean()), 6),
    }


def _chosen_map(
    sources: Sequence[str], confidences: Floats, known: Shares, fold: Floats, methods: Sequence[str]
) -> tuple[Candidate, Floats, list[dict[str, Any]]]:
    """The map, the mean of each answer (n,) by a fit on other images, and the maps tried."""
    varying = [source for number, source in enumerate(sources) if np.ptp(confidences[:, number]) > 0] or sources[:1]
    possible = candidates_of(varying, [each for each in methods if each != "isotonic"], known.share.size)
    held_out, errors = {}, {}
    for candidate in possible or [Candidate("platt", (varying[0],))]:
        given = confidences[:, [sources.index(source) for source in candidate.sources]]
        means = np.empty(known.share.size)
        for number in range(FOLDS):
            here = fold == number
            means[here] = probabilities(fit_map(candidate, given[~here], known.share[~here]), given[here])
        held_out[candidate] = np.clip(means, CLIP, 1 - CLIP)
        errors[candidate] = (means - known.share) ** 2
    best = within_one_error(errors)
    tried = [
        {"method": each.method, "sources": list(each.sources), "squared": round(float(squares.mean()), 6)}
        for each, squares in sorted(errors.items(), key=lambda item: float(item[1].mean()))
    ]
    return best, held_out[best], tried


def _chosen_sources(
    features: dict[str, Floats], means: Floats, known: Shares, fold: Floats
) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """The sources that the concentration depends on, perhaps none, and those tried."""
    options: list[tuple[str, ...]] = list(dict.fromkeys([(), *((source,) for source in features), tuple(features)]))
    losses = {}
    for sources in options:
        stacked, loss = _stacked(features, sources, means.size), np.empty(means.size)
        for number in range(FOLDS):
            here = fold == number
            weights, bias = _concentration(stacked[~here], means[~here], known.part(~here))
            loss[here] = -log_score(stacked[here] @ weights + bias, means[here], known.part(here))[0]
        losses[Candidate("concentration", sources)] = loss
    tried = [
        {"sources": list(each.sources), "log_score": round(float(loss.mean()), 6)}
        for each, loss in sorted(losses.items(), key=lambda item: float(item[1].mean()))
    ]
    return within_one_error(losses).sources, tried


def _stacked(features: dict[str, Floats], sources: Sequence[str], n: int) -> Floats:
    return np.column_stack([features[source] for source in sources]) if sources else np.empty((n, 0))


def _concentration(stacked: Floats, means: Floats, known: Shares) -> tuple[Floats, float]:
    """Weights (k,) and bias of the logarithm of the concentration, by maximum likelihood with a slight ridge on the weights."""

    def loss(parameters: Floats) -> tuple[float, Floats]:
        score, slope = log_score(stacked @ parameters[1:] + parameters[0], means, known)
        gradient = -np.concatenate([[slope.mean()], stacked.T @ slope / means.size])
        gradient[1:] += RIDGE * parameters[1:]
        return -float(score.mean()) + RIDGE / 2 * float(parameters[1:] @ parameters[1:]), gradient

    start = np.concatenate([[2.0], np.zeros(stacked.shape[1])])
    found = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return found[1:], float(found[0])


def log_score(logs: Floats, means: Floats, known: Shares) -> tuple[Floats, Floats]:
    """The log-likelihood of each share, or of its votes, (n,), and its slope in the logarithm of the concentration; constants left out.

    A part of `STRAY` of exact shares may be anything whatever, so that a few answers far off neither widen all intervals nor decide which
    sources are used. In votes such answers drown in the scatter, and leaving them out would make the intervals too narrow.
    """
    within = np.clip(logs, LEAST_LOG, MOST_LOG)
    k = np.exp(within)
    a, b = means * k, (1 - means) * k
    if known.people is None:
        share = np.clip(known.share, NEAREST, 1 - NEAREST)
        score = (a - 1) * np.log(share) + (b - 1) * np.log1p(-share) - betaln(a, b)
        slope = means * np.log(share) + (1 - means) * np.log1p(-share)
    else:
        yes = known.share * known.people
        no = known.people - yes
        score = betaln(yes + a, no + b) - betaln(a, b)
        slope = means * psi(yes + a) + (1 - means) * psi(no + b) - psi(known.people + k)
    slope = (slope + psi(k) - means * psi(a) - (1 - means) * psi(b)) * k
    if known.people is None:
        mixed = np.logaddexp(score + np.log1p(-STRAY), np.log(STRAY))
        score, slope = mixed, slope * np.exp(score + np.log1p(-STRAY) - mixed)
    return score, np.where(logs == within, slope, 0.0)


def _concentrations(model: PeopleModel, confidences: dict[str, Floats], means: Floats) -> Floats:
    given = {PEOPLE: means} | confidences
    logs = model.bias + sum((weight * _log_odds(given[source]) for source, weight in zip(model.sources, model.weights, strict=True)), 0.0)
    found: Floats = np.exp(np.clip(np.broadcast_to(logs, means.shape), LEAST_LOG, MOST_LOG))
    return found


def _inner(means: Floats, concentration: Floats, known: Shares, seed: int) -> float:
    """The central part of the distributions that holds the shares of 80 %: the conformal quantile; 1 where there are too few for one."""
    if known.people is None:
        reached = betainc(means * concentration, (1 - means) * concentration, known.share)
    else:
        below, equal = vote_probabilities(np.rint(known.share * known.people), known.people, means, concentration)
        reached = below + np.random.default_rng((seed, 3)).random(below.size) * equal
    scores = np.sort(np.abs(2 * reached - 1))
    needed = ceil(PEOPLE_LEVEL * (scores.size + 1))
    return 1.0 if needed > scores.size else round(min(float(scores[needed - 1]) + 1e-6, 1.0), 6)


def _quantile(means: Floats, concentration: Floats, probability: float) -> Floats:
    found: Floats = betaincinv(means * concentration, (1 - means) * concentration, probability)
    return found


def _log_odds(confidences: Floats) -> Floats:
    inside = np.clip(confidences, CLIP, 1 - CLIP)
    found: Floats = np.log(inside) - np.log1p(-inside)
    return found
