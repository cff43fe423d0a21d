"""Scores of a share of people: the expected share against the true one or the votes, and the interval against the distance between them.

The two are apart: an answer that half of the people would give has a share of 0.5 however well the model knows that, and the interval says
how well. Votes scatter around the share that they are drawn from, and that scatter is no error of the model: the mean squared distance is
corrected for it, and an interval holds votes in so far as they are likely under it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emocaliber.core.calibrators import PEOPLE, PEOPLE_HIGH, PEOPLE_LEVEL, PEOPLE_LOW
from emocaliber.core.outcomes import Outcomes
from emocaliber.core.scoring import Outcome
from emocaliber.evaluation.bootstrap import Ints
from emocaliber.evaluation.estimates import Estimates, OutcomeCounts, Scope
from emocaliber.evaluation.intervals import IntervalEstimate
from emocaliber.evaluation.metrics import Floats
from emocaliber.evaluation.votes import central_coverage, concentration_of, vote_probabilities

_ONE_VOTE = "an answer has one vote only, whose scatter cannot be told from error"
_SPREAD = 0.25  # the most that the correction for the scatter of votes can take away


def people_estimates(counts: OutcomeCounts, scope: Scope) -> tuple[int, Estimates]:
    """The number of answers with a share of people and votes or a posterior, and the metrics over them; none of these without any.

    - `mae`: the mean distance of the expected share from the posterior, or from the share of votes, in [0, 1];
    - `rms`: the root of the mean squared distance, without the scatter that votes have by themselves; needs two votes for each answer;
    - `brier`: the expected Brier score of the expected share for the vote of one person drawn at random, in [0, 1];
    - `correlation`: Spearman's, of the expected share with the true one;
    - `interval_coverage`: the share of true shares in their intervals, which should be 0.8; of votes, how much of their distribution under
      a Beta distribution with that mean and interval lies in its central 80 %;
    - `interval_width`: the mean width of the intervals;
    - `ignorance_spearman`: Spearman's correlation of half the width with the distance: does the model know when it does not know?
    """
    every = counts.places(scope)
    rows = every[(counts.outcomes.people.given & counts.outcomes.shared)[every]]
    if not rows.size:
        return 0, {}
    outcomes = counts.outcomes
    said, low, high = (outcomes.people.column(name)[rows] for name in (PEOPLE, PEOPLE_LOW, PEOPLE_HIGH))
    share = np.array(list(outcomes.agreement(rows)), dtype=float)
    posterior = outcomes.posterior.given
    people = np.array([0 if posterior[row] else sum((outcomes.votes[row] or {}).values()) for row in rows.tolist()], dtype=float)
    distance, width = np.abs(said - share), high - low
    return rows.size, {
        "mae": counts.mean(rows, distance),
        "rms": _rms(counts, rows, said - share, share, people),
        "brier": counts.mean(rows, np.clip(said**2 - 2 * said * share + share, 0, 1)),
        "correlation": counts.spearman(rows, said, share),
        "interval_coverage": counts.mean(rows, _inside(said, low, high, share, people)),
        "interval_width": counts.mean(rows, width),
        "ignorance_spearman": counts.spearman(rows, width / 2, distance),
    }


def people_note(outcomes: Sequence[Outcome]) -> str | None:
    """A sentence where answers with a share of people have nothing to score it against; None if all have."""
    columns = Outcomes.of(outcomes)
    said, lacking = int(columns.people.given.sum()), int((columns.people.given & ~columns.shared).sum())
    return f"{lacking:,} of {said:,} shares of people have neither votes nor a posterior, and are not scored" if lacking else None


def _rms(counts: OutcomeCounts, rows: Ints, gaps: Floats, share: Floats, people: Floats) -> IntervalEstimate:
    if np.any(people == 1):
        return IntervalEstimate(np.nan, np.empty(0), None, _ONE_VOTE)
    scatter = np.where(people > 1, share * (1 - share) / np.maximum(people - 1, 1), 0.0)
    shifted = counts.mean(rows, (gaps**2 - scatter + _SPREAD) / (1 + _SPREAD))  # a mean of numbers in [0, 1]

    def root(mean: Floats) -> Floats:
        found: Floats = np.sqrt(np.maximum(mean * (1 + _SPREAD) - _SPREAD, 0.0))
        return found

    ends = None if shifted.interval is None else root(np.array(shifted.interval))
    whole = None if ends is None else (float(ends[0]), float(ends[1]))
    return IntervalEstimate(float(root(np.array(shifted.value))), root(shifted.replicates), whole, shifted.why)


def _inside(said: Floats, low: Floats, high: Floats, share: Floats, people: Floats) -> Floats:
    """(n,): whether each share is in its interval, or how much of its votes is."""
    found = ((share >= low) & (share <= high)).astype(float)
    if (voted := people > 0).any():
        mean = np.clip(said[voted], 1e-6, 1 - 1e-6)
        concentration = concentration_of(mean, low[voted], high[voted], PEOPLE_LEVEL)
        below, equal = vote_probabilities(np.rint(share * people)[voted], people[voted], mean, concentration)
        found[voted] = central_coverage(below, equal, PEOPLE_LEVEL)
    return found
