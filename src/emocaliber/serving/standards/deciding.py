"""Decisions: typed questions about one picture each, put to the engine, and what becomes of pictures and answers that cannot be used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from emocaliber.core.model import MODEL_ERRORS
from emocaliber.io.images import CODES
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import Query
from emocaliber.serving.standards.options import Options, Shares, shares
from emocaliber.serving.standards.wire import Finding, Invalid, Place

ALIAS = "jev-latest"  # the model that clients of System One ask for by default; here it is the model that is served
MOST_QUESTIONS = 64  # of a request: each is an answer that the model writes
UNREAD = (
    "the model was asked which emotion the picture evokes, among the options; it reads no instructions, no descriptions of options and no "
    "further text"
)
UNMAPPED = (
    "This model says which emotion a picture evokes, and nothing else; name labels of one of its tasks, such as positive and negative, or "
    "ask a choice among options of your own."
)

CANNOT_HELP = ("malformed", "refused", "bad_request", "not_recorded")  # asked again, the model would do the same

Kind = Literal["choice", "score", "yes"]
Predict = Callable[[Sequence[bytes], Query], Awaitable[list[Prediction]]]


@dataclass(frozen=True)
class Decision:
    """A typed question about one picture. `place` is where it stands in the body, `picture_place` where its picture does."""

    name: str | None
    kind: Kind
    options: Options
    image: bytes
    place: Place
    picture_place: Place


@dataclass(frozen=True)
class Decided:
    """A decision with its prediction and the probability of each option."""

    decision: Decision
    prediction: Prediction
    shares: Shares

    @property
    def choice(self) -> str:
        """The likeliest option, as written in the request."""
        return self.decision.options.names[self.shares.best]


class Failed(Exception):
    """A request that was right, and whose model gave no answer. `code` is one of `MODEL_ERRORS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


async def decide(decisions: Sequence[Decision], predict: Predict) -> list[Decided]:
    """The decisions with their answers, in order. Questions with the same query about the same picture are asked once.

    Raises Invalid, with all findings, for pictures that cannot be opened and answers that cannot be read; `Failed` for a model that fails.
    """
    by_query: dict[Query, dict[bytes, None]] = {}
    for each in decisions:
        by_query.setdefault(each.options.query, {})[each.image] = None
    answered = await all_or_none([predict(list(images), query) for query, images in by_query.items()])
    found = {
        (query, image): prediction
        for (query, images), predictions in zip(by_query.items(), answered, strict=True)
        for image, prediction in zip(images, predictions, strict=True)
    }
    given = [(each, found[each.options.query, each.image]) for each in decisions]
    if wrong := [finding for each, prediction in given if (finding := _finding(each, prediction))]:
        raise Invalid(dict.fromkeys(wrong))
    return [_decided(each, prediction) for each, prediction in given]


async def all_or_none(work: Sequence[Awaitable[Any]]) -> list[Any]:
    """The results of all; if one fails, the others are cancelled before its exception is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _finding(decision: Decision, prediction: Prediction) -> Finding | None:
    error = prediction.error
    if error is None:
        return None
    if error.code in CODES and error.code not in ("internal", "timeout"):
        return Finding(decision.picture_place, error.message, f"image.{error.code}")
    if error.code in CANNOT_HELP:
        return Finding(decision.place, error.message, f"model.{error.code}")
    raise Failed(error.code if error.code in MODEL_ERRORS else "server_error", error.message)


def _decided(decision: Decision, prediction: Prediction) -> Decided:
    found = shares(prediction, decision.options)
    if found is None:
        message = f"{prediction.model} gives neither probabilities nor a confidence, so nothing can be said about the options."
        raise Invalid([Finding(decision.place, message, "model.no_probabilities")])
    return Decided(decision, prediction, found)
