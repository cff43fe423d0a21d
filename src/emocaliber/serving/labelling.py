"""The page of `emocaliber label`, on which people say what pictures evoke, each without seeing the others' votes or the model's answer."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from emocaliber.core.tasks import TASKS
from emocaliber.errors import UserError
from emocaliber.io.images import DEFAULT_LIMITS, ImageError, ImageLimits, open_image
from emocaliber.io.rows import display_name
from emocaliber.predict.predictor import Predictor, Query
from emocaliber.serving.errors import Refused, json_response, on_error
from emocaliber.serving.page import HEADERS, page_routes
from emocaliber.serving.votes import SKIPPED, Votes, person_key

_SIDE = 1600  # pixels of a picture on the page
_MOST_BYTES = 4096  # of a vote
_FILES = ("page.css", "label.css", "label.js", "cards.js", "words.js", "icon.svg")

Handler = Callable[[Request], Awaitable[Response]]


def create_label_app(
    votes: Votes,
    images: Sequence[str],
    query: Query,
    secret: str,
    predictor: Predictor | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Starlette:
    """The application. All that it tells needs `secret` as a bearer token, which the link to the page has after its "#".

    `votes` must be among the labels of `query` and on `images`. With a `predictor`, a person sees its answer to a picture after their vote,
    which then cannot be changed.
    """
    desk = _Desk(votes, images, query, predictor, limits)

    def guarded(handler: Handler) -> Handler:
        async def answer(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            try:
                if not secrets.compare_digest(given.encode(), secret.encode()):
                    raise Refused(401, "this page was opened without its whole link; copy it from the terminal again")
                response = await handler(request)
            except (Refused, UserError) as error:
                response = await on_error(request, error)
            response.headers.update({**HEADERS, "Cache-Control": "no-store"})
            return response

        return answer

    told = [
        Route("/label/state", guarded(desk.state)),
        Route("/label/pictures/{place:int}", guarded(desk.picture)),
        Route("/label/answers/{place:int}", guarded(desk.answer)),
        Route("/label/votes", guarded(desk.vote), methods=["POST"]),
    ]
    return Starlette(routes=[*page_routes("label.html", _FILES), *told])


class _Desk:
    """What the page is told, and the votes it brings."""

    def __init__(self, votes: Votes, images: Sequence[str], query: Query, predictor: Predictor | None, limits: ImageLimits) -> None:
        self._votes, self._images, self._query, self._predictor, self._limits = votes, images, query, predictor, limits
        self._answers: dict[int, asyncio.Task[dict[str, Any]]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def state(self, request: Request) -> Response:
        """The labels, and the pictures in this person's order, each with this person's vote."""
        person = request.query_params.get("person", "")
        person_key(person)
        theirs = self._votes.of(person)
        task = TASKS.get(self._query.task)
        pictures = [{"place": place, "done": place in theirs, "emotion": theirs.get(place)} for place in self._votes.order_for(person)]
        told = {"labels": list(self._query.candidates), "kind": task.kind if task else "emotion", "pictures": pictures}
        return json_response(told | {"model": self._predictor.model.name if self._predictor else None})

    async def picture(self, request: Request) -> Response:
        """A picture, upright and without metadata, as a JPEG of at most 1,600 pixels. The model begins to look at it as well."""
        place = self._place(request)
        if self._predictor:
            self._ask(place)
        return Response(await asyncio.to_thread(self._jpeg, place), media_type="image/jpeg")

    async def vote(self, request: Request) -> Response:
        """Keeps a vote: `{"person", "place", "emotion", "seconds"}`, where the emotion of somebody who cannot say is null."""
        given = await _json(request)
        person, place, emotion, seconds = (given.get(name) for name in ("person", "place", "emotion", "seconds"))
        fits = isinstance(person, str) and type(place) is int and 0 <= place < len(self._images) and isinstance(emotion, str | None)
        if not isinstance(person, str) or type(place) is not int or not fits:
            raise Refused(422, "a vote has a person, the place of a picture and an emotion or null")
        if self._is_settled(person, place):
            raise Refused(403, "you have seen the model's answer to this picture, so your vote on it stays as it was")
        self._votes.cast(
            person, place, emotion, round(float(seconds), 1) if isinstance(seconds, int | float) and 0 <= seconds < 1e6 else None
        )
        return json_response({"kept": True})

    async def answer(self, request: Request) -> Response:
        """The model's prediction row for a picture, once this person has voted on it."""
        place = self._place(request)
        if not self._is_settled(request.query_params.get("person", ""), place):
            raise Refused(403, "the model's answer is shown after your vote")
        return json_response(await self._ask(place))

    def _is_settled(self, person: str, place: int) -> bool:
        """Whether this person's vote can no longer change, as the model's answer may have been seen."""
        return self._predictor is not None and self._votes.of(person).get(place, SKIPPED) is not SKIPPED

    def _place(self, request: Request) -> int:
        place: int = request.path_params["place"]
        if place >= len(self._images):
            raise Refused(404, "there is no such picture")
        return place

    def _jpeg(self, place: int) -> bytes:
        try:
            image = open_image(self._images[place], replace(self._limits, max_side=_SIDE)).image
        except ImageError as error:
            raise Refused(422, error.message) from error
        image.thumbnail((_SIDE, _SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        return file.getvalue()

    def _ask(self, place: int) -> asyncio.Task[dict[str, Any]]:
        if place not in self._answers:
            self._answers[place] = asyncio.create_task(self._predicted(place))
        return self._answers[place]

    async def _predicted(self, place: int) -> dict[str, Any]:
        assert self._predictor
        predictor = self._predictor
        async with self._one_at_a_time:
            found = await asyncio.to_thread(lambda: next(predictor.ask([self._images[place]], self._query, limits=self._limits)))
        return found.to_row() | {"image": display_name(self._images[place])}


async def _json(request: Request) -> dict[str, Any]:
    """The JSON object that the request brings. Raises Refused for anything else, and for more bytes than a vote has."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise Refused(413, f"a vote has at most {_MOST_BYTES:,} bytes")
    try:
        given = json.loads(body)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Refused(422, "a vote is a JSON object")
    return given
