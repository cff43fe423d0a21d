"""The client of one model: sends payloads to its servers, retries failed attempts, keeps the budget, and picks the server.

Every payload ends as exactly one reply. All of it runs in one event loop.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2

from emocaliber.core.model import ModelError, Reply
from emocaliber.errors import UserError
from emocaliber.models.openai.failures import FailedAttempt, ServerMessage, failure_of
from emocaliber.models.openai.journal import Entry, Journal, Redactor
from emocaliber.models.openai.limits import Budget, RateLimiter
from emocaliber.models.openai.wire import (
    Compatibility,
    Completion,
    Counts,
    Payload,
    UnreadableCompletion,
    read_completion,
    read_counts,
    read_json,
)
from emocaliber.render.terminal import say

_CONNECTING = 5.0  # seconds; a server that is there takes a connection at once, however long its answers take
_NEVER_REACHED = 2  # retries where no server ever answered: it is not there, rather than busy
_TELL_EVERY = 10.0  # seconds between notices of retries


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed request is sent again: up to `retries` times, with exponential backoff from `pause` seconds on.

    `timeout` is the time limit of one attempt in seconds, from sending to the last byte.
    """

    retries: int
    pause: float
    timeout: float

    def wait(self, attempt: int, asked_for: float | None) -> float:
        """Seconds to wait after attempt number `attempt`, at most `timeout`; `asked_for` is the wait that the server asked for, if any.

        The wait is random ("full jitter"), so that requests that failed together are not sent again together:
        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter.
        """
        if asked_for is not None:
            return min(asked_for + random.uniform(0, self.pause), self.timeout)
        return random.uniform(0, min(self.pause * 2.0 ** min(attempt - 1, 20), self.timeout))


class CompletionClient:
    """Sends payloads, retries failed attempts within the rate limits, and charges every answer to the budget."""

    def __init__(
        self,
        model: str,
        servers: Servers,
        *,
        concurrency: int,
        retry: RetryPolicy,
        requests: RateLimiter,
        tokens: RateLimiter,
        budget: Budget,
        journal: Journal | None,
        redactor: Redactor,
    ) -> None:
        self._model, self._servers = model, servers
        self._retry, self._requests, self._tokens = retry, requests, tokens
        self._journal, self._redactor = journal, redactor
        self.budget = budget
        self._compatibility = Compatibility()
        self._slots = asyncio.Semaphore(concurrency)
        self._reached = False  # whether any server ever answered anything
        self._told = -_TELL_EVERY  # when a retry was last told of
        self._stop: UserError | None = None  # why nothing is sent any more
        self._stopped = asyncio.Event()
        for logger in map(logging.getLogger, ("httpx2", "httpcore2")):
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.WARNING)  # below, they write addresses with passwords, and headers that may echo the key
        self._client = httpx2.AsyncClient(
            verify=servers.encrypted,  # reading the certificates of all authorities takes longer than many an answer
            timeout=httpx2.Timeout(None, connect=min(_CONNECTING, retry.timeout)),  # the rest is timed as a whole
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=concurrency),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        if self._journal:
            self._journal.close()

    async def reply(self, payload: Payload) -> Reply:
        """The reply to a payload, from the journal if it is there. Raises UserError if no further request can be answered."""
        if entry := self._journal.find(payload.key) if self._journal else None:
            answer = read_json(entry.body)
            return self._reply(read_completion(answer), entry)
        try:
            return await self._ask(payload)
        except UserError as error:
            self._stop = self._stop or error
            self._stopped.set()
            raise

    async def _ask(self, payload: Payload) -> Reply:
        began = time.monotonic()
        async with self.budget.reserve(payload) as reservation:
            for attempt in range(1, self._retry.retries + 2):
                await reservation.renew()
                try:
                    completion, entry = await self._attempt(payload, attempt)
                except FailedAttempt as failed:
                    if failed.paid:
                        reservation.pay(failed.counts)
                    most = self._retry.retries
                    if failed.code == "unreachable" and not self._reached:
                        most = min(most, _NEVER_REACHED)
                    if not failed.again or attempt > most:
                        return self._given_up(failed, attempt, time.monotonic() - began)
                    wait = self._retry.wait(attempt, failed.after)
                    self._tell(failed, wait)
                    await self._pause(wait)
                else:
                    reservation.pay(entry.counts)
                    if self._journal:
                        self._journal.add(payload.key, entry)
                    return self._reply(completion, entry)
        raise AssertionError("the last attempt answers or gives up")

    async def _attempt(self, payload: Payload, number: int) -> tuple[Completion, Entry]:
        async with self._slots, self._servers.borrow() as server:
            expected = sum(self.budget.worst(payload))
            while True:
                await self._pause(max(self._requests.acquire(), self._tokens.acquire(expected)))
                version, began = self._compatibility.version, time.monotonic()
                status, headers, body = await self._post(payload, server)
                if status == 200:
                    break
                server_message = ServerMessage.read(body)
                if status not in (400, 422) or not self._adapts(server_message, payload, version):
                    raise failure_of(status, headers, server_message, server.name, self._model)
            seconds = time.monotonic() - began
            counts: Counts | None = None
            try:
                answer = read_json(body)
                counts = read_counts(answer)
                completion = read_completion(answer)
            except UnreadableCompletion as error:
                raise FailedAttempt("bad_reply", f"{server.name}: {error}", paid=True, counts=counts, broken=True) from error
            if counts:
                self._tokens.correct(sum(counts) - expected)
            return completion, Entry(body, seconds, number, counts)

    async def _pause(self, seconds: float) -> None:
        """Waits before a request is sent. Raises UserError as soon as sending has stopped for all requests."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), seconds)
        if self._stop:
            raise self._stop

    async def _post(self, payload: Payload, server: Server) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer, without secrets. Raises FailedAttempt if it is not complete in time."""
        fields = self._compatibility.adapt(payload.fields)
        headers = {"Content-Type": "application/json", "Idempotency-Key": self._compatibility.key_of(payload.key), **server.headers}
        try:
            async with asyncio.timeout(self._retry.timeout):
                response = await self._client.post(server.url, content=payload.body(fields), headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            reason = self._redactor.text(str(error)) or "no answer"
            message = f"{server.name} cannot be reached ({reason})"
            raise FailedAttempt("unreachable", message, broken=True) from None
        except (TimeoutError, httpx2.TimeoutException):
            raise FailedAttempt(
                "timeout", f"{server.name} gave no whole answer in {self._retry.timeout:g} s", paid=True, broken=True
            ) from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            reason = self._redactor.text(str(error)) or type(error).__name__
            raise FailedAttempt("bad_reply", f"{server.name} broke off its answer ({reason})", paid=True, broken=True) from None
        self._reached = True
        shown = {name.lower(): self._redactor.text(value) for name, value in response.headers.items()}
        return response.status_code, shown, self._redactor.body(response.content)

    def _adapts(self, server_message: ServerMessage, payload: Payload, version: int) -> bool:
        """Whether the refused payload can be sent again without the fields that the server refuses."""
        if self._compatibility.version != version:  # learnt from another request while this one was under way
            return True
        changes = self._compatibility.learn(f"{server_message.parameter} {server_message.message}", payload.fields)
        for change in changes:
            say(f"{self._model}: {change}")
        return bool(changes)

    def _tell(self, failed: FailedAttempt, wait: float) -> None:
        """Says that a failed request is sent again, from time to time as many may fail together."""
        if time.monotonic() - self._told >= _TELL_EVERY:
            self._told = time.monotonic()
            say(f"{failed.message}; retrying in {wait:.0f} s" if wait >= 1 else f"{failed.message}; retrying")

    def _given_up(self, failed: FailedAttempt, attempts: int, seconds: float) -> Reply:
        if failed.code == "unreachable" and not self._reached:
            raise UserError(f"{failed.message}. Start the server, or give its address as base_url=URL (or in OPENAI_BASE_URL)")
        message = failed.message if attempts == 1 else f"{failed.message} (attempt {attempts}, the last)"
        usage = self.budget.usage(failed.counts) if failed.counts else None
        return Reply("", seconds, usage=usage, error=ModelError(failed.code, message), attempts=attempts)

    def _reply(self, completion: Completion, entry: Entry) -> Reply:
        usage = self.budget.usage(entry.counts) if entry.counts else None
        error = ModelError("refused", completion.refusal) if completion.refusal else None
        return Reply(completion.text, entry.seconds, completion.tokens, usage, error, entry.attempts)


# Load balancing over several servers.

_UNHEALTHY = 3  # failures in a row


@dataclass
class Server:
    """An API's address, its number of requests under way (`load`) and its health."""

    url: str = field(repr=False)  # of chat completions; its query may hold a secret
    name: str  # the address as it may be shown
    headers: Mapping[str, str] = field(repr=False)
    load: int = 0
    failures: int = 0  # in a row
    rests_until: float = 0.0

    @classmethod
    def at(cls, base_url: str, key: str = "") -> Server:
        """The server at a base URL. A query, such as Azure's api-version, is kept; a name and password in the URL replace `key`.

        Raises UserError if the URL is not valid.
        """
        try:
            parts = urlsplit(base_url.strip())
            if parts.scheme not in ("http", "https") or not httpx2.URL(parts.geturl()).host or parts.port == 0:
                raise ValueError
        except (ValueError, httpx2.InvalidURL):
            shown = base_url.partition("?")[0].rpartition("@")[2]
            message = f"{shown!r} is no address of an API; base_url looks like https://api.openai.com/v1 or http://localhost:8000/v1"
            raise UserError(message) from None
        path = parts.path.rstrip("/")
        path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
        credentials, _, host = parts.netloc.rpartition("@")
        plain = parts._replace(netloc=host, fragment="")
        basic = base64.b64encode(unquote(credentials).encode()).decode("ascii")
        authorization = f"Basic {basic}" if credentials else f"Bearer {key}" if key else ""
        return cls(
            plain._replace(path=path).geturl(), plain._replace(query="").geturl(), {"Authorization": authorization} if authorization else {}
        )

    def secrets(self) -> Iterator[str]:
        """The key, the password and the values of the query, which must not be shown."""
        for value in self.headers.values():
            scheme, _, secret = value.partition(" ")
            yield secret
            if scheme == "Basic":
                yield base64.b64decode(secret).decode().partition(":")[2]
        yield from (value for _, value in parse_qsl(urlsplit(self.url).query))


class Servers:
    """Gives each request the server with the fewest requests under way.

    A server that sends Retry-After gets no request until then. One that cannot be reached, or failed three times in a row, gets none for
    `pause` seconds, doubled with each further failure up to `longest`, and is then tried with a single request. A single server is always
    asked.
    """

    def __init__(self, servers: Sequence[Server], *, pause: float, longest: float) -> None:
        self._servers = servers
        self._pause, self._longest = pause, longest
        self.encrypted = any(urlsplit(each.url).scheme == "https" for each in servers)

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Server]:
        """A server for one attempt, as soon as one is ready. A `FailedAttempt` raised inside is counted against the server's health."""
        server = await self._next()
        server.load += 1
        try:
            yield server
            server.failures = 0
        except FailedAttempt as failed:
            self._note(server, failed)
            raise
        finally:
            server.load -= 1

    async def _next(self) -> Server:
        while True:
            now = time.monotonic()
            ready = [each for each in self._servers if each.rests_until <= now and not (self._is_unhealthy(each) and each.load)]
            if ready:
                return min(ready, key=lambda each: (each.load, each.failures))
            # At least a moment, as a server that is being tried may have recovered by then.
            await asyncio.sleep(max(min(each.rests_until for each in self._servers) - now, 0.01))

    def _is_unhealthy(self, server: Server) -> bool:
        return len(self._servers) > 1 and server.failures >= _UNHEALTHY

    def _note(self, server: Server, failed: FailedAttempt) -> None:
        server.failures = max(server.failures + 1, _UNHEALTHY if failed.code == "unreachable" else 0) if failed.broken else 0
        pause = failed.after or 0.0
        if self._is_unhealthy(server):
            pause = max(pause, self._pause * 2.0 ** min(server.failures - _UNHEALTHY, 20))
        server.rests_until = max(server.rests_until, time.monotonic() + min(pause, self._longest))
