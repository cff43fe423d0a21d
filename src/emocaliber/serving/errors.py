"""Answers over HTTP: JSON, and one form for everything that is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from emocaliber.errors import UserError
from emocaliber.io.rows import display_name
from emocaliber.serving.engine import Busy, Late
from emocaliber.serving.keys import OverQuota

CODES: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "unsupported_media_type",
    421: "wrong_host",
    422: "invalid",
    429: "over_quota",
    431: "headers_too_large",
    500: "internal",
    503: "busy",
    504: "late",
}


class Refused(Exception):
    """A request that is answered with an error: `status` one of `CODES`, `message` a sentence that says what was wrong and the remedy."""

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A response with this content as JSON. Raises ValueError for NaN and infinity, which JSON does not have."""
    try:
        body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only escapes can write
        body = json.dumps(content, allow_nan=False).encode()
    return Response(body, status, headers, media_type="application/json")


def problem(status: int, message: str, *, retry_after: int | None = None) -> Response:
    """The response for a request that is refused: `{"error": {"code", "message"}}`."""
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    sentence = display_name(message if message.endswith((".", "?")) else f"{message}.")
    return json_response({"error": {"code": CODES[status], "message": sentence}}, status, headers)


def problem_of(error: Exception) -> Response | None:
    """The response for an error that a request may end in; None for one that nobody expected."""
    if isinstance(error, Refused):
        return problem(error.status, error.message, retry_after=error.retry_after)
    if isinstance(error, Busy):
        return problem(503, str(error), retry_after=error.retry_after)
    if isinstance(error, Late):
        return problem(504, f"{error}; send fewer images, or allow more time")
    if isinstance(error, OverQuota):
        return problem(413 if error.retry_after is None else 429, str(error), retry_after=error.retry_after)
    if isinstance(error, UserError):
        return problem(422, str(error))
    if isinstance(error, HTTPException):
        response = problem(error.status_code if error.status_code in CODES else 400, _of_route(error))
        response.headers.update(error.headers or {})
        return response
    return None


def _of_route(error: HTTPException) -> str:
    known = {404: "there is nothing at this address; /openapi.json lists what is.", 405: "this address does not take this method."}
    return known.get(error.status_code, error.detail)


async def on_error(_: Request, error: Exception) -> Response:
    """The exception handler of the application."""
    response = problem_of(error)
    assert response is not None, "registered for these errors alone"
    return response


HANDLED = (Refused, Busy, Late, OverQuota, UserError, HTTPException)
