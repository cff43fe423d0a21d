"""Confidence by agreement: how many of several sampled answers are the answer (self-consistency; Wang et al. 2023, Xiong et al. 2024)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice

from emocaliber.models.base import Model, Reply, Request
from emocaliber.models.seeds import mixed_seed
from emocaliber.sources import consistency, evidence
from emocaliber.strategies.wrapper import Wrapper, extended


class Consistent(Wrapper):
    """Asks each question, then `samples` times more at `temperature`; the first reply's `further["consistency"]` is the share that agrees.

    A sampled answer that cannot be read disagrees; one that failed, as a server may, is not counted. A request with a temperature of its
    own, such as the first step of `CoarseToFine`, is asked once.
    """

    def __init__(self, model: Model, samples: int, *, temperature: float = 0.7, lenient: bool = True) -> None:
        super().__init__(model)
        self._samples, self._temperature, self._lenient = samples, temperature, lenient

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order, with the cost of all its samples."""
        waiting: deque[Request] = deque()

        def questions() -> Iterator[Request]:
            for request in requests:
                waiting.append(request)
                yield request
                if request.temperature is None:
                    yield from self._again(request)

        replies = self.model.answer(questions())
        for reply in replies:
            request = waiting.popleft()
            if request.temperature is None:
                sampled = list(islice(replies, self._samples))
                reply = extended(reply, sampled, {"consistency": self._agreement(request, reply, sampled)})
            yield reply

    def _again(self, request: Request) -> Iterator[Request]:
        for number in range(self._samples):
            yield replace(request, seed=mixed_seed(request.seed, number), temperature=self._temperature)

    def _agreement(self, request: Request, reply: Reply, sampled: list[Reply]) -> float | None:
        first = evidence(reply, request.candidates, lenient=self._lenient)
        others = [evidence(each, request.candidates, lenient=self._lenient) for each in sampled if not each.error]
        return consistency(first.response.answer, [other.response.answer if other else None for other in others]) if first else None
