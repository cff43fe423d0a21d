"""The journal of paid answers, written to disk as they arrive so that none is paid for twice; and the redaction of secrets."""

from __future__ import annotations

import base64
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from emocaliber.errors import UserError
from emocaliber.io.rows import Row, RowWriter, display_name
from emocaliber.models.openai.wire import Counts


@dataclass(frozen=True)
class Entry:
    """A server's answer, with its seconds, attempts and tokens (`counts`, None where the server did not say)."""

    body: bytes
    seconds: float
    attempts: int
    counts: Counts | None


class Journal:
    """Answers by the key of their payload, in a JSON Lines file that is appended to as they arrive and read one by one.

    Bodies are compressed (base64 of zlib), as 20 alternatives to each token take hundreds of kilobytes. `counts` are the tokens of all
    answers that were in the file at the start. Raises UserError if the file cannot be written, or is not a journal.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        # No lock: a model closes its journal some time after its last use. The run that the journal belongs to has one.
        self._writer = RowWriter(self._path, resume=True, key="key", lock=False)
        self._reader = self._path.open("rb")
        self._places: dict[str, int] = {}
        read = written = place = 0
        for number, line in enumerate(self._reader, 1):
            if line.strip():
                row = self._row(line, f"line {number}")
                self._places[row["key"]] = place
                read, written = read + (row["counts"] or (0, 0))[0], written + (row["counts"] or (0, 0))[1]
            place += len(line)
        self.counts: Counts = (read, written)

    def find(self, key: str) -> Entry | None:
        """The answer to the payload with that key; None if it is not in the journal."""
        if key not in self._places:
            return None
        self._reader.seek(self._places[key])
        row = self._row(self._reader.readline(), f"the answer {key}")
        try:
            body = zlib.decompress(base64.b64decode(row["body"], validate=True))
        except (ValueError, zlib.error) as error:
            raise self._foreign(f"the answer {key}") from error
        return Entry(body, row["seconds"], row["attempts"], tuple(row["counts"]) if row["counts"] else None)

    def add(self, key: str, entry: Entry) -> None:
        """Appends an answer. Raises UserError if the file cannot be written."""
        body = base64.b64encode(zlib.compress(entry.body)).decode("ascii")
        try:
            place = self._path.stat().st_size
            self._writer.write(
                {"key": key, "counts": entry.counts, "attempts": entry.attempts, "seconds": round(entry.seconds, 4), "body": body}
            )
        except OSError as error:
            raise UserError(f"{display_name(self._path)}: cannot be written ({error.strerror or error}).") from error
        self._places[key] = place

    def close(self) -> None:
        """Flushes to disk and closes the file. May be called twice."""
        self._writer.close()
        self._reader.close()

    def _row(self, line: bytes, where: str) -> Row:
        row: Row = json.loads(line)
        if {"key", "counts", "attempts", "seconds", "body"} - row.keys():
            raise self._foreign(where)
        return row

    def _foreign(self, where: str) -> UserError:
        return UserError(f"{display_name(self._path)}, {where}: this is no journal of answers; name another file as the journal.")


# Redaction of keys and passwords.

_SHORTEST = 8  # anything shorter, such as EMPTY, is a word that may occur in any answer


class Redactor:
    """Replaces secrets by `***` in everything that is shown or written, also where they are escaped for URLs, JSON, or JSON within JSON."""

    def __init__(self, *secrets: str) -> None:
        long = {secret for secret in secrets if len(secret) >= _SHORTEST}
        spelled = {form for each in long for form in (each, each.replace("/", r"\/"), quote(each, safe=""))}
        spelled |= {json.dumps(form)[1:-1] for form in spelled}
        self._forms = sorted(spelled, key=len, reverse=True)  # the longest first, as one may be within another

    def text(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, "***")
        return text

    def body(self, body: bytes) -> bytes:
        for form in self._forms:
            body = body.replace(form.encode(), b"***")
        return body


def usable_key(key: str) -> str:
    """The key without surrounding blanks. Raises UserError, without showing the key, if it cannot be sent in a header."""
    key = key.strip()
    if not all("!" <= letter <= "~" for letter in key):
        raise UserError("the API key has blanks or letters in it that no key has; set OPENAI_API_KEY to the key alone")
    return key
