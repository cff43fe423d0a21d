"""Predictions: the emotion that an image evokes, the reasoning and the confidence; exactly one `Prediction` per image."""

from __future__ import annotations

import os
import warnings as python_warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from types import MappingProxyType
from typing import Any

from emocaliber.core.calibrators import CALIBRATED, UNCALIBRATED, Calibrators
from emocaliber.core.model import Model, ModelError, Reply
from emocaliber.core.response import Malformed, Response, parse
from emocaliber.core.sources import SOURCES, Evidence, margin, norm, verb, verb_mean
from emocaliber.core.tasks import CUSTOM_TASK, labels_of
from emocaliber.core.tasks import task as task_called
from emocaliber.emotions.labels import ANY_ANSWER, Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError, did_you_mean
from emocaliber.inference.engine import ImageQuestion, QuestionResult, ask_all, question_for
from emocaliber.inference.plan import sha256_of_model
from emocaliber.io.images import DEFAULT_LIMITS, ImageError, ImageLimits, OpenedImage
from emocaliber.io.rows import display_name
from emocaliber.models import DEFAULT_MODEL, LOCAL, kind_of, load_model
from emocaliber.models.card import GUESSED, is_guess, read_calibrators, says_unfamiliar
from emocaliber.models.taught import TaughtQuestions
from emocaliber.predict.given import UNNAMED, ImageSource, each_image, key_of, refuse_address, to_open
from emocaliber.predict.prediction import Failure, Prediction, Predictions
from emocaliber.render.progress import Progress, in_notebook
from emocaliber.trust.acceptance import ANY, Acceptance, Decision, GivenCertificate

GivenLabels = str | Iterable[str]
DEFAULT_TASK = "EmoSet-8"
_SOURCES = (*SOURCES, CALIBRATED)  # that a user can name
CHANCE = "chance"  # the confidence source of a model that was not taught the labels, and of a guess about an unfamiliar picture
FURTHER = ("consistency", "p_true")  # confidence sources of `respond` alone
RETRIES = 3  # for an answer that cannot be parsed
_AT_ONCE = 256  # images of a stream that are open at the same time, for a model without a window


@dataclass(frozen=True)
class Query:
    """The question asked of every image: a task or custom labels, and which answers are accepted."""

    task: str
    candidates: Labels
    acceptance: Acceptance = ANY

    @classmethod
    def of(
        cls,
        task: str | None = None,
        labels: GivenLabels | None = None,
        min_confidence: float | None = None,
        certificate: GivenCertificate | None = None,
    ) -> Query:
        """The query of a VECBench task (default: EmoSet-8), or of custom `labels` (an iterable, or a string with commas).

        Raises UserError for an unknown task, a task beside labels, fewer than two different labels, and as `Acceptance.of` does; TypeError
        for labels that are no text and a `min_confidence` that is no number.
        """
        acceptance = Acceptance.of(min_confidence, certificate)
        if labels is None:
            known = task_called(task or DEFAULT_TASK)
            return cls(known.name, labels_of(known.name, taxonomy(known.taxonomy).labels), acceptance)
        if task is not None:
            raise UserError(f"give the task {task!r} or labels of your own, not both")
        given = labels.split(",") if isinstance(labels, str) else list(labels)
        if other := next((label for label in given if not isinstance(label, str)), None):
            raise TypeError(f"labels must be text, not {type(other).__name__} ({other!r})")
        candidates = tuple(label.strip() for label in given)
        if len(candidates) < 2:
            raise UserError(f"the labels are {', '.join(map(repr, candidates))}; give two or more, with commas between them: awe,fear,calm")
        if not all(candidates):
            raise UserError(f"one of the labels {', '.join(map(repr, candidates))} is empty; leave it out, with its comma")
        return cls(CUSTOM_TASK, Labels.of(candidates), acceptance)


class Predictor:
    """Predicts emotions with a model; made by `load`.

    `confidence` is the confidence source; by default that of the model's card, or else the stated confidence. With `calibrators`, by
    default those of the card, it is `calibrated` for the questions that they were fitted for. `called` is the name by which the model was
    loaded, by which a certificate knows its weights. Raises UserError for an unknown source.
    """

    def __init__(
        self, model: Model, confidence: str | None = None, calibrators: Calibrators | None = None, called: str | None = None
    ) -> None:
        self.model = model
        self._called = called
        self.calibrators: Calibrators | None = calibrators or getattr(model, "calibrators", None)
        self._named = confidence is not None
        of_card = getattr(model, "confidence_source", None) or verb.__name__
        self.confidence_source: str = confidence or (CALIBRATED if calibrators else of_card)
        if self.confidence_source in FURTHER:
            need = f"{self.confidence_source} takes further replies for each image, which `emocaliber respond` asks for"
            raise UserError(f"{need}; here, give one of {', '.join(_SOURCES)}")
        if self.confidence_source not in _SOURCES:
            meant = did_you_mean(self.confidence_source, _SOURCES)
            raise UserError(f"there is no confidence source {self.confidence_source!r}; the sources are {', '.join(_SOURCES)}{meant}")
        self._taught = TaughtQuestions.of(model)
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        return f"<Predictor of {self.model.name}, confidence: {self.confidence_source}>"

    def predict(
        self,
        image: ImageSource,
        task: str | None = None,
        labels: GivenLabels | None = None,
        min_confidence: float | None = None,
        certificate: GivenCertificate | None = None,
    ) -> Prediction:
        """The prediction for one image: a path, the bytes of an image file, an open file, a Pillow image, an array or a torch tensor.

        `labels` replaces the candidates of the task. `certificate`, of `certify` or its file, decides which answers are accepted. What
        users of the model must know comes once as a warning. An image that cannot be used raises nothing: its prediction has an `error`.
        Raises UserError for an unknown task, invalid labels, a `min_confidence` outside [0, 1] or beside a certificate, a file that is no
        certificate, and an address of the web; TypeError for anything that is no image.
        """
        query = Query.of(task, labels, min_confidence, certificate)
        refuse_address(image)
        self._warn(query)
        return next(self.ask([image], query))

    def predict_many(
        self,
        images: ImageSource | Iterable[ImageSource],
        task: str | None = None,
        labels: GivenLabels | None = None,
        min_confidence: float | None = None,
        certificate: GivenCertificate | None = None,
        *,
        done: Collection[str] = (),
        progress: bool | None = None,
    ) -> Predictions:
        """The predictions for many images, in order: a list, a generator, a folder, a glob, or an array of four dimensions.

        They are computed in batches while they are read (see `Predictions`); images whose path is in `done` are left out. `progress`
        shows a bar; by default in notebooks. Raises as `predict` does, and UserError for a folder or glob without images.
        """
        query = Query.of(task, labels, min_confidence, certificate)
        found = each_image(images)
        self._warn(query)
        coming = self.ask(found, query, done=done)
        if in_notebook() if progress is None else progress:
            coming = _with_bar(coming, len(found) if isinstance(found, Sequence) else None)
        return Predictions(coming, len(found) if isinstance(found, Sequence) and not done else None)

    def ask(
        self, images: Iterable[ImageSource], query: Query, *, done: Collection[str] = (), limits: ImageLimits = DEFAULT_LIMITS
    ) -> Iterator[Prediction]:
        """The predictions for single images, opened within `limits`, without warnings.

        A sequence is checked before the first of them; a stream as it is read.
        """
        question, wanted = self._question(query)

        def asks(some: Iterable[ImageSource]) -> list[ImageQuestion]:
            return [ImageQuestion(key_of(image), to_open(image, limits), question, wanted) for image in some]

        if isinstance(images, Sequence):
            results = ask_all(asks(images), self.model, done=done, limits=limits)
        else:
            stream = iter(images)
            parts = iter(lambda: asks(islice(stream, self.model.window or _AT_ONCE)), [])
            results = chain.from_iterable(ask_all(part, self.model, done=done, limits=limits) for part in parts)
        return (self._prediction(answered, query) for answered in results)

    def ask_each(self, asked: Sequence[tuple[OpenedImage | ImageError, Query]]) -> Iterator[Prediction]:
        """The predictions for images that are open, each asked its own query, in order; an `ImageError` becomes that prediction's error."""
        asks = [ImageQuestion(UNNAMED, image, *self._question(query)) for image, query in asked]
        for answered, (_, query) in zip(ask_all(asks, self.model), asked, strict=True):
            yield self._prediction(answered, query)

    def failed(self, error: ImageError | ModelError, query: Query) -> Prediction:
        """The prediction for an image that the model was not asked about, or gave no answer for."""
        ask = ImageQuestion(UNNAMED, ImageError(error.code, error.message), "", ANY_ANSWER)
        return self._prediction(QuestionResult(ask, None, error), query)

    def _question(self, query: Query) -> tuple[str, Labels]:
        """The question that the model is asked for a query, and the labels that it may answer."""
        if not (self._taught and self._taught.fixed):
            return question_for(query.task, query.candidates), query.candidates
        return question_for(*self._taught.asked_with(query.task, query.candidates)), self._taught.spelt(query.candidates)

    def source_for(self, query: Query) -> str:
        """The confidence source for this query: the one that the caller named, or else one that holds for its labels.

        A calibrator holds only for the question it was fitted for. For others it is replaced by `norm` where the model is asked a question
        it was taught, and by `verb_mean` where it is not; and by "chance" for labels that it was not taught. A model without a card may
        give no probabilities, and falls back to the stated confidence.
        """
        if self._named:
            return self.confidence_source
        if self.untaught(query):
            return CHANCE
        if self.confidence_source != CALIBRATED or self._is_calibrated(query):
            return self.confidence_source
        if getattr(self.model, "confidence_source", None) is None:
            return verb.__name__
        return norm.__name__ if self._taught and self._taught.fixed else verb_mean.__name__

    def untaught(self, query: Query) -> bool | None:
        """Whether the model was not taught the labels of this query; None if that is not known."""
        covered = self._taught.covers(query.candidates) if self._taught else None
        return None if covered is None else not covered

    def warnings(self, query: Query) -> tuple[str, ...]:
        """Warnings about this query: the model was not trained on it, is not calibrated for it, or the certificate does not hold for it."""
        uncertified = self._decided(None, query).uncertified
        return (*self._warnings_of_card(query), *([f"no answer is accepted, and none rejected: {uncertified}"] if uncertified else []))

    def _warnings_of_card(self, query: Query) -> tuple[str, ...]:
        name, asked = self.model.name, "labels of your own" if query.task == CUSTOM_TASK else query.task
        tasks = ", ".join(self._taught.tasks) if self._taught else ""
        if self.untaught(query):
            confidence = "" if self._named else ", and their confidence is that of chance"
            return (f"{name} was not taught all of these labels, only those of {tasks}: its answers are guesses{confidence}",)
        if self._taught and query.task not in self._taught.tasks and not self._is_calibrated(query):
            other, _ = self._taught.asked_with(query.task, query.candidates)
            if other != query.task:
                return (f"{name} was not taught {asked} as a question; it is asked that of {other}, and answers among these labels only",)
            return (f"{name} was trained on {tasks}; its answers and confidence on {asked} are unreliable",)
        if self.confidence_source == CALIBRATED and not self._is_calibrated(query):
            why = self.calibrators.why_not(query.task, query.candidates) if self.calibrators else "it has no calibrator"
            return (f"{name} is not calibrated on {asked}, so its confidence there may be far off: {why}",)
        return ()

    def _warn(self, query: Query) -> None:
        for sentence in (*((self.model.notice or "").splitlines()), *self.warnings(query)):
            if sentence not in self._warned:
                self._warned.add(sentence)
                python_warnings.warn(sentence, stacklevel=3)

    def _is_calibrated(self, query: Query) -> bool:
        return self.calibrators is not None and self.calibrators.find(query.task, query.candidates) is not None

    def knows_people(self, query: Query) -> bool:
        """Whether the share of people who would give an answer is known for this query."""
        found = self.calibrators.find(query.task, query.candidates) if self.calibrators else None
        return found is not None and found.people is not None

    def _calibrated(self, evidence: Evidence | None, query: Query) -> dict[str, Any]:
        """The fields of the calibrators: the calibrated confidence, or None and the reason for it, and the share of people."""
        if self.calibrators is None:
            return {CALIBRATED: None, UNCALIBRATED: "the model has no calibrator"}
        needed = self.calibrators.sources(query.task, query.candidates)
        given = {name: SOURCES[name](evidence) if name in SOURCES else None for name in needed} if evidence else None
        return self.calibrators.fields(query.task, query.candidates, given)

    def _decided(self, confidence: float | None, query: Query) -> Decision:
        """Whether an answer with this confidence is accepted."""
        source, model = self.source_for(query), self.model.name
        return query.acceptance.decide(confidence, query.task, query.candidates, source=source, model=model, weights=lambda: self._weights)

    @cached_property
    def _weights(self) -> str | None:
        """The SHA-256 of the model's weights, if it is known where they are."""
        return sha256_of_model(self._called) if self._called else None

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
        guessed = is_guess(self.model, response)
        source = CHANCE if guessed and not self._named else self.source_for(query)
        least = _chance(source, query)
        calibrated = {CALIBRATED: None, UNCALIBRATED: GUESSED} if guessed else self._calibrated(evidence, query)
        by_rule: dict[str, Any] = {CHANCE: least, CALIBRATED: calibrated[CALIBRATED]}
        read = None if evidence is None else by_rule[source] if source in by_rule else SOURCES[source](evidence)
        confidence = None if read is None else round(max(read, least), 6)
        decided = self._decided(confidence, query)
        choice = evidence.at_commitment if evidence else None
        alternatives = sorted(choice.distribution.items(), key=lambda item: -item[1]) if choice else []
        return Prediction(
            image=image,
            task=query.task,
            emotion=response.answer if response else None,
            confidence=confidence,
            confidence_source=source,
            **calibrated,
            accepted=decided.accepted,
            certificate=decided.certificate,
            uncertified=decided.uncertified,
            unfamiliar=says_unfamiliar(self.model, response),
            untaught=self.untaught(query),
            reasoning=response.reasoning if response else None,
            alternatives=MappingProxyType({emotion: round(probability, 6) for emotion, probability in alternatives}),
            response=reply.text if reply and not reply.error else None,
            model=self.model.name,
            seconds=round(reply.seconds, 4) if reply else None,
            error=error,
            usage=reply.usage if reply else None,
            notes=(
                *answered.notes,
                *_retries_note(reply),
                *(response.lenient if response else ()),
                *_confidence_notes(response, read, source, query),
            ),
        )


def load(
    name: str = DEFAULT_MODEL, *, confidence: str | None = None, calibrator: str | os.PathLike[str] | None = None, **settings: Any
) -> Predictor:
    """A predictor with the model called `name`: "lite" and "tiny" (shipped with the package), or any other that `models.load_model` knows.

    `confidence` is the confidence source, one of `sources.SOURCES` (default: that of the model's card, or "verb", the stated one).
    `calibrator` is a file of `emocaliber calibrate fit`, by default what the model's card holds; a question or a model that it was not
    fitted for is not calibrated, which its predictions say. `settings` are those of the model's class, such as `batch_size`, `device` or
    `threads`. A local model answers nothing but the candidates, unless `free`, and samples an answer that cannot be parsed again, up to
    `retries` times (default: 3). Raises UserError for a model or a calibrator that cannot be loaded.
    """
    for_predictions = {"retries": RETRIES, "free": False} if kind_of(name) == LOCAL else {}
    model = load_model(name, **for_predictions | settings)
    calibrators = None if calibrator is None else read_calibrators(calibrator).for_model(model.name, sha256_of_model(name))
    return Predictor(model, confidence, calibrators, name)


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


def _with_bar(coming: Iterator[Prediction], total: int | None) -> Iterator[Prediction]:
    with Progress("predicting", "images", total) as bar:
        for prediction in coming:
            bar.advance()
            yield prediction
