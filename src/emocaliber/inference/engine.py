"""The inference engine: opens images, asks a model about them, and yields exactly one result per question, in order.

`ask_all` works on single questions, `respond` on samples and response rows.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any
from zlib import crc32

from PIL import Image

from emocaliber.core.calibrators import UNCALIBRATED, Calibrators
from emocaliber.core.model import Model, ModelError, Reply, Request
from emocaliber.core.prompts import EMOCALIBER, Prompt
from emocaliber.core.samples import Sample
from emocaliber.core.sources import Evidence, confidences, evidence
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.io.images import DEFAULT_LIMITS, ImageError, ImageLimits, ImagePath, OpenedImage, open_images
from emocaliber.io.rows import RowWriter, display_name, numbered_rows
from emocaliber.models.card import GUESSED, is_guess
from emocaliber.render.progress import Progress

MAX_SIDE = 2048  # larger images are downscaled as soon as they are open, so that a batch of them fits in memory


@dataclass(frozen=True)
class ImageQuestion:
    """A question about an image, given as a file, as the outcome of opening one, or as a function that opens or makes it when it is needed.

    `key` identifies the question when a run is resumed.
    """

    key: str
    image: ImagePath | OpenedImage | ImageError | Callable[[], OpenedImage | ImageError]
    question: str
    candidates: Labels


@dataclass(frozen=True)
class QuestionResult:
    """The result of one question: the model's reply, or None if the image could not be opened.

    `error` is that of the image, or that of the reply; None if there is an answer. `notes` are those of opening the image.
    """

    ask: ImageQuestion
    reply: Reply | None
    error: ImageError | ModelError | None
    notes: tuple[str, ...] = ()


def ask_all(
    asks: Sequence[ImageQuestion],
    model: Model,
    *,
    done: Collection[str] = (),
    limits: ImageLimits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[QuestionResult]:
    """The results of all questions whose key is not in `done`, in order.

    `progress` is called with the number of questions completed so far, skipped ones included. The windows that the model answers together
    are cut from the whole list, so that a resumed run asks the same windows as an uninterrupted one.
    """
    limits = limits if limits.max_side else replace(limits, max_side=MAX_SIDE)
    window = model.window or max(len(asks), 1)
    for start in range(0, len(asks), window):
        part = asks[start : start + window]
        missing = [ask for ask in part if ask.key not in done]
        through = start + len(part) - len(missing)
        progress(through)
        for result in _ask_window(part if model.window else missing, model, limits, workers) if missing else ():
            if result.ask.key not in done:
                yield result
                through += 1
                progress(through)


def _ask_window(asks: Sequence[ImageQuestion], model: Model, limits: ImageLimits, workers: int) -> Iterator[QuestionResult]:
    """The results of `asks` in order. Images are opened as the model takes its requests."""
    waiting: deque[tuple[ImageQuestion, tuple[str, ...] | ImageError]] = (
        deque()
    )  # taken by the model, with the notes of opening; or never to be
    paths = [ask.image for ask in asks if not (isinstance(ask.image, OpenedImage | ImageError) or callable(ask.image))]
    files = open_images(paths, limits, workers=workers)

    def requests() -> Iterator[Request]:
        for ask in asks:
            opened = ask.image() if callable(ask.image) else ask.image
            result = opened if isinstance(opened, OpenedImage | ImageError) else next(files)
            if isinstance(result, ImageError):
                waiting.append((ask, result))
            else:
                waiting.append((ask, result.notes))
                yield Request(downscaled(result.image), ask.question, ask.candidates, ask.key, seed=crc32(os.fsencode(ask.key)))

    replies = chain(model.answer(requests()), repeat(None))  # after the last reply, only errors are left
    for reply in replies:
        while waiting:
            ask, opened = waiting.popleft()
            if not isinstance(opened, ImageError):
                break
            yield QuestionResult(ask, None, opened)
        else:
            return
        assert reply is not None, "a model gives one reply for each request"
        yield QuestionResult(ask, reply, reply.error, opened)


def downscaled(image: Image.Image) -> Image.Image:
    """The image with no side above `MAX_SIDE` pixels; a larger one is resized in place."""
    if max(image.size) > MAX_SIDE:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return image


def question_for(task: str, candidates: Sequence[str], *, confidence: bool = True) -> str:
    """The question that EmoCaliber's own models are asked: that of the released model card."""
    return EMOCALIBER.question(task, candidates, confidence=confidence)


def respond(
    samples: Sequence[Sample],
    model: Model,
    *,
    prompt: Prompt = EMOCALIBER,
    lenient: bool = True,
    done: Collection[str] = (),
    confidence: bool = True,
    folder: str | Path | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
    progress: Callable[[int], object] = lambda count: None,
    calibrators: Calibrators | None = None,
) -> Iterator[dict[str, Any]]:
    """Response rows for `samples`, in order, without those whose id is in `done`.

    `folder` is the folder of the row file, as image paths are relative to it. `confidence` asks for a stated confidence. Unless `lenient`,
    answers must be in the five steps, and every row has `"lenient": false`. A row's `confidence` holds a number or None for each of
    `sources.SOURCES` and for each source that a strategy adds. With `calibrators`, by default those of the model's card, it also has
    `calibrated`, a number or None, `uncalibrated`, the reason for None, and, where they know them, the shares of people.
    """
    calibrators = calibrators or getattr(model, "calibrators", None)
    for sample, result, understood in understand(
        samples, model, prompt, lenient, done=done, confidence=confidence, limits=limits, progress=progress
    ):
        asked = (model, prompt, lenient, folder, calibrators)
        yield response_row(sample, result.reply, result.error, understood, *asked)


def response_row(
    sample: Sample,
    reply: Reply | None,
    error: ImageError | ModelError | None,
    understood: Evidence | None,
    model: Model,
    prompt: Prompt,
    lenient: bool,
    folder: str | Path | None,
    calibrators: Calibrators | None,
) -> dict[str, Any]:
    """The row of `respond` for a sample: the reply of the model, what was `understood` of it, and the error, or None."""
    stated = confidences(understood) | (dict(reply.further) if reply else {})
    row = sample.to_row(folder) | {
        "model": model.name,
        "prompt": prompt.name,
        "response": reply.text if reply and not reply.error else None,
        "confidence": stated,
        "error": {"code": error.code, "message": error.message} if error else None,
        "seconds": round(reply.seconds, 4) if reply else None,
    }
    if not lenient:
        row["lenient"] = False
    if calibrators:
        guessed = understood is not None and is_guess(model, understood.response)
        fields = calibrators.fields(sample.task, sample.candidates, stated if understood and not guessed else None)
        row |= fields | ({UNCALIBRATED: GUESSED} if guessed else {})
    if reply and reply.usage:
        row["usage"] = asdict(reply.usage)
    return row


def understand(
    samples: Sequence[Sample],
    model: Model,
    prompt: Prompt = EMOCALIBER,
    lenient: bool = True,
    *,
    confidence: bool = True,
    done: Collection[str] = (),
    limits: ImageLimits = DEFAULT_LIMITS,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[tuple[Sample, QuestionResult, Evidence | None]]:
    """Each sample with its result and the evidence in the reply (None if there is no readable answer). Options as in `respond`."""
    by_id = {sample.id: sample for sample in samples}
    asks = [ImageQuestion(s.id, s.image, prompt.question(s.task, s.candidates, confidence=confidence), s.candidates) for s in samples]
    for result in ask_all(asks, model, done=done, limits=limits, progress=progress):
        sample, reply = by_id[result.ask.key], result.reply
        yield sample, result, evidence(reply, sample.candidates, lenient=lenient) if reply else None


def respond_into(file: str | Path, samples: Sequence[Sample], load: Callable[[], Model], *, label: str, **asked: Any) -> None:
    """Adds to `file` the rows of `respond` for all `samples` that it lacks, with a progress bar called `label` on stderr.

    The model is loaded only if rows are missing. `asked` are further arguments of `respond`. Raises UserError if a row in the file belongs
    to another sample with the same id. The caller checks that the rows were made with the same settings (`Workspace`).
    """
    with RowWriter(file, resume=True) as writer, Progress(label, "answers", len(samples)) as bar:
        _check_rows(file, samples)
        if any(sample.id not in writer.done for sample in samples):
            for row in respond(samples, load(), done=writer.done, progress=bar.to, **asked):
                writer.write(row)


def _check_rows(file: str | Path, samples: Sequence[Sample]) -> None:
    wanted = {sample.id: sample.to_row() for sample in samples}
    for number, row in numbered_rows(file):
        sample = wanted.get(row["id"], {})
        for name in ("task", "candidates", "ground_truth"):
            if name in sample and sample[name] != row.get(name):
                raise UserError(
                    f"{display_name(file)}, line {number}: {name} of sample {row['id']!r} was {row.get(name)!r}, and is {sample[name]!r}; "
                    "give the same samples, or remove the file to ask again"
                )
