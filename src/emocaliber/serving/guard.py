"""What every request passes before its route: limits on headers, the host and origin it names, its key; and what every response gets.

Nothing that a client sends is written to a log: of an unexpected error, its type and where in the code it happened.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emocaliber.serving.bodies import Lease, Memory
from emocaliber.serving.errors import Refused, problem, problem_of
from emocaliber.serving.keys import CURRENT, Key, KeyRing
from emocaliber.serving.settings import Settings

_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_DRAINED, _DRAIN_SECONDS = 64_000_000, 3.0  # of the rest of a body that was refused, so that the client reads why
_log = logging.getLogger("emocaliber.serving")


class Guard:
    """An ASGI application around another.

    `open_paths` need no key: exact ones, or all that begin with one that ends in a slash, but for "/" itself. `finished` is called with the
    route's scope, the status and the seconds of each response.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        keys: KeyRing,
        memory: Memory,
        open_paths: Sequence[str],
        finished: Callable[[Scope, int, float], object],
    ) -> None:
        self._app, self._settings, self._keys, self._memory, self._finished = app, settings, keys, memory, finished
        self._open = (*(path for path in open_paths if path == "/" or not path.endswith("/")),)
        self._open_below = (*(path for path in open_paths if path != "/" and path.endswith("/")),)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        start, passage = time.monotonic(), _Passage(scope, receive, send)
        lease = scope["emocaliber.lease"] = Lease(self._memory)
        try:
            key = self._check(scope)
        except Refused as error:
            await passage.refuse(scope, error)
        else:
            token = CURRENT.set(key)
            try:
                await self._app(scope, passage.receive, passage.send)
            except ClientDisconnect:
                pass
            except Exception as error:
                await passage.refuse(scope, error)
            finally:
                CURRENT.reset(token)
        finally:
            lease.release()
            if passage.status is not None:
                self._finished(scope, passage.status, time.monotonic() - start)

    def _check(self, scope: Scope) -> Key | None:
        """The key of the request, if any. Raises Refused for one that may not pass."""
        limits, headers = self._settings.http, Headers(scope=scope)
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"]) + len(scope["raw_path"]) + len(scope["query_string"])
        if len(scope["headers"]) > limits.headers or size > limits.header_bytes:
            raise Refused(431, f"the request has more than {limits.headers} headers, or {limits.header_bytes:,} bytes of them.")
        host = headers.get("host", "")
        if not self._settings.answers_to(_host_of(f"//{host}")):
            raise Refused(421, "this server does not answer to this name; ask localhost, or start it with --name.")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, "pages of other sites may not ask this server.")
        if scope["path"] in self._open or scope["path"].startswith(self._open_below):
            return None
        given, _, presented = headers.get("authorization", "").partition(" ")
        key = self._keys.find(presented.strip()) if given.lower() == "bearer" else None
        if key is None and self._keys.needed:
            raise Refused(401, "give a key of this server, as Authorization: Bearer KEY; its operator makes one.")
        return key


class _Passage:
    """The two ways of a request: what was read, what was sent, and the headers that go with it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        headers = Headers(scope=scope)
        self._whole = not _has_body(headers)
        self._waits_to_send = headers.get("expect", "").lower() == "100-continue"
        self.status: int | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        self._whole = self._whole or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            await self._drain()
            if not self._whole:
                headers["Connection"] = "close"
        await self._send(message)

    async def refuse(self, scope: Scope, error: Exception) -> None:
        """Answers with an error, unless an answer has begun."""
        response = problem_of(error)
        if response is None:
            where = traceback.extract_tb(error.__traceback__)[-1]
            _log.error("unexpected %s at %s:%s", type(error).__name__, where.filename.rpartition("emocaliber/")[2], where.lineno)
            response = problem(500, "the server failed, and its log says where; try again.")
        if self.status is None:
            await response(scope, self.receive, self.send)

    async def _drain(self) -> None:
        """Reads on for a little: a client that is still sending when its connection is closed does not see the answer."""
        if self._whole or self._waits_to_send:
            return
        left = _DRAINED
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while left > 0 and not self._whole:
                    left -= len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
