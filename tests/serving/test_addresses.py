"""Addresses instead of pictures, on every route: the server refuses them, dials nothing, and asks no name server.

Where a network namespace can be made, the same requests are sent in one that has the addresses of a cloud's metadata, of private networks
and of a public host, all of which are listened on, and a name server.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from serving_servers import ServerProcess

OWN_NETWORK = "EMOCALIBER_OWN_NETWORK"  # set inside the namespace
FOREIGN = ("169.254.169.254", "10.0.0.7", "192.168.1.1", "203.0.113.9")  # this host's own there
NAMES = ("metadata.google.internal", "rebinding.example.org")
QUESTIONS = {"q": {"type": "choice", "instructions": "Which emotion does it evoke?", "criteria": {"awe": None, "fear": None}}}


class Listener:
    """Sockets of this machine, for both kinds of addresses, that wait to be dialled."""

    def __init__(self, stack: ExitStack) -> None:
        self.port = 0
        self._sockets = []
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")):
            if family == socket.AF_INET6 and not socket.has_ipv6:
                continue
            waiting = stack.enter_context(socket.socket(family))
            waiting.bind((address, self.port))
            waiting.listen()
            waiting.settimeout(0.05)
            self.port = waiting.getsockname()[1]
            self._sockets.append(waiting)
        self._names = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self._names.settimeout(0.05)
        if OWN_NETWORK in os.environ:
            self._names.bind(("0.0.0.0", 53))

    def was_asked(self) -> bool:
        """Whether a name was looked up, in the namespace."""
        try:
            return bool(self._names.recv(512))
        except TimeoutError:
            return False

    def was_dialled(self) -> bool:
        for waiting in self._sockets:
            try:
                waiting.accept()[0].close()
                return True
            except TimeoutError:
                continue
        return False


@pytest.fixture
def listener() -> Iterator[Listener]:
    with ExitStack() as stack:
        yield Listener(stack)


def addresses(port: int) -> list[str]:
    hosts = [
        "127.0.0.1",
        "localhost",
        "0",
        "2130706433",
        "0x7f.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "user@127.0.0.1",
    ]
    hosts += [*FOREIGN, *NAMES] if OWN_NETWORK in os.environ else []
    return [f"http://{host}:{port}/a.png" for host in hosts] + [
        f"{scheme}://127.0.0.1:{port}/a.png" for scheme in ("https", "ftp", "gopher", "//")
    ]


def bodies(address: str) -> dict[str, list[Any]]:
    """For each route, requests that have an address where a picture belongs."""
    asset = {"type": "image", "format": "png"}
    assets = [asset | {"data_base64": address}, asset | {"url": address}, {"type": "image_url", "image_url": {"url": address}}]
    systemone = [{"model": "tiny", "state": "IMG", "questions": QUESTIONS, "assets": {"IMG": each}} for each in assets]
    parts = [{"type": "text", "text": "Which emotion?"}, {"type": "image_url", "image_url": {"url": address}}]
    return {
        "/v1/emotions": [{"images": [each]} for each in (address, {"data": address}, {"url": address}, {"data": "", "url": address})],
        "/v1/systemone": [*systemone, {"model": "tiny", "state": address, "questions": QUESTIONS}],
        "/v1/decisions": [{"input": [{"role": "user", "content": parts}], "image_url": address}, *systemone],
        "/v1/chat/completions": [{"model": "tiny", "messages": [{"role": "user", "content": parts}]}],
    }


def test_a_listener_knows_that_it_was_dialled(listener: Listener) -> None:
    assert not listener.was_dialled()
    socket.create_connection(("127.0.0.1", listener.port)).close()
    assert listener.was_dialled()


def test_no_address_is_dialled_on_any_route(tiny_server: ServerProcess, listener: Listener) -> None:
    server = psutil.Process(tiny_server.process.pid)
    with httpx2.Client(base_url=tiny_server.url, timeout=60) as client:
        for address in addresses(listener.port):
            for route, requests in bodies(address).items():
                for body in requests:
                    found = client.post(route, json=body)
                    assert 400 <= found.status_code < 500 or _failed(found), f"{route} {body}: {found.status_code} {found.text[:200]}"
            form = client.post("/v1/emotions", files={"images": ("a.png", address.encode())})
            assert _failed(form)
            for each in (server, *server.children(recursive=True)):
                assert not [link for link in each.net_connections() if link.raddr and link.raddr.port == listener.port]
    assert not listener.was_dialled()
    if OWN_NETWORK in os.environ:
        assert not listener.was_asked()
        socket.create_connection((FOREIGN[0], listener.port)).close()
        assert listener.was_dialled()
        with pytest.raises(OSError):
            socket.getaddrinfo(NAMES[0], 80)
        assert listener.was_asked(), "or the silence above would show nothing"


def test_no_address_is_dialled_and_no_name_looked_up_in_a_network_that_has_them(tmp_path: Path) -> None:
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rnm", "ip", "link"], capture_output=True).returncode:
        pytest.skip("no network namespace can be made here")
    names = tmp_path / "resolv.conf"
    names.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    steps = ["ip link set lo up", *(f"ip address add {address}/32 dev lo" for address in FOREIGN)]
    steps += [
        f"mount --bind {names} /etc/resolv.conf",
        f"exec {sys.executable} -m pytest -q -p no:cacheprovider {__file__} -k on_any_route",
    ]
    environment = os.environ | {OWN_NETWORK: "1"}
    inside = subprocess.run(["unshare", "-rnm", "sh", "-ec", "\n".join(steps)], env=environment, capture_output=True, text=True)
    assert inside.returncode == 0, inside.stdout + inside.stderr


def _failed(response: httpx2.Response) -> bool:
    """Whether the one picture of a request to /v1/emotions could not be read."""
    rows = response.json().get("predictions") or []
    return response.status_code == 200 and bool(rows) and all(row["error"] and row["emotion"] is None for row in rows)
