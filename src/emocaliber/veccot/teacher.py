"""The roles of the factory's models: the template teacher for synthetic scenes, and the judge's ratings.

A teacher is any model, asked to reason towards a given label; the template teacher needs no model.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from PIL import Image

from emocaliber.core.model import ModelError, Reply, Request
from emocaliber.veccot.ledger import RejectionReason

TEMPLATE_TEACHER = "narrator"  # its name in recipes, flags and ledgers
BLANK = Image.new("RGB", (1, 1))  # for requests to a teacher that uses no image


class TemplateTeacher:
    """The offline teacher: returns the response that `emocaliber scenes` wrote with a sample. It does not use the image.

    `row_of` returns the row of the sample whose id is a request's key. For a sample that is no synthetic scene the reply is an error.
    """

    name = TEMPLATE_TEACHER
    notice: str | None = None
    window: int | None = None

    def __init__(self, row_of: Callable[[str], Mapping[str, Any]]) -> None:
        self._row_of = row_of

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        """The stored response for each request."""
        for request in requests:
            began = time.perf_counter()
            row = self._row_of(request.key)
            text = row.get("response") if "scene" in row else None
            if isinstance(text, str):
                yield Reply(text, time.perf_counter() - began)
            else:
                problem = f"{request.key!r} is no synthetic scene, which the template teacher needs; name a model as the teacher"
                yield Reply("", time.perf_counter() - began, error=ModelError("not_recorded", problem))


# The judge rates a text on four criteria, as JSON. An unreadable judgement is a failure, not a verdict.

CHECKS_ALONE = "checks"
_BEST = 5
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class MinRatings:
    """The minimum rating, from 1 to 5, that a text needs on each criterion."""

    hallucination: int = 4
    label_leakage: int = 4
    inconsistency: int = 4
    conformity: int = 4


CRITERIA = tuple(field.name for field in fields(MinRatings))

Judgement = Mapping[str, Mapping[str, Any]]  # criterion to {"rating": 1..5, "reason": sentence}


class UnreadableJudgement(ValueError):
    """The judge's answer is no judgement; the message says why."""


def read_judgement(text: str) -> Judgement:
    """The judgement in a model's text, which may be in a fenced block. Raises UnreadableJudgement unless it has the required form."""
    fenced = _FENCE.search(text)
    try:
        found = json.loads((fenced.group(1) if fenced else text).strip())
    except (ValueError, RecursionError) as error:
        raise UnreadableJudgement(f"the judge's answer is not JSON: {_start_of(text)}") from error
    if not isinstance(found, dict) or set(found) != set(CRITERIA):
        raise UnreadableJudgement(f"the judge's answer must rate exactly {', '.join(CRITERIA)}: {_start_of(text)}")
    for criterion, said in found.items():
        if not isinstance(said, dict) or set(said) != {"rating", "reason"}:
            raise UnreadableJudgement(
                f"the judge's {criterion} must have a rating and a reason and nothing else: {_start_of(json.dumps(said))}"
            )
        if type(said["rating"]) is not int or not 1 <= said["rating"] <= _BEST:
            raise UnreadableJudgement(f"the judge's rating of {criterion} must be a whole number from 1 to {_BEST}, not {said['rating']!r}")
        if not isinstance(said["reason"], str) or not said["reason"].strip():
            raise UnreadableJudgement(f"the judge gives no reason for its rating of {criterion}")
    return {criterion: found[criterion] for criterion in CRITERIA}


def low_ratings(judgement: Judgement, minimum: MinRatings) -> tuple[RejectionReason, ...]:
    """The criteria on which a text is rated below the minimum, with the judge's reasons."""
    return tuple(
        RejectionReason(criterion, f"rated {said['rating']} of {_BEST}: {said['reason']}")
        for criterion, said in judgement.items()
        if said["rating"] < getattr(minimum, criterion)
    )


def _start_of(text: str) -> str:
    return repr(" ".join(text.split())[:120]) if text.strip() else "it is empty"
