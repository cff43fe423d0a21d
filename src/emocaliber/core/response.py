"""The tagged answer: the question asked of a model, its five-step response, and the one parser that reads it.

    <think><element>..</element><human>..</human><context>..</context><interaction>..</interaction><analysis>..</analysis></think>
    <answer>label</answer><confidence>0.85</confidence>

Training targets, rewards, evaluation and serving all call `parse`, so they cannot disagree about what was said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import pairwise
from typing import Literal, NamedTuple

from emocaliber.emotions.labels import Labels

MAX_CHARACTERS = 100_000


class MalformedReason(StrEnum):
    """Why a text is not a response: the closed list."""

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
    """The five steps of section 3.1 of the paper, from what is seen to what it evokes."""

    element: str
    human: str
    context: str
    interaction: str
    analysis: str


STEPS = tuple(field.name for field in fields(Reasoning))


@dataclass(frozen=True)
class Response:
    """A well-formed response: `answer` is one of the candidates as they were spelt, `confidence` in [0, 1] if stated.

    `lenient` lists what a strict reading would have refused. Without `parse(..., lenient=True)` it is empty, and no step is.
    """

    reasoning: Reasoning
    answer: str
    confidence: float | None = None
    lenient: tuple[str, ...] = ()


@dataclass(frozen=True)
class Malformed:
    """A text that is not a response: one `reason` of the closed list, and a sentence for people."""

    reason: MalformedReason
    detail: str


ConfidenceRule = Literal["required", "forbidden", "optional"]

_TAG = re.compile(r"</?(?:think|element|human|context|interaction|analysis|answer|confidence)>")
_THINK = ("<think>", *(tag for step in STEPS for tag in (f"<{step}>", f"</{step}>")), "</think>")
_WITHOUT_CONFIDENCE = (*_THINK, "<answer>", "</answer>")
_WITH_CONFIDENCE = (*_WITHOUT_CONFIDENCE, "<confidence>", "</confidence>")
_DECIMAL = re.compile(r"(?:0|1|0\.[0-9]+|1\.0+)")
_LENIENT_DECIMAL = re.compile(r"([0-9]+(?:[.,][0-9]+)?|[.,][0-9]+)\s*(%?)")  # one way to match, so linear time


def parse(text: str, candidates: Sequence[str], *, confidence: ConfidenceRule = "optional", lenient: bool = False) -> Response | Malformed:
    """Reads a model's text, in time linear in its length. Any string gives a `Response` or a `Malformed`; nothing is raised for one.

    The answer must be exactly one of `candidates`, by one of its spellings where they are `Labels`. The confidence must be a decimal in
    [0, 1]. Training and rewards read so.

    `lenient` is how answers are evaluated, where form is a rate of its own: an `<answer>` that names exactly one candidate is an answer.
    It may do so among other words, but not in a denial ("not sadness"). What is said before it is the `analysis` of a reasoning whose
    other steps are empty, unless all five are there. Confidences such as "85%", "0,85" and "{0.85}" are read too; one that cannot be read
    is None and does not cost the answer. `Response.lenient` says what a strict reading would have refused.

    Raises UserError where the candidates themselves cannot be told apart (see `Labels`).
    """
    labels = Labels.of(candidates)
    if not text.strip():
        return Malformed(MalformedReason.EMPTY, "the text is empty")
    if len(text) > MAX_CHARACTERS:
        return Malformed(MalformedReason.TOO_LONG, f"the text has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read")
    notes: list[str] | None = [] if lenient else None
    parts = _five_steps(text, notes)
    if isinstance(parts, Malformed) and lenient:
        notes = ["reasoning not in the five steps"]
        free = _free_reasoning(text, notes)
        if free is None:
            return parts
        parts = free
    if isinstance(parts, Malformed):
        return parts
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
    """Whether a text keeps to the form: the five steps, the answer and perhaps a confidence, each in its tag and in order, and no more.

    What the answer and the confidence say plays no part.
    """
    return len(text) <= MAX_CHARACTERS and not isinstance(_five_steps(text, None), Malformed)


class _Parts(NamedTuple):
    """What lies in the tags of a text, unread."""

    reasoning: Reasoning
    answers: tuple[str, ...]  # one, but where a lenient reading finds several
    confidence: str | None


def _five_steps(text: str, notes: list[str] | None) -> _Parts | Malformed:
    """The parts of a text with all tags in their order; with `notes` (lenient) there may be other text around them."""
    found = [(match.group(), match.start(), match.end()) for match in _TAG.finditer(text)]
    tags = tuple(tag for tag, _, _ in found)
    if tags not in (_WITH_CONFIDENCE, _WITHOUT_CONFIDENCE):
        return _diagnose(tags)
    inside: dict[str, str] = {}
    end = 0
    for tag, start, stop in found:
        between = text[end:start].strip()
        if tag.startswith("</") and tag != "</think>":
            inside[tag[2:-1]] = between
        elif between:
            if notes is None or tag not in ("<think>", "<answer>", "<confidence>"):
                return Malformed(MalformedReason.STRAY_TEXT, f"text before {tag} lies in no tag: {between[:60]!r}")
            notes.append(f"text before {tag} ignored")
        end = stop
    if rest := text[end:].strip():
        if notes is None:
            return Malformed(MalformedReason.STRAY_TEXT, f"text follows the last tag: {rest[:60]!r}")
        notes.append("text after the last tag ignored")
    for step in STEPS:
        if not inside[step]:
            return Malformed(MalformedReason.EMPTY_STEP, f"<{step}> is empty")
    return _Parts(Reasoning(*(inside[step] for step in STEPS)), (inside["answer"],), inside.get("confidence"))


def _free_reasoning(text: str, notes: list[str]) -> _Parts | None:
    """The parts of a text that need hold no more than an answer, which may be repeated; None if there is none."""
    answers, stated = _contents(text, "answer"), _contents(text, "confidence")
    if not answers:
        return None
    thought = _TAG.sub(" ", text[: text.index("<answer>")])
    if len(set(stated)) > 1:
        notes.append(f"{len(stated)} confidences, none of which counts")
        stated = []
    return _Parts(Reasoning("", "", "", "", " ".join(thought.split())), tuple(answers), stated[-1] if stated else None)


def _contents(text: str, tag: str) -> list[str]:
    """What stands between each opening tag and the closing one that is the next tag after it."""
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
    """The candidate that `text` is; with `notes` (lenient) also the only one it names among other words."""
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
    """The text of a response, without a confidence if it has none; `parse` reads it back. The confidence is written with two decimals.

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
    """The question of the released model card, for these candidates; `confidence` asks for that tag too.

    The card gives the wording for emotions; the wording for sentiment and the end of the format line are inferred.
    """
    noun = "emotion" if kind == "emotion" else "sentiment"
    listed = ", ".join(f"'{label}'" for label in candidates)
    form = "<think>{your reasoning}</think><answer>{your final answer}</answer>"
    form += "<confidence>{your confidence}</confidence>" if confidence else ""
    return (
        f"Which {noun} might this image evoke? Choose the most likely one from [{listed}]. "
        f"Think step by step. Respond in the format: {form}"
    )
