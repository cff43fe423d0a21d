"""A real HTTP server on loopback that takes batches as OpenAI does, keeps its own account, and fails where a test wants."""

from __future__ import annotations

import base64
import email.parser
import email.policy
import io
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from PIL import Image

Answer = tuple[int, dict[str, Any]]


def told(fields: dict[str, Any]) -> Answer:
    """The answer of a service that is well: it repeats the question."""
    question = fields["messages"][0]["content"][-1]["text"]
    message = {"role": "assistant", "content": f"answer to {question}"}
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return 200, {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}


@dataclass
class BatchServer:
    """Runs while it is entered. A batch ends when it has been looked at `looks` times.

    `answer` gives status and body to a request's fields. `fault(method, path, nth)` gives the status of a request that fails, or
    "drop": it is done, but its answer is lost. `ends_as` is a status and the number of answers after which a batch ends so. `room` is the
    number of batches that may be open. `full` and `half` count the answers given at full price and in batches, by question.
    """

    answer: Callable[[dict[str, Any]], Answer] = told
    fault: Callable[[str, str, int], int | str | None] = lambda method, path, nth: None
    looks: int = 2
    ends_as: tuple[str, int | None] = ("completed", None)
    room: int = 1000
    most_requests: int = 50_000
    most_bytes: int = 200_000_000
    full: Counter[str] = field(default_factory=Counter)
    half: Counter[str] = field(default_factory=Counter)
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    removed: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def cost(self, read: float, written: float) -> float:
        """Its account in dollars, at these prices per million tokens."""
        each = (1000 * read + 100 * written) / 1e6
        return each * self.full.total() + each / 2 * self.half.total()

    def __enter__(self) -> Self:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet for head and body

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service.keys.add(self.headers.get("Authorization", ""))
                with service.lock:
                    status, found = service.serve(self.command, self.path.removeprefix("/v1/"), body, self.headers.get("Content-Type", ""))
                if status == "drop":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                data = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, method: str, path: str, body: bytes, kind: str) -> tuple[Any, Any]:
        place = urlsplit(path)
        what = f"{method} {place.path.split('/')[0]}"
        self.asked[what] += 1
        fault = self.fault(method, place.path, self.asked[what])
        if isinstance(fault, int):
            return fault, {"error": {"message": f"fault {fault} for Bearer sk-very-secret-key"}}
        found = self._route(method, place.path.split("/"), parse_qs(place.query), body, kind)
        return ("drop", None) if fault == "drop" else found

    def _route(self, method: str, parts: list[str], query: dict[str, list[str]], body: bytes, kind: str) -> tuple[Any, Any]:
        match method, parts:
            case "POST", ["chat", "completions"]:
                return self._answered(json.loads(body), self.full)
            case "POST", ["files"]:
                name = f"file-{len(self.files)}"
                self.files[name] = _uploaded(body, kind)
                return 200, {"id": name, "purpose": "batch"}
            case "GET", ["files", name, "content"]:
                return 200, self.files[name]
            case "DELETE", ["files", name]:
                self.removed.append(name)
                return 200, {"id": name, "deleted": True}
            case "POST", ["batches"]:
                return 200, self._made(json.loads(body))
            case "GET", ["batches"]:
                newest = list(reversed(self.batches.values()))
                after = next((place + 1 for place, each in enumerate(newest) if each["id"] == query.get("after", [""])[0]), 0)
                page = newest[after : after + 2]  # a page is small, so that there are several
                return 200, {"data": page, "has_more": after + 2 < len(newest)}
            case "GET", ["batches", name]:
                return 200, self._looked_at(self.batches[name])
        return 404, {"error": {"message": f"no {method} {'/'.join(parts)}"}}

    def _answered(self, fields: dict[str, Any], account: Counter[str]) -> Answer:
        image = fields["messages"][0]["content"][0]["image_url"]["url"]
        Image.open(io.BytesIO(base64.b64decode(image.partition("base64,")[2], validate=True))).load()
        status, found = self.answer(fields)
        if status == 200:
            account[fields["messages"][0]["content"][-1]["text"]] += 1
        return status, found

    def _made(self, fields: dict[str, Any]) -> dict[str, Any]:
        requests = [json.loads(line) for line in self.files[fields["input_file_id"]].splitlines()]
        batch = {"id": f"batch_{len(self.batches)}", "metadata": fields["metadata"], "input_file_id": fields["input_file_id"]}
        batch |= {"status": "in_progress", "request_counts": {"total": len(requests), "completed": 0, "failed": 0}, "looks": 0}
        problem = self._problem(requests, self.files[fields["input_file_id"]])
        if fields["endpoint"] != "/v1/chat/completions" or fields["completion_window"] != "24h":
            problem = ("invalid", "endpoint or window")
        if problem:
            batch |= {"status": "failed", "errors": {"object": "list", "data": [{"code": problem[0], "message": problem[1]}]}}
        self.batches[str(batch["id"])] = batch
        return batch

    def _problem(self, requests: list[dict[str, Any]], content: bytes) -> tuple[str, str] | None:
        names = [each["custom_id"] for each in requests]
        if len(set(names)) < len(names) or any(len(name) > 64 for name in names):
            return "invalid", "custom ids"
        if any((each["method"], each["url"]) != ("POST", "/v1/chat/completions") for each in requests):
            return "invalid", "method or url"
        if len(requests) > self.most_requests or len(content) > self.most_bytes:
            return "too_large", "the file is too large"
        if sum(each["status"] == "in_progress" for each in self.batches.values()) >= self.room:
            return "token_limit_exceeded", "Enqueued token limit reached"
        return None

    def _looked_at(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["looks"] += 1
        if batch["status"] == "in_progress" and batch["looks"] >= self.looks:
            self._end(batch)
        return batch

    def _end(self, batch: dict[str, Any]) -> None:
        status, most = self.ends_as
        requests = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        rows: dict[str, list[dict[str, Any]]] = {"output": [], "error": []}
        for place, each in enumerate(reversed(requests)):  # answers come in any order
            row: dict[str, Any] = {"id": f"r{place}", "custom_id": each["custom_id"], "response": None, "error": None}
            if most is not None and place >= most:
                rows["error"].append(row | {"error": {"code": "batch_expired", "message": "This request could not be executed in time."}})
                continue
            code, found = self._answered(each["body"], self.half)
            rows["output" if code == 200 else "error"].append(row | {"response": {"status_code": code, "body": found}})
        for kind, made in rows.items():
            if made:
                name = f"file-{len(self.files)}"
                self.files[name] = b"".join(json.dumps(row).encode() + b"\n" for row in made)
                batch[f"{kind}_file_id"] = name
        batch["status"] = status
        batch["request_counts"] |= {"completed": len(rows["output"]), "failed": len(rows["error"])}


def _uploaded(body: bytes, kind: str) -> bytes:
    """The file in a form."""
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    parts = {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in form.iter_parts()}
    assert parts["purpose"] == b"batch"
    return bytes(parts["file"])
