"""What every model is to the rest of the house: requests in, replies out, in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from PIL import Image


@dataclass(frozen=True)
class Request:
    """One image, the question asked of it, and the answers allowed. `seed` decides what is sampled, where a model samples."""

    image: Image.Image
    question: str
    candidates: tuple[str, ...]
    seed: int = 0


@dataclass(frozen=True)
class Reply:
    """What a model said, and what its token probabilities say about it. What a backend cannot give is None.

    `probabilities`: of each token of the response (end token included) as the model gave them, before any sampling temperature.
    `answer_probability`: of the token that decides the answer inside `<answer>`.
    `alternatives`: the distribution over the candidates where the response first names its emotion (usually inside `<analysis>`; after
    that, `<answer>` only repeats it). It sums to 1.
    `attempts`: how often the model was asked, as a model may be asked again when its answer cannot be read.
    """

    text: str
    seconds: float
    probabilities: tuple[float, ...] | None = None
    answer_probability: float | None = None
    alternatives: Mapping[str, float] | None = None
    attempts: int = 1

    @property
    def mean_probability(self) -> float | None:
        """E_j[p_j] of equation 2: the mean token probability of the response."""
        return sum(self.probabilities) / len(self.probabilities) if self.probabilities else None


class Model(Protocol):
    """A vision-language model. `notice` is a sentence its users must know, `batch_size` how many requests it likes at once."""

    name: str
    notice: str | None
    batch_size: int

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order."""
        ...
