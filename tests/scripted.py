"""A model that says what a function tells it to, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from emocaliber.core.model import ModelError, Reply, Request, Usage

Say = Callable[[Request], str | ModelError]


class Scripted:
    """`say` gives the text or the error for a request. Each reply reads 100 tokens, writes 10, and costs `cost` dollars."""

    notice: str | None = None

    def __init__(self, say: Say, *, name: str = "scripted", cost: float = 0.0, window: int | None = None) -> None:
        self.name, self.window, self.say, self.cost = name, window, say, cost
        self.asked: list[Request] = []

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request."""
        for request in requests:
            self.asked.append(request)
            said = self.say(request)
            failed = isinstance(said, ModelError)
            yield Reply(
                "" if failed else str(said), 0.5, usage=None if failed else Usage(100, 10, self.cost), error=said if failed else None
            )
