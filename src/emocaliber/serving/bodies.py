"""The bodies of requests, read within limits and kept in memory only: JSON and multipart forms.

A body is counted as it comes, whatever its Content-Length says; slow ones are given up, and all bodies together have a limit.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from emocaliber.serving.engine import Busy
from emocaliber.serving.errors import Refused
from emocaliber.serving.settings import HttpLimits

_MOST_VALUES = 20_000  # of a JSON body, as each takes more memory than its text
_RETRY = 2
_JSON_COPIES = 3  # of a body, while its images are decoded from base64
_DATA_URI = re.compile(r"data:[\w.+/-]*(?:;[\w=.+-]+)*;base64,", re.ASCII)


@dataclass
class Memory:
    """The bytes of bodies that all requests hold, and the most they may."""

    most: int
    held: int = 0


@dataclass
class Lease:
    """The part of `Memory` that one request holds, until `release`."""

    memory: Memory
    held: int = 0

    def take(self, count: int) -> None:
        """Takes `count` bytes more. Raises Busy if there is no room."""
        if self.memory.held + count > self.memory.most:
            raise Busy(_RETRY)
        self.memory.held += count
        self.held += count

    def release(self) -> None:
        """Gives back what was taken."""
        self.memory.held -= self.held
        self.held = 0


@dataclass(frozen=True)
class Part:
    """A part of a form: the field's name, the file's name if it has one, and the content."""

    name: str
    filename: str | None
    data: bytes


def media_type(request: Request) -> str:
    """The media type of a request's body, without parameters, in small letters; empty if it is not named."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def chunks(request: Request, limits: HttpLimits, copies: int = 1) -> AsyncIterator[bytes]:
    """The body as it comes. Raises Refused for one that is too long or too slow, Busy if there is no memory for it.

    `copies` is how many times its size it will take in memory.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "the body is compressed, and nothing is unpacked here; send it as it is.")
    lease: Lease = request.scope["emocaliber.lease"]
    said = request.headers.get("content-length", "")
    too_large = f"the body has more bytes than the limit of {limits.body_bytes:,}; send fewer or smaller images."
    if said.isdecimal() and int(said) > limits.body_bytes:
        raise Refused(413, too_large)
    until, size, more = time.monotonic() + limits.body_seconds, 0, True
    while more:
        try:
            wait = min(limits.idle_seconds, until - time.monotonic())
            message = await asyncio.wait_for(request.receive(), max(wait, 0))
        except TimeoutError:
            raise Refused(408, "the body did not come in time; send it faster, or in smaller requests.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > limits.body_bytes:
            raise Refused(413, too_large)
        lease.take(copies * len(chunk))
        if chunk:
            yield chunk


# JSON.


async def read_json(request: Request, limits: HttpLimits) -> Any:
    """The JSON in a body. Raises Refused (400) for what is no JSON, and as `chunks` does."""
    body = b"".join([chunk async for chunk in chunks(request, limits, _JSON_COPIES)])
    if sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise Refused(413, f"the JSON has more than {_MOST_VALUES:,} values; send fewer.")
    try:
        return await asyncio.to_thread(json.loads, body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        what = "it is nested too deeply" if isinstance(error, RecursionError) else _short(error)
        raise Refused(400, f"the body is not JSON ({what}).") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _short(error: Exception) -> str:
    return str(error)[:100].replace("\n", " ")


def image_of_base64(text: str, where: str) -> bytes:
    """The bytes of an image in base64, or in a data URI. Raises Refused (422), naming `where`, for anything else."""
    match = _DATA_URI.match(text[:200])
    if match is None and re.match(r"[a-z][a-z0-9+.-]*:", text[:32], re.IGNORECASE):
        raise Refused(422, f"{where} is an address, and nothing is fetched here; send the image itself, in base64.")
    try:
        return base64.b64decode(text[match.end() :] if match else text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(422, f"{where} is not base64; encode the bytes of the image file, without line breaks.") from None


# Forms.


async def read_form(request: Request, limits: HttpLimits) -> list[Part]:
    """The parts of a multipart form, in order. Raises Refused for what is none, too many or too long parts, and as `chunks` does."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        raise Refused(400, "the form has no boundary in its Content-Type; let the client library set that header.")
    form = _Form(limits)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in chunks(request, limits):
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"the form cannot be read ({_short(error)}).") from None
    if not form.ended:
        raise Refused(400, "the end of the form is missing; send all of it.")
    return form.parts


@dataclass
class _Form:
    """Gathers what the parser finds; the parser itself limits the headers of a part."""

    limits: HttpLimits
    parts: list[Part] = field(default_factory=list)
    ended: bool = False
    _name: bytes = b""
    _value: bytes = b""
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _data: bytearray = field(default_factory=bytearray)
    _field: str = ""
    _filename: str | None = None

    def callbacks(self) -> Any:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "headers_finished", "end")
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        self._headers, self._data = {}, bytearray()
        if len(self.parts) >= self.limits.images + self.limits.fields:
            raise Refused(413, f"the form has more than {self.limits.images} images and {self.limits.fields} fields; send fewer.")

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def headers_finished(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise Refused(400, "a part of the form has no name; send it as form-data.")
        if self._headers.get(b"content-transfer-encoding", b"binary").lower() not in (b"binary", b"8bit", b"7bit"):
            raise Refused(415, "a part of the form is encoded; send the bytes as they are.")
        self._field = options[b"name"].decode("utf-8", "replace")
        filename = options.get(b"filename")
        self._filename = None if filename is None else filename.decode("utf-8", "replace")

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]
        if self._field != "images" and len(self._data) > self.limits.field_bytes:
            raise Refused(413, f"a field of the form has more than {self.limits.field_bytes:,} bytes; shorten it.")

    def part_end(self) -> None:
        self.parts.append(Part(self._field, self._filename, bytes(self._data)))
        self._data = bytearray()

    def end(self) -> None:
        self.ended = True
