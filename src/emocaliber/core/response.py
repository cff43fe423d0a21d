"""The question asked of a model, its five-step response, and the only parser of responses.

    <think><element>..</element><human>..</human><context>..</context><interaction>..</interaction><analysis>..</analysis></think>
    <answer>label</answer><confidence>0.85</confidence>

Training targets, rewards and evaluation all call `parse`, so they agree about every answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import pairwise
from operator import itemgetter
from typing import Literal, NamedTuple

from emocaliber.emotions.labels import Labels

MAX_CHARACTERS = 100_000


class MalformedReason(StrEnum):
    """The reasons for which a text is not a response."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    CUT_OFF = "cut_off"
    MISSING_TAG = "missing_tag"
    REPEATED_TAG = "repeated_tag"
    WRONG_ORDER = "wrong_order"
    STRAY_TEXT = "stray_text"
    EMPTY_STEP = "empty_step"
    NOT_A_CANDIDATE = "not_a_candidate"
    AMBIGUOUS = "ambiguous"
    MISSING_CONFIDENCE = "missing_confidence"
    UNEXPECTED_CONFIDENCE = "unexpected_confidence"
    BAD_CONFIDENCE = "bad_confidence"


@dataclass(frozen=True)
class Reasoning:
    """The five reasoning steps of section 3.1 of the paper, from the visual elements to the emotion evoked."""

    element: str
    human: str
    context: str
    interaction: str
    analysis: str


STEPS = tuple(field.name for field in fields(Reasoning))


@dataclass(frozen=True)
class Response:
    """A parsed response: `answer` is one of the candidates, in their spelling; `confidence` is in [0, 1], or None if not stated.

    `lenient` lists the deviations that strict parsing refuses. With strict parsing it is empty, and no step of the reasoning is.
    """

    reasoning: Reasoning
    answer: str
    confidence: float | None = None
    lenient: tuple[str, ...] = ()


@dataclass(frozen=True)
class Malformed:
    """A text that is not a response: the `reason`, and a sentence in `detail`."""

    reason: MalformedReason
    detail: str


ConfidenceRule = Literal["required", "forbidden", "optional"]

_TAG = re.compile(r"</?(?:think|element|human|context|interaction|analysis|answer|confidence)>")
_AT_TAGS = re.compile(f"({_TAG.pattern})")  # splits a text into what lies before, between and after its tags, and the tags
_THINK = ("<think>", *(tag for step in STEPS for tag in (f"<{step}>", f"</{step}>")), "</think>")
_WITHOUT_CONFIDENCE = (*_THINK, "<answer>", "</answer>")
_WITH_CONFIDENCE = (*_WITHOUT_CONFIDENCE, "<confidence>", "</confidence>")
# Of the texts before each tag, those that lie in no tag, and those of the five steps and the answer.
_OUTSIDE = tuple(place for place, tag in enumerate(_WITH_CONFIDENCE) if tag[1] != "/" or tag == "</think>")
_INSIDE = itemgetter(*(place for place, tag in enumerate(_WITHOUT_CONFIDENCE) if tag[1] == "/" and tag != "</think>"))
_DECIMAL = re.compile(r"(?:0|1|0\.[0-9]+|1\.0+)")
_LENIENT_DECIMAL = re.compile(r"([0-9]+(?:[.,][0-9]+)?|[.,][0-9]+)\s*(%?)")  # unambiguous, so that matching takes linear time


def parse(text: str, candidates: Sequence[str], *, confidence: ConfidenceRule = "optional", lenient: bool = False) -> Response | Malformed:
    """Parses a model's text, in time linear in its length. Any string gives a `Response` or a `Malformed`; no text raises an error.

    Strict parsing, used by training and rewards: all tags in order and no other text; the answer is exactly one of `candidates`, in any of
    its spellings where they are `Labels`; the confidence is a decimal in [0, 1]. `confidence` says whether it must, may or must not be
    stated.

    Lenient parsing (`lenient`), used by evaluation, where format is a metric of its own: an `<answer>` that names exactly one candidate is
    enough. It may do so among other words, but not negated ("not sadness"). Unless all five steps are there, the text before the answer
    becomes the `analysis`, and the other steps are empty. Confidences such as "85%", "0,85" and "{0.85}" are read too; an unreadable
    confidence becomes None, and the answer still counts.

    Raises UserError for candidates that are not distinct (see `Labels`).
    """
    return parse_with_format(text, candidates, confidence=confidence, lenient=lenient)[0]


def parse_with_format(
    text: str, candidates: Sequence[str], *, confidence: ConfidenceRule = "optional", lenient: bool = False
) -> tuple[Response | Malformed, bool]:
    """What `parse` and `in_five_steps` say of a text, which is gone through once. Raises as `parse` does."""
    labels = Labels.of(candidates)
    if not text.strip():
        return Malformed(MalformedReason.EMPTY, "the text is empty"), False
    if len(text) > MAX_CHARACTERS:
        return Malformed(MalformedReason.TOO_LONG, f"the text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read"), False
    notes: list[str] | None = [] if lenient else None
    parts = _five_steps(text, notes)
    strictly = not notes and not isinstance(parts, Malformed)
    if isinstance(parts, Malformed) and lenient:
        notes = ["reasoning not in the five steps"]
        parts = _free_reasoning(text, notes) or parts
    return parts if isinstance(parts, Malformed) else _response(parts, labels, confidence, notes), strictly


def _response(parts: _Parts, labels: Labels, confidence: ConfidenceRule, notes: list[str] | None) -> Response | Malformed:
    """The response with these parts; with `notes` (lenient), deviations are noted there."""
    answers = [_read_answer(answer, labels, notes) for answer in parts.answers]
    if len(set(answers)) > 1:
        return Malformed(MalformedReason.REPEATED_TAG, f"<answer> occurs {len(answers)} times, with different answers")
    answer = answers[0]
    if isinstance(answer, Malformed):
        return answer
    if notes is not None and len(answers) > 1:
        notes.append(f"answer given {len(answers)} times")
    stated: float | None = None
    if parts.confidence is not None:
        if confidence == "forbidden":
            return Malformed(MalformedReason.UNEXPECTED_CONFIDENCE, "a <confidence> is stated where none was asked for")
        read = _read_confidence(parts.confidence, notes)
        if not isinstance(read, Malformed):
            stated = read
        elif notes is None or confidence == "required":
            return read
        else:
            notes.append(read.detail)
    elif confidence == "required":
        return Malformed(MalformedReason.MISSING_CONFIDENCE, "there is no <confidence>")
    return Response(parts.reasoning, answer, stated, tuple(dict.fromkeys(notes or ())))


def in_five_steps(text: str) -> bool:
    """Whether a text has the strict format: the five steps, the answer and optionally a confidence, each in its tag, in order, and no more.

    The values of the answer and the confidence are not checked.
    """
    return len(text) <= MAX_CHARACTERS and not isinstance(_five_steps(text, None), Malformed)


class _Parts(NamedTuple):
    """The contents of the tags of a text, not yet parsed."""

    reasoning: Reasoning
    answers: tuple[str, ...]  # one, or several with lenient parsing
    confidence: str | None


def _five_steps(text: str, notes: list[str] | None) -> _Parts | Malformed:
    """The parts of a text with all tags in order. With `notes` (lenient), other text around them is allowed and noted."""
    pieces = _AT_TAGS.split(text)
    tags = tuple(pieces[1::2])
    if tags not in (_WITH_CONFIDENCE, _WITHOUT_CONFIDENCE):
        return _diagnose(tags)
    between = [piece.strip() for piece in pieces[::2]]  # before each tag, and after the last
    stated = len(tags) == len(_WITH_CONFIDENCE)
    for place in _OUTSIDE if stated else _OUTSIDE[:-1]:
        if stray := between[place]:
            tag = tags[place]
            if notes is None or tag not in ("<think>", "<answer>", "<confidence>"):
                return Malformed(MalformedReason.STRAY_TEXT, f"text before {tag} lies in no tag: {stray[:60]!r}")
            notes.append(f"text before {tag} ignored")
    if rest := between[-1]:
        if notes is None:
            return Malformed(MalformedReason.STRAY_TEXT, f"text follows the last tag: {rest[:60]!r}")
        notes.append("text after the last tag ignored")
    *steps, answer = _INSIDE(between)
    if not all(steps):
        return Malformed(MalformedReason.EMPTY_STEP, f"<{STEPS[steps.index('')]}> is empty")
    return _Parts(Reasoning(*steps), (answer,), between[len(tags) - 1] if stated else None)


def _free_reasoning(text: str, notes: list[str]) -> _Parts | None:
    """The parts of a text that has at least one answer, perhaps repeated; None if it has none."""
    answers, stated = _contents(text, "answer"), _contents(text, "confidence")
    if not answers:
        return None
    thought = _TAG.sub(" ", text[: text.index("<answer>")])
    if len(set(stated)) > 1:
        notes.append(f"{len(stated)} confidences, none of which counts")
        stated = []
    return _Parts(Reasoning("", "", "", "", " ".join(thought.split())), tuple(answers), stated[-1] if stated else None)


def _contents(text: str, tag: str) -> list[str]:
    """The text between each opening tag and its closing tag, where no other tag lies between them."""
    pairs = pairwise(_TAG.finditer(text))
    return [text[one.end() : two.start()].strip() for one, two in pairs if (one.group(), two.group()) == (f"<{tag}>", f"</{tag}>")]


def _diagnose(tags: tuple[str, ...]) -> Malformed:
    """The most telling reason why `tags` is not one of the two sequences allowed."""
    if tags == _WITH_CONFIDENCE[: len(tags)]:
        missing = _WITH_CONFIDENCE[len(tags)]
        return Malformed(MalformedReason.CUT_OFF if tags else MalformedReason.MISSING_TAG, f"the text ends without {missing}")
    for tag in tags:
        if tags.count(tag) > 1:
            return Malformed(MalformedReason.REPEATED_TAG, f"{tag} occurs {tags.count(tag)} times")
    for tag in _WITHOUT_CONFIDENCE:
        if tag not in tags:
            return Malformed(MalformedReason.MISSING_TAG, f"there is no {tag}")
    if ("<confidence>" in tags) != ("</confidence>" in tags):
        return Malformed(MalformedReason.MISSING_TAG, "<confidence> is not matched by </confidence>")
    return Malformed(MalformedReason.WRONG_ORDER, "the tags are not in the order of the five steps, the answer and the confidence")


def _read_answer(text: str, labels: Labels, notes: list[str] | None) -> str | Malformed:
    """The candidate that equals `text`; with `notes` (lenient), also the only one named among other words."""
    if (label := labels.named(text)) is not None:
        return label
    affirmed, denied = labels.mentioned(text)
    if len(affirmed | denied) > 1:
        return Malformed(MalformedReason.AMBIGUOUS, f"the answer names {', '.join(sorted(affirmed | denied))}; it must name one")
    if denied:
        return Malformed(MalformedReason.NOT_A_CANDIDATE, f"the answer {text[:60]!r} only says what it is not")
    if affirmed and notes is not None:
        notes.append("answer found among other words")
        return affirmed.pop()
    return Malformed(MalformedReason.NOT_A_CANDIDATE, f"the answer {text[:60]!r} is not one of {', '.join(labels)}")


def _read_confidence(text: str, notes: list[str] | None) -> float | Malformed:
    if _DECIMAL.fullmatch(text):
        return float(text)
    if notes is not None and (match := _LENIENT_DECIMAL.fullmatch(text.strip(" {}[]()\"'"))):
        value = float(match.group(1).replace(",", ".")) / (100 if match.group(2) else 1)
        if value <= 1:
            notes.append(f"confidence read from {text[:20]!r}")
            return value
    return Malformed(MalformedReason.BAD_CONFIDENCE, f"the confidence {text[:60]!r} is not a decimal between 0 and 1")


def render(response: Response) -> str:
    """The text of a response, the inverse of `parse`. The confidence, if there is one, is written with two decimals.

    Raises ValueError when a step is empty or holds a tag, or the confidence is not in [0, 1].
    """
    steps = [(step, getattr(response.reasoning, step).strip()) for step in STEPS]
    for name, content in (*steps, ("answer", response.answer.strip())):
        if not content or _TAG.search(content):
            raise ValueError(f"<{name}> must be some text without response tags, not {content[:60]!r}")
    if response.confidence is not None and not 0 <= response.confidence <= 1:
        raise ValueError(f"the confidence must lie in [0, 1], not {response.confidence}")
    think = "".join(f"<{name}>{content}</{name}>" for name, content in steps)
    text = f"<think>{think}</think><answer>{response.answer.strip()}</answer>"
    return text if response.confidence is None else text + f"<confidence>{response.confidence:.2f}</confidence>"


def question(candidates: Sequence[str], *, kind: Literal["emotion", "sentiment"] = "emotion", confidence: bool = True) -> str:
    """The question of the released model card for these candidates; with `confidence`, it asks for a `<confidence>` tag too.

    The card gives the wording for emotions. The wording for sentiment and the end of the format line are inferred.
    """
    noun = "emotion" if kind == "emotion" else "sentiment"
    listed = ", ".join(f"'{label}'" for label in candidates)
    form = "<think>{your reasoning}</think><answer>{your final answer}</answer>"
    form += "<confidence>{your confidence}</confidence>" if confidence else ""
    return (
        f"Which {noun} might this image evoke? Choose the most likely one from [{listed}]. "
        f"Think step by step. Respond in the format: {form}"
    )
