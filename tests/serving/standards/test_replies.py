"""Free questions in the engine: they share its queue and batches with predictions, and its failures are theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import pytest

from emocaliber.core.model import Model, Reply, Request
from emocaliber.io.images import ImageError
from emocaliber.predict.predictor import Predictor, Query
from emocaliber.serving.engine import Engine, EngineLimits, Late, Question
from serving_servers import picture


class Echo:
    """Says the question and the seed, after the answer that a query wants; fails on "fail"."""

    name, notice, window = "echo", None, None

    def __init__(self) -> None:
        self.temperatures: list[float | None] = []

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        for request in requests:
            self.temperatures.append(request.temperature)
            if request.question == "fail":
                raise RuntimeError("out of order")
            yield Reply(f"<answer>{request.candidates[0]}</answer>" if request.candidates else f"{request.question} {request.seed}", 0.0)


def run(model: Model, work: Callable[[Engine], Awaitable[Any]], limits: EngineLimits | None = None) -> Any:
    async def inside() -> Any:
        async with Engine(Predictor(model), limits) as engine:
            return await work(engine)

    return asyncio.run(inside())


def test_questions_and_queries_share_a_batch_and_get_their_own_answers() -> None:
    batches: list[int] = []

    class Watch:
        def answered(self, *_: Any) -> None: ...
        def refused(self, *_: Any) -> None: ...
        def batch(self, images: int, *_: Any) -> None:
            batches.append(images)

    async def work(engine: Engine) -> Any:
        engine.observers.append(Watch())
        asked = [engine.reply(picture(n), Question(f"q{n}", seed=n)) for n in range(4)]
        return await asyncio.gather(*asked, engine.predict([picture(9), picture(10)], Query.of(labels="calm,tense")))

    *replies, predictions = run(Echo(), work, EngineLimits(batch_wait=5))
    assert [reply.text for reply in replies] == ["q0 0", "q1 1", "q2 2", "q3 3"]
    assert [each.emotion for each in predictions] == ["calm", "calm"]
    assert max(batches) > 1


def test_the_settings_of_a_question_reach_the_model() -> None:
    model = Echo()
    run(model, lambda engine: engine.reply(picture(), Question("q", temperature=0.5)))
    assert model.temperatures == [0.5]


def test_a_question_on_which_the_model_fails_fails_alone() -> None:
    async def work(engine: Engine) -> Any:
        return await asyncio.gather(*(engine.reply(picture(), Question(text)) for text in ("one", "fail", "two")))

    one, failed, two = run(Echo(), work)
    assert (one.text, two.text) == ("one 0", "two 0")
    assert failed.error and failed.error.code == "server_error" and "out of order" not in failed.error.message


def test_a_picture_that_cannot_be_read_and_a_deadline_are_raised() -> None:
    with pytest.raises(ImageError, match="not an image"):
        run(Echo(), lambda engine: engine.reply(b"not a picture", Question("q")))
    with pytest.raises(Late):
        run(Echo(), lambda engine: engine.reply(picture(), Question("q"), deadline=1e-6))


def test_a_question_counts_against_the_quota() -> None:
    charged: list[int] = []

    async def work(engine: Engine) -> None:
        engine.admit = charged.append
        await engine.reply(picture(), Question("q"))

    run(Echo(), work)
    assert charged == [1]
