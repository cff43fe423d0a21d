"""The engine of the server: one model in one thread, one bounded queue of pictures, batches by number and pixels.

Pictures are queued one by one, not by request: each is decoded in a process of its own kind (`decoding`), joins the queue, and is answered
in a batch with whatever else waits, with its own question.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from emocaliber.io.images import ImageError, OpenedImage
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Predictor, Query
from emocaliber.serving.decoding import DecodingPool

TOLERANCE = 1e-4  # by which the confidence of a picture may differ with what else is in its batch, in float32
_FIRST_GUESS = 0.5  # seconds an image, before any was answered
_LONGEST_RETRY = 60
_log = logging.getLogger("emocaliber.serving")


class Busy(Exception):
    """The queue is full; `retry_after` is in how many whole seconds there is likely to be room."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server has as many images as it can take; try again in {retry_after} s")
        self.retry_after = retry_after


class Late(Exception):
    """The deadline of a request passed before its answers were there."""


@dataclass(frozen=True)
class EngineLimits:
    """What the engine holds, in images and in decoded pixels, and how it makes batches.

    `batch_wait` is how many seconds a batch waits, at most, for pictures that are being decoded; with none, it does not wait. `deadline` is
    how many seconds a request waits for its answers, unless it says otherwise.
    """

    queue_images: int = 256
    queue_pixels: int = 256_000_000
    batch_images: int = 32
    batch_pixels: int = 64_000_000
    batch_wait: float = 0.1
    deadline: float = 60.0


class Observer(Protocol):
    """What is told of the engine's work, in the thread of its event loop."""

    def answered(self, prediction: Prediction, query: Query, seconds: float) -> None:
        """A picture was answered, or failed, `seconds` after it came."""

    def batch(self, images: int, pixels: int, seconds: float) -> None:
        """A batch went through the model."""

    def refused(self, reason: str, images: int) -> None:
        """Images were not answered: "busy" or "late"."""


@dataclass(eq=False)
class _Picture:
    query: Query
    future: asyncio.Future[Prediction]
    urgent: bool = False
    came: float = field(default_factory=time.monotonic)
    opened: OpenedImage | None = None

    @property
    def pixels(self) -> int:
        return self.opened.image.width * self.opened.image.height if self.opened else 0


class Engine:
    """Answers pictures with the model of `predictor`. Use as an asynchronous context manager, in one event loop."""

    def __init__(self, predictor: Predictor, limits: EngineLimits | None = None, decoding: DecodingPool | None = None) -> None:
        self.predictor = predictor
        self.limits = limits or EngineLimits()
        self.decoding = decoding or DecodingPool()
        self.observers: list[Observer] = []
        self.admit: Callable[[int], object] = lambda images: None  # called before images are taken; may raise, as quotas do
        self.last_success: float | None = None  # time.monotonic() of the last answer that the model gave
        self._thread = ThreadPoolExecutor(1, "model")
        self._held = 0  # images taken and not answered
        self._queue: dict[_Picture, None] = {}  # decoded, in order; a dict, as a picture that nobody waits for is removed at once
        self._in_model = 0  # pixels
        self._seconds_per_image = _FIRST_GUESS
        self._tasks: set[asyncio.Task[None]] = set()

    # What others see of it.

    @property
    def images(self) -> int:
        """The number of images that were taken and are not answered."""
        return self._held

    @property
    def pixels(self) -> int:
        """The number of decoded pixels that are held."""
        return self._in_model + sum(each.pixels for each in self._queue)

    @property
    def retry_after(self) -> int:
        """In how many seconds what is held is likely to be answered: a whole number from 1 to 60."""
        return min(max(1, math.ceil(self._held * self._seconds_per_image)), _LONGEST_RETRY)

    async def predict(
        self, images: Sequence[bytes], query: Query, deadline: float | None = None, *, urgent: bool = False
    ) -> list[Prediction]:
        """One prediction for each image, the bytes of a file, in order; an image that cannot be read is a prediction with an `error`.

        `deadline` is in seconds from now; what has not reached the model by then is dropped. An `urgent` request, the canary, is taken even
        if the queue is full, goes first, and is not counted. Raises Busy if there is no room for all of the images, Late at the deadline,
        and what `admit` raises.
        """
        if not urgent:
            self.check_room(len(images))
            self.admit(len(images))
        loop = asyncio.get_running_loop()
        pictures = [_Picture(query, loop.create_future(), urgent) for _ in images]
        for picture, data in zip(pictures, images, strict=True):
            self._held += 1
            picture.future.add_done_callback(self._release)
            self._run(self._decode(picture, data))
        try:
            async with asyncio.timeout(self.limits.deadline if deadline is None else deadline):
                return [await picture.future for picture in pictures]
        except TimeoutError:
            self._tell(lambda each: each.refused("late", len(images)))
            raise Late(f"no answer within {self.limits.deadline if deadline is None else deadline:g} s") from None
        finally:
            for picture in pictures:
                picture.future.cancel()
                self._queue.pop(picture, None)
            self._left.set()

    def check_room(self, images: int = 1) -> None:
        """Raises Busy unless there is room for so many images: before a body is read that would only wait to be refused."""
        if images and (self._held + images > self.limits.queue_images or self.pixels >= self.limits.queue_pixels):
            self._tell(lambda each: each.refused("busy", images))
            raise Busy(self.retry_after)

    # Its life.

    async def start(self) -> None:
        """Starts to answer."""
        self.decoding.start()
        self._came = asyncio.Event()
        self._left = asyncio.Event()
        self._decoding_slots = asyncio.Semaphore(self.decoding.limits.processes)
        self._batching = asyncio.create_task(self._make_batches())

    async def stop(self) -> None:
        """Answers what it has taken, and ends its thread and processes."""
        while self._held:
            await asyncio.sleep(0.01)
        self._batching.cancel()
        for task in (*self._tasks, self._batching):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._thread.shutdown(wait=False)
        self.decoding.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # From bytes to the queue.

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _release(self, _: object) -> None:
        self._held -= 1
        self._came.set()  # a batch may be waiting for this one

    async def _decode(self, picture: _Picture, data: bytes) -> None:
        async with self._decoding_slots:
            while not picture.urgent and self.pixels >= self.limits.queue_pixels and not picture.future.done():
                self._left.clear()
                await self._left.wait()
            if picture.future.done():  # nobody waits for it any more
                return
            try:
                opened = await self.decoding.open(data)
            except Exception as error:  # such as no process to be had
                opened = ImageError("internal", f"the image: it could not be decoded ({type(error).__name__}); try again.")
        if picture.future.done():
            return
        if isinstance(opened, ImageError):
            self._answer(picture, self.predictor.failed(opened, picture.query))
            return
        picture.opened = opened
        if picture.urgent:
            self._queue = {picture: None, **self._queue}
        else:
            self._queue[picture] = None
        self._came.set()

    def _answer(self, picture: _Picture, prediction: Prediction) -> None:
        if not picture.urgent:
            self._tell(lambda each: each.answered(prediction, picture.query, time.monotonic() - picture.came))
        if not picture.future.done():
            picture.future.set_result(prediction)

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        for each in self.observers:
            try:
                tell(each)
            except Exception as error:  # a full disk, for one, is no reason not to answer
                _log.error("unexpected %s in %s", type(error).__name__, type(each).__name__)

    # From the queue to answers.

    async def _make_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._queue:
                self._came.clear()
                await self._came.wait()
            await self._fill(time.monotonic() + self.limits.batch_wait)
            batch = list(self._take())
            if not batch:
                continue
            self._in_model = sum(each.pixels for each in batch)
            start = time.monotonic()
            predictions = await loop.run_in_executor(self._thread, self._ask, batch)
            self._count(len(batch), self._in_model, time.monotonic() - start)
            self._in_model = 0
            for picture, prediction in zip(batch, predictions, strict=True):
                self._answer(picture, prediction)
            self._left.set()

    def _count(self, images: int, pixels: int, seconds: float) -> None:
        self._seconds_per_image += 0.2 * (seconds / images - self._seconds_per_image)
        self._tell(lambda each: each.batch(images, pixels, seconds))

    async def _fill(self, until: float) -> None:
        """Waits until there is a whole batch, or no picture is being decoded that could join it, and not longer than `until`."""
        while not self._is_whole() and self._held > len(self._queue) and (left := until - time.monotonic()) > 0:
            self._came.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), left)

    def _is_whole(self) -> bool:
        waiting = len(self._queue) >= self.limits.batch_images
        return waiting or sum(each.pixels for each in self._queue) >= self.limits.batch_pixels

    def _take(self) -> Iterator[_Picture]:
        """Takes a batch from the queue: at least one picture, then as many as the limits allow."""
        taken = pixels = 0
        while self._queue:
            picture = next(iter(self._queue))
            pixels += picture.pixels
            if taken == self.limits.batch_images or (taken and pixels > self.limits.batch_pixels):
                return
            del self._queue[picture]
            taken += 1
            yield picture

    def _ask(self, batch: Sequence[_Picture]) -> list[Prediction]:
        """The predictions of a batch, in the model's thread. If the model fails, each picture is asked about alone."""
        try:
            found = self._ask_model(batch)
        except Exception:
            found = [self._ask_alone(each) for each in batch]
        if any(each.error is None for each in found):
            self.last_success = time.monotonic()
        return found

    def _ask_alone(self, picture: _Picture) -> Prediction:
        try:
            return self._ask_model([picture])[0]
        except Exception as error:
            sentence = f"the model failed on this image ({type(error).__name__}); try it again, or another image"
            return self.predictor.failed(ImageError("internal", sentence), picture.query)

    def _ask_model(self, batch: Sequence[_Picture]) -> list[Prediction]:
        asked = [(each.opened, each.query) for each in batch if each.opened is not None]
        return list(self.predictor.ask_each(asked))
