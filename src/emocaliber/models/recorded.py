"""`RecordedModel`: answers read from a file, to evaluate systems with code of their own (docs/recorded-answers.md)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from emocaliber.core.model import MODEL_ERRORS, ModelError, Reply, Request, Tokens
from emocaliber.core.released import filled_in
from emocaliber.core.samples import Fields
from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place, StoredRows, located_rows
from emocaliber.io.rows import Row, display_name
from emocaliber.render.terminal import say

OWN = "own"  # the source of a confidence given as a single number


class RecordedModel:
    """Answers from a file or folder of rows (.jsonl, .parquet, .arrow), each with `response` and `id`, or `image` where it has no id.

    A row may also have `confidence` (a number, or several by name), `logprobs` (in the form of OpenAI's chat completions), `seconds` and
    `error`. Files written by `respond` and released files can be read. `system` is the model's name in rows; by default the `model` of the
    first row, else the file's name. A request without a row gets the error `not_recorded`.
    Rows are read from disk when they are asked for; only their keys and places are kept in memory.
    Raises UserError, naming file, line and field, for a row without a key or a response, or with the key of another row.
    """

    window: int | None = None

    def __init__(self, file: str | Path, *, system: str | None = None) -> None:
        self._file = display_name(file)
        self._places: dict[str, Place] = {}
        self._rows = StoredRows()
        self._unasked: set[str] = set()
        said: object = None
        for place, row in located_rows(file):
            said = said if self._places else row.get("model")  # the first row's
            self._add(place, filled_in(row))
        self.name: str = system or (said if isinstance(said, str) and said else Path(file).stem)
        self.notice: str | None = f"Answers are read from {self._file}. What was asked to get them is not known here."

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """Replies in order, from the rows. Prints on stderr at the end how many rows were not asked for."""
        for request in requests:
            yield self._reply(request)
        if self._unasked:
            say(f"{len(self._unasked):,} of the {len(self._places):,} answers in {self._file} were not asked for")

    def _add(self, place: Place, row: Row) -> None:
        fields = Fields(row, str(place))
        field, key = _key(place, row)
        if not key:
            raise fields.error("id", "is missing", "give every row the id of its sample, or the path of its image")
        if key in self._places:
            raise fields.error(field, f"is {key!r}, as in {self._places[key]}", "there can be one answer only; keep one of the two rows")
        fields.optional_text("response")
        self._places[key] = place
        self._unasked.add(key)

    def _reply(self, request: Request) -> Reply:
        if request.temperature is not None or request.max_new_tokens is not None:  # a strategy samples or asks with other settings
            return _failed("not_recorded", f"{self._file} holds one answer to each question; it cannot be sampled or asked anything else")
        key = request.key if request.key in self._places else os.path.abspath(request.key)
        if key not in self._places:
            return _failed("not_recorded", f"no row of {self._file} has the id or image {request.key!r}")
        self._unasked.discard(key)
        place = self._places[key]
        row = filled_in(self._rows[place])
        if _key(place, row)[1] != key:
            raise UserError(f"{place} no longer answers {key!r}: the file has changed since it was opened; start again")
        text, seconds = row["response"], row.get("seconds")
        if text is None or row.get("error") is not None:
            return _failure(place, row.get("error"))
        return Reply(text, seconds if isinstance(seconds, int | float) else 0.0, _tokens(place, row), further=_confidence(place, row))


def _key(place: Place, row: Row) -> tuple[str, str]:
    """The field that identifies a row ("id" or "image") and its value, an image as absolute path; an empty value where it has neither."""
    identity, image = row.get("id"), row.get("image")
    if isinstance(identity, str | int) and not isinstance(identity, bool) and str(identity).strip():
        return "id", str(identity)
    if isinstance(image, str) and image.strip():
        return "image", os.path.abspath(place.file.parent / image)
    return "id", ""


def _confidence(place: Place, row: Row) -> Mapping[str, float | None]:
    """The confidences of a row by source. A single number, or its text as in released rows, has the source `OWN`."""
    stated = row.get("confidence")
    if isinstance(stated, str) and stated.replace(".", "", 1).isdecimal():
        stated = float(stated)
    if isinstance(stated, str):  # a released file's value for a tag without a number
        return {}
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        stated = {OWN: stated}
    found = Fields({"confidence": stated}, str(place)).fractions("confidence")
    return {name: value for name, value in found.items() if value is not None}


def _tokens(place: Place, row: Row) -> Tokens | None:
    if row.get("logprobs") is None:
        return None
    from emocaliber.models.openai.wire import read_completion

    tokens = read_completion({"choices": [{"message": {"content": row["response"]}, "logprobs": row["logprobs"]}]}).tokens
    if tokens is None:
        remedy = 'give {"content": [{"token": ..., "logprob": ..., "top_logprobs": [...]}, ...]}, or leave it out'
        raise Fields(row, str(place)).error("logprobs", "does not list the tokens of the response", remedy)
    return tokens


def _failure(place: Place, error: object) -> Reply:
    stated = error if isinstance(error, Mapping) else {}
    code = stated.get("code")
    return _failed(code if code in MODEL_ERRORS else "not_recorded", str(stated.get("message") or f"{place} holds no response"))


def _failed(code: str, message: str) -> Reply:
    return Reply("", 0.0, error=ModelError(code, message))
