"""`POST /v1/decisions`: typed questions about a picture, in the form of OpenAI's Decisions, so that its clients work as they are.

As in `systemone`, a choice is asked among its options, a score where its levels are labels of a task, and a predicate, which has nothing
but a sentence, not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from emocaliber.errors import UserError
from emocaliber.serving.standards.deciding import ALIAS, MOST_QUESTIONS, UNMAPPED, Decided, Decision
from emocaliber.serving.standards.options import (
    LEAST,
    MOST,
    MOST_LEVELS,
    Options,
    choice_confidence,
    choice_options,
    label_options,
    own_fields,
    score_confidence,
    score_of,
)
from emocaliber.serving.standards.wire import Finding, Invalid, Place, kind_of, picture, refuse, text_at
from emocaliber.trust.acceptance import ANY, Acceptance

Pictures = list[tuple[Place, bytes]]

_ROLES = ("user", "developer", "system", "assistant")
_TEXTS = ("input_text", "input_json", "output_text", "refusal")  # parts without a picture, which are not read


def read_decisions(
    body: Mapping[str, Any], served: Collection[str], taught: Iterable[str] = (), acceptance: Acceptance = ANY
) -> list[Decision]:
    """The decisions that a request asks for, in its order. `served` are the names of the model besides `jev-latest`.

    Every question must see exactly one picture, in the input or in its own instructions. Raises Invalid with everything that is wrong, with
    status 404 for another model.
    """
    name = body.get("model")
    if name != ALIAS and name not in served:
        found = Finding(("body", "model"), f"There is no model {name!r} here; ask for {', '.join(served)}.", "model_not_found")
        raise Invalid([found], 404, "model_not_found")
    questions = body.get("questions")
    if not isinstance(questions, list) or not 1 <= len(questions) <= MOST_QUESTIONS:
        refuse(("body", "questions"), f"questions must be a list of 1 to {MOST_QUESTIONS} questions.", "questions_type")
    shown = _input(body.get("input"))
    decisions: list[Decision] = []
    wrong: list[Finding] = []
    for number, question in enumerate(questions):
        try:
            decisions.append(_decision(("body", "questions", number), question, shown, taught, acceptance))
        except Invalid as invalid:
            wrong += invalid.findings
    if wrong:
        raise Invalid(wrong)
    return decisions


def decision_answer(decided: Decided) -> dict[str, Any]:
    """The answer to one question, with our own fields."""
    options, values = decided.decision.options, decided.shares.values
    own = own_fields(decided.prediction, options, decided.shares)
    named = {"type": decided.decision.kind, "name": decided.decision.name}
    if decided.decision.kind == "choice":
        shown = [{"value": name, "probability": value} for name, value in zip(options.names, values, strict=True)]
        return {**named, "choice": decided.choice, "confidence": choice_confidence(values), "probabilities": shown, **own}
    levels = [
        {"label": name, "value": level, "probability": value} for level, (name, value) in enumerate(zip(options.names, values, strict=True))
    ]
    return {**named, "score": score_of(values), "confidence": score_confidence(values), "probabilities": levels, **own}


def _input(given: Any) -> Pictures:
    """The pictures in the input."""
    place: Place = ("body", "input")
    if isinstance(given, str):
        return []
    if not isinstance(given, list):
        refuse(place, f"input must be a text or a list of messages, not {kind_of(given)}.", "input_type")
    found: Pictures = []
    for number, message in enumerate(given):
        here = (*place, number)
        if not isinstance(message, dict) or message.get("type", "message") != "message" or message.get("role") not in _ROLES:
            refuse(here, f"The input is messages with a role ({', '.join(_ROLES)}); calls of tools are not read.", "message_type")
        found += _parts((*here, "content"), message.get("content"))
    return found


def _parts(place: Place, content: Any) -> Pictures:
    """The pictures among the parts of a content."""
    if isinstance(content, str):
        return []
    if not isinstance(content, list):
        refuse(place, f"The content must be a text or a list of parts, not {kind_of(content)}.", "content_type")
    found: Pictures = []
    for number, part in enumerate(content):
        here = (*place, number)
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "input_image":
            found.append((here, picture((*here, "image_url"), part.get("image_url"))))
        elif kind not in _TEXTS:
            refuse(here, f"A part is input_text, input_json or input_image, not {kind!r:.80}.", "part_type")
    return found


def _decision(place: Place, question: Any, shown: Pictures, taught: Iterable[str], acceptance: Acceptance) -> Decision:
    kind = question.get("type") if isinstance(question, dict) else None
    if kind == "predicate":
        refuse(place, f"A predicate is a sentence, which this model does not read. {UNMAPPED}", "not_answerable")
    if kind not in ("choice", "score"):
        refuse((*place, "type"), f"A question's type is choice or score, not {kind!r:.80}.", "question_type")
    name = question.get("name")
    if not isinstance(name, str | None):
        refuse((*place, "name"), f"name must be a text, not {kind_of(name)}.", "string_type")
    pictures = [*shown, *_parts((*place, "instructions"), question.get("instructions"))]
    if len(pictures) != 1:
        refuse(place, f"The question sees {len(pictures) or 'no'} pictures; give exactly one input_image.", "image_count")
    where, image = pictures[0]
    options = (_choice if kind == "choice" else _score)(place, question, taught, acceptance)
    return Decision(name, kind, options, image, place, where)


def _choice(place: Place, question: Mapping[str, Any], taught: Iterable[str], acceptance: Acceptance) -> Options:
    names = _listed((*place, "choices"), question.get("choices"), "value", MOST)
    if len(set(names)) < len(names):
        refuse((*place, "choices"), "Each choice must be unique.", "choice_options")
    try:
        return choice_options(names, taught, acceptance)
    except UserError as error:
        raise Invalid([Finding((*place, "choices"), f"The choices cannot be asked for: {error}.", "choice_options")]) from error


def _score(place: Place, question: Mapping[str, Any], taught: Iterable[str], acceptance: Acceptance) -> Options:
    names = _listed((*place, "levels"), question.get("levels"), "label", MOST_LEVELS)
    options = label_options(names, taught, acceptance)
    if options is None:
        refuse((*place, "levels"), f"These levels are no labels of one task. {UNMAPPED}", "not_answerable")
    return options


def _listed(place: Place, given: Any, field: str, most: int) -> list[str]:
    if not isinstance(given, list) or not LEAST <= len(given) <= most:
        refuse(place, f"There must be {LEAST} to {most} {place[-1]}.", "choice_options")
    names = []
    for number, each in enumerate(given):
        if not isinstance(each, dict):
            refuse((*place, number), f"One of the {place[-1]} is an object with a {field}, not {kind_of(each)}.", "object_type")
        if isinstance(each.get(field), bool):
            refuse((*place, number), f"True and false are no emotions. {UNMAPPED}", "not_answerable")
        names.append(text_at((*place, number), each, field))
    return names
