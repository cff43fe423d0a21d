"""Confidence by the model's own judgement of its answer: P(True) (Kadavath et al. 2022)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, repeat

from emocaliber.models.base import Model, Reply, Request
from emocaliber.sources import P_TRUE_QUESTION, evidence, p_true
from emocaliber.strategies.wrapper import Wrapper, asked, extended


class SelfJudged(Wrapper):
    """Shows the model the image again, with its answer, and asks whether that is right; `further["p_true"]` is what it gives True.

    It is None, and nothing more is asked, where there is no answer, or the backend gives no log-probabilities.
    """

    def __init__(self, model: Model, *, lenient: bool = True) -> None:
        super().__init__(model)
        self._lenient = lenient

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order, with the cost of its judgement."""
        waiting: deque[tuple[Reply, bool]] = deque()  # with whether it is judged

        def questions() -> Iterator[Request]:
            for request, reply in asked(self.model, requests, lambda request: request):
                judgement = self._judgement(request, reply)
                waiting.append((reply, judgement is not None))
                if judgement:
                    yield judgement

        verdicts = chain(self.model.answer(questions()), repeat(None))  # after the last verdict only what is not judged can wait
        for verdict in verdicts:
            while waiting:
                reply, judged = waiting.popleft()
                if judged:
                    break
                yield extended(reply, [], {"p_true": None})
            else:
                return
            assert verdict is not None, "a model gives one reply for each request"
            yield extended(reply, [verdict], {"p_true": p_true(verdict)})

    def _judgement(self, request: Request, reply: Reply) -> Request | None:
        understood = evidence(reply, request.candidates, lenient=self._lenient) if reply.tokens else None
        if not understood:
            return None
        question = P_TRUE_QUESTION.format(question=request.question, answer=understood.response.answer)
        return Request(request.image, question, key=request.key, seed=request.seed, temperature=0.0, max_new_tokens=1)
