"""Incentive check of a reward: the confidence with the highest expected reward at each true probability, and whether honesty is optimal.

Expected rewards follow from the settings alone, without training. They are those of an answer that is right with probability p and states a
confidence c with two decimals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from emocaliber.confidence.rewards import RewardSettings
from emocaliber.render.figure import BLUE, GREY, VERMILION, PanelFigure, png, style
from emocaliber.render.table import NONE, Table

Floats = NDArray[np.float64]
_STEP = 0.01
_EPSILON = 1e-9


@dataclass(frozen=True)
class Incentives:
    """The incentive check of one reward setting. Arrays have P = 101 true probabilities and C confidences that can be stated."""

    settings: RewardSettings

    @cached_property
    def stated(self) -> Floats:
        """The confidences that can be stated, (C,)."""
        inside = slice(1, -1) if self.settings.open_interval else slice(None)
        stated: Floats = np.linspace(0, 1, 101)[inside]
        return stated

    @cached_property
    def probabilities(self) -> Floats:
        """The true probabilities of being right, (P,): 0 to 1 by 0.01."""
        return np.linspace(0, 1, 101)

    @cached_property
    def rewards(self) -> Floats:
        """The reward (2, C) of a wrong and of a right answer at each stated confidence."""
        return np.array([[self.settings.total(right, float(c)) for c in self.stated] for right in (False, True)])

    @cached_property
    def expected(self) -> Floats:
        """The expected reward (P, C)."""
        p = self.probabilities[:, None]
        expected: Floats = (1 - p) * self.rewards[0] + p * self.rewards[1]
        return expected

    @cached_property
    def best_confidence(self) -> Floats:
        """The confidence with the highest expected reward, (P,); among ties the one nearest to the true probability."""
        near = np.abs(self.stated[None, :] - self.probabilities[:, None])
        pays = self.expected >= self.expected.max(1, keepdims=True) - _EPSILON
        best: Floats = self.stated[np.where(pays, near, np.inf).argmin(1)]
        return best

    @cached_property
    def best_reward(self) -> Floats:
        """The highest expected reward, (P,)."""
        best: Floats = self.expected.max(1)
        return best

    @property
    def honest(self) -> bool:
        """Whether stating the true probability is optimal, as far as two decimals and the clip allow."""
        tolerance = max(self.settings.clip if self.settings.confidence == "log_likelihood" else 0.0, _STEP) + _EPSILON
        return bool((np.abs(self.best_confidence - self.probabilities) <= tolerance).all()) and not self.indifferent

    @property
    def indifferent(self) -> bool:
        """Whether the expected reward does not depend on the stated confidence."""
        return bool((np.ptp(self.expected, axis=1) < _EPSILON).all())

    @property
    def malformed_beats_honesty_below(self) -> float | None:
        """The largest true probability at which a malformed answer earns more than the best well-formed one; None if there is none."""
        return self._largest(self.best_reward < self.settings.floor - _EPSILON)

    @property
    def malformed_beats_wrong_from(self) -> float | None:
        """The smallest confidence at which a wrong answer earns less than a malformed one; None if there is none."""
        worse = self.stated[self.rewards[0] < self.settings.floor - _EPSILON]
        return float(worse[0]) if len(worse) else None

    @property
    def sandbagging_threshold(self) -> float | None:
        """The largest true probability at which a deliberately wrong answer, stated as such, earns more in expectation than the honest one.

        None if there is none. A score without a lower bound, such as the log-likelihood, can make uncertainty that costly (Damani et al.
        2025).
        """
        return self._largest(self.best_reward < self.best_reward[0] - _EPSILON)

    def _largest(self, holds: NDArray[np.bool_]) -> float | None:
        return float(self.probabilities[holds].max()) if holds.any() else None

    def warnings(self) -> list[str]:
        """One sentence for each undesired incentive."""
        found = []
        if self.indifferent:
            found.append("the expected reward does not depend on the stated confidence: nothing rewards calibration")
        elif not self.honest:
            found.append("stating the true probability does not maximise the expected reward")
        if (limit := self.malformed_beats_honesty_below) is not None:
            found.append(f"a malformed answer earns more than an honest one that is right with probability {limit:.2f} or less")
        if (start := self.malformed_beats_wrong_from) is not None:
            found.append(f"a wrong answer at confidence {start:.2f} or more earns less than a malformed one")
        if (limit := self.sandbagging_threshold) is not None:
            found.append(
                f"a deliberately wrong answer at confidence {self.best_confidence[0]:.2f} earns more than an honest one that is right with "
                f"probability {limit:.2f} or less"
            )
        return found


_SHOWN = range(0, 101, 10)  # rows of the table, in hundredths


def incentive_table(check: Incentives, name: str) -> Table:
    """For true probabilities 0, 0.1 .. 1: the best confidence and the expected rewards of it, of honesty, of confidence 1 and of a
    malformed answer."""
    rows = []
    for p in _SHOWN:
        honest = abs(check.stated - check.probabilities[p]).argmin()
        expected = (check.best_reward[p], check.expected[p, honest], check.expected[p, -1], check.settings.floor)
        best = NONE if check.indifferent else f"{check.best_confidence[p]:.2f}"
        rows.append([f"{p / 100:.1f}", best, *(f"{value:.2f}" for value in expected)])
    header = ["P(right)", "best confidence", "its reward", "honest", "confidence 1", "malformed"]
    return Table(header, rows, title=f"Expected reward, {name}")


def incentive_row(check: Incentives, name: str) -> dict[str, Any]:
    """The check as a JSON object."""
    return {
        "reward": name,
        "settings": vars(check.settings) | {"malformed": check.settings.floor},
        "honest": check.honest,
        "malformed_beats_honesty_below": check.malformed_beats_honesty_below,
        "malformed_beats_wrong_from": check.malformed_beats_wrong_from,
        "wrong_on_purpose_beats_honesty_below": check.sandbagging_threshold,
        "warnings": check.warnings(),
        "probability": check.probabilities.round(2).tolist(),
        "best_confidence": check.best_confidence.round(2).tolist(),
        "best_reward": check.best_reward.round(6).tolist(),
    }


def incentive_figure(check: Incentives, name: str) -> bytes:
    """A PNG of two panels over the true probability: the best confidence, and the expected rewards."""
    with style():
        legend = [Line2D([], [], color=BLUE, label="honest answer"), Line2D([], [], color=VERMILION, label="deliberately wrong answer")]
        legend.append(Line2D([], [], color=GREY, linestyle="--", label="malformed, or p = c"))
        sheet = PanelFigure(2, f"Incentives: {name}", legend=legend)
        left, right = sheet.axes(0), sheet.axes(1)
        if not check.indifferent:
            left.plot(check.probabilities, check.best_confidence, color=BLUE)
        left.plot([0, 1], [0, 1], color=GREY, linestyle="--")
        left.set(xlabel="p, the true probability of being right", ylabel="c, the best confidence", xlim=(0, 1), ylim=(0, 1))
        right.plot(check.probabilities, check.best_reward, color=BLUE)
        right.axhline(float(check.best_reward[0]), color=VERMILION)
        right.axhline(check.settings.floor, color=GREY, linestyle="--")
        right.set(xlabel="p", ylabel="expected reward", xlim=(0, 1))
        return png(sheet.figure)
