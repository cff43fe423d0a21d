"""Checks that need no model. A check is one function with `@check` above it: it says in a sentence what is wrong with a draft, or None.

Its name is what the ledger and the statistics call it. The settings it needs are fields of `Limits`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from emocaliber.emotions import mention_pattern
from emocaliber.response import STEPS, Malformed, Response, parse
from emocaliber.vecbench import Sample
from emocaliber.veccot.attempt import Objection
from emocaliber.veccot.originals import Originals
from emocaliber.veccot.people import speaks_of_nobody, speaks_of_someone


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The settings of the checks: characters in a step, the similarity from which a text is a copy, phrases that give the label away."""

    shortest: int = 12
    longest: int = 2000
    similarity: float = 0.9
    forbidden: tuple[str, ...] = (
        *("the label", "given label", "given emotion", "provided emotion", "provided label", "labelled as", "labeled as", "ground truth"),
        *("correct answer", "correct emotion", "target emotion", "annotation", "annotated", "annotator", "the dataset"),
        *("i was told", "i was given", "i am told", "i am given", "the prompt", "the instruction", "as instructed", "as requested"),
        *("as an ai", "as a language model", "i cannot", "i can't", "i'm sorry"),
    )


@dataclass(frozen=True)
class Draft:
    """What a check looks at: the sample, the teacher's text, that text as the one parser reads it, and what was accepted before."""

    sample: Sample
    text: str
    parsed: Response | Malformed
    accepted: Originals
    limits: Limits = Limits()

    @cached_property
    def steps(self) -> Mapping[str, str]:
        """The five steps by name; none of a malformed text."""
        return {step: getattr(self.parsed.reasoning, step) for step in STEPS} if isinstance(self.parsed, Response) else {}


Check = Callable[[Draft], str | None]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    """Adds a check to those that are made, after the ones before it."""
    CHECKS.append(function)
    return function


def draft(sample: Sample, text: str, accepted: Originals, limits: Limits) -> Draft:
    """Reads a text strictly, as training will: five steps, an answer, and no confidence, which only stage 2 teaches."""
    parsed = parse(text, sample.candidates, confidence="forbidden")
    return Draft(sample, text, parsed, accepted, limits)


def objections(draft: Draft, checks: Iterable[Check]) -> tuple[Objection, ...]:
    """What every check that finds something wrong says."""
    found = ((name_of(each), each(draft)) for each in checks)
    return tuple(Objection(name, detail) for name, detail in found if detail is not None)


def name_of(check: Check) -> str:
    """The name of a check, in the ledger and everywhere."""
    return str(check.__name__)


@check
def form(draft: Draft) -> str | None:
    """The tags of the five steps and the answer, in order and complete."""
    return f"{draft.parsed.reason}: {draft.parsed.detail}" if isinstance(draft.parsed, Malformed) else None


@check
def answer(draft: Draft) -> str | None:
    """The answer is the label."""
    if isinstance(draft.parsed, Malformed) or draft.parsed.answer == draft.sample.ground_truth:
        return None
    return f"the answer is {draft.parsed.answer}, and the label {draft.sample.ground_truth}"


@check
def length(draft: Draft) -> str | None:
    """Every step is of a plausible length."""
    limits = draft.limits
    for step, said in draft.steps.items():
        if not limits.shortest <= len(said) <= limits.longest:
            return f"<{step}> has {len(said):,} characters; {limits.shortest:,} to {limits.longest:,} are wanted"
    return None


@check
def label_before_analysis(draft: Draft) -> str | None:
    """Evidence comes before the conclusion: what is seen does not name the label, nor an alias of it."""
    names = draft.sample.candidates.pattern(draft.sample.ground_truth)
    for step in STEPS[:-1]:
        if found := names.search(draft.steps.get(step, "")):
            return f"<{step}> names the label: {_around(draft.steps[step], found)}"
    return None


@check
def forbidden_phrase(draft: Draft) -> str | None:
    """Nothing tells that a label was given, or that a machine is speaking."""
    found = mention_pattern(draft.limits.forbidden).search(draft.text)
    return f"it says {_around(draft.text, found)}" if found else None


@check
def contradiction(draft: Draft) -> str | None:
    """Where <human> says that there is nobody, no other step speaks of a person; where it shows one, none says that nobody is there."""
    steps = draft.steps
    if not steps:
        return None
    others = [step for step in STEPS if step != "human"]
    if speaks_of_nobody(steps["human"]):
        for step in others:
            if someone := speaks_of_someone(steps[step]):
                return f"<human> says that nobody is there, and <{step}> speaks of a person: {_around(steps[step], someone)}"
    elif speaks_of_someone(steps["human"]):
        for step in others:
            if nobody := speaks_of_nobody(steps[step]):
                return f"<human> shows a person, and <{step}> says that nobody is there: {_around(steps[step], nobody)}"
    return None


@check
def near_duplicate(draft: Draft) -> str | None:
    """The reasoning is not that of another sample over again."""
    nearest = draft.accepted.nearest(draft.sample.id, reasoning_of(draft)) if draft.steps else None
    if nearest is None or nearest[1] < draft.limits.similarity:
        return None
    return f"about {nearest[1]:.0%} of its phrases are those of {nearest[0]}"


def reasoning_of(draft: Draft) -> str:
    """The five steps as one text."""
    return "\n".join(draft.steps.values())


def _around(text: str, found: re.Match[str]) -> str:
    """A few words of the text, what was found among them."""
    start, end = max(0, found.start() - 25), min(len(text), found.end() + 25)
    return f"{'...' if start else ''}{' '.join(text[start:end].split())!r}{'...' if end < len(text) else ''}"
