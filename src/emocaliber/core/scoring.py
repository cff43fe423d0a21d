"""Scoring: the outcome of a response row, that is its answer, correctness, emotional distance and confidences.

Training targets, rewards and evaluation all use `is_correct`, the only definition of a correct answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from emocaliber import emotions
from emocaliber.core.calibrators import CALIBRATED, PEOPLE, PEOPLE_FIELDS, PEOPLE_HIGH, PEOPLE_LOW
from emocaliber.core.released import filled_in
from emocaliber.core.response import Malformed, parse_with_format
from emocaliber.core.samples import Fields, identified
from emocaliber.core.tasks import TASKS, canonical_task, nearly, taxonomy_of
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place, located_rows
from emocaliber.io.rows import Row, RowPath, display_name, numbered_rows

NO_ANSWER = "no_answer"
VERBALIZED = "verb"  # the source of confidences that are stated in the text
CONFIDENCE = "confidence"  # that of files of others with one column of them
_PEOPLE = frozenset(PEOPLE_FIELDS)
_KEPT = 4096  # questions whose candidates are kept
FIRST_SOURCES = (CALIBRATED, CONFIDENCE, VERBALIZED)  # the one to show first is the first of these that a system has


_Shares = Mapping[str, float] | None
_Counts = Mapping[str, int] | None
_Confidences = Mapping[str, float | None]
_Text = str | None
# The fields of an outcome in their order, for code that needs no object for each row.
OutcomeValues = tuple[str, str, str, _Text, bool, _Text, float | None, _Confidences, _Shares, _Counts, _Text, bool | None, _Shares]


@dataclass(frozen=True)
class Outcome:
    """The scored response to one sample.

    `malformed` is the reason for which there is no answer: a `MalformedReason`, or "no_answer" where the model gave no text. `distance` is
    the distance of the answer from the ground truth on the emotion loop, in [0, 0.5]; None without an answer, or if the loop lacks a label.
    `confidence` maps each source ("verb" is the stated one) to a number in [0, 1] or None. `image` is the image of the row, as outcomes
    about the same image are not independent. `format` is whether the text has the strict five-step format; None without a text. `people` is
    the expected share of people with its interval, as in the row, if it is there.
    """

    id: str
    task: str
    ground_truth: str
    answer: str | None
    correct: bool
    malformed: str | None
    distance: float | None
    confidence: Mapping[str, float | None]
    posterior: Mapping[str, float] | None = None
    votes: Mapping[str, int] | None = None
    image: str | None = None
    format: bool | None = None
    people: Mapping[str, float] | None = None

    @property
    def shares(self) -> Mapping[str, float] | None:
        """The share of people behind each label; None without posterior and votes."""
        return people_shares(self.posterior, self.votes)

    @property
    def agreement(self) -> float | None:
        """The share of people who would give the same answer, in [0, 1]; 0 for no answer, None without posterior and votes."""
        return agreement(self.answer, self.shares)

    @property
    def values(self) -> OutcomeValues:
        """The fields in their order."""
        values: OutcomeValues = tuple(vars(self).values())
        return values

    def to_row(self) -> dict[str, object]:
        """The outcome as a JSON row."""
        return dict(vars(self))

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str) -> Outcome:
        """The inverse of `to_row`. Raises UserError, naming `where` (the row's file and line), for any other row."""
        try:
            return cls(**row)
        except TypeError as error:
            raise UserError(f"{where}: this is not an outcome as `emocaliber score` writes them ({error}); score again") from error


def is_correct(answer: str | None, ground_truth: str, labels: Labels) -> bool:
    """Whether the answer and the ground truth name the same one of the labels. No answer, or one that is no label, is not correct."""
    named = None if answer is None else labels.named(answer)
    return named is not None and named == labels.named(ground_truth)


def people_shares(posterior: Mapping[str, float] | None, votes: Mapping[str, int] | None) -> Mapping[str, float] | None:
    """The share of people behind each label: the posterior if known, else the votes; None without either."""
    if posterior is not None or votes is None:
        return posterior
    total = sum(votes.values())
    return {label: count / total for label, count in votes.items()}


def agreement(answer: str | None, shares: Mapping[str, float] | None) -> float | None:
    """The share of people who would give the same answer, in [0, 1]; 0 for no answer, None without shares.

    The probability that the answer is right for a viewer drawn at random. Labels are spelt as the candidates are.
    """
    if shares is None:
        return None
    return min(shares.get(answer, 0.0), 1.0) if answer is not None else 0.0


def outcome(
    row: Mapping[str, object], taxonomy: emotions.Taxonomy | None = None, *, strict: bool = False, where: str = "response row"
) -> Outcome:
    """The outcome of a response row.

    Its fields `id, task, candidates, ground_truth, response` are required; `confidence, calibrated, people, people_low, people_high, error,
    votes, posterior, image, lenient, plain_answer` are optional. Parsing is lenient (see `parse`), or strict with `strict` and where the
    row's `lenient` is false. A `confidence` that is a number or text comes from a released row, and is ignored: the tag in the response is
    parsed instead.
    `plain_answer` is that of a system that names a label without a text: it takes the place of `response`, and nothing is stated.
    `taxonomy` gives other spellings of the labels, and the emotion loop; by default it is that of the VECBench task, and none for a custom
    task.
    Raises UserError, naming `where` (the row's file and line) and the field, for a row that is not a response row.
    """
    return Scorer(taxonomy, strict=strict).outcome(row, where)


@dataclass(frozen=True)
class _Question:
    """A task with its candidates; `scores` are whether an answer to it is right, and its distance, by answer and truth."""

    task: str
    candidates: Labels
    scores: dict[tuple[str, str], tuple[bool, float | None]] = field(default_factory=dict)

    def score(self, answer: str, truth: str) -> tuple[bool, float | None]:
        found = self.scores.get((answer, truth))
        if found is None:
            found = is_correct(answer, truth, self.candidates), self.candidates.distance(answer, truth)
            self.scores[answer, truth] = found
        return found


class Scorer:
    """The outcomes of many rows (see `outcome`): what depends on the question alone is worked out once for each question."""

    def __init__(self, taxonomy: emotions.Taxonomy | None = None, *, strict: bool = False) -> None:
        self._taxonomy, self._strict = taxonomy, strict
        self._questions: dict[tuple[Any, ...], _Question] = {}

    def outcome(self, row: Mapping[str, Any], where: str | Place) -> Outcome:
        """The outcome of a row at the place `where`, which messages name."""
        return Outcome(*self.values(row, where))

    def values(self, row: Mapping[str, Any], where: str | Place) -> OutcomeValues:
        """The fields of the outcome, in their order."""
        fields = Fields(row, where)
        asked = self._question(fields, row)
        task, candidates = asked.task, asked.candidates
        ground_truth = fields.label("ground_truth", candidates)
        plain = "plain_answer" in row
        text = fields.optional_text("plain_answer" if plain else "response")
        answer: str | None = None
        verbalized: float | None = None
        malformed: str | None = None
        keeps: bool | None = None
        if text is None or row.get("error") is not None:
            malformed = NO_ANSWER
        else:
            lenient = plain or not (self._strict or row.get("lenient") is False)
            parsed, five_steps = parse_with_format(f"<answer>{text}</answer>" if plain else text, candidates, lenient=lenient)
            keeps = None if plain else five_steps
            if isinstance(parsed, Malformed):
                malformed = str(parsed.reason)
            else:
                answer, verbalized = parsed.answer, parsed.confidence
        stated, image = row.get("confidence"), row.get("image")
        calibrated = {CALIBRATED: fields.fraction(CALIBRATED)} if CALIBRATED in row else {}
        released = isinstance(stated, str | int | float) and not isinstance(stated, bool)
        correct, distance = (False, None) if answer is None else asked.score(answer, ground_truth)
        return (
            fields.text("id"),
            task,
            ground_truth,
            answer,
            correct,
            malformed,
            distance,
            ({} if released else fields.fractions("confidence")) | ({} if plain else {VERBALIZED: verbalized}) | calibrated,
            fields.posterior("posterior", candidates),
            fields.votes("votes", candidates),
            image if isinstance(image, str) else None,
            keeps,
            None if answer is None or _PEOPLE.isdisjoint(row) else _people(fields),
        )

    def _question(self, fields: Fields, row: Mapping[str, Any]) -> _Question:
        """The task and the candidates of a row, checked where the scorer has not met them before."""
        listed = row.get("candidates")
        key = (row.get("task"), *listed) if type(listed) is list else ()
        try:
            if (known := self._questions.get(key)) is not None:
                return known
        except TypeError:  # a label or a task that cannot be one, which is said now
            pass
        task = canonical_task(fields.text("task"))
        candidates = fields.labels("candidates", self._taxonomy or taxonomy_of(task))
        _check_task(fields, task, candidates)
        if len(self._questions) >= _KEPT:
            self._questions.clear()
        found = _Question(task, candidates)
        if key:
            self._questions[key] = found
        return found


def with_known_sources(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes without the sources of confidence that none of them has."""
    known = {source for each in outcomes for source, value in each.confidence.items() if value is not None}
    return [replace(each, confidence={source: each.confidence.get(source) for source in sorted(known)}) for each in outcomes]


def response_rows(sources: RowPath | Sequence[RowPath]) -> Iterator[tuple[str, Row]]:
    """The response rows of files, folders of shards or saved data sets (see `located_rows`), each after its place for error messages.

    Released rows are completed as `outcome` needs them. If the first row has no id, rows without one are named by their place.
    Raises UserError, naming the place, for the first row that cannot be read or repeats an id, and where there is no row at all.
    """
    return completed(located_rows(sources))


def completed(rows: Iterable[tuple[Place, Row]]) -> Iterator[tuple[str, Row]]:
    """`response_rows` for rows that were read already."""
    for where, row in identified(rows, required=False):
        yield where, filled_in(row)


def read_outcomes(sources: RowPath | Sequence[RowPath], taxonomy: emotions.Taxonomy | None = None) -> Iterator[Outcome]:
    """The outcomes of `response_rows`, in order.

    Raises UserError, naming the file, the line and the field, for the first row that is not a response row or repeats an id.
    """
    for where, row in response_rows(sources):
        yield outcome(row, taxonomy, where=where)


def scored_outcomes(folder: str | Path) -> list[Outcome]:
    """The outcomes in a folder that `score` wrote. Raises UserError where there are none."""
    file = Path(folder) / "outcomes.jsonl"
    if not file.is_file():
        raise UserError(f"{display_name(folder)} has no outcomes.jsonl; give a folder that `emocaliber score ... --out` wrote")
    name = display_name(file)
    return [Outcome.from_row(row, f"{name}, line {number}") for number, row in numbered_rows(file)]


def _people(fields: Fields) -> dict[str, float] | None:
    """The share of people in a row, with its interval; None where it has not all three numbers."""
    found = {name: value for name in PEOPLE_FIELDS if (value := fields.fraction(name)) is not None}
    if len(found) < len(PEOPLE_FIELDS):
        return None
    if not found[PEOPLE_LOW] <= found[PEOPLE] <= found[PEOPLE_HIGH]:
        raise fields.error(PEOPLE, "is not between people_low and people_high", "give the three numbers as `calibrate apply` wrote them")
    return found


def _check_task(fields: Fields, task: str, candidates: Sequence[str]) -> None:
    """Raises UserError for a task that looks like a misspelt task of VECBench: it has the same candidates and nearly the same name.

    Any other unknown name is a custom task. A misspelt one would silently drop out of its group.
    """
    if task not in TASKS and (meant := _nearly(task, tuple(candidates))):
        remedy = "write that, or give a task of your own another name"
        raise fields.error("task", f"is '{task}', but VECBench calls it '{meant}'", remedy)


@cache
def _nearly(task: str, candidates: tuple[str, ...]) -> str | None:
    """The task of VECBench with the same candidates and nearly the same name, if there is one."""
    return nearly(task, [name for name in TASKS if _are_labels_of(TASKS[name].taxonomy, candidates)])


def _are_labels_of(name: str | Path | emotions.Taxonomy, candidates: tuple[str, ...]) -> bool:
    taxonomy = emotions.taxonomy(name)
    return {taxonomy.canonical(label) for label in candidates} == set(taxonomy.labels)
