"""`/v1/jobs`: many pictures in one request; how far they are; their rows; and their end."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from emocaliber.serving.bodies import chunks
from emocaliber.serving.errors import Refused, json_response
from emocaliber.serving.jobs.runner import JobRunner
from emocaliber.serving.jobs.store import Job
from emocaliber.serving.jobs.upload import FORM, JSON_LINES, QUESTION, JobLimits, receive
from emocaliber.serving.keys import CURRENT
from emocaliber.serving.openapi import TEXT, Schema, listing, object_of, operation
from emocaliber.serving.settings import Settings

_RETRY = 60  # seconds, where only time helps
_LONGEST_KEY = 255
_AT_ONCE = 500  # rows that are read from the store at a time


def routes(settings: Settings, runner: JobRunner, limits: JobLimits) -> list[Route]:
    """The routes of this module, for the jobs of a runner's store."""
    store = runner.store

    async def make(request: Request) -> Response:
        owner, key = _owner(), _idempotency_key(request)
        if await asyncio.to_thread(store.open_jobs, owner) >= limits.open_jobs and not store.has_key(owner, key):
            raise Refused(429, f"{limits.open_jobs} jobs are not done yet; wait for one, or delete it.", retry_after=_RETRY)
        if store.free_bytes < limits.free_bytes + int(request.headers.get("content-length") or 0):
            raise Refused(503, "the disk of the server is full; try again later.", retry_after=_RETRY)
        # The body goes to the disk, not to memory, and may take long.
        stream = chunks(request, replace(settings.http, body_bytes=limits.total_bytes, body_seconds=limits.seconds), copies=0)
        with store.arrive() as arriving:
            received = await receive(stream, request.headers.get("content-type", ""), arriving, limits)
            asked = asked_for(received.fields, request.query_params)
            settings.query(**asked)  # says what is wrong with it
            content = hashlib.sha256(f"{json.dumps(asked, sort_keys=True)} {received.digest}".encode()).hexdigest()
            job, added = await asyncio.to_thread(store.add, arriving, owner, runner.model, asked, content, key)
        if job.content != content:
            raise Refused(422, "this Idempotency-Key belongs to another job; give each job a key of its own.")
        runner.wake()
        return json_response(view(job), 202 if added else 200, {"Location": f"/v1/jobs/{job.id}"})

    async def progress(request: Request) -> Response:
        return json_response(view(await find(request)))

    async def result(request: Request) -> Response:
        job = await find(request)
        if job.state != "done":
            raise Refused(409, f"{job.done:,} of {job.total:,} pictures are done; ask again later.", retry_after=1)
        return StreamingResponse(_rows(job), media_type="application/x-ndjson")

    async def one(request: Request) -> Response:
        return await (delete if request.method == "DELETE" else progress)(request)

    async def delete(request: Request) -> Response:
        job = await find(request)
        await asyncio.to_thread(store.delete, job.id, _owner())
        return Response(status_code=204)

    async def find(request: Request) -> Job:
        job = await asyncio.to_thread(store.find, request.path_params["job"], _owner())
        if job is None:
            raise Refused(404, "there is no such job; it was deleted, or belongs to another key.")
        return job

    async def _rows(job: Job) -> AsyncIterator[str]:
        start = 0
        while rows := await asyncio.to_thread(store.rows, job.id, start, _AT_ONCE):
            start += len(rows)
            yield "".join(f"{row}\n" for row in rows)

    return [
        Route("/v1/jobs", make, methods=["POST"]),
        Route("/v1/jobs/{job}", one, methods=["GET", "DELETE"]),  # one route, so that a 405 names both methods
        Route("/v1/jobs/{job}/result", result, methods=["GET"]),
    ]


def paths(_: Settings) -> Mapping[str, Any]:
    """These routes for /openapi.json."""
    count: Schema = {"type": "integer", "minimum": 0}
    fields: dict[str, Schema] = {
        "id": TEXT,
        "state": {"enum": ["queued", "running", "done"]},
        "total": count,
        "done": count,
        "failed": count,
    }
    fields |= {"model": TEXT, "task": TEXT, "labels": listing(TEXT), "min_confidence": {"type": "number"}}
    fields |= {"created": TEXT, "ended": {"type": ["string", "null"]}}
    job = object_of(fields, ("id", "state", "total", "done", "failed", "model", "created", "ended"))
    file: Schema = {"type": "string", "format": "binary"}
    form = object_of({"images": listing(file), "task": TEXT, "labels": TEXT, "min_confidence": TEXT}, ["images"])
    bodies = {FORM: form, JSON_LINES[0]: TEXT}
    made = operation("A job of many pictures", job, *(408, 413, 415, 422, 429, 503), body=bodies, status=202)
    made["responses"]["200"] = made["responses"]["202"]
    ended = operation("The rows of a job that is done, one a line", TEXT, 404, 409, media="application/x-ndjson")
    deleted = operation("Ends a job, and deletes its pictures and rows", TEXT, 404)
    deleted["responses"]["204"] = {"description": "it is gone"}
    del deleted["responses"]["200"]
    named = {"parameters": [{"name": "job", "in": "path", "required": True, "schema": TEXT}]}
    return {
        "/v1/jobs": {"post": made | {"parameters": [{"name": name, "in": "query", "schema": TEXT} for name in QUESTION]}},
        "/v1/jobs/{job}": {"get": operation("How far a job is", job, 404), "delete": deleted, **named},
        "/v1/jobs/{job}/result": {"get": ended, **named},
    }


def view(job: Job) -> dict[str, Any]:
    """A job as its owner sees it."""
    return {
        "id": job.id,
        "state": job.state,
        "total": job.total,
        "done": job.done,
        "failed": job.failed,
        "model": job.model,
        **job.asked,
        "created": _time(job.made),
        "ended": None if job.ended is None else _time(job.ended),
    }


def asked_for(fields: Mapping[str, str], parameters: QueryParams) -> dict[str, Any]:
    """The question of a job, by the fields of its form or the parameters of its address. Raises Refused for one given twice or unknown."""
    if unknown := [name for name in parameters if name not in QUESTION]:
        raise Refused(422, f"there is no parameter {unknown[0][:40]!r}; the parameters are {', '.join(QUESTION)}.")
    given = [*fields.items(), *parameters.multi_items()]
    if len(dict(given)) < len(given):
        raise Refused(422, "a field of the question is given twice; give it once.")
    found: dict[str, Any] = dict(given)
    if (labels := found.get("labels")) is not None:
        found["labels"] = labels.split(",")
    try:
        return found | ({"min_confidence": float(found["min_confidence"])} if "min_confidence" in found else {})
    except ValueError:
        raise Refused(422, "min_confidence must be a number from 0 to 1.") from None


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= _LONGEST_KEY and key.isprintable()):
        raise Refused(422, f"an Idempotency-Key has 1 to {_LONGEST_KEY} printable characters.")
    return key


def _owner() -> str:
    """Whose request this is: the hash of its key; empty where keys are not needed."""
    key = CURRENT.get()
    return key.sha256 if key else ""


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
