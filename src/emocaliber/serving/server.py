"""The server's process: its socket, its connections with their limits, and its end, at which it finishes what it has."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from emocaliber.errors import UserError
from emocaliber.serving.settings import HttpLimits, Settings

_KEEP_ALIVE = 5  # seconds for which a connection waits for the next request
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FULL = b'{"error": {"code": "busy", "message": "the server has as many connections as it can take; try again."}}'


def bound_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket with an address of its own, at which clients wait until the server answers.

    `shared`: other servers may have the same port, and get a part of the connections; it does not listen yet, as the others answer.
    Raises UserError for an address that cannot be used, as when another server has it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UserError(f"there is no address {host!r} on this machine ({error.strerror or error}); give one with --host") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            if not hasattr(socket, "SO_REUSEPORT"):
                raise UserError("servers cannot share a port on this system; give each its own, and a proxy before them")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        found.bind(address)
        if not shared:
            found.listen()  # two sockets may be bound to one port as long as neither listens
    except OSError as error:
        found.close()
        raise UserError(f"port {port} of {host} cannot be used ({error.strerror}); give another with --port") from error
    return found


def address_of(bound: socket.socket) -> str:
    """The URL of a server with this socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(app: Starlette, settings: Settings, bound: socket.socket, listening: Callable[[], object], grace: float) -> None:
    """Serves as `server_of` until SIGINT or SIGTERM; a second signal ends it at once."""
    server = server_of(app, settings, listening, grace)
    asyncio.run(server.serve([bound]))
    if not server.started:
        raise UserError("the server did not start; --debug shows why")


def server_of(app: Starlette, settings: Settings, listening: Callable[[], object], grace: float) -> uvicorn.Server:
    """A server that calls `listening` once it takes requests; when it is to exit, it finishes what it has, for at most `grace` seconds."""
    limits = settings.http
    config = uvicorn.Config(
        app,
        http=_protocol(limits),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=int(grace),
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    for name in ("uvicorn.error", "asyncio", "python_multipart"):  # they would quote what clients sent
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return _Server(config, listening)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, listening: Callable[[], object]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._listening()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As in uvicorn, but the signal is not raised again after a graceful end, which is a success."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._stop) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _stop(self, number: int, _: Any) -> None:
        if self.should_exit:
            sys.exit(128 + number)
        self.should_exit = True


def _protocol(limits: HttpLimits) -> type[asyncio.Protocol]:
    class Bounded(_BoundedProtocol):
        http_limits = limits

    return Bounded


class _BoundedProtocol(H11Protocol):
    """HTTP/1.1 with limits that uvicorn has not: on connections, on the time in which the headers of a request must be there, and
    on the time that a client takes to read."""

    http_limits: HttpLimits
    _headers_due: asyncio.TimerHandle | None = None
    _read_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.http_limits.connections:
            head = f"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: application/json\r\nContent-Length: {len(_FULL)}"
            transport.write(head.encode() + b"\r\nConnection: close\r\n\r\n" + _FULL)
            transport.close()
            self.transport = transport
            self.conn.send_failed()
            return
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._wait_for_headers()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self.flow is not None:
            super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_due = self.loop.call_later(self.http_limits.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._read_due is not None:
            self._read_due.cancel()
            self._read_due = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self.loop.call_later(self.http_limits.idle_seconds, self.transport.abort)  # a client that does not read keeps it from closing

    def _wait_for_headers(self) -> None:
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(self.http_limits.header_seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None
