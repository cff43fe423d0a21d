"""What all strategies share: being a model that asks another one, and accounting for the replies that this costs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from emocaliber.models.base import Model, Reply, Request, Usage


class Wrapper:
    """To whoever looks at it, it is the model that it asks."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.name, self.notice, self.window = model.name, model.notice, model.window

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "model":  # copying asks for such names before there is a model
            raise AttributeError(name)
        return getattr(self.model, name)


def asked(model: Model, requests: Iterable[Request], question: Callable[[Request], Request]) -> Iterator[tuple[Request, Reply]]:
    """Each request, with the reply to what `question` makes of it.

    Requests wait in a queue, not in a `tee`: a model may take them in another thread than that which waits for its replies.
    """
    waiting: deque[Request] = deque()

    def questions() -> Iterator[Request]:
        for request in requests:
            waiting.append(request)
            yield question(request)

    for reply in model.answer(questions()):
        yield waiting.popleft(), reply


def extended(reply: Reply, others: Sequence[Reply], further: Mapping[str, float | None] | None = None) -> Reply:
    """The reply with what `others` took added to its seconds and usage, and with confidences from `further` sources."""
    usages = [each.usage for each in (reply, *others) if each.usage]
    costs = [usage.cost for usage in usages if usage.cost is not None]
    usage = Usage(
        sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages), sum(costs) if costs else None
    )
    seconds = reply.seconds + sum(other.seconds for other in others)
    return replace(reply, seconds=seconds, usage=usage if usages else None, further={**reply.further, **(further or {})})
