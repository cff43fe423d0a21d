"""A model behind an API, as the rest of the house sees it."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from emocaliber.core.model import Reply, Request, Usage
from emocaliber.errors import UserError
from emocaliber.models.openai.client import Patience, Server, Servers, Service
from emocaliber.models.openai.journal import Journal, Redactor, usable_key
from emocaliber.models.openai.limits import Ledger, Pace
from emocaliber.models.openai.wire import FORMATS, ImageFormat, Wording

OPENAI = "https://api.openai.com/v1"
_ALTERNATIVES = 20  # the most that OpenAI and vLLM give


class RemoteModel:
    """A model of any OpenAI-compatible server, or of several that have it: OpenAI, Seed's ark endpoint, vLLM, SGLang, `transformers serve`.

    Key and address are OPENAI_API_KEY and OPENAI_BASE_URL unless given. A request is asked up to `1 + retries` times, after pauses of
    `backoff` seconds that double, each time for `timeout` seconds at most. `prices` are dollars per million tokens read and written; with
    them, a run stops before `budget` dollars are exceeded; what is in the `journal` counts towards them, but is not paid for again.
    `image_format` is that of `data_url`. What a server refuses (log-probabilities, a temperature) is left out from then on.

    Raises UserError for settings that cannot be; `answer` raises it for what concerns all requests, such as a wrong key.
    """

    notice: str | None = None
    window: int | None = None

    def __init__(
        self,
        model: str,
        *,
        base_url: str | Sequence[str] | None = None,
        api_key: str | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        max_new_tokens: int = 1024,
        concurrency: int = 16,
        retries: int = 6,
        backoff: float = 1.0,
        timeout: float = 120.0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        prices: Sequence[float] | None = None,
        budget: float | None = None,
        journal: str | Path | None = None,
        logprobs: bool = True,
        image_format: ImageFormat = "auto",
    ) -> None:
        positive = {"concurrency": concurrency, "timeout": timeout, "max_new_tokens": max_new_tokens}
        positive |= {"requests_per_minute": requests_per_minute or 1, "tokens_per_minute": tokens_per_minute or 1}
        if wrong := next((name for name, value in positive.items() if not value > 0), None):
            raise UserError(f"{wrong} must be above 0, not {positive[wrong]}")
        if image_format not in FORMATS:
            raise UserError(f"image_format must be one of {', '.join(FORMATS)}, not {image_format!r}")
        if not model:
            raise UserError("a model behind an API has a name there; write it after 'openai:', as in openai:gpt-5")
        self.name = model
        given = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        addresses = [given] if isinstance(given, str) else list(given)
        key = usable_key(os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key)
        if not key and OPENAI in addresses:
            raise UserError(f"{OPENAI} wants a key: set OPENAI_API_KEY, or give the address of another server as --base-url")
        servers = [Server.at(address, key) for address in addresses]
        self._wording = Wording(model, temperature, seed, max_new_tokens, _ALTERNATIVES if logprobs else None, image_format)
        self._concurrency = concurrency
        kept = Journal(journal) if journal else None
        self._ledger = Ledger(prices, budget, kept.counts if kept else (0, 0))
        self._service = Service(
            model,
            Servers(servers, pause=backoff, longest=timeout),
            concurrency=concurrency,
            patience=Patience(retries, backoff, timeout),
            requests=Pace(requests_per_minute),
            tokens=Pace(tokens_per_minute),
            ledger=self._ledger,
            journal=kept,
            redactor=Redactor(key, *(secret for server in servers for secret in server.secrets())),
        )
        self._background = Background(self._service)

    @property
    def spent(self) -> Usage:
        """What was paid for so far, by this object: tokens, and dollars where prices are known."""
        return self._ledger.spent

    def answer(self, requests: Iterable[Request]) -> Generator[Reply]:
        """Replies in order. Twice `concurrency` requests are under way; up to eight times as many are begun where a slow one is first."""
        return in_order(
            requests,
            lambda request: self._background.submit(self._service.reply(self._wording.payload(request))),
            running=2 * self._concurrency,
            ahead=8 * self._concurrency,
        )


# From a plain iterator to work that overlaps, and back: the only place where threads and tasks meet.

T = TypeVar("T")
R = TypeVar("R")


class Background:
    """An event loop in a thread of its own, for as long as this object lives; `resource` is entered first and left last."""

    def __init__(self, resource: AbstractAsyncContextManager[object]) -> None:
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon, so that a process never waits for a server in order to end.
        threading.Thread(target=asyncio.run, args=(_live(resource, started),), name="remote model", daemon=True).start()
        self._loop, leave = started.result()
        self.end = weakref.finalize(self, self._loop.call_soon_threadsafe, leave.set)

    def submit(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Starts the work; cancelling what is returned cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


async def _live(resource: AbstractAsyncContextManager[object], started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    leave = asyncio.Event()
    async with resource:
        started.set_result((asyncio.get_running_loop(), leave))
        await leave.wait()


def in_order(items: Iterable[T], submit: Callable[[T], Future[R]], *, running: int, ahead: int) -> Generator[R]:
    """The results of the items, in their order, with up to `running` under way and up to `ahead` begun or waiting to be yielded.

    Where a slow one is first, others go on behind it until `ahead` is reached. Items are taken in the caller's thread. If a result is a
    UserError, those under way may end before it is raised, as they are paid for; whoever closes the generator cancels them.
    """
    begun: deque[Future[R]] = deque()
    ended: SimpleQueue[Future[R]] = SimpleQueue()
    unfinished, source, more = 0, iter(items), True
    try:
        while True:
            while not ended.empty():
                ended.get()
                unfinished -= 1
            if room := more and unfinished < running and len(begun) < ahead:
                for item in source:
                    begun.append(submit(item))
                    begun[-1].add_done_callback(ended.put)
                    unfinished += 1
                    break
                else:
                    more = False
            if begun and begun[0].done():
                yield begun.popleft().result()
            elif not room:
                if not begun:
                    return
                ended.get()
                unfinished -= 1
    except UserError:
        wait(begun)
        raise
    finally:
        for future in begun:
            future.cancel()
