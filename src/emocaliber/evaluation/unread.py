"""How many answers cannot be read, why, and what would help: one sentence for the person who scores them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from emocaliber.core.outcomes import Outcomes
from emocaliber.core.response import Malformed, MalformedReason, parse
from emocaliber.core.scoring import NO_ANSWER, Outcome
from emocaliber.core.tasks import labels_of

WORTH_SAYING = 0.05  # of the answers
_SHOWN = 3

_REASONS: Mapping[str, str] = {
    NO_ANSWER: "there is no answer",
    MalformedReason.EMPTY: "the text is empty",
    MalformedReason.TOO_LONG: "the text is too long",
    MalformedReason.CUT_OFF: "the text ends too early",
    MalformedReason.MISSING_TAG: "a tag such as <answer> is missing",
    MalformedReason.REPEATED_TAG: "a tag occurs twice",
    MalformedReason.WRONG_ORDER: "the tags are in another order",
    MalformedReason.STRAY_TEXT: "there is text outside the tags",
    MalformedReason.EMPTY_STEP: "a step of the reasoning is empty",
    MalformedReason.NOT_A_CANDIDATE: "the answer is none of the labels",
    MalformedReason.AMBIGUOUS: "the answer names several labels",
    MalformedReason.BAD_CONFIDENCE: "the confidence is not a decimal",
}
_REMEDIES: Mapping[str, str] = {
    NO_ANSWER: "Their rows are empty or carry an error; ask the model about them again",
    MalformedReason.MISSING_TAG: "Write the answer into <answer>, or into a column of its own: --columns answer=COLUMN",
    MalformedReason.CUT_OFF: "Let the model write longer answers",
    MalformedReason.AMBIGUOUS: "Leave only the conclusion in the answer",
}


def unread(outcomes: Sequence[Outcome], rows: Sequence[Mapping[str, Any]], *, strict: bool = False) -> str | None:
    """A sentence with the counts, the commonest reason and the remedy; None if fewer than 1 in 20 answers cannot be read.

    `rows` are the response rows of the outcomes, in the same order; `strict` as in `outcome`.
    """
    columns = Outcomes.of(outcomes)
    reasons = [(at, why) for at, why in enumerate(columns.malformed.listed()) if why is not None]
    if not outcomes or len(reasons) < WORTH_SAYING * len(outcomes):
        return None
    lost = [(columns[at], rows[at]) for at, _ in reasons]
    [(reason, count)] = Counter(why for _, why in reasons).most_common(1)
    text = f"{len(lost):,} of {len(outcomes):,} answers cannot be read and count as wrong"
    because = _REASONS.get(str(reason), str(reason))
    text += f": {because}" if count == len(lost) else f"; {count:,} of them because {because}"
    readable = sum(_can_be_read(each, row) for each, row in lost if strict or row.get("lenient") is False)
    if readable:
        return f"{text}. {readable:,} can be read without the five steps: {'leave out --strict' if strict else 'add --lenient'}."
    if reason == MalformedReason.NOT_A_CANDIDATE:
        said = Counter(_answer(row) for each, row in lost if each.malformed == reason)
        shown = ", ".join(repr(answer) for answer, _ in said.most_common(_SHOWN))
        return f"{text}, such as {shown}. Give all labels with --labels, or write the answers in their words."
    remedy = _REMEDIES.get(str(reason))
    return f"{text}. {remedy}." if remedy else f"{text}."


def _answer(row: Mapping[str, Any]) -> str:
    """The answer in the words of the row, shortened."""
    text = str(row.get("plain_answer") or row.get("response"))
    return text.rpartition("<answer>")[2].partition("</answer>")[0].strip()[:60]


def _can_be_read(outcome: Outcome, row: Mapping[str, Any]) -> bool:
    text = row.get("response")
    labels = labels_of(outcome.task, row["candidates"])
    return isinstance(text, str) and row.get("error") is None and not isinstance(parse(text, labels, lenient=True), Malformed)
