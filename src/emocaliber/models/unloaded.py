"""A model that is named and not loaded, for runs in which there is no image to ask it about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from emocaliber.core.model import Reply, Request
from emocaliber.models import LOCAL, checkpoint_of, kind_of
from emocaliber.models.card import DescribedByCard, notice_of, read_card


class UnloadedModel(DescribedByCard):
    """The model called `name` as far as its card describes it. It answers nothing: only images that cannot be opened may be given.

    With a `temperature`, it has the notice of a model that is asked at it.
    """

    window: int | None = None

    def __init__(self, name: str, *, temperature: float | None = None) -> None:
        place = name.partition(":")[2] if kind_of(name) != LOCAL else checkpoint_of(name)
        card = read_card(place) if kind_of(name) in (LOCAL, "vllm") else {}
        self.notice: str | None = None if temperature is None else notice_of(card, temperature)
        self.describe(card, str(place), constrained=kind_of(name) == LOCAL)

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """No replies. Raises RuntimeError if there is a request."""
        for request in requests:
            raise RuntimeError(f"{request.key}: {self.name} is not loaded")
        yield from ()
