"""Answers from a file: systems with code of their own are evaluated from what they wrote (docs/recorded-answers.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from emocaliber.core.model import MODEL_ERRORS, ModelError, Reply, Request, Tokens
from emocaliber.core.released import filled_in
from emocaliber.core.samples import Fields
from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place, StoredRows, located_rows
from emocaliber.io.rows import Row, display_name

OWN = "own"  # the confidence of a system that states one number of its own


class RecordedModel:
    """Answers from a file or folder of rows (.jsonl, .parquet, .arrow), each with `response` and `id`, or `image` where it has no id.

    A row may also have `confidence`, a number or several by name; `logprobs`, as a choice of OpenAI's chat completions has them; `seconds`;
    and `error`. Everything that `respond` wrote, and released files, can be read. `system` is its name in rows; by default what
    the first row says it is, else the file's name. A request that no row answers gets the error `not_recorded`.
    Rows are read from the disk when they are asked for; in memory are only their keys and places.
    Raises UserError, naming file, line and field, for a row that says neither what was asked nor what was answered, or repeats another.
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
        """Replies in order, each as its row has it. Says on stderr, at the end, how many rows nobody asked for."""
        for request in requests:
            yield self._reply(request)
        if self._unasked:
            print(f"{len(self._unasked):,} of the {len(self._places):,} answers in {self._file} were not asked for", file=sys.stderr)

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
        if request.temperature is not None or request.max_new_tokens is not None:  # it is to be asked in another way than at first
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
    """The field by which a row is found, and what it is found by: the absolute path of an image. Empty where it has neither."""
    identity, image = row.get("id"), row.get("image")
    if isinstance(identity, str | int) and not isinstance(identity, bool) and str(identity).strip():
        return "id", str(identity)
    if isinstance(image, str) and image.strip():
        return "image", os.path.abspath(place.file.parent / image)
    return "id", ""


def _confidence(place: Place, row: Row) -> Mapping[str, float | None]:
    """The confidence of a row by name. A single number, or the text of one as in released rows, is the system's own."""
    stated = row.get("confidence")
    if isinstance(stated, str) and stated.replace(".", "", 1).isdecimal():
        stated = float(stated)
    if isinstance(stated, str):  # a release's reading of a tag that holds no number
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
