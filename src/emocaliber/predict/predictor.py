"""Predictions: the emotion that an image evokes, the reasoning and the confidence; exactly one `Prediction` per image."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from PIL import Image, ImageOps

from emocaliber.core.model import Model, Reply
from emocaliber.core.response import Malformed, Reasoning, Response, parse
from emocaliber.core.sources import SOURCES, Evidence, margin, recalibrated, verb, verb_mean
from emocaliber.core.tasks import labels_of
from emocaliber.core.tasks import task as task_called
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.inference.engine import ImageQuestion, QuestionResult, ask_all, question_for
from emocaliber.io.images import DEFAULT_LIMITS, ImageError, ImageLimits, OpenedImage, read_image
from emocaliber.io.rows import display_name
from emocaliber.models import LOCAL, kind_of, load_model

ImageSource = str | os.PathLike[str] | bytes | Image.Image  # bytes are those of an image file, not a path
GivenLabels = str | Iterable[str]
DEFAULT_TASK = "EmoSet-8"
CUSTOM_TASK = "custom"
UNNAMED = "-"
RETRIES = 3  # for an answer that cannot be parsed


@dataclass(frozen=True)
class Failure:
    """The error of a prediction: `code` is one of `images.CODES` or `model.MODEL_ERRORS`, or "malformed"; `message` a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for one image. `image` is the path as given, or "-" for an image without one.

    `confidence` is in [0, 1] and comes from `confidence_source`, one of `sources.SOURCES` ("verb" is the stated one). It is at least
    1/k for k candidates (chance); a note says where it was raised. `accepted` is None without `min_confidence`; False means abstain.
    `alternatives` is the model's distribution over the candidates, likeliest first; empty if the model does not provide it.
    `notes` are remarks for the reader, such as that only the first frame of an animation was used, or that the model was asked twice.
    """

    image: str
    task: str
    emotion: str | None
    confidence: float | None
    confidence_source: str
    accepted: bool | None
    reasoning: Reasoning | None
    alternatives: Mapping[str, float]
    response: str | None
    model: str
    seconds: float | None
    error: Failure | None
    notes: tuple[str, ...] = ()

    def to_row(self) -> dict[str, Any]:
        """The prediction as a JSON row, without its notes."""
        return {
            "image": self.image,
            "task": self.task,
            "emotion": self.emotion,
            "confidence": self.confidence,
            "confidence_source": self.confidence_source,
            "accepted": self.accepted,
            "reasoning": asdict(self.reasoning) if self.reasoning else None,
            "alternatives": [{"emotion": emotion, "probability": probability} for emotion, probability in self.alternatives.items()],
            "response": self.response,
            "model": self.model,
            "seconds": self.seconds,
            "error": asdict(self.error) if self.error else None,
        }


Status = Literal["answered", "accepted", "abstained", "failed"]


def status(row: Mapping[str, Any]) -> Status:
    """The status of a prediction row; "answered" if no `min_confidence` decided between "accepted" and "abstained"."""
    if row["error"] is not None:
        return "failed"
    return "answered" if row["accepted"] is None else "accepted" if row["accepted"] else "abstained"


@dataclass(frozen=True)
class Query:
    """The question asked of every image: a task or custom labels, and the least confidence at which an answer is accepted."""

    task: str
    candidates: Labels
    min_confidence: float | None = None

    @classmethod
    def of(cls, task: str = DEFAULT_TASK, labels: GivenLabels | None = None, min_confidence: float | None = None) -> Query:
        """The query of a VECBench task, or of custom `labels` (an iterable, or a string with commas).

        Raises UserError for an unknown task, fewer than two different labels, or a `min_confidence` outside [0, 1].
        """
        if min_confidence is not None and not 0 <= min_confidence <= 1:
            raise UserError(f"the least confidence must lie between 0 and 1, not {min_confidence:g}")
        if labels is None:
            known = task_called(task)
            return cls(known.name, labels_of(known.name, taxonomy(known.taxonomy).labels), min_confidence)
        candidates = tuple(label.strip() for label in (labels.split(",") if isinstance(labels, str) else labels))
        if len(candidates) < 2 or not all(candidates):
            raise UserError(f"the labels are {', '.join(map(repr, candidates))}; give two or more different ones, such as awe,fear,calm")
        return cls(CUSTOM_TASK, Labels.of(candidates), min_confidence)

    def accepts(self, confidence: float | None) -> bool | None:
        """Whether an answer with this confidence is accepted (without a confidence it is not); None without `min_confidence`."""
        return None if self.min_confidence is None else confidence is not None and confidence >= self.min_confidence


class Predictor:
    """Predicts emotions with a model; made by `load`.

    `confidence` is the confidence source; by default that of the model's card, or else the stated confidence. Raises UserError for an
    unknown source.
    """

    def __init__(self, model: Model, confidence: str | None = None) -> None:
        self.model = model
        self._named = confidence is not None
        self.confidence_source: str = confidence or getattr(model, "confidence_source", None) or verb.__name__
        if self.confidence_source not in SOURCES:
            raise UserError(f"there is no confidence source {self.confidence_source!r}; the sources are {', '.join(SOURCES)}")

    def predict(
        self, image: ImageSource, task: str = DEFAULT_TASK, labels: GivenLabels | None = None, min_confidence: float | None = None
    ) -> Prediction:
        """The prediction for one image: a path, the bytes of an image file, or a Pillow image.

        `labels` replaces the candidates of the task. An image that cannot be used raises nothing: its prediction has an `error`. Raises
        UserError for an unknown task, invalid labels, or a `min_confidence` outside [0, 1].
        """
        return next(self.ask([image], Query.of(task, labels, min_confidence)))

    def predict_many(
        self,
        images: Iterable[ImageSource],
        task: str = DEFAULT_TASK,
        labels: GivenLabels | None = None,
        min_confidence: float | None = None,
        *,
        done: Collection[str] = (),
    ) -> Iterator[Prediction]:
        """Predictions in order, computed in batches, without images in `done`. Raises as `predict` does, before the first prediction."""
        return self.ask(images, Query.of(task, labels, min_confidence), done=done)

    def ask(
        self, images: Iterable[ImageSource], query: Query, *, done: Collection[str] = (), limits: ImageLimits = DEFAULT_LIMITS
    ) -> Iterator[Prediction]:
        """`predict_many` for a query, with images opened within `limits`."""
        question = question_for(query.task, query.candidates)
        asks = [ImageQuestion(_key(image), _to_open(image, limits), question, query.candidates) for image in images]
        return (self._prediction(answered, query) for answered in ask_all(asks, self.model, done=done, limits=limits))

    def source_for(self, query: Query) -> str:
        """The confidence source for this query. A recalibration holds only for the labels it was fitted on.

        For other labels, `recalibrated` is replaced by `verb_mean`, unless the caller named a source.
        """
        if self._named or self.confidence_source != recalibrated.__name__ or self._is_recalibrated(query):
            return self.confidence_source
        return verb_mean.__name__

    def warnings(self, query: Query) -> tuple[str, ...]:
        """Warnings from the model's card about this query: the model was not trained on it, or is not calibrated for it."""
        tasks: Collection[str] | None = getattr(self.model, "tasks", None)
        asked = "labels of your own" if query.task == CUSTOM_TASK else query.task
        if tasks and query.task not in tasks:
            return (f"{self.model.name} was trained on {', '.join(tasks)}; its answers and confidence on {asked} are unreliable",)
        if self.confidence_source == recalibrated.__name__ and not self._is_recalibrated(query):
            return (f"{self.model.name} is not calibrated on {asked}, so its confidence there may be far off",)
        return ()

    def _is_recalibrated(self, query: Query) -> bool:
        stated = getattr(self.model, "stated_confidence", None)
        return stated is not None and stated.of(query.candidates)["recalibration"] is not None

    def _prediction(self, answered: QuestionResult, query: Query) -> Prediction:
        image, reply = answered.ask.key, answered.reply
        parsed = parse(reply.text, query.candidates, lenient=True) if reply and not reply.error else None
        error: Failure | None = None
        if answered.error:
            error = Failure(answered.error.code, answered.error.message)
        elif isinstance(parsed, Malformed):
            error = Failure("malformed", f"{display_name(image)}: the model's answer cannot be read ({parsed.detail}).")
        response = parsed if isinstance(parsed, Response) else None
        evidence = Evidence(reply, response, query.candidates) if reply and response else None
        source = self.source_for(query)
        read = SOURCES[source](evidence) if evidence else None
        confidence = None if read is None else round(max(read, _chance(source, query)), 6)
        choice = evidence.at_commitment if evidence else None
        alternatives = sorted(choice.distribution.items(), key=lambda item: -item[1]) if choice else []
        return Prediction(
            image=image,
            task=query.task,
            emotion=response.answer if response else None,
            confidence=confidence,
            confidence_source=source,
            accepted=query.accepts(confidence),
            reasoning=response.reasoning if response else None,
            alternatives=MappingProxyType({emotion: round(probability, 6) for emotion, probability in alternatives}),
            response=reply.text if reply and not reply.error else None,
            model=self.model.name,
            seconds=round(reply.seconds, 4) if reply else None,
            error=error,
            notes=(
                *answered.notes,
                *_retries_note(reply),
                *(response.lenient if response else ()),
                *_confidence_notes(response, read, source, query),
            ),
        )


def load(name: str = "tiny", *, confidence: str | None = None, **settings: Any) -> Predictor:
    """A predictor with the model called `name`: "tiny" (shipped with the package), or any other that `models.load_model` knows.

    `confidence` is the confidence source, one of `sources.SOURCES` (default: that of the model's card, or "verb", the stated one).
    `settings` are those of the model's class, such as `batch_size`. A local model samples an answer that cannot be parsed again, up to
    `retries` times (default: 3). Raises UserError for a model that cannot be loaded.
    """
    again = {"retries": RETRIES} if kind_of(name) == LOCAL else {}
    return Predictor(load_model(name, **again | settings), confidence)


def _retries_note(reply: Reply | None) -> tuple[str, ...]:
    return (f"the model was asked {reply.attempts} times, as its answer could not be read",) if reply and reply.attempts > 1 else ()


def _confidence_notes(response: Response | None, read: float | None, source: str, query: Query) -> tuple[str, ...]:
    """A note if the stated confidence is not used because the source gives none, or if the confidence was raised to chance."""
    if response is None:
        return ()
    if read is None:
        stated = response.confidence
        return () if stated is None else (f"{stated:g} is stated, but {source} cannot be read from this model's replies",)
    if read >= (least := _chance(source, query)):
        return ()
    return (f"a confidence of {read:.2g} was read; as {response.answer} was chosen of {len(query.candidates)}, it counts as {least:.2g}",)


def _chance(source: str, query: Query) -> float:
    """The least possible confidence: the likeliest of k labels has a probability of at least 1/k. `margin` is not a probability."""
    return 0.0 if source == margin.__name__ else 1 / len(query.candidates)


def _key(image: ImageSource) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else UNNAMED


def _to_open(image: ImageSource, limits: ImageLimits) -> str | OpenedImage | ImageError:
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    try:
        return read_image(image, limits) if isinstance(image, bytes) else _opened(image)
    except ImageError as error:
        return error


def _opened(image: Image.Image) -> OpenedImage:
    """A Pillow image as upright RGB, converted like an image file by way of one in memory."""
    file = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("I", "I;16", "F"):
            upright.save(file, "TIFF")
        else:
            keeps = upright.mode in ("1", "L", "LA", "P", "RGB", "RGBA")
            (upright if keeps else upright.convert("RGB")).save(file, "PNG", compress_level=1)
    except Exception as error:  # Pillow reads files late, and decoders raise nearly everything
        raise ImageError("corrupt", f"the image cannot be decoded ({error}); open the file anew.") from error
    return read_image(file.getvalue(), replace(DEFAULT_LIMITS, max_bytes=sys.maxsize))
