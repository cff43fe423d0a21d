"""The options of a decision: which labels they stand for, and what the model's prediction says about each.

One meaning for all endpoints: `probabilities` are the model's own distribution (`alternatives` of a prediction), the standard `confidence`
is derived from them by the formula of the standard, and `x_calibrated` is the probability that the answer is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any
from unicodedata import category

from emocaliber.core.tasks import TASKS, canonical_task, labels_of
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import label_key, taxonomy
from emocaliber.errors import UserError
from emocaliber.predict.prediction import Prediction
from emocaliber.predict.predictor import CHANCE, Query
from emocaliber.serving.standards.wire import is_whole
from emocaliber.trust.acceptance import ANY, Acceptance

LEAST, MOST = 2, 255  # options of a choice
MOST_LEVELS = 10  # of a score
LONGEST = 256  # characters of an option, all of which the model has to write


@dataclass(frozen=True)
class Options:
    """The options of a question, as written there, the query that asks for them, and the label of the query that each stands for."""

    names: tuple[str, ...]
    query: Query
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Shares:
    """The probability of each option, in the options' order, and the place of the likeliest: of equal ones that which the model wrote, if
    it is one of them. They sum to 1 if the options are all labels of the query.

    `spread`: the model's own distribution is not used; its answer has its confidence, and the others share the rest evenly.
    """

    values: tuple[float, ...]
    best: int
    spread: bool


def choice_options(names: Sequence[str], taught: Iterable[str] = (), acceptance: Acceptance = ANY) -> Options:
    """The options of a choice: the question of a task if they are its labels, in any case and order; else labels of one's own.

    A task's labels are asked for in the task's order, so that the order of the options changes nothing. `taught` are the model's tasks,
    which come first. Raises UserError for options that the model cannot be asked for or that cannot be told apart.
    """
    for name in names:
        if not is_whole(name) or any(category(letter) == "Cc" for letter in name):
            raise UserError(f"the option {name!r} holds control characters, such as line breaks, or half of a surrogate pair")
        if len(name) > LONGEST:
            raise UserError(f"the option {name[:40]!r}... is longer than {LONGEST} characters; give it a shorter name")
    if known := _task_with(names, taught, every=True):
        return Options(tuple(names), Query(known[0], known[1], acceptance), _spelt(names, known[1]))
    query = Query.of(labels=list(names))
    return Options(tuple(names), Query(query.task, query.candidates, acceptance), tuple(name.strip() for name in names))


def label_options(names: Sequence[str], taught: Iterable[str] = (), acceptance: Acceptance = ANY) -> Options | None:
    """Options that are labels of one task, asked for among themselves; or a single one, among all labels of that task.

    None for options that are no labels of any one task: of those, nothing is known.
    """
    known = _task_with(names, taught, every=False)
    if known is None or len({label_key(name) for name in names}) < len(names):
        return None
    task, labels = known
    if len(names) in (1, len(labels)):
        return Options(tuple(names), Query(task, labels, acceptance), _spelt(names, labels))
    return choice_options(names, taught, acceptance)


def shares(prediction: Prediction, options: Options) -> Shares | None:
    """The probability of each option by a prediction; None if the prediction has neither a distribution nor a confidence.

    They are the model's own, unless it gives none, or its answer is a guess among labels that it was not taught: those are equally likely,
    as whoever reads no field but the standard's must not take the guess for knowledge.
    """
    given, written = prediction.alternatives, prediction.emotion
    total = fsum(given.values())
    spread = prediction.confidence_source == CHANCE or not total > 0
    if not spread:
        values = [given.get(label, 0.0) / total for label in options.labels]
    elif written is None or prediction.confidence is None:
        return None
    else:
        sure, others = prediction.confidence, len(options.query.candidates) - 1
        values = [sure if label == written else (1 - sure) / others for label in options.labels]
    best = max(range(len(values)), key=lambda place: (values[place], options.labels[place] == written))
    return Shares(tuple(values), best, spread)


def choice_confidence(values: Sequence[float]) -> float:
    """(m - 1/n) / (1 - 1/n) for n options, of which the likeliest has probability m: 0 for even odds, 1 for certainty."""
    even = 1 / len(values)
    return min(max((max(values) - even) / (1 - even), 0.0), 1.0)


def score_confidence(values: Sequence[float]) -> float:
    """1 - Σ p|i - k| / D, at least 0: k is the likeliest of n levels, and D the mean of |i - (n-1)/2| over all of them."""
    count, likeliest = len(values), max(range(len(values)), key=lambda place: values[place])
    distance = fsum(value * abs(level - likeliest) for level, value in enumerate(values))
    even = fsum(abs(level - (count - 1) / 2) for level in range(count)) / count
    return min(max(1 - distance / even, 0.0), 1.0)


def score_of(values: Sequence[float]) -> float:
    """The mean level, counted from 0."""
    return fsum(level * value for level, value in enumerate(values))


def own_fields(prediction: Prediction, options: Options, found: Shares) -> dict[str, Any]:
    """Our fields of an answer: what `predict` says beyond the standard.

    `x_answer` is the option that the model wrote. Where the likeliest option is another one, as may happen with labels of several tokens,
    nothing is known of that one's being right: the calibrated fields are null, and `x_uncalibrated` says so.
    """
    best = options.labels[found.best] if len(options.labels) > 1 else prediction.emotion
    same = best == prediction.emotion
    written = dict(zip(options.labels, options.names, strict=True)).get(prediction.emotion or "", prediction.emotion)
    other = f"the model wrote {written!r}, though {best!r} is likelier by its own probabilities"
    return {
        "x_answer": written,
        "x_calibrated": prediction.calibrated if same else None,
        "x_uncalibrated": prediction.uncalibrated if same else other,
        "x_confidence": prediction.confidence if same else None,
        "x_source": prediction.confidence_source,
        "x_abstain": None if prediction.accepted is None else not (prediction.accepted and same),
        "x_certificate": prediction.certificate,
        "x_uncertified": prediction.uncertified,
        "x_people": prediction.people if same else None,
        "x_people_low": prediction.people_low if same else None,
        "x_people_high": prediction.people_high if same else None,
        "x_untaught": prediction.untaught,
        "x_unfamiliar": prediction.unfamiliar,
        "x_spread": found.spread,
        "x_task": prediction.task,
    }


def _task_with(names: Sequence[str], taught: Iterable[str], *, every: bool) -> tuple[str, Labels] | None:
    """The first task, the taught ones before others, whose labels all (`every`) or some of which the names are; None if there is none."""
    wanted = {label_key(name) for name in names}
    if len(wanted) < len(names):
        return None
    for name in dict.fromkeys((*(canonical_task(each) for each in taught), *TASKS)):
        if name in TASKS:
            labels = labels_of(name, taxonomy(TASKS[name].taxonomy).labels)
            keys = {label_key(label) for label in labels}
            if wanted == keys or (wanted <= keys and not every):
                return name, labels
    return None


def _spelt(names: Sequence[str], labels: Labels) -> tuple[str, ...]:
    by_key = {label_key(label): label for label in labels}
    return tuple(by_key[label_key(name)] for name in names)
