"""The engine: who shares a batch, who waits, who fails, and what is dropped."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from PIL import Image

from emocaliber.core.model import Model, Reply, Request
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Predictor, Query
from emocaliber.serving.decoding import DecodingLimits, DecodingPool
from emocaliber.serving.engine import TOLERANCE, Busy, Engine, EngineLimits, Late
from serving_servers import picture
from stand_ins import ColourModel, blank_png

EMOSET = Query.of()


def run(
    model: Model, work: Callable[[Engine], Awaitable[Any]], limits: EngineLimits | None = None, decoding: DecodingLimits | None = None
) -> Any:
    """What `work` returns of an engine around `model`."""

    async def inside() -> Any:
        async with Engine(Predictor(model), limits, DecodingPool(decoding)) as engine:
            return await work(engine)

    return asyncio.run(inside())


@dataclass
class Recorded(ColourModel):
    """Keeps how many requests each call had, and can fail on red pictures or wait."""

    calls: list[int] = field(default_factory=list)
    fails_on_red: bool = False

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        asked = list(requests)
        self.calls.append(len(asked))
        if self.fails_on_red and any(each.image.getpixel((0, 0)) == (255, 0, 0) for each in asked):
            raise RuntimeError("a shape that the model cannot take")
        return super().answer(asked)


def said(prediction: Prediction) -> dict[str, Any]:
    """A row without what differs from time to time."""
    return prediction.to_row() | {"seconds": None}


def test_the_answer_is_that_of_predict_whatever_else_is_in_the_batch(tiny: Predictor) -> None:
    pictures = [picture(seed, (60 + 20 * seed, 200 - 10 * seed)) for seed in range(4)] + [picture("teal", (1, 1))]
    queries = [EMOSET, Query.of(labels="awe,fear"), Query.of("FI-2"), Query.of(labels="calm,tense,odd"), EMOSET]
    alone = [next(tiny.ask([data], query)) for data, query in zip(pictures, queries, strict=True)]

    async def together(engine: Engine) -> list[Prediction]:
        asked = (engine.predict([data], query) for data, query in zip(pictures, queries, strict=True))
        return [each for (each,) in await asyncio.gather(*asked)]

    for one, other in zip(alone, run(tiny.model, together), strict=True):
        assert one.error is None and other.response == one.response and other.emotion == one.emotion
        assert other.confidence == pytest.approx(one.confidence, abs=TOLERANCE)
        assert dict(other.alternatives) == pytest.approx(dict(one.alternatives), abs=TOLERANCE)


def test_pictures_of_several_requests_share_a_batch_each_with_its_own_question() -> None:
    model = Recorded(window=None)

    async def work(engine: Engine) -> list[list[Prediction]]:
        asked = (engine.predict([picture("orange")] * 3, Query.of(labels=f"a{n},b{n}")) for n in range(4))
        return list(await asyncio.gather(*asked))

    answers = run(model, work)
    assert max(model.calls) > 3
    for number, predictions in enumerate(answers):
        assert {each.emotion for each in predictions} <= {f"a{number}", f"b{number}"}


def test_a_picture_that_cannot_be_read_fails_alone(colour_model: ColourModel) -> None:
    strange = [b"", b"text", picture(1, kind="JPEG")[:-200], blank_png(10_000, 9_000), picture("red", (1, 4000))]
    codes = ["empty", "unsupported_format", "truncated", "too_many_pixels", "bad_aspect"]
    found = run(colour_model, lambda engine: engine.predict([picture("orange"), *strange, picture("teal")], EMOSET))
    assert [each.error and each.error.code for each in found] == [None, *codes, None]


def test_a_batch_that_fails_is_asked_picture_by_picture() -> None:
    model = Recorded(fails_on_red=True, window=None)
    found = run(model, lambda engine: engine.predict([picture(colour) for colour in ("orange", "red", "teal")], EMOSET))
    assert [each.error and each.error.code for each in found] == [None, "internal", None]
    expected = [next(Predictor(ColourModel()).ask([picture(colour)], EMOSET)) for colour in ("orange", "teal")]
    assert [said(found[0]), said(found[2])] == [said(each) for each in expected]


def test_an_answer_that_cannot_be_read_is_an_error_of_its_picture(colour_model: ColourModel) -> None:
    (found,) = run(colour_model, lambda engine: engine.predict([picture("black")], EMOSET))
    assert found.error is not None and found.error.code == "malformed"


def test_a_full_queue_refuses_and_says_when_to_come_again() -> None:
    async def work(engine: Engine) -> Busy:
        waiting = asyncio.create_task(engine.predict([picture("orange")] * 3, EMOSET))
        await asyncio.sleep(0)
        with pytest.raises(Busy) as caught:
            await engine.predict([picture("teal")] * 2, EMOSET)
        assert len(await engine.predict([picture("teal")], EMOSET)) == 1  # what still fits is taken
        assert len(await waiting) == 3
        return caught.value

    refused = run(ColourModel(seconds_each=0.05), work, EngineLimits(queue_images=4))
    assert 1 <= refused.retry_after <= 60


def test_the_queue_counts_pixels_too() -> None:
    async def work(engine: Engine) -> None:
        waiting = asyncio.create_task(engine.predict([picture("orange", (100, 100))] * 2, EMOSET))
        while engine.pixels < 10_000:
            await asyncio.sleep(0.005)
        with pytest.raises(Busy):
            await engine.predict([picture("teal")], EMOSET)
        await waiting
        assert len(await engine.predict([picture("teal")], EMOSET)) == 1

    run(ColourModel(seconds_each=0.2), work, EngineLimits(queue_pixels=10_000))


@dataclass
class Sizes:
    """An observer that keeps the images and pixels of batches."""

    seen: list[tuple[int, int]] = field(default_factory=list)

    def answered(self, *_: object) -> None: ...

    def batch(self, images: int, pixels: int, seconds: float) -> None:
        self.seen.append((images, pixels))

    def refused(self, *_: object) -> None: ...


@pytest.mark.parametrize("limits", [EngineLimits(batch_images=3), EngineLimits(batch_pixels=3 * 48 * 32)], ids=["images", "pixels"])
def test_a_batch_has_at_most_its_images_and_its_pixels(limits: EngineLimits) -> None:
    sizes = Sizes()

    async def work(engine: Engine) -> None:
        engine.observers.append(sizes)
        await engine.predict([picture("orange")] * 10, EMOSET)

    run(ColourModel(window=None), work, limits)
    assert sum(images for images, _ in sizes.seen) == 10
    assert max(images for images, _ in sizes.seen) == 3


def test_a_picture_above_the_pixels_of_a_batch_goes_alone(colour_model: ColourModel) -> None:
    found = run(colour_model, lambda engine: engine.predict([picture("orange", (200, 200))] * 2, EMOSET), EngineLimits(batch_pixels=100))
    assert [each.error for each in found] == [None, None]


def test_what_is_late_before_its_turn_never_reaches_the_model() -> None:
    model = Recorded(seconds_each=0.3, window=None)

    async def work(engine: Engine) -> None:
        first = asyncio.create_task(engine.predict([picture("orange")], EMOSET))
        while engine.last_success is None and not model.calls:
            await asyncio.sleep(0.005)
        with pytest.raises(Late):
            await engine.predict([picture("teal")] * 5, EMOSET, deadline=0.05)
        await first
        await engine.predict([picture("navy")], EMOSET)
        assert engine.images == 0 and engine.pixels == 0

    run(model, work)
    assert model.calls == [1, 1]


def test_the_deadline_is_not_the_waiting_time_of_batches() -> None:
    async def work(engine: Engine) -> float:
        start = time.monotonic()
        await engine.predict([picture("orange")], EMOSET, deadline=30)
        return time.monotonic() - start

    assert run(ColourModel(), work, EngineLimits(batch_wait=20)) < 20  # nothing else is coming, so nothing is waited for


def test_stopping_answers_what_was_taken() -> None:
    async def work() -> list[Prediction]:
        engine = Engine(Predictor(ColourModel(seconds_each=0.05)))
        await engine.start()
        asked = asyncio.create_task(engine.predict([picture("orange")] * 4, EMOSET))
        await asyncio.sleep(0)
        await engine.stop()
        return await asked

    assert [each.error for each in asyncio.run(work())] == [None] * 4


def test_the_canary_is_taken_by_a_full_queue_and_goes_first() -> None:
    model = Recorded(seconds_each=0.1, window=None)

    async def work(engine: Engine) -> list[str]:
        order: list[str] = []

        async def asked(name: str, **how: Any) -> None:
            await engine.predict([picture("orange")], EMOSET, **how)
            order.append(name)

        waiting = [asyncio.create_task(asked(f"{n}")) for n in range(4)]
        while engine.images < 4:
            await asyncio.sleep(0.001)
        await asyncio.gather(*waiting, asked("canary", urgent=True))
        return order

    order = run(model, work, EngineLimits(queue_images=4, batch_images=1))
    assert order.index("canary") < 3


def test_pictures_are_answered_after_a_decoding_process_was_killed(colour_model: ColourModel) -> None:
    async def work(engine: Engine) -> None:
        for _ in range(3):
            for pid in engine.decoding.processes:
                os.kill(pid, signal.SIGKILL)
            found = await engine.predict([picture("orange"), picture("teal"), picture("navy")], EMOSET)
            assert [each.error for each in found] == [None] * 3
        assert engine.decoding.restarts >= 3

    run(colour_model, work)


def test_a_decoding_process_that_hangs_is_killed_at_its_time_limit(colour_model: ColourModel) -> None:
    async def work(engine: Engine) -> None:
        await engine.predict([picture("orange")], EMOSET)
        (pid,) = engine.decoding.processes
        os.kill(pid, signal.SIGSTOP)
        (late,) = await engine.predict([picture("teal")], EMOSET)
        assert late.error is not None and late.error.code == "timeout"
        (after,) = await engine.predict([picture("teal")], EMOSET)
        assert after.error is None

    run(colour_model, work, decoding=DecodingLimits(processes=1, seconds=3))


def test_a_picture_that_needs_more_memory_than_its_process_has_fails_alone(colour_model: ColourModel) -> None:
    file = io.BytesIO()
    Image.new("RGBA", (7000, 7000), (255, 0, 0, 128)).save(file, "PNG", compress_level=1)  # 196 MB decoded, and more to put it on white

    async def work(engine: Engine) -> list[Prediction]:
        return await engine.predict([picture("orange"), file.getvalue(), picture("teal")], EMOSET)

    found = run(colour_model, work, decoding=DecodingLimits(processes=1, memory=400_000_000))
    assert [each.error and each.error.code for each in found] == [None, "internal", None]


def test_the_process_that_decodes_sees_no_secrets_and_writes_no_file(colour_model: ColourModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")

    async def work(engine: Engine) -> None:
        await engine.predict([picture("orange")], EMOSET)
        pid = engine.decoding.processes[0]
        with open(f"/proc/{pid}/environ", "rb") as environment:
            assert b"secret" not in environment.read()
        with open(f"/proc/{pid}/limits") as limits:
            assert any(line.split()[:5] == ["Max", "file", "size", "0", "0"] for line in limits)

    run(colour_model, work, decoding=DecodingLimits(processes=1))


def test_an_observer_that_fails_costs_nobody_an_answer(colour_model: ColourModel) -> None:
    class Broken(Sizes):
        def batch(self, *_: object) -> None:
            raise OSError("the disk is full")

        answered = refused = batch

    async def work(engine: Engine) -> list[Prediction]:
        engine.observers.append(Broken())
        return [*await engine.predict([picture("orange")], EMOSET), *await engine.predict([b""], EMOSET)]

    assert [each.error and each.error.code for each in run(colour_model, work)] == [None, "empty"]


def test_a_decoder_that_cannot_be_started_is_an_error_of_the_picture(colour_model: ColourModel, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(engine: Engine) -> list[Prediction]:
        await engine.predict([picture("orange")], EMOSET)
        for pid in engine.decoding.processes:
            os.kill(pid, signal.SIGKILL)
        with monkeypatch.context() as patched:
            patched.setattr("sys.executable", "/nothing")
            found = await engine.predict([picture("orange")] * 2, EMOSET)
        return [*found, *await engine.predict([picture("orange")], EMOSET)]

    found = run(colour_model, work, decoding=DecodingLimits(processes=1))
    assert [each.error and each.error.code for each in found] == ["internal", "internal", None]


def test_nothing_is_kept_of_pictures_that_were_answered(colour_model: ColourModel) -> None:
    pictures = [picture(seed, (160, 120)) for seed in range(16)]  # 58 kB each, and as much decoded

    async def work(engine: Engine) -> int:
        process = psutil.Process()
        for _ in range(15):
            await engine.predict(pictures, EMOSET)
        before = process.memory_info().rss
        for _ in range(60):
            await engine.predict(pictures, EMOSET)
        return process.memory_info().rss - before

    assert run(colour_model, work) < 12_000_000  # of 110 MB that went through
