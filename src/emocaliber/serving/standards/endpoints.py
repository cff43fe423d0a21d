"""The routes of the standards: `/v1/systemone`, `/v1/decisions` and `/v1/chat/completions`."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from emocaliber.core.model import MODEL_ERRORS, Usage
from emocaliber.io.images import ImageError
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Query
from emocaliber.serving.asking import attended, deadline_of
from emocaliber.serving.bodies import media_type, read_form, read_json
from emocaliber.serving.engine import Engine, Question
from emocaliber.serving.errors import Refused, problem, problem_of
from emocaliber.serving.settings import Settings
from emocaliber.serving.standards import described
from emocaliber.serving.standards.chat import chunks, completion, read_chat
from emocaliber.serving.standards.deciding import CANNOT_HELP, UNREAD, Decided, Failed, decide
from emocaliber.serving.standards.decisions import decision_answer, read_decisions
from emocaliber.serving.standards.systemone import read_systemone, systemone_answer
from emocaliber.serving.standards.wire import Finding, Invalid, json_bytes, json_object
from emocaliber.trust.acceptance import Acceptance

SYSTEMONE = "/v1/systemone"
Parts = Mapping[str, bytes]  # of a form, beside the request, by name
Answer = Callable[[Request, dict[str, Any], Parts], Awaitable[Response]]


def routes(engine: Engine, settings: Settings) -> list[Route]:
    """The routes of this module."""
    predictor = engine.predictor
    served = (predictor.model.name,)
    taught: Sequence[str] = getattr(predictor.model, "tasks", None) or ()

    def acceptance() -> Acceptance:
        return Acceptance.of(None, settings.certificate.current if settings.certificate else None)

    async def decided(request: Request, read: Callable[..., Any], body: Mapping[str, Any], **more: Any) -> list[Decided]:
        deadline = deadline_of(request)

        async def predict(images: Sequence[bytes], query: Query) -> list[Prediction]:
            return await engine.predict(images, query, deadline)

        return await attended(request, decide(read(body, served, taught, acceptance(), **more), predict))

    async def systemone(request: Request, body: dict[str, Any], parts: Parts) -> Response:
        found = await decided(request, read_systemone, body, parts=parts)
        read, written = _tokens(found)
        answers = {str(each.decision.name): systemone_answer(each) for each in found}
        usage = {"input_tokens": read, "output_tokens": written}
        return _json({"model": predictor.model.name, "answers": answers, "usage": usage, "x_warnings": _warnings(engine, found)})

    async def decisions(request: Request, body: dict[str, Any], _: Parts) -> Response:
        found = await decided(request, read_decisions, body)
        read, written = _tokens(found)
        usage = {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read + written,
        }
        answers = [decision_answer(each) for each in found]
        return _json({"model": predictor.model.name, "answers": answers, "usage": usage, "x_warnings": _warnings(engine, found)})

    async def chat(request: Request, body: dict[str, Any], _: Parts) -> Response:
        asked = read_chat(body, served)
        question = Question(asked.question, asked.seed, asked.temperature, asked.limit)
        try:
            reply = await attended(request, engine.reply(asked.image, question, deadline_of(request)))
        except ImageError as error:
            raise Invalid([Finding(asked.image_place, error.message, f"image.{error.code}")]) from error
        if reply.error:
            if reply.error.code in CANNOT_HELP:
                raise Invalid([Finding(("body", "messages"), reply.error.message, f"model.{reply.error.code}")])
            raise Failed(reply.error.code, reply.error.message)
        head: dict[str, Any] = {"model": predictor.model.name, "key": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time())}
        if asked.stream:
            return StreamingResponse(chunks(reply, asked, **head), media_type="text/event-stream")
        return _json(completion(reply, asked, **head))

    endpoints: Mapping[str, Answer] = {SYSTEMONE: systemone, "/v1/decisions": decisions, "/v1/chat/completions": chat}
    return [Route(path, _endpoint(answer, engine, settings), methods=["POST"]) for path, answer in endpoints.items()]


def paths(_: Settings) -> Mapping[str, Any]:
    """These routes for /openapi.json."""
    return described.paths()


def _endpoint(answer: Answer, engine: Engine, settings: Settings) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint whose errors have the forms that clients of all standards read."""

    async def endpoint(request: Request) -> Response:
        try:
            engine.check_room()
            body, parts = await _body(request, settings)
            return await answer(request, json_object(body), parts)
        except Invalid as error:
            return _json(error.body(), error.status)
        except Failed as error:
            return _with_detail(problem(502 if error.code in MODEL_ERRORS else 500, f"{error}"))
        except Exception as error:
            known = problem_of(error)
            if known is None:
                raise
            return _with_detail(known)

    return endpoint


async def _body(request: Request, settings: Settings) -> tuple[Any, Parts]:
    """The JSON of a request, and the other parts of the form that it came in, as TypeSafe's clients send pictures."""
    kind = media_type(request)
    try:
        if kind == "multipart/form-data" and request.url.path == SYSTEMONE:
            first, *others = await read_form(request, settings.http, files=lambda name: True)
            if first.name != "request" or len({part.name for part in others}) < len(others):
                raise Refused(422, "the first part of the form is the request, and each other part has a name of its own.")
            return _read(first.data), {part.name: part.data for part in others}
        if kind not in ("application/json", ""):
            raise Refused(415, "send the request as application/json.")
        return await read_json(request, settings.http), {}
    except Refused as error:
        if error.status != 400:
            raise
        raise Invalid([Finding(("body",), error.message[:1].upper() + error.message[1:], "json_invalid")]) from error


def _read(data: bytes) -> Any:
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the part called request is not JSON.") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _json(content: Any, status: int = 200) -> Response:
    return Response(json_bytes(content), status, media_type="application/json")


def _with_detail(response: Response) -> Response:
    """The error as OpenAI's clients and System One's read it."""
    error = json.loads(bytes(response.body))["error"]
    headers = {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
    detail = {"error_type": error["code"], "message": error["message"]}
    return Response(json_bytes({"error": error, "detail": detail}), response.status_code, headers, media_type="application/json")


def _tokens(found: Sequence[Decided]) -> tuple[int, int]:
    """The tokens read and written for a request; those of a picture and query that several questions share are counted once."""
    usages: Iterator[Usage] = (each.usage for each in {id(each.prediction): each.prediction for each in found}.values() if each.usage)
    counted = [(usage.prompt_tokens, usage.completion_tokens) for usage in usages]
    return sum(read for read, _ in counted), sum(written for _, written in counted)


def _warnings(engine: Engine, found: Sequence[Decided]) -> list[str]:
    """What a user of these answers must know, each sentence once."""
    queries = dict.fromkeys(each.decision.options.query for each in found)
    notice = (engine.predictor.model.notice or "").splitlines()
    return [*dict.fromkeys((*notice, UNREAD, *(sentence for query in queries for sentence in engine.predictor.warnings(query))))]
