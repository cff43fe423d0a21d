"""What a reward really rewards: the confidence that pays best at each true probability, and whether there is a better deal than honesty.

All of it is arithmetic on the settings; nothing is trained. Expected rewards are those of an answer that is right with probability p and
states one of the confidences that can be written with two decimals.
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
    """The incentive check of one setting. `probabilities` (P,) are the true ones, 0 to 1 by 0.01; the other arrays stand beside them."""

    settings: RewardSettings

    @cached_property
    def stated(self) -> Floats:
        """The confidences that can be stated."""
        inside = slice(1, -1) if self.settings.open_interval else slice(None)
        stated: Floats = np.linspace(0, 1, 101)[inside]
        return stated

    @cached_property
    def probabilities(self) -> Floats:
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
        """The confidence that pays best; of equals the one nearest to the true probability."""
        near = np.abs(self.stated[None, :] - self.probabilities[:, None])
        pays = self.expected >= self.expected.max(1, keepdims=True) - _EPSILON
        best: Floats = self.stated[np.where(pays, near, np.inf).argmin(1)]
        return best

    @cached_property
    def best_reward(self) -> Floats:
        best: Floats = self.expected.max(1)
        return best

    @property
    def honest(self) -> bool:
        """Whether stating the true probability pays best, as far as two decimals and the clip allow."""
        tolerance = max(self.settings.clip if self.settings.confidence == "log_likelihood" else 0.0, _STEP) + _EPSILON
        return bool((np.abs(self.best_confidence - self.probabilities) <= tolerance).all()) and not self.indifferent

    @property
    def indifferent(self) -> bool:
        """Whether it does not matter at all which confidence is stated."""
        return bool((np.ptp(self.expected, axis=1) < _EPSILON).all())

    @property
    def malformed_beats_honesty_below(self) -> float | None:
        """The largest true probability at which a malformed answer pays more than the best well-formed one; None if there is none."""
        return self._largest(self.best_reward < self.settings.floor - _EPSILON)

    @property
    def malformed_beats_wrong_from(self) -> float | None:
        """The smallest confidence at which a wrong answer gets less than a malformed one; None if none does."""
        worse = self.stated[self.rewards[0] < self.settings.floor - _EPSILON]
        return float(worse[0]) if len(worse) else None

    @property
    def wrong_on_purpose_beats_honesty_below(self) -> float | None:
        """The largest true probability at which it pays more to answer what is surely wrong, and say so, than the likeliest label honestly.

        None if it never does. A score without a lower bound, such as the log-likelihood, can make doubt that dear (Damani et al. 2025).
        """
        return self._largest(self.best_reward < self.best_reward[0] - _EPSILON)

    def _largest(self, holds: NDArray[np.bool_]) -> float | None:
        return float(self.probabilities[holds].max()) if holds.any() else None

    def warnings(self) -> list[str]:
        """A sentence for each thing that pays and should not."""
        found = []
        if self.indifferent:
            found.append("it does not matter which confidence is stated: nothing rewards calibration")
        elif not self.honest:
            found.append("stating the true probability does not pay best")
        if (limit := self.malformed_beats_honesty_below) is not None:
            found.append(f"an answer that cannot be read pays more than an honest one that is right with probability {limit:.2f} or less")
        if (start := self.malformed_beats_wrong_from) is not None:
            found.append(f"a wrong answer at confidence {start:.2f} or more gets less than one that cannot be read")
        if (limit := self.wrong_on_purpose_beats_honesty_below) is not None:
            found.append(
                f"a surely wrong answer at confidence {self.best_confidence[0]:.2f} pays more than an honest one that is right with "
                f"probability {limit:.2f} or less"
            )
        return found


# The incentive check for people: a table, sentences and a figure.

_SHOWN = range(0, 101, 10)  # rows of the table, in hundredths


def incentive_table(check: Incentives, name: str) -> Table:
    """At each true probability: the confidence that pays best, what it pays, and what honesty and giving up pay."""
    rows = []
    for p in _SHOWN:
        honest = abs(check.stated - check.probabilities[p]).argmin()
        expected = (check.best_reward[p], check.expected[p, honest], check.expected[p, -1], check.settings.floor)
        best = NONE if check.indifferent else f"{check.best_confidence[p]:.2f}"
        rows.append([f"{p / 100:.1f}", best, *(f"{value:.2f}" for value in expected)])
    header = ["right with probability", "best confidence", "pays", "honesty pays", "full confidence pays", "malformed pays"]
    return Table(header, rows, title=f"Expected reward, {name}")


def incentive_row(check: Incentives, name: str) -> dict[str, Any]:
    """The check as a JSON row."""
    return {
        "reward": name,
        "settings": vars(check.settings) | {"malformed": check.settings.floor},
        "honest": check.honest,
        "malformed_beats_honesty_below": check.malformed_beats_honesty_below,
        "malformed_beats_wrong_from": check.malformed_beats_wrong_from,
        "wrong_on_purpose_beats_honesty_below": check.wrong_on_purpose_beats_honesty_below,
        "warnings": check.warnings(),
        "probability": check.probabilities.round(2).tolist(),
        "best_confidence": check.best_confidence.round(2).tolist(),
        "best_reward": check.best_reward.round(6).tolist(),
    }


def incentive_figure(check: Incentives, name: str) -> bytes:
    """A PNG of two panels: the best confidence at each true probability, and what answers are worth there."""
    with style():
        legend = [Line2D([], [], color=BLUE, label="honest answer"), Line2D([], [], color=VERMILION, label="wrong on purpose")]
        legend.append(Line2D([], [], color=GREY, linestyle="--", label="malformed, or p = c"))
        sheet = PanelFigure(2, f"What pays: {name}", legend=legend)
        left, right = sheet.axes(0), sheet.axes(1)
        if not check.indifferent:
            left.plot(check.probabilities, check.best_confidence, color=BLUE)
        left.plot([0, 1], [0, 1], color=GREY, linestyle="--")
        left.set(xlabel="p, the true probability of being right", ylabel="c, the confidence that pays best", xlim=(0, 1), ylim=(0, 1))
        right.plot(check.probabilities, check.best_reward, color=BLUE)
        right.axhline(float(check.best_reward[0]), color=VERMILION)
        right.axhline(check.settings.floor, color=GREY, linestyle="--")
        right.set(xlabel="p", ylabel="expected reward", xlim=(0, 1))
        return png(sheet.figure)
