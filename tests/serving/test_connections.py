"""What a connection may do: how much it may send, how slowly, with which headers and under whose name."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emocaliber.serving.engine import EngineLimits
from emocaliber.serving.settings import HttpLimits
from serving_servers import ServerProcess, picture, post, served_model
from stand_ins import ColourModel, blank_png

HEAD = b"POST /v1/emotions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
LIMITS = HttpLimits(body_bytes=2_000_000, held_bytes=3_000_000, header_seconds=0.5, idle_seconds=0.5, body_seconds=1.5, connections=40)


@pytest.fixture(scope="module")
def colour_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with small limits."""
    with served_model(ColourModel(), tmp_path_factory.mktemp("keys"), http=LIMITS) as (url, _):
        yield url


def connected(url: str) -> socket.socket:
    where = urlsplit(url)
    return socket.create_connection((where.hostname or "", where.port or 0), timeout=20)


def status_of(answer: bytes) -> int:
    return int(answer.split()[1]) if answer else 0


def read_all(connection: socket.socket) -> bytes:
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def test_a_body_of_endless_size_is_refused_and_the_connection_closed(colour_url: str) -> None:
    with closing(connected(colour_url)) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk, sent = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n", 0
        first = b"%x\r\n" % len(PART) + PART + b"\r\n"
        with pytest.raises(OSError):
            connection.sendall(first)
            while sent < 10_000_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
        assert sent < 500_000_000


def test_the_length_that_a_client_states_is_not_believed(colour_url: str) -> None:
    assert (
        httpx2.post(f"{colour_url}/v1/emotions", content=b"x" * 2_000_001, headers={"Content-Type": "application/json"}).status_code == 413
    )
    with closing(connected(colour_url)) as connection:  # refused before any of it is sent
        connection.sendall(HEAD + b"Content-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n")
        assert status_of(read_all(connection)) == 413


def test_a_client_that_sends_all_of_a_body_that_is_too_long_reads_why(colour_url: str) -> None:
    response = post(colour_url, bytes(5_000_000))
    assert response.status_code == 413
    assert "2,000,000" in response.json()["error"]["message"]


def test_bodies_of_all_requests_together_have_a_limit_and_give_back_what_they_held(tmp_path: Path) -> None:
    limits = HttpLimits(body_bytes=2_000_000, held_bytes=2_500_000)
    with served_model(ColourModel(seconds_each=1.5), tmp_path, http=limits) as (url, _):
        first: list[httpx2.Response] = []
        thread = threading.Thread(target=lambda: first.append(post(url, picture("red") + bytes(1_500_000))))
        thread.start()
        while "emocaliber_body_bytes 1.5" not in httpx2.get(f"{url}/metrics").text:
            time.sleep(0.02)
        refused = post(url, picture("red") + bytes(1_500_000))
        thread.join()
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        assert first[0].status_code == 200
        assert "emocaliber_body_bytes 0.0" in httpx2.get(f"{url}/metrics").text
        assert post(url, picture("red") + bytes(1_500_000)).status_code == 200


def test_headers_that_never_end_are_given_up(colour_url: str) -> None:
    with closing(connected(colour_url)) as silent, closing(connected(colour_url)) as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\n")
        for _ in range(20):
            time.sleep(0.1)
            try:
                slow.sendall(b"X: y\r\n")
            except OSError:
                break
        else:
            pytest.fail("it was still listening after two seconds")
        assert read_all(silent) == b""


def test_a_client_that_does_not_read_its_answer_is_given_up(tmp_path: Path) -> None:
    async def large(_: Request) -> Response:
        return Response(bytes(50_000_000))

    with served_model(ColourModel(), tmp_path, http=LIMITS, groups=(lambda *_: [Route("/large", large)],)) as (url, _):
        with closing(connected(url)) as connection:
            connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(3 * LIMITS.body_seconds)
            assert len(read_all(connection)) < 50_000_000
        assert len(httpx2.get(f"{url}/large").content) == 50_000_000


def test_a_body_that_trickles_is_given_up(colour_url: str) -> None:
    with closing(connected(colour_url)) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n" + PART)
        connection.settimeout(0.1)
        answer, end = b"", time.monotonic() + 15
        while not answer and time.monotonic() < end:
            try:
                connection.sendall(b"x")
                answer = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
        assert status_of(answer) == 408


def test_slow_clients_do_not_keep_others_waiting(colour_url: str) -> None:
    connections = [connected(colour_url) for _ in range(30)]
    try:
        for each in connections:
            each.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + PART)
        assert post(colour_url, picture("red")).status_code == 200
    finally:
        for each in connections:
            each.close()


def test_connections_beyond_the_limit_are_told_when_to_come_again(colour_url: str) -> None:
    connections = [connected(colour_url) for _ in range(60)]
    try:
        answers = [read_all(each) for each in connections]
    finally:
        for each in connections:
            each.close()
    full = [each for each in answers if each]
    assert len(full) >= 20 and all(status_of(each) == 503 and b"Retry-After" in each for each in full)
    json.loads(full[0].partition(b"\r\n\r\n")[2])
    assert httpx2.get(f"{colour_url}/health").status_code == 200


@pytest.mark.parametrize(
    "lines", [b"X: y\r\n" * 10_000, b"X: " + b"y" * 1_000_000 + b"\r\n", b"X: y\r\n" * 101, b"Cookie: " + b"c" * 20_000 + b"\r\n"]
)
def test_headers_beyond_the_limits_are_refused(colour_url: str, lines: bytes) -> None:
    with closing(connected(colour_url)) as connection:
        with suppress(ConnectionError):
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")
        assert status_of(read_all_now(connection)) in (400, 431, 0)
    assert httpx2.get(f"{colour_url}/health").status_code == 200


def read_all_now(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost.evil.example", "["]
)
def test_a_server_of_this_machine_answers_to_its_names_only(colour_url: str, host: str) -> None:
    assert httpx2.get(f"{colour_url}/health", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_the_names_of_this_machine(colour_url: str, host: str) -> None:
    assert httpx2.get(f"{colour_url}/health", headers={"Host": host}).status_code == 200


def test_pages_of_other_sites_are_refused_and_get_no_leave(colour_url: str) -> None:
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        response = httpx2.post(f"{colour_url}/v1/emotions", files={"images": picture("red")}, headers={"Origin": origin})
        assert response.status_code == 403 and "access-control-allow-origin" not in response.headers
    host = urlsplit(colour_url).netloc
    assert (
        httpx2.post(f"{colour_url}/v1/emotions", files={"images": picture("red")}, headers={"Origin": f"http://{host}"}).status_code == 200
    )
    assert httpx2.options(f"{colour_url}/v1/emotions", headers={"Access-Control-Request-Method": "POST"}).status_code == 405


def test_a_compressed_body_is_not_unpacked(colour_url: str) -> None:
    kinds = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert httpx2.post(f"{colour_url}/v1/emotions", content=b"\x1f\x8b", headers=kinds).status_code == 415


def test_a_bomb_is_refused_by_its_header_and_costs_no_memory(tiny_server: ServerProcess) -> None:
    bombs = [blank_png(9_000 + n, 9_000) for n in range(8)]
    assert all(len(each) < 100_000 for each in bombs)
    before = memory_of(tiny_server)
    rows = post(tiny_server.url, *bombs).json()["predictions"]
    assert {row["error"]["code"] for row in rows} == {"too_many_pixels"}
    assert memory_of(tiny_server) - before < 50_000_000


def memory_of(server: ServerProcess) -> int:
    """The bytes that a server and its processes hold."""
    process = psutil.Process(server.process.pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))


def test_uploads_never_touch_the_disk(tiny_server: ServerProcess) -> None:
    data, process = picture(1, (3000, 3000), kind="BMP"), psutil.Process(tiny_server.process.pid)
    assert len(data) > 20_000_000
    before = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, before[1]))  # whoever writes a byte to a file is killed
    try:
        rows = post(tiny_server.url, data[:15_000_000], picture(1, (2000, 1500), kind="BMP")).json()["predictions"]
        assert [row["error"] and row["error"]["code"] for row in rows] == ["truncated", None]
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, before)


def test_a_client_that_goes_away_frees_its_place(tmp_path: Path) -> None:
    model = ColourModel(seconds_each=0.3)
    with served_model(model, tmp_path, engine=EngineLimits(queue_images=8, batch_images=1)) as (url, engine):
        for _ in range(3):
            with pytest.raises(httpx2.TimeoutException):
                post(url, *[picture("red")] * 6, timeout=0.2)
        start = time.monotonic()
        while engine.images > 1 and time.monotonic() - start < 20:
            time.sleep(0.02)
        assert engine.images <= 1
        assert post(url, picture("red")).status_code == 200
