"""Checks that need no model: form, answer, length, leaks of the label, contradictions and near duplicates.

A check is one function decorated with `@register_check`: it returns a sentence about what is wrong with a draft, or None. Its name is used
in the ledger and the statistics. Its settings are fields of `CheckSettings`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from emocaliber.core.response import STEPS, Malformed, Response, parse
from emocaliber.core.samples import Sample
from emocaliber.emotions.labels import mention_pattern
from emocaliber.veccot.ledger import RejectionReason


@dataclass(frozen=True, kw_only=True)
class CheckSettings:
    """The settings of the checks: characters in a step, the similarity of near duplicates, phrases that leak the label."""

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
    """The input of a check: the sample, the teacher's text, the parsed text, and the index of the texts accepted before."""

    sample: Sample
    text: str
    parsed: Response | Malformed
    accepted: NearDuplicateIndex
    limits: CheckSettings = CheckSettings()

    @cached_property
    def steps(self) -> Mapping[str, str]:
        """The five steps by name; empty for a malformed text."""
        return {step: getattr(self.parsed.reasoning, step) for step in STEPS} if isinstance(self.parsed, Response) else {}


Check = Callable[[Draft], str | None]
CHECKS: list[Check] = []


def register_check(function: Check) -> Check:
    """Adds a check to `CHECKS`, at the end."""
    CHECKS.append(function)
    return function


def draft(sample: Sample, text: str, accepted: NearDuplicateIndex, limits: CheckSettings) -> Draft:
    """Parses a text strictly, as training does: five steps, an answer, and no confidence, which only stage 2 teaches."""
    parsed = parse(text, sample.candidates, confidence="forbidden")
    return Draft(sample, text, parsed, accepted, limits)


def rejection_reasons(draft: Draft, checks: Iterable[Check]) -> tuple[RejectionReason, ...]:
    """The reasons of all checks that a draft fails."""
    found = ((name_of(each), each(draft)) for each in checks)
    return tuple(RejectionReason(name, detail) for name, detail in found if detail is not None)


def name_of(check: Check) -> str:
    """The name of a check, as in the ledger and the statistics."""
    return str(check.__name__)


@register_check
def form(draft: Draft) -> str | None:
    """The tags of the five steps and the answer, in order and complete."""
    return f"{draft.parsed.reason}: {draft.parsed.detail}" if isinstance(draft.parsed, Malformed) else None


@register_check
def answer(draft: Draft) -> str | None:
    """The answer is the label."""
    if isinstance(draft.parsed, Malformed) or draft.parsed.answer == draft.sample.ground_truth:
        return None
    return f"the answer is {draft.parsed.answer}, and the label {draft.sample.ground_truth}"


@register_check
def length(draft: Draft) -> str | None:
    """Every step is of a plausible length."""
    limits = draft.limits
    for step, said in draft.steps.items():
        if not limits.shortest <= len(said) <= limits.longest:
            return f"<{step}> has {len(said):,} characters; {limits.shortest:,} to {limits.longest:,} are wanted"
    return None


@register_check
def label_before_analysis(draft: Draft) -> str | None:
    """The steps before the analysis name neither the label nor an alias of it: evidence comes before the conclusion."""
    names = draft.sample.candidates.pattern(draft.sample.ground_truth)
    for step in STEPS[:-1]:
        if found := names.search(draft.steps.get(step, "")):
            return f"<{step}> names the label: {_around(draft.steps[step], found)}"
    return None


@register_check
def forbidden_phrase(draft: Draft) -> str | None:
    """No phrase reveals that a label was given, or that a model is speaking."""
    found = mention_pattern(draft.limits.forbidden).search(draft.text)
    return f"it says {_around(draft.text, found)}" if found else None


@register_check
def contradiction(draft: Draft) -> str | None:
    """If <human> says that nobody is there, no other step mentions a person; if it mentions one, no step says that nobody is there."""
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


@register_check
def near_duplicate(draft: Draft) -> str | None:
    """The reasoning is not a near duplicate of another sample's."""
    nearest = draft.accepted.nearest(draft.sample.id, reasoning_of(draft)) if draft.steps else None
    if nearest is None or nearest[1] < draft.limits.similarity:
        return None
    return f"about {100 * nearest[1]:.0f} % of its phrases are those of {nearest[0]}"


def reasoning_of(draft: Draft) -> str:
    """The five steps as one text."""
    return "\n".join(draft.steps.values())


def _around(text: str, found: re.Match[str]) -> str:
    """The match with some characters of the text around it."""
    start, end = max(0, found.start() - 25), min(len(text), found.end() + 25)
    return f"{'...' if start else ''}{' '.join(text[start:end].split())!r}{'...' if end < len(text) else ''}"


# Mentions of persons, and of nobody, by a small lexicon.

_PERSON = (
    r"(?:person|people|human figure|human being|humans|man|men|woman|women|boys?|girls?|child|children|kids?|toddler|baby|babies|infant|"
    r"lady|ladies|gentleman|guy|couple|crowd|dancers?|runners?|bride|groom|soldiers?|players?|athletes?|figures?|someone|somebody)"
)
_NONE = r"(?:no|without(?:\s+(?:a|any))?|not\s+(?:a|any)|absence\s+of(?:\s+any)?|lacks?(?:\s+any)?|devoid\s+of|free\s+of|empty\s+of)"
_QUALIFIERS = r"(?:\s+(?:visible|actual|real|other|single|human|living|discernible|identifiable|apparent))*"
_NOBODY = rf"nobody|no[\s-]one|{_NONE}{_QUALIFIERS}\s+(?:{_PERSON}|humans?)"

_SAYS_NOBODY = re.compile(rf"(?<!\w)(?:{_NOBODY})(?!\w)", re.IGNORECASE)
_SAYS_SOMEONE = re.compile(rf"(?<!\w){_PERSON}(?!\w)", re.IGNORECASE)
_REPRESENTED = re.compile(
    r"(?<!\w)(?:statue|sculpture|doll|toy|portrait|painting|poster|drawing|mannequin|reflection)s?(?!\w)", re.IGNORECASE
)


def speaks_of_nobody(text: str) -> re.Match[str] | None:
    """The match where a text says that there is no person ("nobody", "no visible people"), if it mentions no person elsewhere."""
    found = _SAYS_NOBODY.search(text)
    return found if found and not speaks_of_someone(text) else None


def speaks_of_someone(text: str) -> re.Match[str] | None:
    """The match where a text mentions a person who is there: not "no people", and not in a text about a statue or a portrait."""
    if _REPRESENTED.search(text):
        return None
    # Replaced by as many characters, so that the match keeps its position.
    return _SAYS_SOMEONE.search(_SAYS_NOBODY.sub(lambda found: "_" * len(found.group()), text))


# Near duplicates: MinHash sketches of the accepted texts.

_SHINGLE = 3  # words
_HASHES = 128  # bytes per text, so 18 MB for 143,000; the estimate's standard error is 0.03 at a similarity of 0.9
_CHANCE = 1 / 256  # that two bytes agree by chance


class NearDuplicateIndex:
    """MinHash sketches of texts, one per sample.

    The similarity of two texts is the Jaccard index of their word trigrams, estimated by b-bit MinHash (Li and Koenig 2010): the share of
    agreeing bytes of two sketches, corrected for chance. A text is compared with every other (5 ms for 143,000), so none is missed as with
    locality-sensitive buckets, and the result depends on the texts alone.
    """

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self._factors = random.integers(0, 2**63, (_HASHES, 1), dtype=np.uint64) * 2 + 1
        self._offsets = random.integers(0, 2**63, (_HASHES, 1), dtype=np.uint64)
        self._sketches: NDArray[np.uint8] = np.zeros((_HASHES, 1024), np.uint8)  # one row per hash, so that compared bytes are contiguous
        self._places: dict[str, int] = {}
        self._samples: list[str] = []

    def add(self, sample: str, text: str) -> None:
        """Adds a text, replacing an earlier one of the same sample."""
        place = self._places.setdefault(sample, len(self._samples))
        if place == len(self._samples):
            self._samples.append(sample)
            if place == self._sketches.shape[1]:
                self._sketches = np.concatenate([self._sketches, np.zeros_like(self._sketches)], 1)
        self._sketches[:, place] = self._sketch(text)

    def nearest(self, sample: str, text: str) -> tuple[str, float] | None:
        """The other sample with the most similar text (of equals the first), and the similarity in [0, 1]; None if there is no other."""
        agreeing = np.zeros(len(self._samples), np.uint8)
        for row, byte in zip(self._sketches, self._sketch(text), strict=True):
            agreeing += row[: len(agreeing)] == byte
        if (own := self._places.get(sample)) is not None:
            agreeing[own] = 0
        if not agreeing.size or not agreeing.any():
            return None
        place = int(agreeing.argmax())
        return self._samples[place], max(0.0, (int(agreeing[place]) / _HASHES - _CHANCE) / (1 - _CHANCE))

    def _sketch(self, text: str) -> NDArray[np.uint8]:
        words = re.findall(r"\w+", text.casefold())
        runs = {" ".join(words[start : start + _SHINGLE]) for start in range(max(1, len(words) - _SHINGLE + 1))}
        hashes = np.array([crc32(run.encode("utf-8", "surrogatepass")) for run in runs], np.uint64)
        least: NDArray[np.uint64] = (self._factors * hashes + self._offsets).min(1)
        return (least >> np.uint64(24)).astype(np.uint8)  # not the high bits, which are small in a minimum and so agree
