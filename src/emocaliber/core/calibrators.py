"""Calibrators: maps from the confidences of an answer to the probability that it is right, each for one question, as plain numbers.

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


def question_key(task: str, labels: Sequence[str]) -> tuple[str, frozenset[str]]:
    """The identity of a question: its task and its labels, in any order and spelling."""
    known = taxonomy_of(task)
    return canonical_task(task), frozenset(label_key((known and known.canonical(label)) or label) for label in labels)


@dataclass(frozen=True)
class QuestionCalibrator:
    """The calibrator of one question. `record` is its entry in the file: the map, and what it was fitted on."""

    task: str
    labels: tuple[str, ...]
    map: CalibrationMap
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
                found.append(QuestionCalibrator(each["task"], tuple(each["labels"]), map_from_json(each["map"]), each))
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

    def sources(self, task: str, labels: Sequence[str]) -> tuple[str, ...]:
        """The sources that the calibrator of a question needs; empty without one."""
        found = self.find(task, labels)
        return found.map.sources if found else ()
