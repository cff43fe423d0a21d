"""Asking a model about images: every question ends as exactly one result, in order, whatever the file turns out to be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from emocaliber.images import DEFAULT_LIMITS, ImageError, ImagePath, Limits, OpenedImage, open_images
from emocaliber.models.base import Model, Reply, Request
from emocaliber.response import Malformed, parse, question
from emocaliber.vecbench import TASKS, Sample, aliases_of, canonical_task

MAX_SIDE = 2048  # larger pictures are reduced as soon as they are open, so that a batch of them fits in memory


@dataclass(frozen=True)
class Ask:
    """A question about an image: a file, or what came of opening one. `key` says which it is, for resuming."""

    key: str
    image: ImagePath | OpenedImage | ImageError
    question: str
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """What came of one question: a reply, or the error that kept its image from being opened; and the notes of opening it."""

    ask: Ask
    reply: Reply | None
    error: ImageError | None
    notes: tuple[str, ...] = ()


def ask_all(
    asks: Sequence[Ask],
    model: Model,
    *,
    done: Collection[str] = (),
    limits: Limits = DEFAULT_LIMITS,
    workers: int = 2,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[Answered]:
    """Asks everything whose key is not in `done`, and yields the results in order. `progress` hears how many are through, skipped ones too.

    Batches are cut from the whole list, so a run that was broken off and goes on asks the same batches as an unbroken one.
    """
    limits = limits if limits.max_side else replace(limits, max_side=MAX_SIDE)
    for start in range(0, len(asks), model.batch_size):
        batch = asks[start : start + model.batch_size]
        if any(ask.key not in done for ask in batch):
            for result in _ask_batch(batch, start, model, limits, workers):
                if result.ask.key not in done:
                    yield result
        progress(start + len(batch))


def _ask_batch(batch: Sequence[Ask], seed: int, model: Model, limits: Limits, workers: int) -> Iterator[Answered]:
    files = open_images((ask.image for ask in batch if not isinstance(ask.image, OpenedImage | ImageError)), limits, workers=workers)
    pairs = [(ask, _shrunk(ask.image if isinstance(ask.image, OpenedImage | ImageError) else next(files))) for ask in batch]
    replies = model.answer(
        Request(result.image, ask.question, ask.candidates, seed) for ask, result in pairs if isinstance(result, OpenedImage)
    )
    for ask, result in pairs:
        if isinstance(result, ImageError):
            yield Answered(ask, None, result)
        else:
            yield Answered(ask, next(replies), None, result.notes)


def _shrunk(result: OpenedImage | ImageError) -> OpenedImage | ImageError:
    if isinstance(result, OpenedImage) and max(result.image.size) > MAX_SIDE:
        result.image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return result


def question_for(task: str, candidates: Sequence[str], *, confidence: bool = True) -> str:
    """The question of a task: about sentiment for the VSA tasks, about emotion for the others and for tasks of one's own."""
    known = TASKS.get(canonical_task(task))
    return question(candidates, kind=known.kind if known else "emotion", confidence=confidence)


def respond(
    samples: Sequence[Sample],
    model: Model,
    *,
    done: Collection[str] = (),
    confidence: bool = True,
    folder: str | Path | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[dict[str, Any]]:
    """Response rows for `samples`, in order, without those whose id is in `done`.

    `folder` is where the rows will lie, as image paths are relative to it. `confidence` asks for a stated one. A row's `confidence` holds
    `verb` (stated), `ans` (probability of the token that decides the answer) and `avg` (mean token probability), None where unknown.
    """
    by_id = {sample.id: sample for sample in samples}
    asks = [Ask(s.id, s.image, question_for(s.task, s.candidates, confidence=confidence), s.candidates) for s in samples]
    for result in ask_all(asks, model, done=done, progress=progress):
        sample, reply = by_id[result.ask.key], result.reply
        yield sample.to_row(folder) | {
            "model": model.name,
            "response": reply.text if reply else None,
            "confidence": confidences(reply, sample),
            "error": {"code": result.error.code, "message": result.error.message} if result.error else None,
            "seconds": round(reply.seconds, 4) if reply else None,
        }


def confidences(reply: Reply | None, sample: Sample) -> dict[str, float | None]:
    """The confidence of one reply by source."""
    if reply is None:
        return {"verb": None, "ans": None, "avg": None}
    response = parse(reply.text, sample.candidates, aliases=aliases_of(sample.task))
    return {
        "verb": None if isinstance(response, Malformed) else response.confidence,
        "ans": reply.answer_probability,
        "avg": reply.mean_probability,
    }
