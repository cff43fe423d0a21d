"""Limits on requests: a budget in dollars that is never exceeded, and rate limits per minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import ceil

from emocaliber.core.model import Usage
from emocaliber.errors import UserError
from emocaliber.models.openai.wire import Counts, Payload


class BudgetReached(UserError):
    """Raised when the next request might cost more than is left of the budget."""


class Budget:
    """Counts tokens and dollars, and reserves the most that the requests under way may cost.

    `prices` are dollars per million tokens read and written. Tokens of `earlier` sessions count towards the budget, not towards `spent`.
    Requests without reported usage are charged at their upper bound. Raises UserError for prices that are not valid, or a `budget` in
    dollars without prices.
    """

    def __init__(self, prices: Sequence[float] | None, budget: float | None, earlier: Counts = (0, 0)) -> None:
        if prices is not None and (len(prices) != 2 or not all(0 <= price < float("inf") for price in prices)):
            raise UserError(f"prices must be two, dollars per million tokens read and written, such as 1.25 10; not {list(prices)}")
        if budget is not None and prices is None:
            raise UserError(
                "a budget needs prices, to know what is spent: give prices=[IN, OUT], in dollars per million tokens read and written"
            )
        self._prices = prices
        self._budget = budget
        self._earlier = self.cost(earlier) or 0.0
        self._read = self._written = 0
        self._unreported = 0.0  # upper bounds of requests whose usage was not reported
        self._reserved = 0.0
        self._under_way = 0
        self._ratio = 0.0  # the greatest of tokens read to tokens estimated; 0 until something came back
        self._turn, self._changed = asyncio.Lock(), asyncio.Event()
        self._reached: BudgetReached | None = None

    @property
    def spent(self) -> Usage:
        """The tokens and dollars of this session."""
        return self.usage((self._read, self._written))

    def usage(self, counts: Counts) -> Usage:
        """The tokens with their cost."""
        return Usage(*counts, self.cost(counts))

    def cost(self, counts: Counts) -> float | None:
        """The dollars for these tokens, cached ones at full price; None without prices."""
        return sum(count * price for count, price in zip(counts, self._prices, strict=True)) / 1e6 if self._prices else None

    def worst(self, payload: Payload) -> Counts:
        """The most tokens that a payload may take. Estimates are raised by the ratio at which earlier ones proved too low."""
        return ceil(payload.prompt_tokens * max(self._ratio, 1.0)), payload.limit

    @asynccontextmanager
    async def reserve(self, payload: Payload) -> AsyncIterator[Reservation]:
        """Reserves the most that a payload may cost, waiting in order until the budget allows it. Raises BudgetReached if it never will."""
        reservation = Reservation(self, payload)
        await reservation.renew()
        try:
            yield reservation
        finally:
            reservation.release()

    async def _set_aside(self, payload: Payload) -> float:
        if self._budget is None:
            return 0.0
        async with self._turn:
            while not self._affordable(worst := self.cost(self.worst(payload)) or 0.0):
                if not self._under_way and self._reached is None:
                    self._reached = self._report(worst)
                if self._reached:
                    raise self._reached
                self._changed.clear()
                await self._changed.wait()
            self._reserved += worst
            self._under_way += 1
            return worst

    def _affordable(self, worst: float) -> bool:
        # Until an answer has shown what an image costs here, requests go one by one.
        if self._reached or (self._under_way and not self._ratio):
            return False
        return self._budget is None or self._all() + self._reserved + worst <= self._budget

    def _all(self) -> float:
        return self._earlier + (self.spent.cost or 0.0) + self._unreported

    def _report(self, worst: float) -> BudgetReached:
        parts = [f"${self.spent.cost:.4f} spent now"]
        parts += [f"${self._earlier:.4f} earlier"] if self._earlier else []
        parts += [f"up to ${self._unreported:.4f} for requests whose usage was not reported"] if self._unreported else []
        return BudgetReached(
            f"the budget of ${self._budget:g} is reached ({', '.join(parts)}; the next request may cost ${worst:.4f}). "
            "Give a larger --budget with --resume to continue"
        )

    def _release(self, worst: float) -> None:
        if self._budget is not None:
            self._under_way -= 1
            self._reserved = self._reserved - worst if self._under_way else 0.0  # no rounding is left over
            self._changed.set()

    def _pay(self, payload: Payload, counts: Counts | None) -> None:
        ratio = counts[0] / payload.prompt_tokens if counts else 1.0
        self._ratio = max(self._ratio, ratio)
        if counts is None:
            self._unreported += self.cost(self.worst(payload)) or 0.0
        else:
            self._read, self._written = self._read + counts[0], self._written + counts[1]


class Reservation:
    """The dollars reserved for one payload."""

    def __init__(self, budget: Budget, payload: Payload) -> None:
        self._budget, self._payload = budget, payload
        self._worst: float | None = None

    def pay(self, counts: Counts | None) -> None:
        """Charges the tokens used, or the upper bound if they are not known, and releases the reservation."""
        self._budget._pay(self._payload, counts)
        self.release()

    async def renew(self) -> None:
        """Reserves again for another attempt, unless the reservation still stands."""
        if self._worst is None:
            self._worst = await self._budget._set_aside(self._payload)

    def release(self) -> None:
        if self._worst is not None:
            self._budget._release(self._worst)
            self._worst = None


# Rate limits.


class RateLimiter:
    """A leaky bucket that admits at most `per_minute` units in any minute, first come, first served; None admits all.

    Unused capacity is not saved up: many services count by the second and refuse a burst that the minute would allow.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds = 60.0 / per_minute if per_minute else 0.0  # for one
        self._free_at = 0.0

    def acquire(self, amount: float = 1.0) -> float:
        """Queues `amount` units; returns the seconds to wait for them."""
        now = time.monotonic()
        start = max(self._free_at, now)
        self._free_at = start + amount * self._seconds
        return start - now

    def correct(self, amount: float) -> None:
        """Corrects an estimate: `amount` more units than acquired were used, or fewer if negative."""
        self._free_at += amount * self._seconds
