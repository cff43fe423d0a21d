"""SEPM's confidence-guided coarse-to-fine inference (Fang et al. 2025): first the polarity, then the emotions that fit it.

The other half of SEPM drops image tokens that the model pays little attention to, which needs the inside of a model; it is not here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from itertools import groupby

from emocaliber.emotions import BUILT_IN, Labels, taxonomy
from emocaliber.models.base import Reply, Request
from emocaliber.prompts import listed
from emocaliber.sources import evidence
from emocaliber.strategies.wrapper import Wrapper, asked, extended

POLARITIES = Labels(("positive", "negative"))
CERTAIN = 0.1  # the paper's alpha: the least variance of the two probabilities (its eq. 4) at which the first answer is relied on
_QUESTION = (
    "Is the emotion that this image evokes positive or negative? Positive emotions are {positive}; negative emotions are {negative}. "
    "Respond in the format: <answer>{{positive or negative}}</answer>"
)


class CoarseToFine(Wrapper):
    """Asks about the polarity, then the question itself with the candidates of that polarity alone.

    Where the probabilities of the two are too close, or the first answer cannot be read, all candidates stay; in the first case the
    question says how close they were. A backend without log-probabilities is taken at its word. Questions whose candidates are not of
    both polarities, such as those about sentiment, are asked as they are. The reply is that to the second question.
    """

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """One reply for each request, in their order, with the cost of both questions."""
        for two_steps, part in groupby(requests, _can_be_narrowed):
            yield from (self._narrowed if two_steps else self.model.answer)(part)

    def _narrowed(self, requests: Iterable[Request]) -> Iterator[Reply]:
        firsts: deque[Reply] = deque()

        def questions() -> Iterator[Request]:
            for request, first in asked(self.model, requests, _coarse):
                firsts.append(first)
                yield _fine(request, first)

        for reply in self.model.answer(questions()):
            yield extended(reply, [firsts.popleft()])


@cache
def polarity(label: str) -> str | None:
    """The polarity of an emotion by the families of the built-in taxonomies (not by its valence: awe's is just below 0); else None."""
    for name in BUILT_IN:
        emotions = taxonomy(name)
        family = emotions.parents.get(emotions.canonical(label) or "")
        found = family if family in POLARITIES else polarity(family) if family and family != label else None
        if found:
            return found
    return None


def _can_be_narrowed(request: Request) -> bool:
    return {polarity(label) for label in request.candidates} >= set(POLARITIES) and listed(request.candidates) in request.question


def _of(candidates: Labels, wanted: str) -> Labels:
    """The candidates of a polarity, those of unknown polarity among them."""
    return candidates.only(label for label in candidates if polarity(label) in (wanted, None))


def _coarse(request: Request) -> Request:
    members = {each: ", ".join(label for label in request.candidates if polarity(label) == each) for each in POLARITIES}
    return replace(request, question=_QUESTION.format(**members), candidates=POLARITIES, temperature=0.0)


def _fine(request: Request, first: Reply) -> Request:
    understood = evidence(first, POLARITIES)
    if understood is None:
        return request
    choice = understood.at_answer
    if choice:
        positive, negative = (choice.distribution[each] for each in POLARITIES)
        if ((positive - negative) / 2) ** 2 < CERTAIN:
            hint = f" At first sight the emotion seemed positive with probability {positive:.0%} and negative with {negative:.0%}."
            return replace(request, question=request.question + hint)
    kept = _of(request.candidates, understood.response.answer)
    return replace(request, question=request.question.replace(listed(request.candidates), listed(kept)), candidates=kept)
