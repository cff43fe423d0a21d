"""`RemoteModel`: a model behind an OpenAI-compatible API, and the bridge from iterators to concurrent requests."""

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
from emocaliber.models.openai.client import CompletionClient, RetryPolicy, Server, Servers
from emocaliber.models.openai.journal import Journal, Redactor, usable_key
from emocaliber.models.openai.limits import Budget, RateLimiter
from emocaliber.models.openai.wire import FORMATS, ImageFormat, PayloadBuilder

OPENAI = "https://api.openai.com/v1"
_ALTERNATIVES = 20  # the most that OpenAI and vLLM give


class RemoteModel:
    """A model on one or several OpenAI-compatible servers: OpenAI, Seed's ark endpoint, vLLM, SGLang, `transformers serve`.

    Key and address come from OPENAI_API_KEY and OPENAI_BASE_URL unless given. A request is sent up to `1 + retries` times, with exponential
    backoff from `backoff` seconds on; an attempt may take `timeout` seconds. `prices` are dollars per million tokens read and written; with
    them, a run stops before it exceeds `budget` dollars. Answers in the `journal` count towards the budget, and are not paid for again.
    `image_format` is as in `data_url`. Fields that a server refuses (log-probabilities, a temperature) are left out from then on.

    Raises UserError for settings that are not valid. `answer` raises it for errors that concern every request, such as a wrong key.
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
            raise UserError(f"{OPENAI} wants a key: set OPENAI_API_KEY, or give the address of another server as base_url=URL")
        servers = [Server.at(address, key) for address in addresses]
        self._payloads = PayloadBuilder(model, temperature, seed, max_new_tokens, _ALTERNATIVES if logprobs else None, image_format)
        self._concurrency = concurrency
        kept = Journal(journal) if journal else None
        self._budget = Budget(prices, budget, kept.counts if kept else (0, 0))
        self._client = CompletionClient(
            model,
            Servers(servers, pause=backoff, longest=timeout),
            concurrency=concurrency,
            retry=RetryPolicy(retries, backoff, timeout),
            requests=RateLimiter(requests_per_minute),
            tokens=RateLimiter(tokens_per_minute),
            budget=self._budget,
            journal=kept,
            redactor=Redactor(key, *(secret for server in servers for secret in server.secrets())),
        )
        self._background = Background(self._client)

    @property
    def spent(self) -> Usage:
        """The tokens that this object has paid for so far, with their cost where prices are known."""
        return self._budget.spent

    def answer(self, requests: Iterable[Request]) -> Generator[Reply]:
        """Replies in order. Twice `concurrency` requests run; up to eight times `concurrency` are started while the first one is slow."""
        return in_order(
            requests,
            lambda request: self._background.submit(self._client.reply(self._payloads.payload(request))),
            running=2 * self._concurrency,
            ahead=8 * self._concurrency,
        )


# Concurrency: an iterator in, overlapping work in an event loop, an iterator out. Threads and tasks meet only here.

T = TypeVar("T")
R = TypeVar("R")


class Background:
    """An event loop in its own thread that lives as long as this object. `resource` is entered when it starts and left when it ends."""

    def __init__(self, resource: AbstractAsyncContextManager[object]) -> None:
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon thread, so that the process can end without waiting for a server.
        threading.Thread(target=asyncio.run, args=(_live(resource, started),), name="remote model", daemon=True).start()
        self._loop, leave = started.result()
        self.end = weakref.finalize(self, self._loop.call_soon_threadsafe, leave.set)

    def submit(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        """Starts the work; cancelling the returned future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


async def _live(resource: AbstractAsyncContextManager[object], started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    leave = asyncio.Event()
    async with resource:
        started.set_result((asyncio.get_running_loop(), leave))
        await leave.wait()


def in_order(items: Iterable[T], submit: Callable[[T], Future[R]], *, running: int, ahead: int) -> Generator[R]:
    """The results of the items, in their order, with up to `running` under way and up to `ahead` started or waiting to be yielded.

    While the first item is slow, others run behind it until `ahead` is reached. Items are taken in the caller's thread. A UserError is
    raised only after the items under way have ended, as they are paid for. Closing the generator cancels them.
    """
    started: deque[Future[R]] = deque()
    ended: SimpleQueue[Future[R]] = SimpleQueue()
    unfinished, source, more = 0, iter(items), True
    try:
        while True:
            while not ended.empty():
                ended.get()
                unfinished -= 1
            if can_start := more and unfinished < running and len(started) < ahead:
                for item in source:
                    started.append(submit(item))
                    started[-1].add_done_callback(ended.put)
                    unfinished += 1
                    break
                else:
                    more = False
            if started and started[0].done():
                yield started.popleft().result()
            elif not can_start:
                if not started:
                    return
                ended.get()
                unfinished -= 1
    except UserError:
        wait(started)
        raise
    finally:
        for future in started:
            future.cancel()
