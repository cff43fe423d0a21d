"""A certificate as an object and as a file: what it promises, for which answers it holds, and when it does not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from emocaliber.emotions.taxonomy import label_key
from emocaliber.errors import UserError
from emocaliber.io.frames import Tabular
from emocaliber.io.rows import Form, Row, display_name, opened, write_atomically

WHAT = "certificate of a threshold on the confidence"
VERSION = 1
MADE_BY = "`emocaliber calibrate certify` writes one"
REFERENCE_BINS = 20  # of the reference's histogram of confidence, (low, high] as in an ECE
_ROW = ("certified", "threshold", "coverage", "accuracy", "delta", "n", "accepted", "accepted_right", "accepted_accuracy", "enough")
_LATER = ("id", "voided")  # what the id is not a hash of


@dataclass(frozen=True)
class Certified:
    """What was certified for some answers, of which there were `n`, malformed ones and those without a confidence included.

    `threshold` is None where nothing could be certified; `enough` then guesses how many answers would do (None: no number of answers like
    these). `coverage` is the share of the `n` answers that were accepted, `accepted` their number and `accepted_right` that of the right
    ones. `delta` is the share of calibrations in which this threshold may be wrong. `coverage_at_error` has, for other shares of wrong
    answers ("0.1": at most one in ten), the coverage that could be certified, each by itself at the same delta; 0 where nothing could.
    """

    n: int
    accuracy: float
    delta: float
    threshold: float | None
    accepted: int
    accepted_right: int
    enough: int | None
    coverage_at_error: Mapping[str, float]

    @property
    def certified(self) -> bool:
        return self.threshold is not None

    @property
    def coverage(self) -> float:
        return self.accepted / self.n

    @property
    def accepted_accuracy(self) -> float | None:
        return self.accepted_right / self.accepted if self.accepted else None

    def to_row(self) -> dict[str, Any]:
        """All fields and properties, as JSON."""
        return {name: getattr(self, name) for name in _ROW} | {"coverage_at_error": dict(self.coverage_at_error)}


@dataclass(frozen=True)
class CertifiedQuestion:
    """What was certified for the answers to one question."""

    task: str
    labels: tuple[str, ...]
    what: Certified

    def is_for(self, task: str, labels: Sequence[str]) -> bool:
        """Whether this is the question: the same task with the same labels, in any order and case."""
        return self.task == task and _keys(self.labels) == _keys(labels)


@dataclass(frozen=True, repr=False)
class Certificate(Tabular):
    """A promise: accepted answers are right in at least `accuracy`, wrong about that in at most `delta` of calibrations.

    `pooled` is for all answers together, in this mixture of questions, and its fields are also those of the certificate; `per_question` is
    what is acted on, and the rows of `to_frame`, `to_polars` and the others. The certificate holds for answers of `model` (its name and,
    where known, the sha256 of its weights) with confidences from `source`, between `created` and `expires`, unless `voided` says since when
    and why not. `answers` names and fingerprints the answers it was made from, `reference` summarises them, `curve` has their accuracy
    against coverage. `together`: whether the promises to all questions hold at once in all but `delta` of calibrations; otherwise each does
    by itself.
    """

    terms: str
    source: str
    pooled: Certified
    per_question: tuple[CertifiedQuestion, ...]
    together: bool
    model: Mapping[str, str | None]
    created: str
    expires: str
    answers: Mapping[str, Any]
    reference: Mapping[str, Any]
    curve: Sequence[Mapping[str, float]] = field(default=())
    notes: tuple[str, ...] = ()
    voided: Mapping[str, Any] | None = None

    @property
    def certified(self) -> bool:
        return self.pooled.certified

    @property
    def threshold(self) -> float | None:
        return self.pooled.threshold

    @property
    def coverage(self) -> float:
        return self.pooled.coverage

    @property
    def accuracy(self) -> float:
        return self.pooled.accuracy

    @property
    def delta(self) -> float:
        return self.pooled.delta

    @property
    def n(self) -> int:
        return self.pooled.n

    @property
    def id(self) -> str:
        """A hash of the content: 16 hexadecimal digits. It stays when the certificate is voided."""
        content = json.dumps({name: value for name, value in self._content().items() if name not in _LATER}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {"id": self.id, **self._content()}

    def save(self, file: str | os.PathLike[str]) -> Path:
        """Writes the file atomically; returns its path."""
        write_atomically(file, json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")
        return Path(file)

    def question(self, task: str, labels: Sequence[str]) -> CertifiedQuestion | None:
        """What was certified for a question; None if the answers held none to it."""
        return next((each for each in self.per_question if each.is_for(task, labels)), None)

    def why_not(self, task: str, labels: Sequence[str], *, source: str, model: str, weights: str | None, now: datetime) -> str | None:
        """Why this certificate does not decide about an answer of `model` to this question now, in words; None if it does.

        `source` is where the confidence of the answer is read; `weights` the sha256 of the model's weights, if known.
        """
        if self.voided:
            since, reason = self.voided.get("since", "an unknown time"), self.voided.get("reason", "no reason is given")
            return f"the certificate is void since {since}: {reason}"
        if now >= datetime.fromisoformat(self.expires):
            return f"the certificate expired on {self.expires[:10]}"
        if self.model["name"] is None:
            return "the certificate does not say which model it is for; certify again with --model"
        if self.model["name"] != model:
            return f"the certificate is for the model {self.model['name']}, and this is {model}"
        if weights and self.model.get("sha256") and weights != self.model["sha256"]:
            return f"the certificate is for other weights of {model}"
        if (asked := self.question(task, labels)) is None:
            held = ", ".join(dict.fromkeys(each.task for each in self.per_question))
            return f"the certificate is for another question ({held})"
        if self.source != source:
            return f"the certificate is for the confidence source {self.source}, and this confidence is from {source}"
        if asked.what.threshold is None:
            return f"nothing could be certified for {task}"
        return None

    def flat_rows(self) -> list[Row]:
        """A row for each question, and, where there are several, one for all answers: what was certified."""
        lines: list[tuple[str, str | None, Certified]]
        lines = [(each.task, ", ".join(each.labels), each.what) for each in self.per_question]
        lines += [("all, in this mixture", None, self.pooled)] if len(lines) > 1 else []
        return [{"task": task, "labels": labels, **_flat(what)} for task, labels, what in lines]

    def form(self) -> Form:
        return {"task": str, "labels": str, "threshold": float, "coverage": float, "accepted_accuracy": float, "enough": int}

    def __repr__(self) -> str:
        state = "void" if self.voided else f"until {self.expires[:10]}"
        return f"<Certificate {self.id}, {state}: {self.terms}>"

    def _content(self) -> dict[str, Any]:
        return {
            "what": WHAT,
            "version": VERSION,
            "terms": self.terms,
            **self.pooled.to_row(),
            "source": self.source,
            "model": dict(self.model),
            "created": self.created,
            "expires": self.expires,
            "together": self.together,
            "per_question": [{"task": each.task, "labels": list(each.labels), **each.what.to_row()} for each in self.per_question],
            "answers": dict(self.answers),
            "reference": dict(self.reference),
            "curve": [dict(point) for point in self.curve],
            "notes": list(self.notes),
            "voided": dict(self.voided) if self.voided else None,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> Self:
        """The inverse of `to_json`. Raises UserError, naming `where`, for anything else, and for a content that is not that of its id."""
        if content.get("what") != WHAT:
            raise UserError(f"{where} is no certificate; {MADE_BY}")
        if content.get("version") != VERSION:
            raise UserError(f"{where} is a certificate of version {content.get('version')!r}, and {VERSION} is read here; certify again")
        try:
            names = {each.name for each in fields(cls)} - {"pooled", "per_question"}
            others: dict[str, Any] = {name: tuple(value) if name == "notes" else value for name, value in content.items() if name in names}
            made = cls(
                pooled=_certified(content),
                per_question=tuple(
                    CertifiedQuestion(each["task"], tuple(each["labels"]), _certified(each)) for each in content["per_question"]
                ),
                **others,
            )
            whole = made.id == content.get("id")
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise UserError(f"{where} is a certificate, but a part is missing or of another type ({error!r}); certify again") from error
        if not whole:
            raise UserError(f"{where}: its content is not the one that its id names, so it was changed; certify again")
        return made


def read_certificate(file: str | os.PathLike[str]) -> Certificate:
    """The certificate in a file. Raises UserError, naming the file, for one that cannot be read, is none, or was changed."""
    with opened(file) as stream:
        try:
            content = json.load(stream)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{display_name(file)} is no certificate, as it is not JSON ({error}); {MADE_BY}") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{display_name(file)} is no certificate; {MADE_BY}")
    return Certificate.from_json(content, display_name(file))


def voided(certificate: Certificate, since: str, reason: str, at: str | None = None) -> Certificate:
    """The certificate, void since then for this reason, under the same id; `at` is when that was found (default: now)."""
    return replace(certificate, voided={"since": since, "reason": reason, "at": at or this_moment().isoformat()})


def this_moment() -> datetime:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


def _flat(what: Certified) -> Row:
    row = what.to_row()
    others = {f"coverage_at_{error}": value for error, value in row.pop("coverage_at_error").items()}
    return row | others


def _certified(row: Mapping[str, Any]) -> Certified:
    return Certified(**{each.name: row[each.name] for each in fields(Certified)})


def _keys(labels: Sequence[str]) -> frozenset[str]:
    return frozenset(map(label_key, labels))
