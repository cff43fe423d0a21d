"""A service's batches (OpenAI's `/files` and `/batches`): the HTTP client, and the queue of open batches.

Requests go up in a file, and answers come down in one, within a day: https://platform.openai.com/docs/guides/batch. The queue records every
batch before it is sent, so the next run resumes it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import IO, Any, Protocol

import httpx2

from emocaliber.errors import UserError
from emocaliber.models.openai.client import RetryPolicy, Server
from emocaliber.models.openai.failures import FailedAttempt, ServerMessage, failure_of, retry_after
from emocaliber.models.openai.journal import Redactor, usable_key

_ENDED = ("completed", "failed", "expired", "cancelled")
_AGAIN = (408, 409, 425, 429)
_MARK = "emocaliber"  # the key of a batch's own name in the service's metadata
_PAGE = 100

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """The service's state of a batch: `done` of `total` requests have answers, which are in the files `outputs` once it has ended."""

    id: str
    status: str
    done: int = 0
    total: int = 0
    outputs: tuple[str, ...] = ()
    problem: ServerMessage | None = None  # why it failed as a whole

    @property
    def ended(self) -> bool:
        return self.status in _ENDED

    @classmethod
    def read(cls, answer: Json) -> Batch:
        counts = answer.get("request_counts") or {}
        files = tuple(answer[name] for name in ("output_file_id", "error_file_id") if answer.get(name))
        found = next(iter((answer.get("errors") or {}).get("data") or ()), None)
        problem = ServerMessage(str(found.get("message")), str(found.get("code") or "")) if isinstance(found, dict) else None
        done = int(counts.get("completed", 0)) + int(counts.get("failed", 0))
        return cls(str(answer["id"]), str(answer["status"]), done, int(counts.get("total", 0)), files, problem)


class BatchApi:
    """The client of one service. Transient failures are retried, as `retry_policy` says; other failures raise UserError.

    The key appears in no message. Use as a context manager.
    """

    def __init__(self, model: str, base_url: str, key: str, retry_policy: RetryPolicy) -> None:
        key = usable_key(key)
        self._model, self._retry_policy = model, retry_policy
        self.name = Server.at(base_url).name  # the address without secrets
        self._redactor = Redactor(key)
        self._client = httpx2.Client(
            base_url=base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=retry_policy.timeout,
        )

    def __enter__(self) -> BatchApi:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(self, body: bytes, key: str) -> tuple[int, Mapping[str, str], bytes]:
        """Sends one request outside a batch: status, headers and body, without secrets."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        response = self._send("POST", "chat/completions", content=body, headers=headers)
        return response.status_code, response.headers, self._redactor.body(response.content)

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> FailedAttempt:
        """What a status other than 200 of one request means. Raises UserError if every request would meet it."""
        return failure_of(status, headers, ServerMessage.read(body), self.name, self._model)

    def upload(self, requests: IO[bytes]) -> str:
        """Uploads a file of requests and returns its id."""
        requests.seek(0)
        content = requests.read()  # in memory, for retries
        return str(self._json("POST", "files", data={"purpose": "batch"}, files={"file": ("requests.jsonl", content)})["id"])

    def create(self, file: str, name: str, *, perhaps_made: bool = False) -> Batch:
        """Starts a batch of the requests in an uploaded file. Sent twice it would be paid for twice, so before a retry (and with
        `perhaps_made`) the batch of that `name` is looked up first."""
        fields = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {_MARK: name}}
        for attempt in range(1, self._retry_policy.retries + 2):
            if (attempt > 1 or perhaps_made) and (found := self.find(name)):
                return found
            try:
                return Batch.read(self._checked(self._once("POST", "batches", json=fields), "POST batches"))
            except FailedAttempt as failed:
                self._wait(attempt, failed)
        raise AssertionError("the last attempt answers or raises")

    def find(self, name: str) -> Batch | None:
        """The batch of that name, unless it failed."""
        after: dict[str, str] = {}
        while True:
            page = self._json("GET", "batches", params={"limit": str(_PAGE), **after})
            for each in page["data"]:
                if (each.get("metadata") or {}).get(_MARK) == name and each["status"] not in ("failed", "cancelled"):
                    return Batch.read(each)
            if not page.get("has_more"):
                return None
            after = {"after": page["data"][-1]["id"]}

    def status(self, batch: str) -> Batch:
        """The state of a batch."""
        return Batch.read(self._json("GET", f"batches/{batch}"))

    def rows(self, file: str) -> Iterator[Json]:
        """The rows of a file of answers."""
        response = self._send("GET", f"files/{file}/content")
        if response.status_code != 200:
            raise self._refusal(response, "GET files")
        for line in self._redactor.body(response.content).splitlines():
            if line.strip():
                yield json.loads(line)

    def remove(self, file: str) -> None:
        """Deletes an uploaded file, if it still exists, as a data set's images fill an account's storage."""
        self._send("DELETE", f"files/{file}")

    def _json(self, method: str, path: str, **content: Any) -> Json:
        return self._checked(self._send(method, path, **content), f"{method} {path}")

    def _send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        for attempt in range(1, self._retry_policy.retries + 2):
            try:
                return self._once(method, path, **content)
            except FailedAttempt as failed:
                self._wait(attempt, failed)
        raise AssertionError("the last attempt answers or raises")

    def _once(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """The answer to one request. Raises FailedAttempt if there is none, or a retry may help."""
        try:
            response = self._client.request(method, path, **content)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            reason = self._redactor.text(str(error)) or type(error).__name__
            raise FailedAttempt("unreachable", f"{self.name} cannot be reached ({reason})") from None
        if response.status_code in _AGAIN or response.status_code >= 500:
            raise FailedAttempt("server_error", str(self._refusal(response, f"{method} {path}")), after=retry_after(response.headers))
        return response

    def _wait(self, attempt: int, failed: FailedAttempt) -> None:
        if attempt > self._retry_policy.retries:
            raise UserError(f"{failed.message}; run the same command again to go on") from None
        time.sleep(self._retry_policy.wait(attempt, failed.after))

    def _checked(self, response: httpx2.Response, what: str) -> Json:
        if response.status_code != 200:
            raise self._refusal(response, what)
        found = response.json()
        if not isinstance(found, dict):
            raise UserError(f"{self.name} answered {what} with no JSON object; is it a service that takes batches?")
        return found

    def _refusal(self, response: httpx2.Response, what: str) -> UserError:
        message = ServerMessage.read(self._redactor.body(response.content))
        if response.status_code in (401, 402, 403):
            failure_of(response.status_code, response.headers, message, self.name, self._model)
        hint = "; is it a service that takes batches?" if response.status_code in (404, 405) else ""
        return UserError(f"{self.name} answered {response.status_code} to {what}: {message}{hint}")


# The open batches.

_NO_ROOM = "token_limit_exceeded"  # too many tokens are waiting at the service


class Notes(Protocol):
    """Stores which batches are open: a factory's ledger does."""

    def note(self, key: str, value: str) -> None:
        """Stores a text under a key."""
        ...

    def noted(self, key: str) -> str | None:
        """The text under a key, if there is one."""
        ...


@dataclass
class OpenBatch:
    """An open batch: its name, the keys of its requests, the most that they may cost (dollars), and the service's ids once known."""

    name: str
    keys: list[str]
    worst: float
    file: str | None = None
    id: str | None = None


# Called with a batch that has ended, its status and the rows of its answers; returns an error that every request would meet, or None.
OnBatchEnd = Callable[[OpenBatch, str, list[Json]], UserError | None]


class BatchBuffer:
    """Requests gathered for the next batch: lines of a file, their keys, and the most that they may cost (dollars)."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.clear()

    def clear(self) -> None:
        """Empties the buffer."""
        self.file.seek(0)
        self.file.truncate()
        self.keys: list[str] = []
        self.size = 0
        self.worst = 0.0

    def add(self, key: str, line: bytes, worst: float) -> None:
        """Adds a request."""
        self.file.write(line)
        self.keys.append(key)
        self.size += len(line)
        self.worst += worst


class BatchQueue:
    """The open batches of one model at one service, including an earlier run's. `place` is their key in the notes."""

    def __init__(self, api: BatchApi, notes: Notes, place: str) -> None:
        self._api, self._notes, self._place = api, notes, place
        self.batches = self._resumed()
        self._alone: OpenBatch | None = None  # a batch that was the only one at the service when it was made

    def start(self, buffer: BatchBuffer) -> None:
        """Sends the buffer as a batch and empties it. Every step is recorded, so after a kill no batch is lost or made twice."""
        if not buffer.keys:
            return
        batch = OpenBatch(secrets.token_hex(16), buffer.keys, buffer.worst)
        self._note(batch)
        self.batches.append(batch)
        self._note_all()
        batch.file = self._api.upload(buffer.file)
        self._make(batch, alone=len(self.batches) == 1)
        buffer.clear()

    def collect(self, on_end: OnBatchEnd, poll: float, report: Callable[[int, int], object]) -> None:
        """Polls every `poll` seconds until no batch is open, and calls `on_end` with each batch that has ended. `report` is called with the
        number of answers and of requests.

        Raises UserError if the service refuses a whole batch, and the error that `on_end` returns.
        """
        total, ended, shown = sum(len(batch.keys) for batch in self.batches), 0, -1
        while self.batches:
            states = [(batch, self._api.status(batch.id or "")) for batch in self.batches]
            done = ended + sum(state.done for _, state in states)
            for batch, state in states:
                if state.ended and state.status != "failed":
                    problem = on_end(batch, state.status, [row for file in state.outputs for row in self._api.rows(file)])
                    self._close(batch)  # not after an exception, as answers may be left to read
                    if problem:
                        raise problem
                    ended += len(batch.keys)
            if failed := [(batch, state) for batch, state in states if state.status == "failed"]:
                self._restart(*failed[0], alone=all(state.ended for _, state in states))
            if done != shown:
                report(done, total)
                shown = done
            if self.batches:
                time.sleep(poll)

    def _resumed(self) -> list[OpenBatch]:
        """The batches that an earlier run left open; those that it did not upload are dropped."""
        found = []
        for name in json.loads(self._notes.noted(self._place) or "[]"):
            batch = OpenBatch(**json.loads(self._notes.noted(f"{self._place}: {name}") or "{}"))
            if batch.file and batch.id is None:
                batch.id = self._api.create(batch.file, name, perhaps_made=True).id
                self._note(batch)
            found += [batch] if batch.id else []
        return found

    def _restart(self, batch: OpenBatch, state: Batch, *, alone: bool) -> None:
        """Makes a batch again if the service had no room for it beside others; otherwise raises UserError."""
        why = state.problem or ServerMessage("no reason given")
        if why.code == _NO_ROOM and batch is not self._alone:
            self._make(batch, alone=alone)
            return
        self._close(batch)
        remedy = "; make batches smaller with most_requests" if why.code == _NO_ROOM else ""
        raise UserError(f"the service refuses the batch {state.id}: {why}{remedy}")

    def _make(self, batch: OpenBatch, *, alone: bool) -> None:
        batch.id = None
        self._note(batch)
        batch.id = self._api.create(batch.file or "", batch.name).id
        self._note(batch)
        self._alone = batch if alone else None

    def _close(self, batch: OpenBatch) -> None:
        self.batches.remove(batch)
        self._note_all()
        self._api.remove(batch.file or "")

    def _note(self, batch: OpenBatch) -> None:
        self._notes.note(f"{self._place}: {batch.name}", json.dumps(asdict(batch)))

    def _note_all(self) -> None:
        self._notes.note(self._place, json.dumps([batch.name for batch in self.batches]))
