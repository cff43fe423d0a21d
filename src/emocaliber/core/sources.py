"""Confidence sources: one function for each, all of which read the same reply.

The paper compares three: `verb` (stated), `ans` (answer token) and `avg` (all tokens). After reasoning, the answer only repeats the label
of the analysis, so `ans` is near 1 in any case; `commit`, `norm` and `margin` use the position where the emotion is named *first*.
docs/confidence-sources.md has formulas and limits. A source that a reply does not provide is None; scoring counts these.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import exp

from emocaliber.core.model import Reply, Tokens
from emocaliber.core.response import Malformed, Response, parse
from emocaliber.emotions.labels import Labels

P_TRUE_QUESTION = "Someone was asked: {question}\nTheir answer is: {answer}\nIs that answer right? Reply with one word only, True or False."
_VALUE = re.compile(rb"<confidence>\s*(0|1|0\.[0-9]+|1\.0+)\s*</confidence>")
_ANSWER = re.compile(rb"<answer>[\s\"'`*]*")


@dataclass(frozen=True)
class Choice:
    """The probabilities of the candidates at a position where one is named.

    The decisive token is the first one after which only one candidate is possible.
    `distribution`: P(candidate) from the likeliest tokens at each step, normalised to sum to 1. `path`: the probability of the tokens up to
    and including the decisive one. `decisive`: the probability of the decisive token alone.
    """

    distribution: Mapping[str, float]
    path: float
    decisive: float


@dataclass(frozen=True)
class Evidence:
    """A reply with its parsed response and the labels of its question: the input of every source."""

    reply: Reply
    response: Response
    labels: Labels

    @cached_property
    def stated_number(self) -> StatedNumber | None:
        """The stated confidence with its alternatives; None without tokens, or without a readable confidence."""
        return stated_number(self.reply.tokens) if self.reply.tokens else None

    @cached_property
    def at_answer(self) -> Choice | None:
        """The choice inside `<answer>`."""
        return self._choice(lambda text: match.end() if (match := _last(_ANSWER, text)) else None)

    @cached_property
    def at_commitment(self) -> Choice | None:
        """The choice where the response first names its emotion, usually inside `<analysis>`. Negated mentions count as well."""
        pattern = self.labels.pattern(self.response.answer)

        def place(text: bytes) -> int | None:
            decoded = text.decode("utf-8", "replace")
            match = pattern.search(decoded)
            return len(decoded[: match.start()].encode()) if match else None

        return self._choice(place) or self.at_answer

    def _choice(self, find: Callable[[bytes], int | None]) -> Choice | None:
        tokens = self.reply.tokens
        start = find(b"".join(tokens.pieces)) if tokens else None
        return None if tokens is None or start is None else choice_at(start, tokens, self.labels)


def choice_at(start: int, tokens: Tokens, labels: Labels) -> Choice | None:
    """The choice among the candidates at byte offset `start` of the response; None if the text there names no candidate.

    An alternative token adds to the candidate that it starts, if it is only one; tokens that can start several or none are ignored.
    """
    mass = dict.fromkeys(labels, 0.0)
    said, path = b"", 1.0
    for place, lead in _places(start, len(b"".join(tokens.pieces)), tokens):
        chosen = tokens.pieces[place]
        for piece, logprob in tokens.likeliest[place].items():
            if piece != chosen and piece.startswith(lead) and len(meant := labels.possible_after(said + piece[len(lead) :])) == 1:
                mass[meant.pop()] += path * exp(logprob)
        said += chosen[len(lead) :]
        decisive = exp(tokens.logprobs[place])
        path *= decisive
        meant = labels.possible_after(said)
        if not meant:
            return None
        if len(meant) == 1:
            mass[meant.pop()] += path
            total = sum(mass.values())
            return Choice({candidate: value / total for candidate, value in mass.items()}, path, decisive) if total else None
    return None


def _places(start: int, end: int, tokens: Tokens) -> Iterator[tuple[int, bytes]]:
    """The places of the tokens that hold bytes `start` to `end`, each with the bytes of its token that lie before `start`."""
    ends = list(accumulate(map(len, tokens.pieces)))
    for place in range(bisect_right(ends, start), len(ends)):
        begin = ends[place] - len(tokens.pieces[place])
        if begin >= end:
            return
        yield place, tokens.pieces[place][: max(start - begin, 0)]


def _last(pattern: re.Pattern[bytes], text: bytes) -> re.Match[bytes] | None:
    return next(reversed(list(pattern.finditer(text))), None)


@dataclass(frozen=True)
class StatedNumber:
    """A stated confidence `said` with its alternatives.

    `alternatives` has a list for each token of the number: the numbers that result from that token or another in its place, each with the
    log-probability of the token.
    """

    said: float
    alternatives: Sequence[Sequence[tuple[float, float]]]

    def mean(self, temperature: float) -> float:
        """The expectation of the confidence sampled at `temperature`, in [0, 1]. Exact if its tokens are independent."""
        expectation = self.said
        for numbers in filter(None, self.alternatives):
            top = max(logprob for _, logprob in numbers)
            weights = [exp((logprob - top) / temperature) for _, logprob in numbers]
            expectation += sum(value * weight for (value, _), weight in zip(numbers, weights, strict=True)) / sum(weights) - self.said
        return min(max(expectation, 0.0), 1.0)


def stated_number(tokens: Tokens) -> StatedNumber | None:
    """The stated confidence with its alternatives; None without a readable confidence."""
    text = b"".join(tokens.pieces)
    match = _last(_VALUE, text)
    if match is None:
        return None
    start, end = match.span(1)
    alternatives = []
    for place, lead in _places(start, end, tokens):
        begin = len(b"".join(tokens.pieces[:place]))
        before, after = text[start:begin] if begin > start else b"", text[min(begin + len(tokens.pieces[place]), end) : end]
        tail = tokens.pieces[place][max(end - begin, 0) :]
        numbers = []
        for piece, logprob in tokens.likeliest[place].items():
            if piece.startswith(lead) and piece.endswith(tail):
                number = before + piece[len(lead) : len(piece) - len(tail)] + after
                if re.fullmatch(rb"[01]\.?[0-9]*", number):
                    numbers.append((min(float(number), 1.0), logprob))
        alternatives.append(numbers)
    return StatedNumber(float(match.group(1)), alternatives)


def verb(evidence: Evidence) -> float | None:
    """The stated confidence."""
    return evidence.response.confidence


def ans(evidence: Evidence) -> float | None:
    """The probability of the first decisive token of the answer."""
    choice = evidence.at_answer
    return choice.decisive if choice else None


def avg(evidence: Evidence) -> float | None:
    """The mean probability of all response tokens."""
    return evidence.reply.mean_probability


def commit(evidence: Evidence) -> float | None:
    """The probability of the emotion where the response first names it."""
    choice = evidence.at_commitment
    return choice.path if choice else None


def norm(evidence: Evidence) -> float | None:
    """`commit`, normalised over the candidates."""
    choice = evidence.at_commitment
    return choice.distribution[evidence.response.answer] if choice else None


def margin(evidence: Evidence) -> float | None:
    """P(likeliest candidate) - P(next one) where the emotion is first named; in [0, 1], but not a probability."""
    choice = evidence.at_commitment
    first, second = sorted(choice.distribution.values(), reverse=True)[:2] if choice else (None, None)
    return None if first is None or second is None else first - second


def verb_mean(evidence: Evidence) -> float | None:
    """The expectation of the stated confidence over the probabilities of its digits, at the sampling temperature of training."""
    tokens, number = evidence.reply.tokens, evidence.stated_number
    return number.mean(tokens.rollout_temperature) if tokens and number else None


def readout(evidence: Evidence) -> float | None:
    """The share of people who would give this answer, by what a lite model's eyes read of the image."""
    shares = evidence.reply.readout or {}  # by the labels as the model was asked, perhaps in another case
    return next((share for label, share in shares.items() if evidence.labels.named(label) == evidence.response.answer), None)


SOURCES: Mapping[str, Callable[[Evidence], float | None]] = {
    source.__name__: source for source in (verb, ans, avg, commit, norm, margin, verb_mean, readout)
}
IN_EVERY_ROW = tuple(name for name in SOURCES if name != readout.__name__)  # which is of lite models alone


def evidence(reply: Reply, candidates: Sequence[str], *, lenient: bool = True) -> Evidence | None:
    """The evidence in a reply; None if the model failed or its text cannot be parsed."""
    labels = Labels.of(candidates)
    response = parse(reply.text, labels, lenient=lenient)
    return None if reply.error or isinstance(response, Malformed) else Evidence(reply, response, labels)


def confidences(evidence: Evidence | None) -> dict[str, float | None]:
    """The confidence of a reply by every source in `SOURCES`, or None where a source gives none; all None without evidence.

    `readout` is left out where it is None.
    """
    found = {name: source(evidence) if evidence else None for name, source in SOURCES.items()}
    return {name: value for name, value in found.items() if value is not None or name in IN_EVERY_ROW}


def consistency(answer: str, others: Sequence[str | None]) -> float | None:
    """The share of `others`, sampled answers to the same question, that equal `answer`; None stands for an unreadable one."""
    return sum(other == answer for other in others) / len(others) if others else None


def p_true(reply: Reply) -> float | None:
    """P(True) / (P(True) + P(False)) at the first token of a reply to `P_TRUE_QUESTION` (Kadavath et al. 2022), or None."""
    if reply.tokens is None or not reply.tokens.pieces:
        return None
    mass = {"true": 0.0, "false": 0.0}
    for piece, logprob in reply.tokens.likeliest[0].items():
        said = piece.decode("utf-8", "replace").strip().casefold()
        for name in mass:
            if said and name.startswith(said):
                mass[name] += exp(logprob)
    total = sum(mass.values())
    return mass["true"] / total if total > 0.01 else None
