"""The pictures of a job as they arrive: multipart forms and JSON Lines, streamed to files, so that a large job takes little memory."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from emocaliber.io.rows import display_name
from emocaliber.serving.errors import Refused
from emocaliber.serving.jobs.store import Arriving

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

JSON_LINES = ("application/jsonl", "application/x-ndjson", "application/ndjson", "application/x-jsonlines")
FORM = "multipart/form-data"

QUESTION = ("task", "labels", "min_confidence")
_LONGEST_FIELD = 64_000  # bytes
_LONGEST_NAME = 255  # characters


@dataclass(frozen=True)
class JobLimits:
    """What a job may hold: pictures, bytes altogether, and bytes of one picture, of which a longer one is an error row.

    A body may take `seconds` to come. `open_jobs` are those of one key that are not done; `free_bytes` of the disk are left free.
    """

    pictures: int = 10_000
    total_bytes: int = 4_000_000_000
    picture_bytes: int = 20_000_000
    seconds: float = 3600.0
    open_jobs: int = 20
    free_bytes: int = 1_000_000_000


@dataclass
class Received:
    """What came besides the pictures: the fields of a form, and a hash of all pictures with their names."""

    fields: dict[str, str] = field(default_factory=dict)
    digest: str = ""


async def receive(stream: AsyncIterable[bytes], content_type: str, arriving: Arriving, limits: JobLimits) -> Received:
    """Writes the pictures of a request's body into `arriving`. Raises Refused for a body that cannot be read or holds too much."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM:
        reader: _Form | _Lines = _Form(content_type, arriving, limits)
    elif kind in JSON_LINES:
        reader = _Lines(arriving, limits)
    else:
        raise Refused(415, f"a job comes as {FORM} or as {JSON_LINES[0]}, not as {kind or 'nothing'}.")
    try:
        async for chunk in stream:
            reader.feed(chunk)
        reader.end()
    finally:
        reader.pictures.close()
    if not arriving.names:
        raise Refused(422, "the job holds no picture; send them as fields called images, or one a line.")
    return Received(reader.fields, reader.pictures.digest())


class _Pictures:
    """Writes pictures to files, one after another, and hashes what they hold."""

    def __init__(self, arriving: Arriving, limits: JobLimits) -> None:
        self._arriving, self._limits = arriving, limits
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._length = 0

    def begin(self, name: str) -> None:
        place = len(self._arriving.names)
        if place == self._limits.pictures:
            raise Refused(413, f"the job holds more than {self._limits.pictures:,} pictures; make several of it.")
        self._arriving.names.append(display_name(name)[:_LONGEST_NAME] if name else f"image-{place + 1}")
        self._file, self._length, self._of_this = open(self._arriving.path(place), "wb"), 0, hashlib.sha256()  # noqa: SIM115, `end` closes it

    def write(self, data: bytes) -> None:
        assert self._file is not None
        self._of_this.update(data)
        # One byte above the limit is kept, by which the decoder sees that there are too many.
        self._file.write(data[: max(self._limits.picture_bytes + 1 - self._length, 0)])
        self._length += len(data)

    def end(self) -> None:
        self.close()
        self._hash.update(self._of_this.digest() + json.dumps(self._arriving.names[-1]).encode())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def digest(self) -> str:
        return self._hash.hexdigest()


class _Form:
    """A multipart form with fields `images`, and `task`, `labels` or `min_confidence`."""

    def __init__(self, content_type: str, arriving: Arriving, limits: JobLimits) -> None:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser, parse_options_header

        self.pictures, self.fields = _Pictures(arriving, limits), dict[str, str]()
        self._failure, self._options = FormParserError, parse_options_header
        self._headers: dict[str, bytes] = {}
        self._header = self._value = b""
        self._name = ""
        self._text = b""
        self._over = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._headers.clear,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._on_end,
            "on_end": self._on_last,
        }
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise Refused(400, "the multipart form names no boundary in its Content-Type.")
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise Refused(400, f"the multipart form cannot be read: {error}.") from error

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except self._failure as error:
            raise Refused(400, f"the multipart form cannot be read: {error}.") from error

    def end(self) -> None:
        if not self._over:
            raise Refused(400, "the multipart form ends in the middle; send it again.")

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._header.decode("latin-1").lower()] = self._value
        self._header = self._value = b""

    def _on_headers(self) -> None:
        _, options = self._options(self._headers.get("content-disposition", b"").decode("latin-1"))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._text = b""
        if self._name == "images":
            self.pictures.begin(options.get(b"filename", b"").decode("utf-8", "replace"))
        elif self._name not in QUESTION:
            raise Refused(422, f"there is no field {self._name[:80]!r}; give images, {', '.join(QUESTION)}.")

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "images":
            self.pictures.write(data[start:end])
        else:
            self._text += data[start:end]
            if len(self._text) > _LONGEST_FIELD:
                raise Refused(413, f"the field {self._name} is longer than {_LONGEST_FIELD:,} bytes.")

    def _on_end(self) -> None:
        if self._name == "images":
            self.pictures.end()
        else:
            self.fields[self._name] = self._text.decode("utf-8", "replace")

    def _on_last(self) -> None:
        self._over = True


class _Lines:
    """JSON Lines: `{"data": BASE64, "name": TEXT}` for each picture, the name being optional."""

    def __init__(self, arriving: Arriving, limits: JobLimits) -> None:
        self.pictures, self.fields = _Pictures(arriving, limits), dict[str, str]()
        self._line, self._number = bytearray(), 0
        self._longest = limits.picture_bytes * 4 // 3 + _LONGEST_FIELD

    def feed(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        self._line += first
        for other in others:
            self._read()
            self._line += other
        if len(self._line) > self._longest:
            raise Refused(413, f"line {self._number + 1} is longer than {self._longest:,} bytes.")

    def end(self) -> None:
        self._read()

    def _read(self) -> None:
        self._number += 1
        line, self._line = bytes(self._line), bytearray()
        if not line.strip():
            return
        try:
            given: Any = json.loads(line)
            name, data = given.get("name", ""), base64.b64decode(given["data"], validate=True)
            if not isinstance(name, str):
                raise TypeError("name must be a text")
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError, binascii.Error) as error:
            form = '{"data": BASE64, "name": "beach.jpg"}'
            raise Refused(422, f"line {self._number} is no picture ({type(error).__name__}); write {form}.") from error
        self.pictures.begin(name)
        self.pictures.write(data)
        self.pictures.end()
