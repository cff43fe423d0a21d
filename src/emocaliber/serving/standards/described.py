"""What `/openapi.json` says of the standards: their fields as far as this server reads or writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emocaliber.serving.errors import CODES
from emocaliber.serving.openapi import TEXT, Schema, listing

_OBJECT: Schema = {"type": "object"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_ALWAYS = (400, 401, 403, 404, 405, 408, 413, 415, 421, 422, 429, 431, 500, 502, 503, 504)


def paths() -> Mapping[str, Any]:
    """The paths of this package. Further fields are allowed everywhere, as the standards grow; those that are not known are ignored."""
    question = _fields({"type": {"enum": ["choice", "score", "noul"]}, "instructions": {}, "criteria": {}}, "type")
    asset = _fields({"type": {"const": "image"}, "format": TEXT, "data_base64": TEXT}, "data_base64")
    systemone = _fields(
        {
            "model": TEXT,
            "state": {"type": ["string", "object", "array"]},
            "questions": {"type": "object", "additionalProperties": question, "minProperties": 1},
            "assets": {"type": "object", "additionalProperties": asset, "propertyNames": {"minLength": 1}, "minProperties": 1},
        },
        *("state", "questions", "assets"),
    )
    decisions = _fields(
        {
            "model": TEXT,
            "input": listing(_OBJECT),
            "questions": listing(_fields({"type": {"enum": ["choice", "score"]}, "name": TEXT}, "type")),
        },
        *("model", "input", "questions"),
    )
    chat = _fields({"model": TEXT, "messages": listing(_OBJECT), "stream": {"type": "boolean"}}, "model", "messages")
    tokens = _fields({"input_tokens": _COUNT, "output_tokens": _COUNT}, "input_tokens", "output_tokens")
    warnings = {"x_warnings": listing(TEXT)}
    answered = _fields(
        {"model": TEXT, "answers": {"type": "object", "additionalProperties": _OBJECT}, "usage": tokens} | warnings, "answers"
    )
    decided = _fields({"model": TEXT, "answers": listing(_OBJECT), "usage": tokens} | warnings, "answers")
    completed = _fields({"id": TEXT, "model": TEXT, "created": _NUMBER, "choices": listing(_OBJECT)}, "id", "model", "choices")
    return {
        "/v1/systemone": {"post": _operation("Decisions, in the form of System One", systemone, answered)},
        "/v1/decisions": {"post": _operation("Decisions, in the form of OpenAI", decisions, decided)},
        "/v1/chat/completions": {"post": _operation("A chat completion about one picture", chat, completed, stream=True)},
    }


def _fields(fields: Mapping[str, Schema], *required: str) -> Schema:
    return {"type": "object", "properties": dict(fields), "required": list(required)}


def _operation(summary: str, body: Schema, answer: Schema, *, stream: bool = False) -> Schema:
    error = _fields({"error": _fields({"code": TEXT, "message": TEXT}, "code", "message"), "detail": {}}, "error")
    content: Schema = {"application/json": {"schema": answer}} | ({"text/event-stream": {"schema": TEXT}} if stream else {})
    responses: Schema = {"200": {"description": "the answer", "content": content}}
    for status in _ALWAYS:
        responses[str(status)] = {"description": CODES[status], "content": {"application/json": {"schema": error}}}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": responses,
    }
