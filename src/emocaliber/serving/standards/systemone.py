"""`POST /v1/systemone`: typed questions about a picture, in the form of System One (the API behind Jev and other decision models).

A choice is asked among its options. A score and a noul are answered where their levels, or what true and false stand for, are labels of a
task; of anything else a model of emotions knows nothing, and says so with status 422.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from emocaliber.errors import UserError
from emocaliber.serving.standards.deciding import ALIAS, MOST_QUESTIONS, UNMAPPED, Decided, Decision, Kind
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
from emocaliber.serving.standards.wire import Finding, Invalid, Place, kind_of, picture, refuse, strings_in
from emocaliber.trust.acceptance import ANY, Acceptance

MOST_ASSETS = 16


def read_systemone(
    body: Mapping[str, Any],
    served: Collection[str],
    taught: Iterable[str] = (),
    acceptance: Acceptance = ANY,
    parts: Mapping[str, bytes] = MappingProxyType({}),
) -> list[Decision]:
    """The decisions that a request asks for, in its order. `served` are the names of the model besides `jev-latest`.

    `parts` are those of a multipart form beside the request, by name: pictures that assets name instead of holding them.

    Fields that are not known are ignored. Every question must see exactly one picture: an asset whose name occurs in the state, or in the
    question's own instructions or criteria. Raises Invalid with everything that is wrong.
    """
    name = body.get("model", ALIAS)
    if name != ALIAS and name not in served:
        refuse(("body", "model"), f"There is no model {name!r} here; ask for {ALIAS} or {', '.join(served)}.", "model_not_found")
    if not isinstance(body.get("state"), str | dict | list):
        refuse(("body", "state"), f"state must be a text, an object or a list, not {kind_of(body.get('state'))}.", "state_type")
    questions = body.get("questions")
    if not isinstance(questions, dict) or not 1 <= len(questions) <= MOST_QUESTIONS:
        refuse(("body", "questions"), f"questions must be an object of 1 to {MOST_QUESTIONS} named questions.", "questions_type")
    pictures = _pictures(body.get("assets"), parts)
    seen = _names_in(body["state"], pictures)
    decisions: list[Decision] = []
    wrong: list[Finding] = []
    named = set(seen)
    for key, question in questions.items():
        try:
            own = _names_in([question.get("instructions"), question.get("criteria")], pictures) if isinstance(question, dict) else []
            named |= set(own)
            decisions.append(_decision(key, question, [*dict.fromkeys((*seen, *own))], pictures, taught, acceptance))
        except Invalid as invalid:
            wrong += invalid.findings
    for asset in pictures:
        if asset not in named:
            message = f"The picture {asset!r} occurs nowhere; write its name into the state, or into the question about it."
            wrong.append(Finding(("body", "assets", asset), message, "image_unused"))
    if wrong:
        raise Invalid(wrong)
    return decisions


def systemone_answer(decided: Decided) -> dict[str, Any]:
    """The answer to one question, with our own fields."""
    options, values = decided.decision.options, decided.shares.values
    own = own_fields(decided.prediction, options, decided.shares)
    if decided.decision.kind == "yes":
        return {"type": "noul", "noul": values[0], **own}
    if decided.decision.kind == "choice":
        shown = dict(zip(options.names, values, strict=True))
        return {"type": "choice", "choice": decided.choice, "probabilities": shown, "confidence": choice_confidence(values), **own}
    return {
        "type": "score",
        "score": score_of(values),
        "legend": {str(level): name for level, name in enumerate(options.names)},
        "probabilities": {str(level): value for level, value in enumerate(values)},
        "confidence": score_confidence(values),
        **own,
    }


def _pictures(assets: Any, parts: Mapping[str, bytes]) -> dict[str, bytes]:
    if assets is None or assets == {}:
        refuse(("body", "assets"), "There is no picture; give one in assets, and write its name into the state.", "image_missing")
    if not isinstance(assets, dict) or len(assets) > MOST_ASSETS or "" in assets:
        refuse(("body", "assets"), f"assets must be an object of at most {MOST_ASSETS} named pictures.", "assets_type")
    found: dict[str, bytes] = {}
    unclaimed = dict(parts)
    for name, asset in assets.items():
        place: Place = ("body", "assets", name)
        if not isinstance(asset, dict) or asset.get("type", "image") != "image":
            refuse(place, 'An asset is {"type": "image", "format": "png", "data_base64": "..."}.', "asset_type")
        if "part" in asset:
            data = unclaimed.pop(str(asset["part"]), None)
            if not data:
                refuse((*place, "part"), "This part of the form is missing, empty, or claimed by another asset.", "image_missing")
            found[name] = data
        else:
            found[name] = picture((*place, "data_base64"), asset.get("data_base64"))
    if unclaimed:
        refuse(("body", "assets"), f"No asset names the part {next(iter(unclaimed))[:80]!r} of the form.", "image_unused")
    return found


def _names_in(value: Any, pictures: Mapping[str, bytes]) -> list[str]:
    """The pictures whose names occur in the texts of a value, once each. Of overlapping names, the longest counts."""
    pattern = re.compile("|".join(re.escape(name) for name in sorted(pictures, key=len, reverse=True)))
    return list(dict.fromkeys(match[0] for text in strings_in(value) for match in pattern.finditer(text)))


def _decision(
    key: str, question: Any, seen: Sequence[str], pictures: Mapping[str, bytes], taught: Iterable[str], acceptance: Acceptance
) -> Decision:
    place: Place = ("body", "questions", key)
    kind = question.get("type") if isinstance(question, dict) else None
    if not isinstance(kind, str) or kind not in _READERS:
        refuse((*place, "type"), f"A question's type is choice, score or noul, not {kind!r:.80}.", "question_type")
    instructions = question.get("instructions")
    if not isinstance(instructions, str | dict | list | None):
        message = f"instructions must be a text, an object or a list, not {kind_of(instructions)}."
        refuse((*place, "instructions"), message, "instructions_type")
    if len(seen) != 1:
        given = f"sees the pictures {', '.join(map(repr, seen))}" if seen else "sees no picture"
        message = f"The question {given}; exactly one name of an asset must occur in the state, or in its own instructions or criteria."
        refuse(place, message, "image_count")
    options = _READERS[kind]((*place, "criteria"), question.get("criteria"), taught, acceptance)
    return Decision(key, _KINDS[kind], options, pictures[seen[0]], place, ("body", "assets", seen[0]))


def _choice(place: Place, criteria: Any, taught: Iterable[str], acceptance: Acceptance) -> Options:
    if not isinstance(criteria, dict) or not LEAST <= len(criteria) <= MOST:
        refuse(place, f"The criteria of a choice are an object of {LEAST} to {MOST} options.", "choice_options")
    if wrong := [name for name, value in criteria.items() if not isinstance(value, str | dict | list | None)]:
        refuse((*place, wrong[0]), "What an option means is a text, an object, a list or null.", "choice_options")
    try:
        return choice_options(list(criteria), taught, acceptance)
    except UserError as error:
        raise Invalid([Finding(place, f"The options cannot be asked for: {error}.", "choice_options")]) from error


def _score(place: Place, criteria: Any, taught: Iterable[str], acceptance: Acceptance) -> Options:
    if not isinstance(criteria, list) or not LEAST <= len(criteria) <= MOST_LEVELS:
        refuse(place, f"The criteria of a score are a list of {LEAST} to {MOST_LEVELS} levels, lowest first.", "score_levels")
    names = [level for level in criteria if isinstance(level, str)]
    options = label_options(names, taught, acceptance) if len(names) == len(criteria) else None
    if options is None:
        refuse(place, f"These levels are no labels of one task. {UNMAPPED}", "not_answerable")
    return options


def _noul(place: Place, criteria: Any, taught: Iterable[str], acceptance: Acceptance) -> Options:
    if not isinstance(criteria, dict | None) or set(criteria or ()) - {"true", "false"}:
        refuse(place, "The criteria of a noul are an object that says what true and false stand for.", "noul_criteria")
    yes, no = (criteria or {}).get("true"), (criteria or {}).get("false")
    names = [yes] if no is None else [yes, no]
    if not all(isinstance(each, str | dict | list | None) for each in names):
        refuse(place, "What true and false stand for is a text, an object, a list or null.", "noul_criteria")
    options = label_options([str(each) for each in names], taught, acceptance) if all(isinstance(each, str) for each in names) else None
    if options is None:
        refuse(place, f'true, or true and false, must stand for labels of one task, as in {{"true": "awe"}}. {UNMAPPED}', "not_answerable")
    return options


_READERS = {"choice": _choice, "score": _score, "noul": _noul}
_KINDS: Mapping[str, Kind] = {"choice": "choice", "score": "score", "noul": "yes"}
