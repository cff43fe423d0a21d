"""Which emotion an image evokes, why, and how far to trust that: one `Prediction` for every image, whatever it turns out to be."""

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
from emocaliber.io.images import DEFAULT_LIMITS, ImageError, OpenedImage, read_image
from emocaliber.io.rows import display_name
from emocaliber.models import LOCAL, kind_of, load_model

ImageSource = str | os.PathLike[str] | bytes | Image.Image  # bytes are those of an image file, not a path
GivenLabels = str | Iterable[str]
DEFAULT_TASK = "EmoSet-8"
CUSTOM_TASK = "custom"
UNNAMED = "-"
RETRIES = 3  # of an answer that cannot be read


@dataclass(frozen=True)
class Failure:
    """Why there is no emotion: a code of `images.CODES` or of `models.MODEL_ERRORS`, or "malformed"; and a sentence."""

    code: str
    message: str


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image. `image` is its path as given, or "-" for one without a name.

    `confidence` is in [0, 1], and read at `confidence_source`, one of `sources.SOURCES`: "verb" is the stated one. It is never below
    chance, 1/k for an answer of k; a note says where less was read. `accepted` is None where
    no `min_confidence` was given; False means abstain.
    `alternatives` is the model's distribution over the candidates, likeliest first, empty where the model cannot give it.
    `notes` say what the reader should know, such as that only the first frame of an animation was seen, or that the model was asked twice.
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
    """What became of an image, by its row; "answered" where nothing decided between "accepted" and "abstained"."""
    if row["error"] is not None:
        return "failed"
    return "answered" if row["accepted"] is None else "accepted" if row["accepted"] else "abstained"


@dataclass(frozen=True)
class Query:
    """What is asked of every image: a task's candidates or one's own, and from which confidence on an answer is accepted."""

    task: str
    candidates: Labels
    min_confidence: float | None = None

    @classmethod
    def of(cls, task: str = DEFAULT_TASK, labels: GivenLabels | None = None, min_confidence: float | None = None) -> Query:
        """The query of a VECBench task, or of `labels` in its place (several, or one text with commas). Raises UserError for nonsense."""
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
        """Whether an answer of this confidence is accepted; None if that was not asked. Without a confidence it is not."""
        return None if self.min_confidence is None else confidence is not None and confidence >= self.min_confidence


class Predictor:
    """A model that is asked about emotions, and the source of its confidence, by default that of its card, or the stated one. `load` makes
    one. Raises UserError for a source that does not exist.
    """

    def __init__(self, model: Model, confidence: str | None = None) -> None:
        self.model = model
        self._named = confidence is not None
        self.confidence_source: str = confidence or getattr(model, "confidence_source", None) or verb.__name__
        if self.confidence_source not in SOURCES:
            raise UserError(f"there is no confidence {self.confidence_source!r}; there are {', '.join(SOURCES)}")

    def predict(
        self, image: ImageSource, task: str = DEFAULT_TASK, labels: GivenLabels | None = None, min_confidence: float | None = None
    ) -> Prediction:
        """The prediction for one image: a path, the bytes of an image file, or a Pillow image.

        `labels` replaces the task's candidates by one's own. A bad image is no exception but a prediction with an `error`; UserError is
        raised for a task that does not exist, labels that make no sense, or a `min_confidence` outside [0, 1].
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
        """Predictions in order, asked in batches, without those whose `image` is in `done`. Raises as `predict` does, at once."""
        return self.ask(images, Query.of(task, labels, min_confidence), done=done)

    def ask(self, images: Iterable[ImageSource], query: Query, *, done: Collection[str] = ()) -> Iterator[Prediction]:
        """`predict_many` for a query made before."""
        question = question_for(query.task, query.candidates)
        asks = [ImageQuestion(_key(image), _to_open(image), question, query.candidates) for image in images]
        return (self._prediction(answered, query) for answered in ask_all(asks, self.model, done=done))

    def source_for(self, query: Query) -> str:
        """The source of the confidence in answers to this query. A recalibration speaks for the labels it was fitted on alone: for others
        it is the one that it would have changed, `verb_mean`, unless the caller named a source."""
        if self._named or self.confidence_source != recalibrated.__name__ or self._is_recalibrated(query):
            return self.confidence_source
        return verb_mean.__name__

    def warnings(self, query: Query) -> tuple[str, ...]:
        """What the model's card says against this query: that the model has not learnt it, or is not calibrated for it."""
        tasks: Collection[str] | None = getattr(self.model, "tasks", None)
        asked = "labels of your own" if query.task == CUSTOM_TASK else query.task
        if tasks and query.task not in tasks:
            return (f"{self.model.name} has learnt {', '.join(tasks)}; its answers and confidence on {asked} deserve little trust",)
        if self.confidence_source == recalibrated.__name__ and not self._is_recalibrated(query):
            return (f"{self.model.name} has not been calibrated on {asked}, so its confidence there may be far off",)
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
        confidence = None if read is None else round(max(read, _least(source, query)), 6)
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
                *_asked_again(reply),
                *(response.lenient if response else ()),
                *_about_confidence(response, read, source, query),
            ),
        )


def load(name: str = "tiny", *, confidence: str | None = None, **settings: Any) -> Predictor:
    """A predictor with the model called `name`: "tiny" (shipped with the package), or any other that `models.load_model` knows.

    `confidence` is the source to read it at, one of `sources.SOURCES` (default: what the model's card says, or "verb", the stated one).
    `settings` are those of its kind, such as `batch_size`. An answer of a local model that cannot be read is asked for again up to 3 times
    unless `retries` says otherwise. Raises UserError for a model that cannot be loaded.
    """
    again = {"retries": RETRIES} if kind_of(name) == LOCAL else {}
    return Predictor(load_model(name, **again | settings), confidence)


def _asked_again(reply: Reply | None) -> tuple[str, ...]:
    return (f"the model was asked {reply.attempts} times, as its answer could not be read",) if reply and reply.attempts > 1 else ()


def _about_confidence(response: Response | None, read: float | None, source: str, query: Query) -> tuple[str, ...]:
    """Why there is no confidence where one is stated, or another than was read."""
    if response is None:
        return ()
    if read is None:
        stated = response.confidence
        return () if stated is None else (f"{stated:g} is stated, but {source} cannot be read from this model's replies",)
    if read >= (least := _least(source, query)):
        return ()
    return (f"a confidence of {read:.2g} was read; as {response.answer} was chosen of {len(query.candidates)}, it counts as {least:.2g}",)


def _least(source: str, query: Query) -> float:
    """What a confidence counts as at least: of k labels the likeliest has a probability of 1/k or more. `margin` is no probability."""
    return 0.0 if source == margin.__name__ else 1 / len(query.candidates)


def _key(image: ImageSource) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else UNNAMED


def _to_open(image: ImageSource) -> str | OpenedImage | ImageError:
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    try:
        return read_image(image) if isinstance(image, bytes) else _opened(image)
    except ImageError as error:
        return error


def _opened(image: Image.Image) -> OpenedImage:
    """A Pillow image made upright RGB just as a file's would be, by way of one in memory."""
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
