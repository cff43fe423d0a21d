"""A model asked through its service's batches: answers come within a day, usually at half the price."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from math import ceil
from pathlib import Path

from emocaliber.core.model import ModelError, Reply, Request, Usage
from emocaliber.errors import UserError
from emocaliber.models.openai.client import RetryPolicy
from emocaliber.models.openai.failures import FailedAttempt, ServerMessage
from emocaliber.models.openai.journal import Entry, Journal
from emocaliber.models.openai.limits import Budget, BudgetReached
from emocaliber.models.openai.model import OPENAI
from emocaliber.models.openai.wire import (
    Compatibility,
    Counts,
    ImageFormat,
    Payload,
    PayloadBuilder,
    UnreadableCompletion,
    read_completion,
    read_counts,
    read_json,
)
from emocaliber.render.terminal import say
from emocaliber.veccot.batch import BatchApi, BatchBuffer, BatchQueue, Json, Notes, OpenBatch

__all__ = ["BatchModel", "Notes"]


class BatchModel:
    """A model of a service that takes batches, such as OpenAI's.

    `answer` uploads all requests in files of at most `most_requests` and `most_bytes`, waits until their batches have ended, polling every
    `poll` seconds, and yields the replies. The open batches are stored in `notes`, and every answer in the `journal`, so a run that was
    interrupted resumes and pays nothing twice. The journal may be shared with a `RemoteModel`. The first new request is sent outside a
    batch, at full price, to learn which fields the service refuses: a refused batch would cost a day.

    `prices` are dollars per million tokens read and written outside batches; batches cost `discount` times that, and `budget` (dollars) is
    never exceeded. Other settings are those of `RemoteModel`; `report` is called with lines about progress.
    """

    notice: str | None = None
    window: int | None = None

    def __init__(
        self,
        model: str,
        *,
        notes: Notes,
        journal: str | Path,
        base_url: str | Sequence[str] | None = None,
        api_key: str | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        max_new_tokens: int = 1024,
        retries: int = 6,
        backoff: float = 1.0,
        timeout: float = 600.0,
        prices: Sequence[float] | None = None,
        discount: float = 0.5,
        budget: float | None = None,
        logprobs: bool = False,
        image_format: ImageFormat = "auto",
        poll: float = 60.0,
        most_requests: int = 50_000,
        most_bytes: int = 190_000_000,
        report: Callable[[str], object] = say,
    ) -> None:
        Budget(prices, budget)  # says what is wrong with them
        self.name = model
        self.notes, self.journal, self.report = notes, journal, report
        self.prices, self.discount, self.budget = prices, discount, budget
        self.poll, self.most_requests, self.most_bytes = poll, most_requests, most_bytes
        if base_url is not None and not isinstance(base_url, str):
            raise UserError("batches are made at one service; give one base_url")
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        self.payloads = PayloadBuilder(model, temperature, seed, max_new_tokens, 20 if logprobs else None, image_format)
        self._key = os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key
        if not self._key and self.base_url == OPENAI:
            raise UserError(f"{OPENAI} wants a key: set OPENAI_API_KEY, or give the address of another service as base_url")
        self._retry_policy = RetryPolicy(retries, backoff, timeout)
        self._spent = Usage(0, 0, None if prices is None else 0.0)
        # Learnt from the first request: which fields to leave out, and the ratio of an image's tokens to their estimate.
        self.compatibility: Compatibility | None = None
        self.ratio = 1.0

    @property
    def spent(self) -> Usage:
        """The usage paid for by this object so far: tokens, and dollars where prices are known."""
        return self._spent

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Replies in order, once all are there."""
        with BatchApi(self.name, self.base_url, self._key, self._retry_policy) as api, closing(Journal(self.journal)) as journal:
            yield from _AnswerCall(self, api, journal).replies(requests)

    def pay(self, usage: Usage) -> None:
        """Adds the usage of an answer to `spent`."""
        read, written = self._spent.prompt_tokens + usage.prompt_tokens, self._spent.completion_tokens + usage.completion_tokens
        self._spent = Usage(read, written, None if usage.cost is None else (self._spent.cost or 0.0) + usage.cost)


class _AnswerCall:
    """One call of `answer`."""

    def __init__(self, model: BatchModel, api: BatchApi, journal: Journal) -> None:
        self._model, self._api, self._journal = model, api, journal
        self._budget = Budget(model.prices, None)
        self._failed: dict[str, ModelError] = {}
        place = f"batches of {model.name} at {api.name}"
        self._queue = BatchQueue(api, model.notes, place)
        self._in_flight = {key for batch in self._queue.batches for key in batch.keys}
        self._at_once_place = f"{place}: asked at once"
        self._at_once: dict[str, Counts] = json.loads(model.notes.noted(self._at_once_place) or "{}")
        at_once = sum(self._price(counts) for counts in self._at_once.values())
        earlier = model.discount * self._price(journal.counts) + (1 - model.discount) * at_once
        self._committed = earlier + sum(batch.worst for batch in self._queue.batches)

    def replies(self, requests: Iterable[Request]) -> Iterator[Reply]:
        keys: list[str] = []
        reached: BudgetReached | None = None
        with tempfile.TemporaryFile() as file:
            buffer = BatchBuffer(file)
            for request in requests:
                payload = self._model.payloads.payload(request)
                try:
                    self._send(payload, buffer)
                except BudgetReached as error:
                    reached = error
                    break
                keys.append(payload.key)
            self._queue.start(buffer)
        if not self._in_flight.isdisjoint(keys):
            self._queue.collect(self._take, self._model.poll, self._report)
        yield from map(self._reply, keys)
        if reached:
            raise reached

    def _report(self, done: int, total: int) -> None:
        self._model.report(f"{self._model.name}: {done:,} of {total:,} answers")

    def _send(self, payload: Payload, buffer: BatchBuffer) -> None:
        """Adds a payload to the next batch, unless it is in flight or answered. Raises BudgetReached if it may exceed the budget."""
        key = payload.key
        if key in self._in_flight or self._journal.find(key):
            return
        counts = (ceil(payload.prompt_tokens * self._model.ratio), payload.limit)
        worst = (self._model.discount if self._model.compatibility else 1.0) * self._price(counts)
        if self._model.budget is not None and self._committed + worst > self._model.budget:
            raise BudgetReached(
                f"the budget of ${self._model.budget:g} takes no more requests (up to ${self._committed:.4f} spent or reserved; the next "
                f"may cost ${worst:.4f}). Run the same command again, with a larger --budget where it is spent"
            )
        self._committed += worst
        if self._model.compatibility is None:
            self._model.compatibility = Compatibility()
            self._ask_at_once(payload, self._model.compatibility)
            return
        self._in_flight.add(key)
        head = json.dumps({"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": None}).removesuffix("null}")
        data = head.encode() + payload.body(self._model.compatibility.adapt(payload.fields)) + b"}\n"
        if len(buffer.keys) >= self._model.most_requests or (buffer.keys and buffer.size + len(data) > self._model.most_bytes):
            self._queue.start(buffer)
        buffer.add(key, data, worst)

    def _ask_at_once(self, payload: Payload, compatibility: Compatibility) -> None:
        while True:
            status, headers, body = self._api.ask(payload.body(compatibility.adapt(payload.fields)), compatibility.key_of(payload.key))
            if status == 200:
                if counts := self._keep(payload.key, body, at_once=True):
                    self._model.ratio = max(self._model.ratio, counts[0] / payload.prompt_tokens)
                return
            message = ServerMessage.read(body)
            notices = compatibility.learn(f"{message.parameter} {message.message}", payload.fields) if status in (400, 422) else []
            if not notices:
                self._fail(payload.key, self._api.failure(status, headers, body))
                return
            for notice in notices:
                self._model.report(f"{self._model.name}: {notice}")

    def _take(self, batch: OpenBatch, status: str, rows: list[Json]) -> UserError | None:
        """Stores a batch's answers; returns an error that every request would meet, or None."""
        missing = dict.fromkeys(batch.keys)
        hopeless: UserError | None = None
        for row in rows:
            missing.pop(str(row.get("custom_id")), None)
            try:
                self._take_row(row)
            except UserError as error:
                hopeless = error
        for key in missing:
            self._failed[key] = ModelError("timeout", f"the batch {batch.id} ended as {status!r} without an answer to this request")
        return hopeless

    def _take_row(self, row: Json) -> None:
        key, response, error = str(row.get("custom_id")), row.get("response"), row.get("error")
        if not isinstance(response, dict):
            message = error.get("message") if isinstance(error, dict) else None
            self._failed[key] = ModelError("server_error", f"the batch gave no answer: {message or 'no reason given'}")
        elif response.get("status_code") == 200:
            self._keep(key, json.dumps(response.get("body")).encode())
        else:
            self._fail(key, self._api.failure(int(response.get("status_code") or 500), {}, json.dumps(response.get("body")).encode()))

    def _keep(self, key: str, body: bytes, *, at_once: bool = False) -> Counts | None:
        """Writes a readable answer into the journal and counts its cost; returns its token counts, if it has any."""
        try:
            answer = read_json(body)
            read_completion(answer)
        except UnreadableCompletion as error:
            self._failed[key] = ModelError("bad_reply", f"{self._model.name}: {error}")
            return None
        counts = read_counts(answer)
        if self._journal.find(key) is None:
            if at_once and counts:
                self._at_once[key] = counts
                self._model.notes.note(self._at_once_place, json.dumps(self._at_once))
            self._journal.add(key, Entry(body, 0.0, 1, counts))
            self._model.pay(self._usage(key, counts or (0, 0)))
        return counts

    def _fail(self, key: str, failed: FailedAttempt) -> None:
        self._failed[key] = ModelError(failed.code, failed.message)

    def _reply(self, key: str) -> Reply:
        entry = self._journal.find(key)
        if entry is None:
            return Reply("", 0.0, error=self._failed[key])
        completion = read_completion(read_json(entry.body))
        usage = self._usage(key, entry.counts) if entry.counts else None
        error = ModelError("refused", completion.refusal) if completion.refusal else None
        return Reply(completion.text, entry.seconds, completion.tokens, usage, error, entry.attempts)

    def _usage(self, key: str, counts: Counts) -> Usage:
        share = 1.0 if key in self._at_once else self._model.discount
        return Usage(*counts, None if self._model.prices is None else share * self._price(counts))

    def _price(self, counts: Counts) -> float:
        """Dollars outside batches; 0 if prices are not known."""
        return self._budget.cost(counts) or 0.0
