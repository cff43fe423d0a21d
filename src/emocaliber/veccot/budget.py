"""A hard budget over teacher and judge together: an attempt begins only if the worst it may cost still fits."""

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

_LONGEST = 1024  # tokens of an answer, unless settings say otherwise: the models' own default
_DISCOUNT = 0.5  # likewise
_MARGIN = 2.0  # an image may take that many times the most that any has taken so far


@dataclass
class Tariff:
    """What one model costs: dollars per token read and written, the longest answer, the longest question seen so far, and the share of the
    full price that is paid, but for the first answer."""

    read: float
    written: float
    longest: int
    seen: int = 0
    share: float = 1.0

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, batches: bool) -> Tariff:
        """By a model's settings; `batches` are cheaper."""
        read, written = settings.get("prices") or (0.0, 0.0)
        share = settings.get("discount", _DISCOUNT) if batches else 1.0
        return cls(read / 1e6, written / 1e6, settings.get("max_new_tokens") or _LONGEST, share=share)

    @property
    def free(self) -> bool:
        """Whether nobody has to pay."""
        return not (self.read or self.written)

    @property
    def worst(self) -> float:
        """The most that a reply may cost, going by what was read so far."""
        full = self.read * self.seen * _MARGIN + self.written * self.longest
        return full * self.share if self.seen else full


@dataclass
class Purse:
    """`spent` dollars of `budget` (None: no bounds) are gone; `under_way` attempts may each still cost the worst.

    Until each model that has a price has shown how many tokens an image takes, attempts are made one by one.
    """

    budget: float | None
    spent: float
    tariffs: tuple[Tariff, ...]
    under_way: int = field(default=0, init=False)

    @property
    def allows(self) -> bool:
        """Whether one more attempt may begin."""
        if self.budget is None:
            return True
        if self.under_way and any(not tariff.seen for tariff in self.tariffs if not tariff.free):
            return False
        worst = sum(tariff.worst for tariff in self.tariffs)
        return self.spent + (self.under_way + 1) * worst <= self.budget

    def read(self, place: int, usage: Usage | None) -> None:
        """Learns from a reply of the model in that place how long questions are."""
        if usage:
            self.tariffs[place].seen = max(self.tariffs[place].seen, usage.prompt_tokens)

    def sentence(self) -> str:
        """What to tell the user when no attempt may begin any more."""
        worst = sum(tariff.worst for tariff in self.tariffs)
        return (
            f"the budget of ${self.budget:g} is reached (${self.spent:.4f} spent, and the next attempt may cost ${worst:.4f}); "
            "the same command with a larger --budget goes on"
        )


# What the rest will cost, from a dry run: a few samples, chosen by chance, stand for all.


@dataclass(frozen=True)
class Estimate:
    """Means per sample over `samples` of them, all attempts counted. `cost` in dollars with its 95 % interval, `rest` the samples to go."""

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
        """From the attempts at these samples under a recipe. The interval is Student's; a single sample has none."""
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
    def price(self) -> float:
        """Dollars for the samples to go."""
        return self.cost * self.rest

    @property
    def price_ci(self) -> tuple[float, float] | None:
        """Its 95 % interval."""
        return None if self.cost_ci is None else (self.cost_ci[0] * self.rest, self.cost_ci[1] * self.rest)

    def sentences(self) -> Iterator[str]:
        """The estimate for people."""
        low, high = self.accepted.interval
        share = f"{self.accepted.count:,} accepted ({low:.0%} to {high:.0%} of all samples will be, with 95 % confidence)"
        yield f"dry run: {self.samples:,} samples tried, {share}"
        tokens = f"{self.prompt_tokens:,.0f} tokens read and {self.completion_tokens:,.0f} written"
        yield f"per sample: {tokens}, ${self.cost:.5f}, {self.seconds:.1f} s of waiting"
        if not self.cost:
            yield f"the other {self.rest:,} samples cost nothing, or no prices are known: give prices = [READ, WRITTEN] of each model"
            return
        between = f" (95 % interval ${self.price_ci[0]:,.2f} to ${self.price_ci[1]:,.2f})" if self.price_ci else ""
        yield f"the other {self.rest:,} samples: ${self.price:,.2f}{between}"
