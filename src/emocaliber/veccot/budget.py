"""The budget of a factory run and the cost estimate of a dry run.

An attempt begins only if the most that it may cost, reserved beforehand, still fits the budget of teacher and judge together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Any, Self

import numpy as np
from scipy.special import stdtrit

from emocaliber.core.model import Usage
from emocaliber.veccot.ledger import Ledger
from emocaliber.veccot.stats import Share

_LONGEST = 1024  # tokens of an answer: the models' default
_DISCOUNT = 0.5  # of batches: the models' default
_MARGIN = 2.0  # a prompt may have that many times the most tokens that any had so far


@dataclass
class ModelPrice:
    """The prices of one model: dollars per token `read` and `written`, the `longest` answer in tokens, the longest prompt `seen` so far,
    and the `share` of the full price that is paid for all answers but the first."""

    read: float
    written: float
    longest: int
    seen: int = 0
    share: float = 1.0

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, batches: bool) -> ModelPrice:
        """From a model's settings; `batches` are cheaper."""
        read, written = settings.get("prices") or (0.0, 0.0)
        share = settings.get("discount", _DISCOUNT) if batches else 1.0
        return cls(read / 1e6, written / 1e6, settings.get("max_new_tokens") or _LONGEST, share=share)

    @property
    def free(self) -> bool:
        """Whether the model costs nothing."""
        return not (self.read or self.written)

    @property
    def reservation(self) -> float:
        """The most that a reply may cost, in dollars, by the prompts seen so far."""
        full = self.read * self.seen * _MARGIN + self.written * self.longest
        return full * self.share if self.seen else full


@dataclass
class FactoryBudget:
    """`spent` dollars of `budget` (None: unlimited) are spent; the reservation of each of the `in_flight` attempts counts too.

    Attempts are made one by one until every model with a price has replied once, and so shown how many tokens an image takes.
    """

    budget: float | None
    spent: float
    prices: tuple[ModelPrice, ...]
    in_flight: int = field(default=0, init=False)

    @property
    def allows(self) -> bool:
        """Whether one more attempt may begin."""
        if self.budget is None:
            return True
        if self.in_flight and any(not price.seen for price in self.prices if not price.free):
            return False
        return self.spent + (self.in_flight + 1) * self._reservation <= self.budget

    @property
    def _reservation(self) -> float:
        return sum(price.reservation for price in self.prices)

    def observe(self, place: int, usage: Usage | None) -> None:
        """Updates the longest prompt of the model number `place` from the usage of a reply."""
        if usage:
            self.prices[place].seen = max(self.prices[place].seen, usage.prompt_tokens)

    def sentence(self) -> str:
        """The message for the user when no attempt may begin any more."""
        return (
            f"the budget of ${self.budget:g} is reached (${self.spent:.4f} spent, and the next attempt may cost ${self._reservation:.4f}); "
            "the same command with a larger --budget goes on"
        )


# The estimate of a dry run: a random subset of the samples stands for all.


@dataclass(frozen=True)
class CostEstimate:
    """Means per sample over `samples` samples and all their attempts; `cost` in dollars with its 95 % interval; `rest` samples are left."""

    samples: int
    accepted: Share
    prompt_tokens: float
    completion_tokens: float
    seconds: float
    cost: float
    cost_ci: tuple[float, float] | None
    rest: int

    @classmethod
    def of(cls, ledger: Ledger, recipe: str, samples: Collection[str], attempts: int) -> Self:
        """From the attempts at these samples under a recipe. The interval is Student's t; a single sample has none."""
        used = {sample: np.zeros(4) for sample in samples}
        accepted = 0
        for attempt in ledger.attempts(recipe):
            if attempt.sample in used:
                used[attempt.sample] += (attempt.prompt_tokens, attempt.completion_tokens, attempt.seconds, attempt.cost)
                accepted += attempt.verdict == "accepted"
        table = np.array(list(used.values())).reshape(-1, 4)
        n = len(table)
        prompt_tokens, completion_tokens, seconds, cost = table.mean(0).tolist() if n else [0.0] * 4
        interval = None
        if n > 1:
            half = float(stdtrit(n - 1, 0.975)) * float(table[:, 3].std(ddof=1)) / sqrt(n)
            interval = (max(0.0, cost - half), cost + half)
        rest = sum(1 for _ in ledger.todo(recipe, attempts))
        return cls(n, Share(accepted, n), prompt_tokens, completion_tokens, seconds, cost, interval, rest)

    @property
    def remaining_cost(self) -> float:
        """Dollars for the samples that are left."""
        return self.cost * self.rest

    @property
    def remaining_cost_ci(self) -> tuple[float, float] | None:
        """The 95 % interval of `remaining_cost`."""
        return None if self.cost_ci is None else (self.cost_ci[0] * self.rest, self.cost_ci[1] * self.rest)

    def sentences(self) -> Iterator[str]:
        """The estimate as sentences for the user."""
        low, high = self.accepted.interval
        share = f"{self.accepted.count:,} accepted ({100 * low:.0f} to {100 * high:.0f} % of all samples will be, with 95 % confidence)"
        yield f"dry run: {self.samples:,} samples tried, {share}"
        tokens = f"{self.prompt_tokens:,.0f} tokens read and {self.completion_tokens:,.0f} written"
        yield f"per sample: {tokens}, ${self.cost:.5f}, {self.seconds:.1f} s of waiting"
        if not self.cost:
            yield f"the other {self.rest:,} samples cost nothing, or no prices are known: give prices = [READ, WRITTEN] of each model"
            return
        between = (
            f" (95 % interval ${self.remaining_cost_ci[0]:,.2f} to ${self.remaining_cost_ci[1]:,.2f})" if self.remaining_cost_ci else ""
        )
        yield f"the other {self.rest:,} samples: ${self.remaining_cost:,.2f}{between}"
