"""Answers and confidences in texts without tags: a JSON object, or lines such as "Answer: awe" and "Confidence: 85%"."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from emocaliber.evaluation.answers.columns import EITHER, NAMES, usual_name

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL | re.IGNORECASE)
_LINE = re.compile(
    r"^[\s*#_>-]*(?:(?:final|my|your) )?(answer|emotion|label|confidence)[\s*_]*[:=][\s*_]*(.+?)[\s*_]*$", re.MULTILINE | re.IGNORECASE
)


class Told(NamedTuple):
    """What a text tells: its answer, and its confidence as it stands there, None where there is none."""

    answer: str
    confidence: Any = None


def told_in(texts: Sequence[str | None]) -> tuple[str, list[Told | None]] | None:
    """The form that most of some texts have, in words, and what each of them tells (None for a text of another form); None if most have
    neither."""
    for form, read in (("JSON", _told_in_json), ("lines such as 'Answer: ...'", _told_in_lines)):
        told = [read(text) if text is not None else None for text in texts]
        if 2 * sum(each is not None for each in told) > sum(text is not None for text in texts):
            return form, told
    return None


def _told_in_json(text: str) -> Told | None:
    fenced = _FENCE.match(text)
    body = fenced[1] if fenced else text
    if not body.lstrip().startswith("{"):
        return None
    try:
        document = json.loads(body, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    answer = _under(document, (*NAMES["answer"], *EITHER))
    return Told(str(answer), _under(document, NAMES["confidence"])) if isinstance(answer, str | int) else None


def _under(document: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The value under the first of some names; None without any."""
    by_name = {usual_name(name): value for name, value in document.items()}
    return next((by_name[name] for name in names if by_name.get(name) is not None), None)


def _told_in_lines(text: str) -> Told | None:
    """The last answer and the last confidence."""
    found = {match[1].casefold(): match[2] for match in _LINE.finditer(text)}
    answer = next((found[name] for name in ("answer", "emotion", "label") if name in found), None)
    return None if answer is None else Told(answer, found.get("confidence"))
