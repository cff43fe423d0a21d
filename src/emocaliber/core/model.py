"""What every model is to the rest of the house: requests in, replies out, in the same order."""

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

    `candidates` are the answers allowed, with their other spellings; where there are none, any answer is. `key` names the request in files
    and messages. `seed` alone decides what is sampled, whatever else is asked beside it. `temperature` and `max_new_tokens` replace the
    model's own settings.
    """

    image: Image.Image
    question: str
    candidates: Labels = ANY_ANSWER
    key: str = ""
    seed: int = 0
    temperature: float | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", Labels.of(self.candidates))  # whoever asks may give them as plain texts


@dataclass(frozen=True)
class Recalibration:
    """How a model's stated confidence is read after the fact: as the mean over its digits at a `temperature` (Guo et al. 2017), its
    log-odds moved by a `bias` (Platt 1999). Both were fitted on held-out answers to one question, and say nothing about another."""

    temperature: float
    bias: float


@dataclass(frozen=True)
class Tokens:
    """The tokens of a response, without the end of the turn: `pieces`, which join to its text in UTF-8, and what the model gave each.

    `logprobs` are those of the pieces, before any sampling temperature where the backend can say so; `likeliest[i]` maps the likeliest
    pieces at place i (usually 20), the chosen one among them, to their log-probabilities. `rollout_temperature` is the one at which the
    model's confidence was trained to be sampled, and `recalibration` how it is read since, where one was fitted for the question.
    """

    pieces: tuple[bytes, ...]
    logprobs: tuple[float, ...]
    likeliest: Sequence[Mapping[bytes, float]]
    rollout_temperature: float = 1.0
    recalibration: Recalibration | None = None


@dataclass(frozen=True)
class Usage:
    """What a reply took: tokens read and written, and its price in dollars where prices are known."""

    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None


@dataclass(frozen=True)
class ModelError:
    """Why a model gave no text: one of `MODEL_ERRORS`, and a sentence."""

    code: str
    message: str


MODEL_ERRORS = ("not_recorded", "refused", "bad_request", "bad_reply", "rate_limited", "server_error", "unreachable", "timeout")


@dataclass(frozen=True)
class Reply:
    """What a model said; what a backend cannot give is None. With an `error` there is no text.

    `attempts`: how often the model was asked, as a model may be asked again when it fails or its answer cannot be read.
    `further`: confidence by the sources that cost replies of their own (see `emocaliber.models.strategies`).
    """

    text: str
    seconds: float
    tokens: Tokens | None = None
    usage: Usage | None = None
    error: ModelError | None = None
    attempts: int = 1
    further: Mapping[str, float | None] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def mean_probability(self) -> float | None:
        """E_j[p_j] of equation 2: the mean token probability of the response."""
        return sum(map(exp, self.tokens.logprobs)) / len(self.tokens.logprobs) if self.tokens and self.tokens.logprobs else None


class Model(Protocol):
    """A vision-language model.

    `notice` is a sentence its users must know. `window` is how many requests it wants in one call of `answer`, as what it computes together
    may differ in the last digits from what it computes apart; None: all of them, as a stream.
    """

    name: str
    notice: str | None
    window: int | None

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order. Requests are taken when they are needed, a few ahead of the replies."""
        ...


def mixed_seed(*parts: int) -> int:
    """One seed of 63 bits from several numbers; nearby ones give unrelated seeds."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1
