"""The share of people who would give an answer: what is fitted, that its intervals hold what they promise, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.stats import beta

from emocaliber.core.calibrators import Logistic, PeopleModel
from emocaliber.core.scoring import Outcome
from emocaliber.trust.fitting import Floats
from emocaliber.trust.people import Shares, fit_people, log_score, shares_of
from emocaliber.trust.selection import Answered

METHODS = ("platt",)


def world(n: int, seed: int = 0, *, known: bool = False) -> tuple[Answered, Floats]:
    """Answers whose true shares are Beta around the confidence "c"; where `known`, "k" says how closely: concentration 4 or 100."""
    random = np.random.default_rng(seed)
    stated = random.uniform(0.1, 0.9, n)
    sure = random.integers(0, 2, n) if known else np.ones(n)
    concentration = np.where(sure, 100.0, 4.0) if known else np.full(n, 20.0)
    shares = random.beta(stated * concentration, (1 - stated) * concentration)
    confidences = np.column_stack([stated, np.where(sure, 0.9, 0.1)])
    return Answered(("c", "k"), confidences, random.random(n) < shares, tuple(f"{seed}-{number}" for number in range(n))), shares


def model_of(answered: Answered, shares: Shares, seed: int = 0, **how: Any) -> PeopleModel:
    found = PeopleModel.from_json(fit_people(answered, shares, METHODS, seed, **how))
    assert found is not None
    return found


def on(model: PeopleModel, answered: Answered) -> Floats:
    """(3, n): expected share, low and high of each answer."""
    found = [model(dict(zip(answered.sources, row, strict=True))) for row in answered.confidences.tolist()]
    return np.array([(each.people, each.low, each.high) for each in found]).T


def voted(shares: Floats, people: int, seed: int = 0) -> Shares:
    """Votes of so many people, drawn from the shares."""
    votes = np.random.default_rng((seed, 9)).binomial(people, shares)
    return Shares(votes / people, np.full(shares.size, float(people)))


@pytest.mark.parametrize("people", [None, 11], ids=["posteriors", "votes of 11"])
def test_the_expected_share_and_the_interval_are_those_of_the_world(people: int | None) -> None:
    answered, shares = world(2500)
    model = model_of(answered, voted(shares, people) if people else Shares(shares))
    new, truth = world(1500, seed=1)
    said, low, high = on(model, new)
    assert np.abs(said - new.confidences[:, 0]).mean() < 0.02
    assert ((truth >= low) & (truth <= high)).mean() == pytest.approx(0.8, abs=0.05)
    own = beta(new.confidences[:, 0] * 20, (1 - new.confidences[:, 0]) * 20)
    assert (high - low).mean() == pytest.approx((own.ppf(0.9) - own.ppf(0.1)).mean(), abs=0.04)


def test_votes_taken_for_exact_shares_would_make_intervals_too_wide() -> None:
    answered, shares = world(1500)
    votes = voted(shares, 5)
    apart, mixed = (on(model_of(answered, each), answered) for each in (votes, Shares(votes.share)))
    assert (mixed[2] - mixed[1]).mean() > 1.4 * (apart[2] - apart[1]).mean()


@pytest.mark.parametrize("people", [None, 11], ids=["posteriors", "votes of 11"])
def test_the_interval_is_narrow_where_the_model_knows_and_wide_where_it_does_not(people: int | None) -> None:
    answered, shares = world(1500, known=True)
    model = model_of(answered, voted(shares, people) if people else Shares(shares))
    assert "k" in model.sources
    said, low, high = on(model, answered)
    sure = answered.confidences[:, 1] > 0.5
    assert 2.5 * (high - low)[sure].mean() < (high - low)[~sure].mean()
    assert np.abs(said[sure].mean() - said[~sure].mean()) < 0.05, "the share itself is the same"


@pytest.mark.parametrize("n", [50, 120])
def test_few_answers_still_keep_the_promise_whatever_the_shape(n: int) -> None:
    """Over fits the mean coverage is at least 80 %, and hardly more, though these shares are no Beta: two heaps with nothing between."""
    held = []
    for seed in range(40):
        random = np.random.default_rng((seed, n))
        stated = random.uniform(0.1, 0.9, n + 200)
        shares = np.clip(np.where(random.random(stated.size) < stated, 0.95, 0.1) + random.normal(0, 0.03, stated.size), 0, 1)
        answered = Answered(("c",), stated[:n, None], shares[:n] > 0.5, tuple(map(str, range(n))))
        _, low, high = on(
            model_of(answered, Shares(shares[:n]), seed, concentrations=()),
            Answered(("c",), stated[n:, None], shares[n:] > 0.5, tuple(map(str, range(200)))),
        )
        held.append(((shares[n:] >= low) & (shares[n:] <= high)).mean())
    assert 0.78 <= np.mean(held) <= 0.8 + 1 / (0.4 * n) + 0.03


@pytest.mark.parametrize("sources", [(), ("c",), ("people", "k")])
def test_the_interval_of_a_model_is_the_central_part_of_its_beta_distribution(sources: tuple[str, ...]) -> None:
    model = PeopleModel(Logistic(("c",), (0.8,), 0.3), sources, (0.4,) * len(sources), 1.5, 0.7)
    found = model({"c": 0.6, "k": 0.2})
    mean = 1 / (1 + np.exp(-(0.8 * np.log(1.5) + 0.3)))
    odds = {"c": np.log(1.5), "people": np.log(mean / (1 - mean)), "k": np.log(0.25)}
    own = beta(mean * (k := np.exp(1.5 + 0.4 * sum(odds[source] for source in sources))), (1 - mean) * k)
    assert (found.people, found.low, found.high) == pytest.approx((mean, own.ppf(0.15), own.ppf(0.85)), abs=1e-5)
    assert PeopleModel.from_json(model.to_json()) == model
    with pytest.raises(KeyError):
        model({"c": None, "k": 0.2})


def test_a_few_answers_far_off_do_not_spread_the_distribution() -> None:
    answered, shares = world(2000)
    strays = np.where(np.arange(2000) % 20 == 0, np.random.default_rng(7).random(2000), shares)
    model = model_of(answered, Shares(strays), concentrations=())
    assert np.exp(model.bias) == pytest.approx(20, rel=0.25)
    _, low, high = on(model, answered)
    assert ((strays >= low) & (strays <= high)).mean() == pytest.approx(0.8, abs=0.05), "the promise is about all answers"


def test_a_fit_depends_on_its_seed_alone() -> None:
    answered, shares = world(100)
    assert fit_people(answered, Shares(shares), METHODS, 3) == fit_people(answered, Shares(shares), METHODS, 3)


@pytest.mark.parametrize("people", [None, 7], ids=["posteriors", "votes of 7"])
def test_the_slope_of_the_logarithmic_score_is_its_derivative(people: int | None) -> None:
    answered, shares = world(40)
    known, means = voted(shares, people) if people else Shares(shares), answered.confidences[:, 0]

    def score(log: Floats) -> float:
        return float(log_score(np.full(means.size, log[0]), means, known)[0].sum())

    def slope(log: Floats) -> Floats:
        return np.array([log_score(np.full(means.size, log[0]), means, known)[1].sum()])

    for log in (-0.5, 1.0, 4.0):
        assert check_grad(score, slope, np.array([log])) < 1e-3


def answers(*several: dict[str, Any], images: int = 50) -> list[Outcome]:
    """The answers with these fields, then as many like the last as make up the images."""
    return [answer(f"{number}", **several[min(number, len(several) - 1)]) for number in range(images)]


def answer(name: str, **fields: Any) -> Outcome:
    return Outcome(name, "q", "awe", "awe", True, None, None, {}, **fields)


POSTERIOR, VOTES = {"posterior": {"awe": 0.7, "fear": 0.3}}, {"votes": {"awe": 8, "fear": 3}}


def test_shares_come_from_the_posterior_or_else_from_votes() -> None:
    exact, counted = shares_of(answers(POSTERIOR | VOTES)), shares_of(answers(VOTES, {"votes": {"fear": 4}}))
    assert isinstance(exact, Shares) and exact.truth == "posterior" and set(exact.share.tolist()) == {0.7}
    assert isinstance(counted, Shares) and counted.truth == "votes" and counted.people is not None
    assert (counted.share * counted.people).tolist()[:2] == [8, 0] and counted.people.tolist()[:2] == [11, 4]


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        (answers({}), "no answer has votes or a posterior"),
        (answers({}, VOTES), "1 of 50 answers have neither votes nor a posterior; leave them out, or give them votes"),
        (answers(POSTERIOR, VOTES), "1 of 50 answers have a posterior, the others votes; give one of the two for all"),
        (answers({"votes": {"awe": 2}}, VOTES), "1 of 50 answers have fewer than 3 votes; with so few, disagreement looks like error"),
        (answers(VOTES, images=49), "the answers are about 49 images, and a share of people needs at least 50"),
    ],
)
def test_what_says_nothing_about_people_is_refused_in_a_sentence(outcomes: list[Outcome], why: str) -> None:
    assert shares_of(outcomes) == why


@pytest.mark.parametrize("shares", [np.zeros(60), np.ones(60), np.tile([0.0, 1.0], 30)], ids=["nobody", "everybody", "all or nobody"])
@pytest.mark.parametrize("people", [None, 3])
def test_shares_at_the_ends_and_a_source_that_says_nothing_give_finite_numbers(shares: Floats, people: int | None) -> None:
    answered = Answered(("c",), np.full((60, 1), 0.5), shares > 0.5, tuple(map(str, range(60))))
    known = Shares(shares, np.full(60, float(people)) if people else None)
    model = PeopleModel.from_json(fit_people(answered, known, ["logistic"]))
    assert model is not None
    found = model({"c": 0.5})
    assert 0 <= found.low <= found.people <= found.high <= 1
    assert found.people == pytest.approx(np.clip(shares.mean(), 0.001, 0.999), abs=0.2)
