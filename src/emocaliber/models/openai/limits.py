"""What is spent, and what may still be: a budget that stops before it is exceeded."""

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
    """The next request might cost more than is left of the budget."""


class Ledger:
    """Counts tokens and dollars, and holds back what the requests under way may cost at worst.

    `prices` are dollars per million tokens read and written. What was paid for in `earlier` sittings counts towards the budget, but not as
    spent in this one; so does the worst that a request may have cost whose bill never came.
    """

    def __init__(self, prices: Sequence[float] | None, budget: float | None, earlier: Counts = (0, 0)) -> None:
        if prices is not None and (len(prices) != 2 or not all(0 <= price < float("inf") for price in prices)):
            raise UserError(f"prices must be two, dollars per million tokens read and written, such as 1.25 10; not {list(prices)}")
        if budget is not None and prices is None:
            raise UserError(
                "a budget needs prices, to know what is spent: give --price IN OUT, in dollars per million tokens read and written"
            )
        self._prices = prices
        self._budget = budget
        self._earlier = self.cost(earlier) or 0.0
        self._read = self._written = 0
        self._lost = 0.0  # what requests may have cost whose bill is not known
        self._held = 0.0
        self._under_way = 0
        self._ratio = 0.0  # the greatest of tokens read to tokens estimated; 0 until something came back
        self._turn, self._changed = asyncio.Lock(), asyncio.Event()
        self._reached: BudgetReached | None = None

    @property
    def spent(self) -> Usage:
        """What was paid for in this sitting."""
        return self.usage((self._read, self._written))

    def usage(self, counts: Counts) -> Usage:
        return Usage(*counts, self.cost(counts))

    def cost(self, counts: Counts) -> float | None:
        """In dollars; cached tokens, which may be cheaper, at full price."""
        return sum(count * price for count, price in zip(counts, self._prices, strict=True)) / 1e6 if self._prices else None

    def worst(self, payload: Payload) -> Counts:
        """The tokens that a payload may take; estimates that proved too low for others are raised."""
        return ceil(payload.prompt_tokens * max(self._ratio, 1.0)), payload.limit

    @asynccontextmanager
    async def hold(self, payload: Payload) -> AsyncIterator[Hold]:
        """Holds back what a payload may cost, once there is enough for it, in the order of asking. Raises BudgetReached if there is not."""
        hold = Hold(self, payload)
        await hold.renew()
        try:
            yield hold
        finally:
            hold.free()

    async def _reserve(self, payload: Payload) -> float:
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
            self._held += worst
            self._under_way += 1
            return worst

    def _affordable(self, worst: float) -> bool:
        # Until an answer has shown what an image costs here, requests go one by one.
        if self._reached or (self._under_way and not self._ratio):
            return False
        return self._budget is None or self._all() + self._held + worst <= self._budget

    def _all(self) -> float:
        return self._earlier + (self.spent.cost or 0.0) + self._lost

    def _report(self, worst: float) -> BudgetReached:
        parts = [f"${self.spent.cost:.4f} spent now"]
        parts += [f"${self._earlier:.4f} earlier"] if self._earlier else []
        parts += [f"up to ${self._lost:.4f} for requests whose bill is not known"] if self._lost else []
        return BudgetReached(
            f"the budget of ${self._budget:g} is reached ({', '.join(parts)}; the next request may cost ${worst:.4f}). "
            "Give a larger --budget with --resume to go on"
        )

    def _release(self, worst: float) -> None:
        if self._budget is not None:
            self._under_way -= 1
            self._held = self._held - worst if self._under_way else 0.0  # no rounding is left over
            self._changed.set()

    def _pay(self, payload: Payload, counts: Counts | None) -> None:
        ratio = counts[0] / payload.prompt_tokens if counts else 1.0
        self._ratio = max(self._ratio, ratio)
        if counts is None:
            self._lost += self.cost(self.worst(payload)) or 0.0
        else:
            self._read, self._written = self._read + counts[0], self._written + counts[1]


class Hold:
    """Money held back for one payload."""

    def __init__(self, ledger: Ledger, payload: Payload) -> None:
        self._ledger, self._payload = ledger, payload
        self._worst: float | None = None

    def pay(self, counts: Counts | None) -> None:
        """Books what was used, or the worst if nobody knows, in place of what was held."""
        self._ledger._pay(self._payload, counts)
        self.free()

    async def renew(self) -> None:
        """Holds the worst for another attempt, unless it is held still."""
        if self._worst is None:
            self._worst = await self._ledger._reserve(self._payload)

    def free(self) -> None:
        if self._worst is not None:
            self._ledger._release(self._worst)
            self._worst = None


# How fast is fast enough: so much per minute, evenly.


class Pace:
    """Lets at most `per_minute` of something through in any minute, in the order of asking.

    It is a bucket that holds one: nothing is saved up, as many services count by the second and refuse a burst that a minute would allow.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._seconds = 60.0 / per_minute if per_minute else 0.0  # for one
        self._free_at = 0.0

    def take(self, amount: float = 1.0) -> float:
        """Takes the next place in the row; returns the seconds to wait for it."""
        now = time.monotonic()
        start = max(self._free_at, now)
        self._free_at = start + amount * self._seconds
        return start - now

    def correct(self, amount: float) -> None:
        """After taking on an estimate: `amount` more, or less if negative, was used in truth."""
        self._free_at += amount * self._seconds
