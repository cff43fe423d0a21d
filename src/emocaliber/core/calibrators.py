"""Calibrators: maps from the confidences of an answer to the probability that it is right, each for one question, as plain numbers.

Where the answers had votes or a posterior, a question also has a `PeopleModel`: the share of people who would give the answer, and how far
from it the true share may lie.

A question is a task with its set of labels. A calibrator says nothing about any other question: `Calibrators.apply` gives the reason
instead. Fitting is in `emocaliber.trust`; applying needs nothing but these numbers. The same content stands in `calibrator.json` and, under
`calibration`, in the card of a checkpoint.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, isfinite, log
from typing import Any

from emocaliber.core.tasks import CUSTOM_TASK, canonical_task, taxonomy_of
from emocaliber.emotions.taxonomy import label_key
from emocaliber.errors import UserError

CALIBRATED = "calibrated"  # the source of calibrated confidences
UNCALIBRATED = "uncalibrated"  # the field of rows that says why there is none
NO_ANSWER_TO_CALIBRATE = "there is no answer that can be read"
CLIP = 0.001  # confidences are clipped to [CLIP, 1 - CLIP], as a stated 1 could otherwise never be corrected
FORMAT = "emocaliber calibrator 1"
PEOPLE, PEOPLE_LOW, PEOPLE_HIGH = PEOPLE_FIELDS = ("people", "people_low", "people_high")  # the fields of rows
PEOPLE_LEVEL = 0.8  # the share of answers for which the true share of people lies between low and high
LEAST_LOG, MOST_LOG = -1.0, 8.0  # of the concentration: from nearly any share at all to a share known within 0.01

Confidences = Mapping[str, float | None]


def clipped(confidence: float, clip: float = CLIP) -> float:
    """The confidence, no nearer than `clip` to 0 and 1."""
    return min(max(confidence, clip), 1 - clip)


def log_odds(confidence: float, clip: float = CLIP) -> float:
    """The log-odds of a confidence clipped to [clip, 1 - clip]."""
    within = clipped(confidence, clip)
    return log(within / (1 - within))


def expit(odds: float) -> float:
    """The probability with these log-odds."""
    return 1 / (1 + exp(-odds)) if odds > -500 else 0.0


@dataclass(frozen=True)
class Logistic:
    """P(right) = 1 / (1 + exp(-(bias + Σ weight · log-odds of the source))): Platt (1999) with one source, else fused evidence."""

    sources: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    clip: float = CLIP

    @property
    def method(self) -> str:
        return "platt" if len(self.sources) == 1 else "logistic"

    def __call__(self, confidences: Confidences) -> float:
        """The probability in (0, 1) that the answer with these confidences is right. Raises KeyError for a source that is not there."""
        given = zip(self.weights, _given(self.sources, confidences), strict=True)
        return expit(self.bias + sum(weight * log_odds(value, self.clip) for weight, value in given))


@dataclass(frozen=True)
class Beta:
    """P(right) = 1 / (1 + exp(-(c + a · log s - b · log(1 - s)))) for a confidence s; a, b >= 0. Kull, Silva Filho and Flach (2017)."""

    sources: tuple[str, ...]
    a: float
    b: float
    c: float
    method = "beta"

    def __call__(self, confidences: Confidences) -> float:
        """As that of `Logistic`."""
        (value,) = map(clipped, _given(self.sources, confidences))
        return expit(self.c + self.a * log(value) - self.b * log(1 - value))


@dataclass(frozen=True)
class Isotonic:
    """P(right) by linear interpolation between the points (x, y), both ascending, and constant beyond them."""

    sources: tuple[str, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    method = "isotonic"

    def __call__(self, confidences: Confidences) -> float:
        """As that of `Logistic`."""
        (value,) = map(clipped, _given(self.sources, confidences))
        place = bisect_right(self.x, value)
        if place in (0, len(self.x)):
            return self.y[0 if place == 0 else -1]
        (left, right), (low, high) = self.x[place - 1 : place + 1], self.y[place - 1 : place + 1]
        return low + (high - low) * (value - left) / (right - left)


CalibrationMap = Logistic | Beta | Isotonic
METHODS: Mapping[str, Callable[..., CalibrationMap]] = {"platt": Logistic, "beta": Beta, "isotonic": Isotonic, "logistic": Logistic}


def _given(sources: Sequence[str], confidences: Confidences) -> list[float]:
    found = []
    for source in sources:
        value = confidences[source]
        if value is None:
            raise KeyError(source)
        found.append(value)
    return found


def map_to_json(found: CalibrationMap) -> dict[str, Any]:
    """The map as a JSON object: its `method`, `sources` and numbers."""
    return {"method": found.method} | {name: list(part) if isinstance(part, tuple) else part for name, part in vars(found).items()}


def map_from_json(stored: Any) -> CalibrationMap:
    """The inverse of `map_to_json`. Raises ValueError for anything else."""
    parts: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in dict(stored).items()}
    try:
        found = METHODS[str(parts.pop("method"))](**parts)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{error} is no map of the methods {', '.join(METHODS)}") from error
    values = [each for part in vars(found).values() for each in (part if isinstance(part, tuple) else (part,))]
    if not all(isinstance(each, str) or (isinstance(each, int | float) and isfinite(each)) for each in values) or not found.sources:
        raise ValueError("its numbers must be finite, and it needs a source")
    return found


@dataclass(frozen=True)
class PeopleShare:
    """The share of people who would give an answer: its expectation, and the ends between which the true share lies for 80 % of answers."""

    people: float
    low: float
    high: float

    def to_row(self) -> dict[str, float]:
        """The fields of a row."""
        return dict(zip(PEOPLE_FIELDS, (self.people, self.low, self.high), strict=True))


@dataclass(frozen=True)
class PeopleModel:
    """The share of people who would give an answer, as a Beta distribution whose mean is that of `map` and whose concentration is
    exp(bias + Σ weight · log-odds of the source); the source "people" is the mean itself.

    The interval holds the `inner` central part of that distribution, which is chosen so that 80 % of true shares lie in it.
    """

    map: CalibrationMap
    sources: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    inner: float

    @property
    def needed(self) -> tuple[str, ...]:
        """The sources of confidence that it reads."""
        return tuple(dict.fromkeys([*self.map.sources, *(source for source in self.sources if source != PEOPLE)]))

    def __call__(self, confidences: Confidences) -> PeopleShare:
        """The share for an answer with these confidences. Raises KeyError for a source that is not there."""
        from scipy.special import betaincinv  # only where shares are known

        mean = clipped(self.map(confidences))
        given = _given(self.sources, {**confidences, PEOPLE: mean})
        total = self.bias + sum(weight * log_odds(value) for weight, value in zip(self.weights, given, strict=True))
        concentration = exp(min(max(total, LEAST_LOG), MOST_LOG))
        ends = [
            float(betaincinv(mean * concentration, (1 - mean) * concentration, (1 + sign * self.inner) / 2)) if self.inner < 1 else edge
            for sign, edge in ((-1, 0.0), (1, 1.0))
        ]
        return PeopleShare(round(mean, 6), round(min(ends[0], mean), 6), round(max(ends[1], mean), 6))

    def to_json(self) -> dict[str, Any]:
        """The model as a JSON object."""
        concentration = {"sources": list(self.sources), "weights": list(self.weights), "bias": self.bias}
        return {"map": map_to_json(self.map), "concentration": concentration, "level": PEOPLE_LEVEL, "inner": self.inner}

    @classmethod
    def from_json(cls, stored: Any) -> PeopleModel | None:
        """The inverse of `to_json`; None for None. Raises ValueError for anything else."""
        if stored is None:
            return None
        try:
            part = stored["concentration"]
            found = cls(map_from_json(stored["map"]), tuple(part["sources"]), tuple(part["weights"]), part["bias"], stored["inner"])
            numbers = [*found.weights, found.bias, found.inner]
            sound = len(found.weights) == len(found.sources) and all(isfinite(each) for each in numbers) and 0 <= found.inner <= 1
        except (KeyError, TypeError) as error:
            raise ValueError(f"its 'people' is no share of people ({error})") from error
        if not sound or stored.get("level") != PEOPLE_LEVEL:
            raise ValueError(f"the numbers of its 'people' must be finite, its inner part in [0, 1], and its level {PEOPLE_LEVEL:g}")
        return found


def question_key(task: str, labels: Sequence[str]) -> tuple[str, frozenset[str]]:
    """The identity of a question: its task and its labels, in any order and spelling."""
    known = taxonomy_of(task)
    return canonical_task(task), frozenset(label_key((known and known.canonical(label)) or label) for label in labels)


@dataclass(frozen=True)
class QuestionCalibrator:
    """The calibrator of one question. `record` is its entry in the file: the map, and what it was fitted on.

    `people` is None where the answers that it was fitted on had neither votes nor a posterior.
    """

    task: str
    labels: tuple[str, ...]
    map: CalibrationMap
    people: PeopleModel | None = None
    record: Mapping[str, Any] = field(repr=False, compare=False, default_factory=dict)


@dataclass(frozen=True)
class Calibrators:
    """Calibrators by question, and the `model` (name, sha256, commit) whose answers they were fitted on, None if not known.

    `refused` is the reason for which none of them may be used, if any: see `for_model`.
    """

    questions: tuple[QuestionCalibrator, ...]
    model: Mapping[str, str | None] | None = None
    content: Mapping[str, Any] = field(repr=False, compare=False, default_factory=dict)
    refused: str | None = None

    @classmethod
    def from_json(cls, content: Any, where: str) -> Calibrators:
        """The calibrators in the content of a file or card. Raises UserError, naming `where`, for any other content."""
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            raise UserError(f"{where}: this is not a calibrator as `emocaliber calibrate fit` writes it; fit one, and give that file")
        found = []
        for number, each in enumerate(content.get("questions", []), 1):
            try:
                people = PeopleModel.from_json(each.get(PEOPLE))
                found.append(QuestionCalibrator(each["task"], tuple(each["labels"]), map_from_json(each["map"]), people, each))
            except (KeyError, TypeError, ValueError) as error:
                raise UserError(f"{where}: question {number} cannot be read ({error}); fit the calibrator again") from error
        return cls(tuple(found), content.get("model"), content)

    def find(self, task: str, labels: Sequence[str]) -> QuestionCalibrator | None:
        """The calibrator of a question; None if there is none for this task with these labels, or none may be used."""
        key = question_key(task, labels)
        return None if self.refused else next((each for each in self.questions if question_key(each.task, each.labels) == key), None)

    def why_not(self, task: str, labels: Sequence[str]) -> str | None:
        """The reason for which there is no calibrator for a question; None if there is one."""
        if self.refused or self.find(task, labels):
            return self.refused
        asked = "labels of your own" if task == CUSTOM_TASK else canonical_task(task)
        named = [each for each in self.questions if canonical_task(each.task) == canonical_task(task)]
        if named:
            return f"it was fitted for {asked} with other labels ({', '.join(named[0].labels)}), not with {', '.join(labels)}"
        return f"it was not fitted for {asked}, but for {', '.join(each.task for each in self.questions) or 'no question'}"

    def for_model(self, name: str | None, sha256: str | None = None) -> Calibrators:
        """The calibrators for the answers of this model: `refused` if they were fitted on those of another.

        The same files are the same model, whatever it is called. Where neither hash nor name is known of both, nothing is refused.
        """
        fitted, refused = self.model or {}, None
        if (known := fitted.get("sha256")) and sha256:
            refused = None if known == sha256 else f"it was fitted on answers of {fitted.get('name') or name} with other files"
        elif (known := fitted.get("name")) and name and known != name:
            refused = f"it was fitted on answers of {known}, not of {name}"
        return replace(self, refused=refused)

    def apply(self, task: str, labels: Sequence[str], confidences: Confidences) -> tuple[float | None, str | None]:
        """The probability in [0, 1] that an answer to a question is right, or None; and the reason for None."""
        found = self.find(task, labels)
        if found is None:
            return None, self.why_not(task, labels)
        missing = [source for source in found.map.sources if confidences.get(source) is None]
        if missing:
            return None, f"the answer has no confidence of the source {', '.join(missing)}, which the calibrator needs"
        return round(found.map(confidences), 6), None

    def people(self, task: str, labels: Sequence[str], confidences: Confidences) -> PeopleShare | None:
        """The share of people who would give an answer to a question; None where that was not fitted, or a confidence is missing."""
        found = self.find(task, labels)
        if found is None or found.people is None or any(confidences.get(source) is None for source in found.people.needed):
            return None
        return found.people(confidences)

    def fields(self, task: str, labels: Sequence[str], confidences: Confidences | None) -> dict[str, Any]:
        """What a row about an answer gains: `calibrated`, `uncalibrated` and, if any question has a share of people, its three fields.

        `confidences` is None where there is no answer.
        """
        found: tuple[float | None, str | None]
        if confidences is None:
            found, people = (None, NO_ANSWER_TO_CALIBRATE), None
        else:
            found, people = self.apply(task, labels, confidences), self.people(task, labels, confidences)
        shares = people.to_row() if people else dict.fromkeys(PEOPLE_FIELDS)
        return dict(zip((CALIBRATED, UNCALIBRATED), found, strict=True)) | (shares if self.know_people else {})

    @property
    def know_people(self) -> bool:
        """Whether any question has a share of people."""
        return any(each.people for each in self.questions)

    def sources(self, task: str, labels: Sequence[str]) -> tuple[str, ...]:
        """The sources that the calibrator of a question needs; empty without one."""
        found = self.find(task, labels)
        return tuple(dict.fromkeys([*found.map.sources, *(found.people.needed if found.people else ())])) if found else ()
