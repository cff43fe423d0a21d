"""The runner of jobs: puts their pictures to the engine, a few at a time, and writes each answer down as it comes.

One process of those that use a folder runs the jobs. If it ends, even by a kill, another takes over, or the same one when it starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emocaliber.errors import UserError
from emocaliber.io.images import ImageError
from emocaliber.io.lock import Lock
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Query
from emocaliber.serving.engine import Busy, Late
from emocaliber.serving.jobs.store import JobStore, Waiting
from emocaliber.serving.keys import CURRENT, Key, OverQuota

Predict = Callable[[Sequence[bytes], Query], Awaitable[list[Prediction]]]
Row = tuple[str, int, Mapping[str, Any]]  # with its job and place

_TRIES = 3  # of a picture whose answer does not come in time
_TIDY_EVERY = 600.0  # seconds
_REST = 60.0  # seconds of a key whose quota never suffices
_log = logging.getLogger("emocaliber.serving")


@dataclass
class JobRunner:
    """Runs the jobs of `store` that were made for the model called `model`.

    `predict` asks the engine, `failed` makes the prediction of an error, `query` the query of what was asked. A job's pictures count
    against the quota of the key that made it, which `key_of` finds by its hash; jobs of a key that was revoked stand still. `at_once`
    pictures are with the engine at a time: enough for batches, few enough that other requests wait little. Jobs that ended are kept for
    `keep` seconds.
    """

    store: JobStore
    model: str
    predict: Predict
    failed: Callable[[ImageError, Query], Prediction]
    query: Callable[..., Query] = Query.of
    key_of: Callable[[str], Key | None] = lambda owner: None
    at_once: int = 16
    keep: float = 7 * 24 * 3600.0
    poll: float = 1.0
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _resting: dict[str, float] = field(default_factory=dict)  # owners over their quota, until when

    def wake(self) -> None:
        """Says that there is a new job."""
        self._came.set()

    async def run(self) -> None:
        """Runs jobs until it is cancelled. While another process runs them, and after a failure of the disk, it waits and tries again."""
        while True:
            try:
                with Lock(self.store.folder / "jobs.sqlite3", "the folder of jobs"):
                    await self._run()
            except UserError:
                pass
            except Exception as error:  # nothing of what clients sent goes into the log, as a message might
                where = traceback.extract_tb(error.__traceback__)[-1]
                _log.error("jobs pause after an unexpected %s at %s:%s", type(error).__name__, Path(where.filename).name, where.lineno)
            await asyncio.sleep(self.poll)

    async def _run(self) -> None:
        at_work: dict[asyncio.Task[Row | None], tuple[str, int]] = {}
        tidied = float("-inf")
        try:
            while True:
                if time.monotonic() - tidied > _TIDY_EVERY:
                    await asyncio.to_thread(self.store.tidy, self.keep)
                    tidied = time.monotonic()
                if (room := self.at_once - len(at_work)) > 0:
                    for each in await asyncio.to_thread(self.store.next_pictures, self.model, room, [*at_work.values()], self._may):
                        at_work[asyncio.create_task(self._answer(each))] = (each.job, each.place)
                if not at_work:
                    self._came.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._came.wait(), self.poll)
                    continue
                done, _ = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
                rows = [row for task in done if (row := task.result()) is not None]
                await asyncio.to_thread(self.store.answer, rows)
                for task in done:
                    del at_work[task]
        finally:
            for task in at_work:
                task.cancel()
            await asyncio.gather(*at_work, return_exceptions=True)

    def _may(self, owner: str) -> bool:
        return self._resting.get(owner, 0.0) <= time.monotonic() and (not owner or self.key_of(owner) is not None)

    async def _answer(self, waiting: Waiting) -> Row | None:
        """The row of a picture; None if the quota of its owner is used up, so that it is asked again later."""
        CURRENT.set(self.key_of(waiting.owner) if waiting.owner else None)  # of this task alone
        try:
            prediction = await self._prediction(waiting)
        except OverQuota as over:
            self._resting[waiting.owner] = time.monotonic() + (over.retry_after or _REST)
            return None
        return waiting.job, waiting.place, replace(prediction, image=waiting.name).to_row()

    async def _prediction(self, waiting: Waiting) -> Prediction:
        try:
            query = self.query(**waiting.asked)
        except UserError as error:  # a task of a plug-in that is no longer there
            found = self.failed(ImageError("internal", f"{waiting.name}: {error}."), Query.of())
            return replace(found, task=str(waiting.asked.get("task")))
        try:
            image = await asyncio.to_thread(self.store.read, waiting.job, waiting.place)
        except OSError as error:
            return self.failed(ImageError("internal", f"{waiting.name}: cannot be read ({error.strerror}); send it again."), query)
        for _ in range(_TRIES):
            with contextlib.suppress(Late):
                return (await self._ask(image, query))[0]
        return self.failed(ImageError("timeout", f"{waiting.name}: no answer in time, {_TRIES} times; send it again."), query)

    async def _ask(self, image: bytes, query: Query) -> list[Prediction]:
        while True:
            try:
                return await self.predict([image], query)
            except Busy as busy:
                await asyncio.sleep(busy.retry_after)
