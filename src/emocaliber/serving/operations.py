"""What operators and other programs ask of a server: is it well, what does it count, which models and questions has it."""

from __future__ import annotations

import asyncio
import io
import time
from typing import Any

from PIL import Image, ImageDraw
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emocaliber.core.tasks import TASKS
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.predict.predictor import Query
from emocaliber.serving.engine import Engine, Late
from emocaliber.serving.errors import json_response, problem
from emocaliber.serving.metrics import Metrics
from emocaliber.serving.openapi import NULL_OR_TEXT, TEXT, listing, object_of, operation
from emocaliber.serving.settings import Settings

FRESH = 5.0  # seconds for which a picture that was answered shows that the model works
_PATIENCE = 30.0  # seconds for the canary, which waits for the batch before it
_RETRY = 5


class Canary:
    """A picture of one dot that goes the way of all pictures: decoded, asked about, answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, asyncio.Lock()
        self._at, self._problem = -FRESH, "it was not asked yet"
        image = Image.new("RGB", (32, 32), "white")
        ImageDraw.Draw(image).ellipse((8, 8, 24, 24), fill="teal")
        file = io.BytesIO()
        image.save(file, "PNG")
        self._picture = file.getvalue()

    async def problem(self) -> str | None:
        """What is wrong with the model; None if it answers. Asked at most once in a few seconds, and not while others are answered."""
        async with self._lock:
            now = time.monotonic()
            if self._engine.last_success is not None and now - self._engine.last_success < FRESH:
                return None
            if now - self._at >= FRESH:
                self._problem = await self._ask()
                self._at = time.monotonic()
            return self._problem or None

    async def _ask(self) -> str:
        try:
            (answer,) = await self._engine.predict([self._picture], Query.of(), _PATIENCE, urgent=True)
        except Late:
            return f"the model gave no answer within {_PATIENCE:g} s"
        return answer.error.code if answer.error else ""


def routes(engine: Engine, settings: Settings, metrics: Metrics) -> list[Route]:
    """The routes of this module, but for /openapi.json."""
    canary = Canary(engine)

    async def health(_: Request) -> Response:
        return json_response({"status": "live"})

    async def ready(_: Request) -> Response:
        if wrong := await canary.problem():
            return problem(503, f"not ready: {wrong}.", retry_after=_RETRY)
        return json_response({"status": "ready", "model": engine.predictor.model.name})

    async def counts(_: Request) -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    async def models(_: Request) -> Response:
        return json_response({"object": "list", "data": [model_of(engine, settings)]})

    async def calibration(_: Request) -> Response:
        return json_response(calibration_of(engine, settings))

    return [
        Route("/health", health),
        Route("/ready", ready),
        Route("/metrics", counts),
        Route("/v1/models", models),
        Route("/v1/calibration", calibration),
    ]


def paths(_: Settings) -> dict[str, Any]:
    """These routes for /openapi.json."""
    labels = listing(TEXT)
    task = object_of({"task": TEXT, "labels": labels, "kind": {"enum": ["emotion", "sentiment"]}, "calibrated": {"type": "boolean"}})
    fields = {"id": TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": TEXT}
    model = object_of(fields | {"x_tasks": listing(task), "x_confidence_source": TEXT, "x_notice": NULL_OR_TEXT})
    number = {"type": ["number", "null"]}
    question = object_of({"task": TEXT, "labels": labels, "threshold": number, "coverage": {"type": "number"}})
    promise = {name: TEXT for name in ("id", "terms", "created", "expires")} | {"accuracy": {"type": "number"}}
    promise |= {"voided": {"type": ["object", "null"]}, "questions": listing(question)}
    fitted = listing(object_of({"task": TEXT, "labels": labels, "people": {"type": "boolean"}}))
    certificate = {"anyOf": [object_of(promise), {"type": "null"}]}
    return {
        "/health": {"get": operation("Whether the server is live", object_of({"status": {"const": "live"}}), key=False)},
        "/ready": {
            "get": operation(
                "Whether the model answers a picture", object_of({"status": {"const": "ready"}, "model": TEXT}), 503, key=False
            )
        },
        "/metrics": {"get": operation("Counts, for Prometheus", TEXT, media="text/plain")},
        "/v1/models": {"get": operation("The model and its questions", object_of({"object": {"const": "list"}, "data": listing(model)}))},
        "/v1/calibration": {
            "get": operation("Calibrators and certificate", object_of({"model": TEXT, "questions": fitted, "certificate": certificate}))
        },
    }


def model_of(engine: Engine, settings: Settings) -> dict[str, Any]:
    """The model in OpenAI's form, with the questions it was taught and the source of its confidence."""
    predictor = engine.predictor
    taught = getattr(predictor.model, "tasks", None)
    tasks = []
    for each in TASKS.values():
        if taught and each.name not in taught:
            continue
        query = Query.of(each.name)
        calibrated = predictor.calibrators is not None and predictor.calibrators.find(each.name, query.candidates) is not None
        tasks.append({"task": each.name, "labels": list(taxonomy(each.taxonomy).labels), "kind": each.kind, "calibrated": calibrated})
    return {
        "id": predictor.model.name,
        "object": "model",
        "created": settings.created,
        "owned_by": "emocaliber",
        "x_tasks": tasks,
        "x_confidence_source": predictor.confidence_source,
        "x_notice": predictor.model.notice,
    }


def calibration_of(engine: Engine, settings: Settings) -> dict[str, Any]:
    """The calibrators and the certificate of a server, as their files have them, without the curve and the reference."""
    calibrators, certificate = engine.predictor.calibrators, settings.certificate.current if settings.certificate else None
    questions = [
        {"task": each.task, "labels": list(each.labels), "people": each.people is not None}
        for each in (calibrators.questions if calibrators and not calibrators.refused else ())
    ]
    found: dict[str, Any] = {"model": engine.predictor.model.name, "questions": questions, "certificate": None}
    if certificate:
        found["certificate"] = {
            "id": certificate.id,
            "terms": certificate.terms,
            "accuracy": certificate.accuracy,
            "created": certificate.created,
            "expires": certificate.expires,
            "voided": dict(certificate.voided) if certificate.voided else None,
            "questions": [
                {"task": each.task, "labels": list(each.labels), "threshold": each.what.threshold, "coverage": each.what.coverage}
                for each in certificate.per_question
            ],
        }
    return found
