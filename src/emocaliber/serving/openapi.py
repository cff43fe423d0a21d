"""`/openapi.json`: what the routes take and answer, put together from what each group of routes says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from emocaliber.io.rows import Form
from emocaliber.predict.prediction import ROW_FORM
from emocaliber.serving.errors import CODES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NULL_OR_TEXT: Schema = {"type": ["string", "null"]}
NUMBER_OR_NULL: Schema = {"type": ["number", "null"]}
ERROR: Schema = {"$ref": "#/components/schemas/Error"}
_NEVER_NULL = ("image", "task", "confidence_source", "model", "probability", "code", "message")
_FRACTIONS = ("confidence", "calibrated", "people", "people_low", "people_high", "probability")
_ALWAYS = (400, 401, 403, 405, 421, 431, 500)  # of the guard, and of any route
_TYPES = {str: "string", float: "number", int: "integer", bool: "boolean"}


def object_of(fields: Mapping[str, Schema], required: Iterable[str] | None = None) -> Schema:
    """The schema of an object with these fields and no others; all are required unless `required` names them."""
    needed = list(fields if required is None else required)
    return {"type": "object", "properties": dict(fields), "required": needed, "additionalProperties": False}


def listing(items: Schema) -> Schema:
    """The schema of a list."""
    return {"type": "array", "items": items}


def row_schema() -> Schema:
    """The schema of a prediction row."""
    return {"$ref": "#/components/schemas/Prediction"}


def operation(
    summary: str,
    answer: Schema,
    *errors: int,
    body: Mapping[str, Schema] | None = None,
    media: str = "application/json",
    key: bool = True,
    status: int = 200,
) -> Schema:
    """An operation that answers `answer`, or one of these errors and those of every route; `body` has a schema for each media type."""
    refused = {str(each): _refusal(each) for each in sorted({*errors, *_ALWAYS})}
    found: Schema = {
        "summary": summary,
        "responses": {str(status): {"description": "the answer", "content": {media: {"schema": answer}}}, **refused},
    }
    if body:
        found["requestBody"] = {"required": True, "content": {kind: {"schema": schema} for kind, schema in body.items()}}
    return found if key else found | {"security": []}


def _refusal(status: int) -> Schema:
    found: Schema = {"description": CODES[status], "content": {"application/json": {"schema": ERROR}}}
    if status in (429, 503):
        found["headers"] = {"Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}}
    return found


def _schema_of(name: str, form: Any) -> Schema:
    if isinstance(form, list):
        return listing(_object_of_form(form[0]))
    if isinstance(form, Mapping):
        return {"anyOf": [_object_of_form(form), {"type": "null"}]}
    kind = _TYPES[form]
    found: Schema = {"type": kind if name in _NEVER_NULL else [kind, "null"]}
    return found | {"minimum": 0, "maximum": 1} if name in _FRACTIONS else found


def _object_of_form(form: Form) -> Schema:
    return object_of({name: _schema_of(name, each) for name, each in form.items()})


def document(groups: Iterable[Mapping[str, Any]], *, keys_needed: bool) -> Schema:
    """The whole document; `groups` are the paths of each group of routes."""
    error = object_of({"error": object_of({"code": {"enum": list(CODES.values())}, "message": TEXT})})
    keys = {"type": "http", "scheme": "bearer", "description": "a key of `emocaliber serve keys make`"}
    own = operation("This document", {"type": "object"})
    found: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "EmoCaliber",
            "version": version("emocaliber"),
            "description": "Which emotion an image evokes, why, and how far to trust the answer.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {path: item for paths in groups for path, item in paths.items()} | {"/openapi.json": {"get": own}},
        "components": {"schemas": {"Error": error, "Prediction": _object_of_form(ROW_FORM)}, "securitySchemes": {"key": keys}},
    }
    return found | ({"security": [{"key": []}]} if keys_needed else {})
