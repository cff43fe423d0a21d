"""`certify`: a certificate from the answers of a system, read as `score` reads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec

import numpy as np

from emocaliber.core.scoring import CONFIDENCE, Outcome
from emocaliber.core.tasks import task_order
from emocaliber.errors import UserError, did_you_mean
from emocaliber.evaluation.answers.predictions import are_predictions
from emocaliber.evaluation.calibration import bin_of
from emocaliber.evaluation.python_words import check_arguments, errors_in_python, in_python
from emocaliber.evaluation.score import AnswersLike, ScoredRows, TruthLike, records, scored_rows
from emocaliber.evaluation.unread import unread
from emocaliber.inference.plan import sampling_key
from emocaliber.io.row_formats import located_values
from emocaliber.io.rows import display_name
from emocaliber.trust.certificate import (
    Bools,
    Floats,
    answers_needed,
    certified_threshold,
    check_terms,
    curve,
    fewest_answers,
    pilot_of,
)
from emocaliber.trust.certificate_file import REFERENCE_BINS, Certificate, Certified, CertifiedQuestion, this_moment
from emocaliber.trust.provenance import data_of, model_of

_P = ParamSpec("_P")
ERRORS = (0.05, 0.1)  # the shares of wrong answers whose certified coverage always stands beside the one that was asked for
EXPIRES = 90  # days
LEADING = "margin"  # the one source that is no probability, so that 1/k is no floor


@dataclass(frozen=True)
class _Answers:
    """The answers of one scope, in an order that depends on their ids alone, so that no truth has a part in the choice of the pilot.

    `confidence` (n,) is NaN for answers that are never accepted: malformed ones and those without a confidence.
    """

    outcomes: Sequence[Outcome]
    confidence: Floats
    right: Bools
    usable: Bools = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "usable", ~np.isnan(self.confidence))

    def only(self, keep: Bools) -> _Answers:
        return _Answers([each for each, kept in zip(self.outcomes, keep, strict=True) if kept], self.confidence[keep], self.right[keep])

    def threshold(self, accuracy: float, delta: float) -> float | None:
        confidence, right = self.confidence[self.usable], self.right[self.usable]
        return certified_threshold(confidence, right, accuracy, delta, pilot=pilot_of(confidence.size))

    def accepted(self, threshold: float | None) -> Bools:
        return np.zeros(self.right.size, bool) if threshold is None else self.confidence >= threshold  # False for NaN

    def certified(self, accuracy: float, delta: float) -> Certified:
        threshold = self.threshold(accuracy, delta)
        accepted = self.accepted(threshold)
        others = {f"{error:g}": float(self.accepted(self.threshold(1 - error, delta)).mean()) for error in ERRORS}
        enough = None
        if threshold is None:
            needed = answers_needed(self.confidence[self.usable], self.right[self.usable], accuracy, delta, self.right.size)
            enough = None if needed is None else _rounded(max(needed, self.right.size + 1))
        return Certified(
            n=self.right.size,
            accuracy=accuracy,
            delta=delta,
            threshold=threshold,
            accepted=int(accepted.sum()),
            accepted_right=int((accepted & self.right).sum()),
            enough=enough,
            coverage_at_error=others,
        )


def certify_answers(
    answers: AnswersLike,
    *,
    accuracy: float = 0.8,
    delta: float = 0.05,
    source: str | None = None,
    together: bool = False,
    expires: int = EXPIRES,
    model: str | None = None,
    columns: str | Mapping[str, str | Sequence[str]] | None = None,
    labels: Sequence[str] = (),
    task: str | None = None,
    truth: TruthLike | None = None,
    partial: bool = False,
    strict: bool = False,
    lenient: bool = False,
) -> Certificate:
    """The certificate of a threshold on the confidence above which answers are right in at least `accuracy`.

    It is wrong about that in at most `delta` of calibrations (see `certificate`): for each question, that is a task with its labels, by
    itself, or with `together` for all of them at once (delta divided by their number). `source` is the source of the confidence, by default
    the one that `score` shows first; `model` the name of the model, if the answers do not say it; `expires` the days for which the
    certificate holds. The other arguments are those of `emocaliber.score`. A certificate that certifies nothing is an answer too, and says
    how many answers would do. Raises UserError for answers that cannot be read, without any confidence, or of several models, for an
    unknown source, and for an `accuracy` or `delta` outside (0, 1).
    """
    try:
        check_terms(accuracy, delta)
    except ValueError as error:
        raise UserError(str(error)) from error
    if expires < 1:
        raise UserError(f"a certificate holds for at least a day, not for {expires}")
    given = answers if isinstance(answers, str | os.PathLike) else records(answers)
    reading = {"columns": columns, "labels": labels, "task": task, "truth": truth}
    scored = scored_rows(given, **reading, partial=partial, strict=strict, lenient=lenient)  # type: ignore[arg-type]
    name = display_name(scored.source) if scored.source else "these answers"
    chosen = _source(scored, source, name)
    everything, keys = _ordered(scored, chosen)
    made_by = model_of(scored, "a certificate", model)
    questions = sorted(set(keys), key=lambda key: (task_order(key[0]), key[1]))
    by_question = []
    for key in questions:
        mine = everything.only(np.array([other == key for other in keys]))
        what = mine.certified(accuracy, delta / len(questions) if together else delta)
        by_question.append(CertifiedQuestion(key[0], key[1], what))
    pooled = everything.certified(accuracy, delta)
    now = this_moment()
    usable = everything.usable
    return Certificate(
        terms=terms_of(by_question, accuracy, delta, together),
        source=_named_source(scored, chosen, given),
        pooled=pooled,
        per_question=tuple(by_question),
        together=together,
        model=made_by,
        created=now.isoformat(),
        expires=(now + timedelta(days=expires)).isoformat(),
        answers=data_of(scored),
        reference=_reference(everything, pooled),
        curve=[each._asdict() for each in curve(everything.confidence[usable], everything.right[usable], delta, usable.size)],
        notes=_notes(scored, everything, name, strict),
    )


def _in_python(function: Callable[_P, Certificate]) -> Callable[_P, Certificate]:
    """The function with notes and errors that name its arguments in place of the command's options."""

    @wraps(function)
    def certify(*args: _P.args, **kwargs: _P.kwargs) -> Certificate:
        check_arguments(function, "certify", args, kwargs)
        with errors_in_python():
            made = function(*args, **kwargs)
        return replace(made, notes=tuple(map(in_python, made.notes)))

    certify.__name__ = certify.__qualname__ = "certify"
    return certify


certify = _in_python(certify_answers)


def terms_of(questions: Sequence[CertifiedQuestion], accuracy: float, delta: float, together: bool) -> str:
    """The promise in a sentence, or that there is none."""
    right, wrong = f"{100 * accuracy:g} %", f"{100 * delta:g} %"
    certified = [each for each in questions if each.what.certified]
    if not certified:
        return f"no threshold could be certified above which answers are right in at least {right}; {lacking_of(questions)}"
    if len(questions) == 1:
        [one] = certified
        return (
            f"answers to {one.task} with a confidence of at least {one.what.threshold:.6g} are right in at least {right}; a certificate "
            f"made like this one is wrong about that in at most {wrong} of calibrations"
        )
    named = ", ".join(f"{each.task} at least {each.what.threshold:.6g}" for each in certified)
    wrongly = (
        f"at least one of these promises is wrong in at most {wrong} of calibrations"
        if together
        else f"each of these promises, by itself, is wrong in at most {wrong} of calibrations"
    )
    left_out = len(questions) - len(certified)
    rest = f"; for {left_out} more question{'s' * (left_out > 1)} nothing could be certified" if left_out else ""
    return f"answers with these confidences are right in at least {right}, question by question: {named}; {wrongly}{rest}"


def lacking_of(questions: Sequence[CertifiedQuestion]) -> str:
    """Why questions could not be certified, and how many answers would do."""
    return "; ".join(lacking(each.what, each.task if len(questions) > 1 else "") for each in questions if not each.what.certified)


def lacking(what: Certified, of: str = "") -> str:
    """Why nothing could be certified, and how many answers would do."""
    answers = f"{what.n:,} answer{'s' * (what.n != 1)}{f' to {of}' if of else ''}"
    if what.enough is not None:
        return f"this cannot be certified with {answers}: about {what.enough:,} would do, if they are like these"
    least = fewest_answers(what.accuracy, what.delta)
    if what.n < least:
        return f"this cannot be certified with {answers}: even if all accepted answers were right, it would take {least}"
    return f"this cannot be certified with {answers}, nor with more like these: none of their confidences marks out answers right so often"


def _rounded(number: int) -> int:
    """A guess to two digits, upwards."""
    step = int(10 ** max(len(str(number)) - 2, 0))
    return -(-number // step) * step


def _source(scored: ScoredRows, asked: str | None, name: str) -> str:
    """The source of the confidence. Raises UserError if it, or any, is lacking."""
    given = sorted({source for each in scored.outcomes for source, value in each.confidence.items() if value is not None})
    if not given:
        raise UserError(
            f"{name}: no answer has a confidence, so there is no threshold on it to certify; name its column "
            "(--columns confidence=NAME), or ask the model for one."
        )
    if asked is not None and asked not in given:
        raise UserError(
            f"{name}: no answer has a confidence from {asked!r}; it has confidences from {', '.join(given)}{did_you_mean(asked, given)}."
        )
    return asked or (scored.read.confidence if scored.read.confidence in given else given[0])


def _ordered(scored: ScoredRows, source: str) -> tuple[_Answers, list[tuple[str, tuple[str, ...]]]]:
    """The answers in the order of the hashes of their ids, and the question of each.

    The confidence is the one that `predict` gives: six decimals, and in rows of our own at least 1/k for k candidates.
    """
    pairs = sorted(zip(scored.outcomes, scored.candidates, strict=True), key=lambda pair: sampling_key(pair[0].id))
    sorted_labels = {candidates: tuple(sorted(candidates)) for candidates in set(scored.candidates)}
    keys = [(each.task, sorted_labels[candidates]) for each, candidates in pairs]
    floors = [0.0 if scored.read.foreign or source == LEADING else 1 / len(labels) for _, labels in keys]
    values = [
        np.nan if each.malformed or (value := each.confidence.get(source)) is None else round(max(value, floor), 6)
        for (each, _), floor in zip(pairs, floors, strict=True)
    ]
    return _Answers([each for each, _ in pairs], np.array(values, float), np.array([each.correct for each, _ in pairs], bool)), keys


def _named_source(scored: ScoredRows, source: str, given: Any) -> str:
    """The source by its name at `predict`: rows of predictions say where their `confidence` is from."""
    if not scored.read.foreign or source != CONFIDENCE:
        return source
    values = [row for _, row in located_values(scored.source)] if scored.source else list(given) if isinstance(given, list) else []
    rows = [row for row in values if isinstance(row, Mapping)]
    if not rows or len(rows) < len(values) or not are_predictions([dict(row) for row in rows]):
        return source
    named = sorted({str(row["confidence_source"]) for row in rows})
    if len(named) > 1:
        raise UserError(f"the predictions have confidences from {', '.join(named)}; a certificate is for one: give rows of one source.")
    return named[0]


def _reference(everything: _Answers, pooled: Certified) -> dict[str, Any]:
    """What a stream of answers can be compared with: confidences in `REFERENCE_BINS`, answers, malformed ones."""
    values = everything.confidence[everything.usable]
    said = Counter(each.answer for each in everything.outcomes if each.answer is not None)
    return {
        "confidence_histogram": np.bincount(bin_of(values, REFERENCE_BINS), minlength=REFERENCE_BINS).tolist(),
        "answers": dict(sorted(said.items())),
        "malformed": sum(each.malformed is not None for each in everything.outcomes),
        "n": len(everything.outcomes),
        "accepted": pooled.accepted,
        "accepted_right": pooled.accepted_right,
    }


def _notes(scored: ScoredRows, everything: _Answers, name: str, strict: bool) -> tuple[str, ...]:
    """How the answers were read, and what in them weakens the promise."""
    notes = list(scored.read.notes) if scored.read.foreign else []
    notes += [warning] if (warning := unread(scored.outcomes, scored.rows, strict=strict)) else []
    answered = sum(each.malformed is None for each in scored.outcomes)
    if lacking := answered - int(everything.usable.sum()):
        notes.append(f"{name}: {lacking:,} of {answered:,} readable answers have no such confidence; they are never accepted")
    asked = [(each.task, each.image) for each in scored.outcomes if each.image]
    if repeated := len(asked) - len(set(asked)):
        notes.append(
            f"{name}: {repeated:,} answers are about an image that has another answer to the same question; the promise takes answers as "
            "independent of each other, so keep one of each"
        )
    if scored.missing:
        notes.append(f"{name}: {scored.missing}; the promise is about answers like those that are there")
    return tuple(notes)
