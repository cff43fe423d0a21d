"""Where a confidence can be read: one function for each source, all from the same reply.

The paper compares three: `verb` (stated), `ans` (answer token) and `avg` (all tokens). After reasoning, the answer only repeats what the
analysis has said, so `ans` is near 1 whatever the truth; `commit`, `norm` and `margin` look where the emotion is named *first*.
docs/confidence-sources.md has formulas and limits. A source that a reply cannot give is None, and is counted where rows are scored.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import exp, log

from emocaliber.core.model import Recalibration, Reply, Tokens
from emocaliber.core.response import Malformed, Response, parse
from emocaliber.emotions.labels import Labels

P_TRUE_QUESTION = "Someone was asked: {question}\nTheir answer is: {answer}\nIs that answer right? Reply with one word only, True or False."
NEAREST = 0.01  # to 0 and 1, of what is recalibrated: one sure mistake would outweigh all else when that is fitted
_VALUE = re.compile(rb"<confidence>\s*(0|1|0\.[0-9]+|1\.0+)\s*</confidence>")
_ANSWER = re.compile(rb"<answer>[\s\"'`*]*")


@dataclass(frozen=True)
class Choice:
    """What the tokens say where a candidate is named.

    `distribution`: P(candidate), over the candidates that were among the likeliest tokens there; it sums to 1.
    `path`: the probability of the tokens up to the one that decides; `decisive`: that of the deciding token alone, which is the first
    one after which a single candidate can be meant.
    """

    distribution: Mapping[str, float]
    path: float
    decisive: float


@dataclass(frozen=True)
class Evidence:
    """A reply that was understood: its tokens, what it answered, and what it could have answered."""

    reply: Reply
    response: Response
    labels: Labels

    @cached_property
    def stated_number(self) -> StatedNumber | None:
        """The stated confidence with all that it could have been; None without tokens, or where there is none that can be read."""
        return stated_number(self.reply.tokens) if self.reply.tokens else None

    @cached_property
    def at_answer(self) -> Choice | None:
        """The choice inside `<answer>`."""
        return self._choice(lambda text: match.end() if (match := _last(_ANSWER, text)) else None)

    @cached_property
    def at_commitment(self) -> Choice | None:
        """The choice where the response first names its emotion, usually inside `<analysis>`. A mention with a "not" is not told apart."""
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
    """The choice among candidates at byte `start` of the response's text; None if no candidate can be made out there.

    Tokens other than the chosen one count for the only candidate they can begin; those that can begin several or none count for nothing.
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
    """A confidence as `said`; and for each of its tokens the numbers that other tokens would have made of it, the token's own among them,
    each with the log-probability of its token."""

    said: float
    alternatives: Sequence[Sequence[tuple[float, float]]]

    def mean(self, temperature: float) -> float:
        """What it would be on average, were it sampled at `temperature`. Exact where its tokens are independent."""
        expectation = self.said
        for numbers in filter(None, self.alternatives):
            top = max(logprob for _, logprob in numbers)
            weights = [exp((logprob - top) / temperature) for _, logprob in numbers]
            expectation += sum(value * weight for (value, _), weight in zip(numbers, weights, strict=True)) / sum(weights) - self.said
        return min(max(expectation, 0.0), 1.0)

    def recalibrated(self, by: Recalibration) -> float:
        """The mean at `by`'s temperature, its log-odds moved by `by`'s bias."""
        return expit(log_odds(self.mean(by.temperature)) + by.bias)


def log_odds(probability: float) -> float:
    """Those of a probability, which counts as no nearer to 0 and 1 than `NEAREST`."""
    within = min(max(probability, NEAREST), 1 - NEAREST)
    return log(within / (1 - within))


def expit(odds: float) -> float:
    """The probability with these log-odds."""
    return 1 / (1 + exp(-odds))


def stated_number(tokens: Tokens) -> StatedNumber | None:
    """The stated confidence with all that it could have been; None if there is none that can be read."""
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
    """How far the likeliest candidate is ahead of the next where the emotion is first named; it lies in [0, 1] but is no probability."""
    choice = evidence.at_commitment
    first, second = sorted(choice.distribution.values(), reverse=True)[:2] if choice else (None, None)
    return None if first is None or second is None else first - second


def verb_mean(evidence: Evidence) -> float | None:
    """The mean of the stated confidence over its digits' probabilities: what it would be on average, were it sampled at the temperature at
    which it was trained to be.
    """
    tokens, number = evidence.reply.tokens, evidence.stated_number
    return number.mean(tokens.rollout_temperature) if tokens and number else None


def recalibrated(evidence: Evidence) -> float | None:
    """`verb_mean` at another temperature and moved by a bias, as fitted on held-out answers; None for a model that names none."""
    tokens, number = evidence.reply.tokens, evidence.stated_number
    return number.recalibrated(tokens.recalibration) if tokens and number and tokens.recalibration else None


SOURCES: Mapping[str, Callable[[Evidence], float | None]] = {
    source.__name__: source for source in (verb, ans, avg, commit, norm, margin, verb_mean, recalibrated)
}


def evidence(reply: Reply, candidates: Sequence[str], *, lenient: bool = True) -> Evidence | None:
    """The evidence in a reply; None if it failed or cannot be read."""
    labels = Labels.of(candidates)
    response = parse(reply.text, labels, lenient=lenient)
    return None if reply.error or isinstance(response, Malformed) else Evidence(reply, response, labels)


def confidences(evidence: Evidence | None) -> dict[str, float | None]:
    """The confidence of a reply by every source that needs no further reply; None where it has none, or there is no evidence.

    `recalibrated` is there only for models that have a recalibration (and answers that can be read): nothing is missing from the others.
    """
    has_one = evidence and evidence.reply.tokens and evidence.reply.tokens.recalibration
    return {name: source(evidence) if evidence else None for name, source in SOURCES.items() if has_one or source is not recalibrated}


def consistency(answer: str, others: Sequence[str | None]) -> float | None:
    """The share of `others`, answers sampled to the same question, that agree; None, one that cannot be read, disagrees."""
    return sum(other == answer for other in others) / len(others) if others else None


def p_true(reply: Reply) -> float | None:
    """P(True) against P(False) at the first token of a reply to `P_TRUE_QUESTION` (Kadavath et al. 2022); None if neither is likely."""
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
