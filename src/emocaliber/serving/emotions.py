"""`POST /v1/emotions`: pictures in, prediction rows out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emocaliber.core.tasks import TASKS
from emocaliber.io.images import is_address
from emocaliber.io.rows import display_name
from emocaliber.predict.predictor import Query
from emocaliber.serving.asking import LONGEST, SHORTEST, ask
from emocaliber.serving.bodies import Part, image_of_base64, media_type, read_form, read_json
from emocaliber.serving.engine import Engine
from emocaliber.serving.errors import Refused, json_response
from emocaliber.serving.openapi import NUMBER_OR_NULL, TEXT, listing, object_of, operation, row_schema
from emocaliber.serving.settings import Settings

_FIELDS = ("task", "labels", "min_confidence")
_LONGEST_NAME = 255


@dataclass
class Asked:
    """What a request asks: the images with their names, and the question."""

    images: list[bytes] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)

    def add(self, data: bytes, name: str | None) -> None:
        """Adds an image, called `name` or by its place."""
        self.images.append(data)
        self.names.append(display_name(name)[:_LONGEST_NAME] if name else f"image-{len(self.images)}")

    def query(self, settings: Settings) -> Query:
        """The query of the fields. Raises UserError as `Settings.query` does."""
        return settings.query(self.fields.get("task"), self.fields.get("labels"), self.fields.get("min_confidence"))


def routes(engine: Engine, settings: Settings) -> list[Route]:
    """The routes of this module."""

    async def emotions(request: Request) -> Response:
        engine.check_room()
        asked = await read_request(request, settings)
        query = asked.query(settings)
        predictions = await ask(request, engine, asked.images, query)
        rows = [replace(each, image=name).to_row() for each, name in zip(predictions, asked.names, strict=True)]
        predictor = engine.predictor
        warnings = [*([predictor.model.notice] if predictor.model.notice else []), *predictor.warnings(query)]
        return json_response({"predictions": rows, "model": predictor.model.name, "warnings": warnings})

    return [Route("/v1/emotions", emotions, methods=["POST"])]


def paths(settings: Settings) -> dict[str, Any]:
    """This route for /openapi.json."""
    limits, decides = settings.http, settings.certificate is not None
    label = {"type": "string", "minLength": 1, "maxLength": limits.label_characters}
    labels = {"type": ["array", "null"], "minItems": 2, "maxItems": limits.labels, "uniqueItems": True, "items": label}
    data = {"type": "string", "contentEncoding": "base64", "format": "byte", "description": "the bytes of an image file, in base64"}
    image = object_of({"data": data, "name": {"type": ["string", "null"]}}, required=["data"])
    both = {"minItems": 1, "maxItems": limits.images}
    json_fields: dict[str, Any] = {"images": listing(image) | both, "task": {"enum": [*TASKS, None]}, "labels": labels}
    binary = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    names = {"type": "string", "description": "with commas between them", "pattern": r"^[^,]+(,[^,]+)+$"}
    form_fields: dict[str, Any] = {"images": listing(binary) | both, "task": {"enum": list(TASKS)}, "labels": names}
    if not decides:
        least = {"minimum": 0, "maximum": 1, "description": "abstain below it"}
        json_fields["min_confidence"] = NUMBER_OR_NULL | least
        form_fields["min_confidence"] = {"type": "number"} | least
    body = {
        "application/json": object_of(json_fields, required=["images"]),
        "multipart/form-data": object_of(form_fields, required=["images"]),
    }
    for each in body.values():
        each["description"] = "task or labels, not both; labels must differ in more than case and punctuation"
    answer = object_of({"predictions": listing(row_schema()), "model": TEXT, "warnings": listing(TEXT)})
    deadline = {"name": "X-Deadline", "in": "header", "schema": {"type": "number", "minimum": SHORTEST, "maximum": LONGEST}}
    what = "The emotion that each image evokes, and how sure that is: one row for each image, in order"
    asked = operation(what, answer, 408, 413, 415, 422, 429, 503, 504, body=body)
    return {"/v1/emotions": {"post": asked | {"parameters": [deadline | {"description": "the seconds that the client waits"}]}}}


async def read_request(request: Request, settings: Settings) -> Asked:
    """What a request asks, from a form or from JSON. Raises Refused for anything else."""
    kind = media_type(request)
    if kind == "multipart/form-data":
        asked = of_form(await read_form(request, settings.http))
    elif kind == "application/json":
        asked = of_json(await read_json(request, settings.http))
    else:
        raise Refused(415, "send the images as a form (multipart/form-data) or in base64 (application/json).")
    if not asked.images:
        raise Refused(422, "there is no image; send one or more as the field images.")
    if len(asked.images) > settings.http.images:
        raise Refused(413, f"{len(asked.images)} images are more than the limit of {settings.http.images} in a request; send several.")
    return asked


def of_form(parts: list[Part]) -> Asked:
    """What a form asks. Raises Refused for a field that is not known, or given twice, and for an address in place of an image."""
    asked = Asked()
    for part in parts:
        if part.name == "images":
            if part.filename is None and is_address(part.data[:100].decode("latin-1")):
                raise Refused(422, "a field images is an address, and nothing is fetched here; send the file itself.")
            asked.add(part.data, part.filename)
            continue
        if part.name not in _FIELDS:
            raise Refused(422, f"there is no field {part.name[:40]!r}; the fields are images, {', '.join(_FIELDS)}.")
        if part.name in asked.fields:
            raise Refused(422, f"the field {part.name} is given twice; give it once.")
        try:
            asked.fields[part.name] = part.data.decode()
        except UnicodeDecodeError:
            raise Refused(422, f"the field {part.name} is not text in UTF-8.") from None
    if "min_confidence" in asked.fields:
        try:
            asked.fields["min_confidence"] = float(asked.fields["min_confidence"])
        except ValueError:
            raise Refused(422, "min_confidence must be a number from 0 to 1.") from None
    return asked


def of_json(content: Any) -> Asked:
    """What a JSON body asks. Raises Refused for any other form."""
    if not isinstance(content, dict):
        raise Refused(422, 'the body must be an object, {"images": [{"data": BASE64}]}.')
    if unknown := next((name for name in content if name not in ("images", *_FIELDS)), None):
        raise Refused(422, f"there is no field {unknown[:40]!r}; the fields are images, {', '.join(_FIELDS)}.")
    images, labels, least = content.get("images"), content.get("labels"), content.get("min_confidence")
    if not isinstance(images, list):
        raise Refused(422, 'images must be a list of objects, {"data": BASE64, "name": TEXT}.')
    if labels is not None and not (isinstance(labels, list) and all(isinstance(each, str) for each in labels)):
        raise Refused(422, "labels must be a list of texts.")
    if not isinstance(content.get("task"), str | None):
        raise Refused(422, "task must be text.")
    if isinstance(least, bool) or not isinstance(least, int | float | None):
        raise Refused(422, "min_confidence must be a number from 0 to 1.")
    asked = Asked(fields={name: content.get(name) for name in _FIELDS})
    for number, each in enumerate(images, 1):
        where = f"image {number}"
        if not (isinstance(each, dict) and isinstance(each.get("data"), str)):
            raise Refused(422, f'{where} must be an object with its bytes in base64, {{"data": BASE64, "name": TEXT}}.')
        if not isinstance(each.get("name"), str | None) or set(each) - {"data", "name"}:
            raise Refused(422, f"{where} may have the fields data and name, both text, and no others.")
        asked.add(image_of_base64(each["data"], where), each.get("name"))
    return asked
