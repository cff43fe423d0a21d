"""Batch jobs as a part of a server: their settings, routes and runner, which starts and stops with the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Query
from emocaliber.serving.engine import Engine
from emocaliber.serving.jobs.routes import routes
from emocaliber.serving.jobs.runner import JobRunner
from emocaliber.serving.jobs.store import JobStore
from emocaliber.serving.jobs.upload import JobLimits
from emocaliber.serving.keys import KeyRing
from emocaliber.serving.settings import Settings

_DEADLINE = 3600.0  # seconds of a picture, for which nobody waits; then something hangs


@dataclass(frozen=True)
class JobSettings:
    """The folder in which jobs keep their pictures and rows, and what a job may hold."""

    folder: Path
    limits: JobLimits = field(default_factory=JobLimits)


class Jobs:
    """The jobs of a server; an asynchronous context manager, inside that of the engine. Raises UserError for a folder it cannot use."""

    def __init__(self, engine: Engine, settings: Settings, keys: KeyRing, jobs: JobSettings) -> None:
        async def predict(images: Sequence[bytes], query: Query) -> list[Prediction]:
            return await engine.predict(images, query, _DEADLINE)

        self.store = JobStore(jobs.folder)
        predictor = engine.predictor
        self.runner = JobRunner(self.store, predictor.model.name, predict, predictor.failed, settings.query, keys.of_hash)
        self.routes = routes(settings, self.runner, jobs.limits)

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.runner.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        self.store.close()
