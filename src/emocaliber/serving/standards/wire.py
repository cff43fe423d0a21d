"""What the standard endpoints share on the wire: JSON bodies, pictures in base64, and refusals in the forms that clients read.

A refusal has both forms at once: `error`, which OpenAI's clients read, and `detail`, a list of findings, which System One's read.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

Place = tuple[str | int, ...]  # where in the body: ("body", "questions", "mood")

_DATA_URI = re.compile(r"data:(image/[\w.+-]+)?((?:;[\w.+-]+=[^;,]*)*);base64,", re.IGNORECASE)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a request: where, a sentence, and a word for programs."""

    place: Place
    message: str
    kind: str = "value_error"


class Invalid(Exception):
    """A request that asks for what cannot be answered: all that is wrong with it, and the status that says so. `code` is OpenAI's word."""

    def __init__(self, findings: Iterable[Finding], status: int = 422, code: str = "invalid_request") -> None:
        self.findings, self.status, self.code = tuple(findings), status, code
        super().__init__(" ".join(dict.fromkeys(finding.message for finding in self.findings)))

    def body(self) -> dict[str, Any]:
        """The JSON of the refusal."""
        first = self.findings[0]
        parameter = ".".join(map(str, first.place[1:])) or None
        return {
            "error": {"code": self.code, "message": str(self), "type": "invalid_request_error", "param": parameter},
            "detail": [{"loc": list(each.place), "msg": each.message, "type": each.kind} for each in self.findings],
        }


def refuse(place: Place, message: str, kind: str = "value_error") -> NoReturn:
    """Raises `Invalid` for one finding."""
    raise Invalid([Finding(place, message, kind)])


def json_object(content: Any) -> dict[str, Any]:
    """The body, if it is a JSON object. Raises Invalid for anything else."""
    if not isinstance(content, dict):
        refuse(("body",), f"The body must be a JSON object, not {kind_of(content)}.", "object_type")
    return content


def json_bytes(content: Any) -> bytes:
    """The JSON of an answer. ASCII only, as names that are given back byte for byte may hold half a surrogate pair. Raises ValueError for
    NaN, which is no JSON."""
    return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def text_at(place: Place, given: Mapping[str, Any], name: str) -> str:
    """The text in a field. Raises Invalid if there is none."""
    value = given.get(name)
    if not isinstance(value, str):
        refuse((*place, name), f"{name} must be a text, not {kind_of(value)}.", "string_type")
    return value


def picture(place: Place, given: Any) -> bytes:
    """The bytes of a picture given as a data URI, or as plain base64. Raises Invalid for anything else.

    Addresses of the web are refused, as this server fetches nothing.
    """
    if not isinstance(given, str) or not given:
        refuse(place, f"A picture is given as base64 or as a data URI, not {kind_of(given)}.", "image_type")
    if _ADDRESS.match(given):
        refuse(place, "Nothing is fetched from an address; send the picture itself, as data:image/jpeg;base64,...", "image_address")
    match = _DATA_URI.match(given)
    if given[:5].lower() == "data:" and match is None:
        refuse(place, "The data URI holds no picture in base64; it begins data:image/jpeg;base64, or with another type.", "image_type")
    return from_base64(place, given[match.end() :] if match else given)


def from_base64(place: Place, text: str) -> bytes:
    """The bytes that a text stands for in base64, with or without line ends. Raises Invalid if it is none."""
    try:
        data = base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid([Finding(place, "The picture is not valid base64.", "image_base64")]) from error
    if not data:
        refuse(place, "The picture is empty.", "image_empty")
    return data


def strings_in(value: Any) -> Iterator[str]:
    """All texts in a JSON value, in order; names of fields are none."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, Mapping):
            waiting += reversed(list(found.values()))
        elif isinstance(found, Sequence):
            waiting += reversed(found)


def is_whole(text: str) -> bool:
    """Whether the text can be written in UTF-8: JSON can hold half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def kind_of(value: Any) -> str:
    """A word for the kind of a JSON value."""
    words = {type(None): "nothing", bool: "true or false", str: "a text", list: "a list", dict: "an object"}
    return words.get(type(value), "a number")
