"""Asking the engine for a request: given up when its client goes away."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from starlette.requests import ClientDisconnect, Request

from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Query
from emocaliber.serving.engine import Engine
from emocaliber.serving.errors import Refused

DEADLINE = "x-deadline"  # the header with the seconds that a client waits
SHORTEST, LONGEST = 0.001, 3600.0


async def ask(request: Request, engine: Engine, images: Sequence[bytes], query: Query) -> list[Prediction]:
    """`Engine.predict` within the deadline of the request; its body must have been read.

    Raises what that raises, ClientDisconnect if nobody waits for the answer any more, and Refused for a deadline that is none.
    """
    work = asyncio.create_task(engine.predict(images, query, deadline_of(request)))
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return work.result()
    finally:
        work.cancel()
        gone.cancel()


def deadline_of(request: Request) -> float | None:
    """The seconds that the client waits, by its header X-Deadline; None if it does not say. Raises Refused for anything else."""
    text = request.headers.get(DEADLINE)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not SHORTEST <= seconds <= LONGEST:
        raise Refused(422, f"the header X-Deadline must be a number of seconds from {SHORTEST:g} to {LONGEST:g}.")
    return seconds


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
