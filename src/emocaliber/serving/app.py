"""The application: all routes behind one guard.

A group of routes is a module with `routes(engine, settings)` and, for /openapi.json, `paths(settings)`; it is added to `GROUPS` and
`PATHS`, and what needs no key to `OPEN`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from emocaliber.serving import emotions, operations, page
from emocaliber.serving.bodies import Memory
from emocaliber.serving.engine import Engine
from emocaliber.serving.errors import HANDLED, json_response, on_error
from emocaliber.serving.guard import Guard
from emocaliber.serving.jobs import routes as job_routes
from emocaliber.serving.jobs.running import Jobs, JobSettings
from emocaliber.serving.keys import KeyFile, KeyRing, default_file
from emocaliber.serving.metrics import Metrics
from emocaliber.serving.openapi import document
from emocaliber.serving.settings import Settings
from emocaliber.serving.standards import endpoints
from emocaliber.serving.watching import ServerWatch

Group = Callable[[Engine, Settings], Sequence[BaseRoute]]
GROUPS: tuple[Group, ...] = (emotions.routes, endpoints.routes, page.routes)
PATHS: tuple[Callable[[Settings], Mapping[str, Any]], ...] = (operations.paths, emotions.paths, endpoints.paths)
OPEN = ("/health", "/ready", "/", "/page/")  # need no key: they tell whether it works, and the page with its files, which asks for a key


def create_app(
    engine: Engine,
    settings: Settings,
    keys: KeyRing | None = None,
    watch: ServerWatch | None = None,
    jobs: JobSettings | None = None,
    groups: tuple[Group, ...] = GROUPS,
) -> Starlette:
    """The application of a server; the engine starts and stops with it. Without `keys`, those of the usual file are taken.

    `watch` sees all answers, and its gauges are among the metrics. With `jobs`, batch jobs are taken.
    """
    keys = keys or KeyRing(KeyFile(default_file()), needed=not settings.is_local)
    memory = Memory(settings.http.held_bytes)
    metrics = Metrics(engine, memory, settings.certificate)
    engine.admit = keys.charge
    if watch:
        engine.observers.append(watch)
        metrics.further.append(watch.metrics)

    async def openapi(_: Request) -> Response:
        listed = [paths(settings) for paths in (*PATHS, *([job_routes.paths] if jobs else ()))]
        return json_response(document(listed, keys_needed=keys.needed))

    found: list[BaseRoute] = [*operations.routes(engine, settings, metrics), Route("/openapi.json", openapi)]
    for group in groups:
        found += group(engine, settings)
    batch = Jobs(engine, settings, keys, jobs) if jobs else None
    found += batch.routes if batch else ()
    names = {id(each.endpoint): each.path for each in found if isinstance(each, Route)}

    def finished(scope: Scope, status: int, seconds: float) -> None:
        metrics.request(names.get(id(scope.get("endpoint")), "other"), status, seconds)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with engine, batch or contextlib.nullcontext():
            yield

    guard = Middleware(Guard, settings=settings, keys=keys, memory=memory, open_paths=OPEN, finished=finished)
    return Starlette(routes=found, middleware=[guard], exception_handlers=dict.fromkeys(HANDLED, on_error), lifespan=lifespan)
