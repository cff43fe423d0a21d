"""One model behind its servers: every payload ends as one reply, however often it has to be asked for."""

from __future__ import annotations

import asyncio
import base64
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

import httpx2

from emocaliber.core.model import ModelError, Reply
from emocaliber.errors import UserError
from emocaliber.models.openai.failures import Complaint, Failed, failure_of
from emocaliber.models.openai.journal import Entry, Journal, Redactor
from emocaliber.models.openai.limits import Ledger, Pace
from emocaliber.models.openai.wire import Completion, Counts, Dialect, Payload, Unreadable, read_completion, read_counts, read_json

_CONNECTING = 10.0  # seconds; a server that is there takes a connection at once, however long its answers take


@dataclass(frozen=True)
class Patience:
    """How often a request is asked again (`retries`), after `pause` seconds, twice as many each time, and how many seconds an attempt may
    take, from sending to the last byte."""

    retries: int
    pause: float
    timeout: float

    def wait(self, attempt: int, asked_for: float | None) -> float:
        """Seconds before another attempt: chosen by chance, so that requests that failed together do not come back together.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter ("full jitter"). Never more than `timeout`.
        """
        if asked_for is not None:
            return min(asked_for + random.uniform(0, self.pause), self.timeout)
        return random.uniform(0, min(self.pause * 2.0 ** min(attempt - 1, 20), self.timeout))


class Service:
    """Asks, waits, asks again and keeps the books. All of it happens in one event loop."""

    def __init__(
        self,
        model: str,
        servers: Servers,
        *,
        concurrency: int,
        patience: Patience,
        requests: Pace,
        tokens: Pace,
        ledger: Ledger,
        journal: Journal | None,
        redactor: Redactor,
    ) -> None:
        self._model, self._servers = model, servers
        self._patience, self._requests, self._tokens = patience, requests, tokens
        self._journal, self._redactor = journal, redactor
        self.ledger = ledger
        self._dialect = Dialect()
        self._slots = asyncio.Semaphore(concurrency)
        self._reached = False  # whether any server ever answered anything
        self._stop: UserError | None = None  # why nothing is sent any more
        self._stopped = asyncio.Event()
        for logger in map(logging.getLogger, ("httpx2", "httpcore2")):
            if logger.level == logging.NOTSET:
                logger.setLevel(logging.WARNING)  # below, they write addresses with passwords, and headers that may echo the key
        self._client = httpx2.AsyncClient(
            verify=servers.encrypted,  # reading the certificates of all authorities takes longer than many an answer
            timeout=httpx2.Timeout(None, connect=min(_CONNECTING, patience.timeout)),  # the rest is timed as a whole
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=concurrency),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        if self._journal:
            self._journal.close()

    async def reply(self, payload: Payload) -> Reply:
        """The reply to a payload. Raises UserError if no request can be answered, or none may be any more."""
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
        async with self.ledger.hold(payload) as hold:
            for attempt in range(1, self._patience.retries + 2):
                await hold.renew()
                try:
                    completion, entry = await self._attempt(payload, attempt)
                except Failed as failed:
                    if failed.paid:
                        hold.pay(failed.counts)
                    if not failed.again or attempt > self._patience.retries:
                        return self._given_up(failed, attempt, time.monotonic() - began)
                    await self._pause(self._patience.wait(attempt, failed.after))
                else:
                    hold.pay(entry.counts)
                    if self._journal:
                        self._journal.add(payload.key, entry)
                    return self._reply(completion, entry)
        raise AssertionError("the last attempt answers or gives up")

    async def _attempt(self, payload: Payload, number: int) -> tuple[Completion, Entry]:
        async with self._slots, self._servers.borrow() as server:
            expected = sum(self.ledger.worst(payload))
            while True:
                await self._pause(max(self._requests.take(), self._tokens.take(expected)))
                version, began = self._dialect.version, time.monotonic()
                status, headers, body = await self._post(payload, server)
                if status == 200:
                    break
                complaint = Complaint.read(body)
                if status not in (400, 422) or not self._adapts(complaint, payload, version):
                    raise failure_of(status, headers, complaint, server.name, self._model)
            seconds = time.monotonic() - began
            counts: Counts | None = None
            try:
                answer = read_json(body)
                counts = read_counts(answer)
                completion = read_completion(answer)
            except Unreadable as error:
                raise Failed("bad_reply", f"{server.name}: {error}", paid=True, counts=counts, broken=True) from error
            if counts:
                self._tokens.correct(sum(counts) - expected)
            return completion, Entry(body, seconds, number, counts)

    async def _pause(self, seconds: float) -> None:
        """Waits before something is sent. Raises UserError as soon as nothing may be sent any more."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), seconds)
        if self._stop:
            raise self._stop

    async def _post(self, payload: Payload, server: Server) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body, without secrets. Raises Failed if there is no whole answer in time."""
        fields = self._dialect.spell(payload.fields)
        headers = {"Content-Type": "application/json", "Idempotency-Key": self._dialect.key_of(payload.key), **server.headers}
        try:
            async with asyncio.timeout(self._patience.timeout):
                response = await self._client.post(server.url, content=payload.body(fields), headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            reason = self._redactor.text(str(error)) or "no answer"
            message = f"{server.name} cannot be reached ({reason})"
            raise Failed("unreachable", message, broken=True) from None
        except (TimeoutError, httpx2.TimeoutException):
            raise Failed("timeout", f"{server.name} gave no whole answer in {self._patience.timeout:g} s", paid=True, broken=True) from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            reason = self._redactor.text(str(error)) or type(error).__name__
            raise Failed("bad_reply", f"{server.name} broke off its answer ({reason})", paid=True, broken=True) from None
        self._reached = True
        shown = {name.lower(): self._redactor.text(value) for name, value in response.headers.items()}
        return response.status_code, shown, self._redactor.body(response.content)

    def _adapts(self, complaint: Complaint, payload: Payload, version: int) -> bool:
        """Whether the payload is worth asking again in other words, which may have been learnt while it was under way."""
        if self._dialect.version != version:
            return True
        lessons = self._dialect.learn(f"{complaint.parameter} {complaint.message}", payload.fields)
        for lesson in lessons:
            print(f"{self._model}: {lesson}", file=sys.stderr)
        return bool(lessons)

    def _given_up(self, failed: Failed, attempts: int, seconds: float) -> Reply:
        if failed.code == "unreachable" and not self._reached:
            raise UserError(f"{failed.message}. Start the server, or give its address as --base-url (or in OPENAI_BASE_URL)")
        message = failed.message if attempts == 1 else f"{failed.message} (attempt {attempts}, the last)"
        usage = self.ledger.usage(failed.counts) if failed.counts else None
        return Reply("", seconds, usage=usage, error=ModelError(failed.code, message), attempts=attempts)

    def _reply(self, completion: Completion, entry: Entry) -> Reply:
        usage = self.ledger.usage(entry.counts) if entry.counts else None
        error = ModelError("refused", completion.refusal) if completion.refusal else None
        return Reply(completion.text, entry.seconds, completion.tokens, usage, error, entry.attempts)


# Which of several servers is asked next.

_SICK = 3  # failures in a row


@dataclass
class Server:
    """An API's address, and how it is doing."""

    url: str = field(repr=False)  # of chat completions; its query may hold a secret
    name: str  # the address as it may be shown
    headers: Mapping[str, str] = field(repr=False)
    load: int = 0
    failures: int = 0  # in a row
    rests_until: float = 0.0

    @classmethod
    def at(cls, base_url: str, key: str = "") -> Server:
        """The server of a base URL; a query, such as Azure's api-version, stays. A name and password in it go before the key.

        Raises UserError if it is no address.
        """
        try:
            parts = urlsplit(base_url.strip())
            if parts.scheme not in ("http", "https") or not httpx2.URL(parts.geturl()).host or parts.port == 0:
                raise ValueError
        except (ValueError, httpx2.InvalidURL):
            shown = base_url.partition("?")[0].rpartition("@")[2]
            message = f"{shown!r} is no address of an API; --base-url looks like https://api.openai.com/v1 or http://localhost:8000/v1"
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
        """What must not be shown of it."""
        for value in self.headers.values():
            scheme, _, secret = value.partition(" ")
            yield secret
            if scheme == "Basic":
                yield base64.b64decode(secret).decode().partition(":")[2]
        yield from (value for _, value in parse_qsl(urlsplit(self.url).query))


class Servers:
    """Gives each request the server with the least to do.

    A server that asks to be left alone is. One that cannot be reached, or failed three times in a row, rests for `pause` seconds, twice as
    long each time up to `longest`, and is then tried with a single request; unless it is the only one, for there is no other to ask.
    """

    def __init__(self, servers: Sequence[Server], *, pause: float, longest: float) -> None:
        self._servers = servers
        self._pause, self._longest = pause, longest
        self.encrypted = any(urlsplit(each.url).scheme == "https" for each in servers)

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Server]:
        """A server for one attempt, once one is ready; a `Failed` passing through tells how it went."""
        server = await self._next()
        server.load += 1
        try:
            yield server
            server.failures = 0
        except Failed as failed:
            self._note(server, failed)
            raise
        finally:
            server.load -= 1

    async def _next(self) -> Server:
        while True:
            now = time.monotonic()
            ready = [each for each in self._servers if each.rests_until <= now and not (self._sick(each) and each.load)]
            if ready:
                return min(ready, key=lambda each: (each.load, each.failures))
            # At least a moment, as a server that is being tried again may be well by then.
            await asyncio.sleep(max(min(each.rests_until for each in self._servers) - now, 0.01))

    def _sick(self, server: Server) -> bool:
        return len(self._servers) > 1 and server.failures >= _SICK

    def _note(self, server: Server, failed: Failed) -> None:
        server.failures = max(server.failures + 1, _SICK if failed.code == "unreachable" else 0) if failed.broken else 0
        pause = failed.after or 0.0
        if self._sick(server):
            pause = max(pause, self._pause * 2.0 ** min(server.failures - _SICK, 20))
        server.rests_until = max(server.rests_until, time.monotonic() + min(pause, self._longest))
