"""The protocol of models: requests in, replies out, in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import exp
from types import MappingProxyType
from typing import Protocol

from PIL import Image

from emocaliber.emotions.labels import ANY_ANSWER, Labels


@dataclass(frozen=True)
class Request:
    """One image and the question asked of it.

    `candidates` are the labels allowed as answers; with none, any answer is allowed. `key` identifies the request in files and messages.
    Samples depend on `seed`, not on the other requests of a batch. `temperature` and `max_new_tokens` override the model's settings.
    """

    image: Image.Image
    question: str
    candidates: Labels = ANY_ANSWER
    key: str = ""
    seed: int = 0
    temperature: float | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", Labels.of(self.candidates))  # callers may give plain strings


@dataclass(frozen=True)
class Tokens:
    """The tokens of a response, without the end of the turn.

    `pieces` are their bytes; joined, they are the text in UTF-8. `logprobs` are their log-probabilities, before any sampling temperature
    where the backend provides these. `likeliest[i]` maps the likeliest pieces at position i (usually 20, with the chosen one) to their
    log-probabilities. `rollout_temperature` is the sampling temperature at which the confidence was trained.
    """

    pieces: tuple[bytes, ...]
    logprobs: tuple[float, ...]
    likeliest: Sequence[Mapping[bytes, float]]
    rollout_temperature: float = 1.0


@dataclass(frozen=True)
class Usage:
    """The usage of a reply: tokens read and written, and its cost in dollars where prices are known."""

    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None


@dataclass(frozen=True)
class ModelError:
    """The reason for which a model gave no text: `code` is one of `MODEL_ERRORS`, `message` a sentence."""

    code: str
    message: str


MODEL_ERRORS = (
    *("not_recorded", "refused", "bad_request", "bad_reply", "rate_limited", "server_error", "unreachable", "timeout"),
    "worker_failed",  # the worker of a cluster that was asked ended, again and again
)


@dataclass(frozen=True)
class Reply:
    """A model's reply to one request. `text` is empty if there is an `error`; fields that the backend does not provide are None.

    `attempts`: the number of attempts, as a model is asked again where it fails or its answer cannot be parsed.
    `further`: confidences by the sources that need further replies (see `emocaliber.models.strategies`). `readout`: the share of people who
    would name each candidate, by what a lite model's eyes read of the image, whatever the text says.
    """

    text: str
    seconds: float
    tokens: Tokens | None = None
    usage: Usage | None = None
    error: ModelError | None = None
    attempts: int = 1
    further: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))
    readout: Mapping[str, float] | None = None

    @property
    def mean_probability(self) -> float | None:
        """The mean token probability of the response, E_j[p_j] in equation 2; None without tokens."""
        return sum(map(exp, self.tokens.logprobs)) / len(self.tokens.logprobs) if self.tokens and self.tokens.logprobs else None


def mixed_seed(*parts: int) -> int:
    """A seed of 63 bits derived from several numbers; nearby numbers give unrelated seeds."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1


class Model(Protocol):
    """A vision-language model.

    `notice` is a sentence that its users must know. `window` is the number of requests to pass to one call of `answer`, as results may
    differ in the last digits with the composition of batches; None: all requests, as a stream.
    """

    name: str
    notice: str | None
    window: int | None

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order. Requests are taken when they are needed, a few ahead of the replies."""
        ...
