"""A prediction, and a series of them, as a program and a notebook show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import index
from typing import Any, Literal, overload

from emocaliber.core.model import Usage
from emocaliber.core.response import STEPS, Reasoning
from emocaliber.core.source_words import people_words, source_words
from emocaliber.io.frames import Tabular
from emocaliber.io.rows import Form, Row, display_name
from emocaliber.predict.given import UNNAMED
from emocaliber.render.html import render_fragment, thumbnails

_SHOWN = 20  # predictions in a notebook's table


ROW_FORM: Form = {  # of `Prediction.to_row`
    **{"image": str, "task": str, "emotion": str, "confidence": float, "confidence_source": str},
    **{"calibrated": float, "uncalibrated": str},
    **{"accepted": bool, "certificate": str, "uncertified": str},
    **{"people": float, "people_low": float, "people_high": float},
    **{"unfamiliar": bool, "untaught": bool},
    "reasoning": dict.fromkeys(STEPS, str),
    "alternatives": [{"emotion": str, "probability": float}],
    **{"response": str, "model": str, "seconds": float},
    "error": {"code": str, "message": str},
}


@dataclass(frozen=True)
class Failure:
    """The error of a prediction: `code` is one of `images.CODES` or `model.MODEL_ERRORS`, or "malformed"; `message` a sentence."""

    code: str
    message: str


@dataclass(frozen=True, repr=False)
class Prediction:
    """A model's prediction for one image. `image` is the path as given, or "-" for an image without one.

    `confidence` is in [0, 1] and comes from `confidence_source`: one of `sources.SOURCES` ("verb" is the stated one), or "chance" for
    labels that the model was not taught, where it is 1/k. It is never below 1/k for k candidates; a note says where it was raised.
    `calibrated` is P(right) by the calibrator of this question, or None, and `uncalibrated` then says why. `people` is the expected share
    of people who would give this answer, and for 80 % of answers the true share lies between `people_low` and `people_high`; None where
    that was not fitted. `accepted` is None without
    `min_confidence` and `certificate`; False means abstain. `certificate` is the id of the one that decided; if one was given that does not
    hold for this answer, `accepted` is None, and `uncertified` says why. `alternatives` is the model's distribution over the candidates,
    likeliest first; empty if the model does not provide it. `unfamiliar`: whether the model says that it recognises nothing in the image;
    `untaught`: whether it was never taught these labels; both None where that is not known. `notes` are remarks for the reader, such as
    that only the first frame of an animation was used, or that the model was asked twice. `usage` counts the tokens, where the model does.
    """

    image: str
    task: str
    emotion: str | None
    confidence: float | None
    confidence_source: str
    accepted: bool | None
    unfamiliar: bool | None
    untaught: bool | None
    reasoning: Reasoning | None
    alternatives: Mapping[str, float]
    response: str | None
    model: str
    seconds: float | None
    error: Failure | None
    notes: tuple[str, ...] = ()
    calibrated: float | None = None
    uncalibrated: str | None = None
    certificate: str | None = None
    uncertified: str | None = None
    people: float | None = None
    people_low: float | None = None
    people_high: float | None = None
    usage: Usage | None = None

    def to_row(self) -> dict[str, Any]:
        """The prediction as a JSON row, without its notes and usage."""
        return {
            "image": self.image,
            "task": self.task,
            "emotion": self.emotion,
            "confidence": self.confidence,
            "confidence_source": self.confidence_source,
            "calibrated": self.calibrated,
            "uncalibrated": self.uncalibrated,
            "accepted": self.accepted,
            "certificate": self.certificate,
            "uncertified": self.uncertified,
            "people": self.people,
            "people_low": self.people_low,
            "people_high": self.people_high,
            "unfamiliar": self.unfamiliar,
            "untaught": self.untaught,
            "reasoning": asdict(self.reasoning) if self.reasoning else None,
            "alternatives": [{"emotion": emotion, "probability": probability} for emotion, probability in self.alternatives.items()],
            "response": self.response,
            "model": self.model,
            "seconds": self.seconds,
            "error": asdict(self.error) if self.error else None,
        }

    def __repr__(self) -> str:
        name = display_name(self.image)
        if self.error:
            return f"<Prediction {name}: {self.error.code}: {self.error.message.removeprefix(f'{name}: ')}>"
        sure = "no confidence" if self.confidence is None else f"confidence {self.confidence:.2f} ({self.confidence_source})"
        decided = {True: "accepted", False: "abstain", None: ""}[self.accepted]
        people = people_words(self.people, self.people_low, self.people_high) or ""
        marks = [people, decided, "unfamiliar picture" if self.unfamiliar else "", "untaught labels" if self.untaught else ""]
        return f"<Prediction {name}: {', '.join(filter(None, [str(self.emotion), sure, *marks]))}>"

    def _repr_html_(self) -> str:
        return _html([self], side=160)


Status = Literal["answered", "accepted", "abstained", "failed"]


def status(row: Mapping[str, Any]) -> Status:
    """The status of a prediction row; "answered" if no `min_confidence` or certificate decided between "accepted" and "abstained"."""
    if row["error"] is not None:
        return "failed"
    return "answered" if row["accepted"] is None else "accepted" if row["accepted"] else "abstained"


class Predictions(Tabular, Sequence[Prediction]):
    """Predictions in the order of their images, each computed when it is first needed, and kept.

    Iterating gives them as they come; `len`, slices and tables compute all of them. After an interruption, those computed are still there.
    As a table (`to_frame` for pandas, `to_polars`, `to_arrow`, `to_dataset`) they have one row per image: the reasoning a column for each
    step, the distribution one for each candidate, `p_` and its name; `error` is the code.
    """

    def __init__(self, coming: Iterator[Prediction], total: int | None = None) -> None:
        self._coming, self._total = coming, total
        self._made: list[Prediction] = []

    def __iter__(self) -> Iterator[Prediction]:
        place = 0
        while place < len(self._made) or self._advance():
            yield self._made[place]
            place += 1

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, place: int) -> Prediction: ...
    @overload
    def __getitem__(self, place: slice) -> list[Prediction]: ...
    def __getitem__(self, place: int | slice) -> Prediction | list[Prediction]:
        if not isinstance(place, slice):
            place = index(place)
        if isinstance(place, slice) or place < 0:
            return self._all()[place]
        while place >= len(self._made) and self._advance():
            pass
        return self._made[place]

    def to_rows(self) -> list[dict[str, Any]]:
        """All predictions as JSON rows."""
        return [each.to_row() for each in self]

    def flat_rows(self) -> list[Row]:
        """All predictions as flat rows: those of the table."""
        return [_flat(each) for each in self]

    def form(self) -> Form:
        return _FLAT_FORM

    def __repr__(self) -> str:
        of = "" if self._total is None else f" of {self._total:,}"
        return f"<Predictions: {len(self._made):,}{of} computed so far; iterate, to_rows() or to_frame() for all>"

    def _repr_html_(self) -> str:
        return _html(self[:_SHOWN], side=72, left_out=max(len(self) - _SHOWN, 0))

    def _advance(self) -> bool:
        following = next(self._coming, None)
        if following is not None:
            self._made.append(following)
        return following is not None

    def _all(self) -> list[Prediction]:
        while self._advance():
            pass
        return self._made


def _html(predictions: Sequence[Prediction], *, side: int, left_out: int = 0) -> str:
    """A table for notebooks, with thumbnails of the images that are files."""
    files = [each.image for each in predictions if each.image != UNNAMED and not each.error]
    pictures = dict(zip(files, thumbnails(files, 2 * side), strict=True))
    shown = [(each, pictures.get(each.image)) for each in predictions]
    names = {"steps": STEPS, "source_name": lambda source: source_words(source).name, "people_words": people_words}
    return render_fragment("predict/page/prediction.html", shown=shown, side=side, left_out=left_out, **names)


_FLAT_FORM: Form = {
    **{name: kind for name, kind in ROW_FORM.items() if isinstance(kind, type)},
    **dict.fromkeys((*STEPS, "error", "message"), str),
}


def _flat(prediction: Prediction) -> dict[str, Any]:
    row = prediction.to_row()
    reasoning, alternatives, error = row.pop("reasoning"), row.pop("alternatives"), row.pop("error")
    return (
        row
        | {step: reasoning and reasoning[step] for step in STEPS}
        | {f"p_{each['emotion']}": each["probability"] for each in alternatives}
        | {"error": error and error["code"], "message": error and error["message"]}
    )
