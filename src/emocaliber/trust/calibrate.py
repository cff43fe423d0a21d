"""`calibrate`: calibrators for the questions in a file of answers, with their provenance and cross-validated numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from emocaliber.core.calibrators import CALIBRATED, CLIP, FORMAT, METHODS, PEOPLE, Calibrators, map_to_json, question_key
from emocaliber.core.scoring import VERBALIZED, Outcome
from emocaliber.errors import UserError, did_you_mean
from emocaliber.evaluation import stated
from emocaliber.evaluation.bootstrap import Resampling, ResamplingUnits
from emocaliber.evaluation.estimates import OutcomeCounts
from emocaliber.evaluation.intervals import bootstrap_estimate
from emocaliber.evaluation.python_words import errors_in_python, in_python
from emocaliber.evaluation.score import AnswersLike, ScoredRows, TruthLike, names_in, scored_rows
from emocaliber.evaluation.unread import unread
from emocaliber.io.frames import Tabular
from emocaliber.io.rows import Form, Row, display_name, write_atomically
from emocaliber.io.workspace import package_version
from emocaliber.trust.applying import Applied, apply_calibrators
from emocaliber.trust.fitting import PRIOR, Floats
from emocaliber.trust.people import NO_SHARES, fit_people, shares_of
from emocaliber.trust.provenance import data_of, model_of
from emocaliber.trust.selection import FEWEST, FOLDS, Answered, Chosen, choose, why_none

WHY_NO_PEOPLE = "why_no_people"
MEASURED = ("ece", "brier", "auroc")
_MOSTLY = 0.95  # of the answers that have the commonest source: what a source must be given for to be used
_SHOWN = 3


@dataclass(frozen=True)
class Judged:
    """The answers to one question, (n,) each: the confidence before, the calibrated one by a fit on other images, and which are right."""

    task: str
    source: str
    before: Floats
    after: Floats
    right: Floats


@dataclass(frozen=True, repr=False)
class Calibration(Tabular):
    """Fitted calibrators. `content` is that of `calibrator.json`; `notes` say how the answers were read, and which have no calibrator.

    As a table (`to_frame`, `to_polars`, ...) it has a row for each question, with its numbers before and after.
    """

    content: Mapping[str, Any]
    judged: tuple[Judged, ...] = field(repr=False, default=())
    notes: tuple[str, ...] = ()

    @cached_property
    def calibrators(self) -> Calibrators:
        """The calibrators themselves."""
        return Calibrators.from_json(self.content, "this calibration")

    def apply(
        self,
        answers: AnswersLike,
        *,
        columns: str | Mapping[str, str | Sequence[str]] | None = None,
        labels: Sequence[str] = (),
        task: str | None = None,
    ) -> Applied:
        """The rows of answers with `calibrated` and `uncalibrated`: see `emocaliber.trust.applying.apply_calibrators`."""
        with errors_in_python():
            return apply_calibrators(self.calibrators, answers, columns=columns, labels=labels, task=task)

    def flat_rows(self) -> list[Row]:
        """A row for each question: its calibrator, and ECE, Brier score and AUROC with intervals, before and after."""
        return [*map(_question_row, self.content["questions"]), *map(_uncalibrated_row, self.content["uncalibrated"])]

    def form(self) -> Form:
        return {"task": str, "labels": str, "n": int, "right": int, "method": str, "sources": str, "why_not": str}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes `calibrator.json`, and returns its path."""
        write_atomically(path, json.dumps(self.content, indent=1, allow_nan=False) + "\n")
        return Path(path)

    def __repr__(self) -> str:
        from emocaliber.trust.calibration_table import calibration_table, people_sentences

        return "\n".join([calibration_table(self.content).as_text().rstrip("\n"), *people_sentences(self.content), *self.notes])


def calibrate(
    answers: AnswersLike,
    *,
    sources: Sequence[str] = (),
    methods: Sequence[str] = tuple(METHODS),
    columns: str | Mapping[str, str | Sequence[str]] | None = None,
    labels: Sequence[str] = (),
    task: str | None = None,
    truth: TruthLike | None = None,
    partial: bool = False,
    strict: bool = False,
    name: str | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> Calibration:
    """Calibrators fitted on answers whose truth is known, one for each question (task and set of labels) among them.

    `answers` and how to read them are as in `emocaliber.score`. `sources` are the confidences to use (default: all that nearly every answer
    has), `methods` the maps to try. Raises UserError where no question can have a calibrator, and for whatever `score` refuses.
    """
    reading = {"columns": columns, "labels": labels, "task": task, "truth": truth, "partial": partial, "strict": strict, "name": name}
    with errors_in_python():
        found = calibrate_answers(
            answers, sources=names_in(sources), methods=names_in(methods), reading=reading, replicates=replicates, seed=seed
        )
    return replace(found, notes=tuple(map(in_python, found.notes)))


def calibrate_answers(
    answers: Any,
    *,
    sources: Sequence[str] = (),
    methods: Sequence[str] = tuple(METHODS),
    reading: Mapping[str, Any] | None = None,
    model: Mapping[str, str | None] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    progress: Callable[[int], object] = lambda done: None,
) -> Calibration:
    """`calibrate`, with errors that name options; `model` is the identity of the model where the caller knows it."""
    if unknown := [method for method in methods if method not in METHODS]:
        raise UserError(f"there is no method {unknown[0]!r}; the methods are {', '.join(METHODS)}{did_you_mean(unknown[0], METHODS)}")
    scored = scored_rows(answers, **(reading or {}))
    where = display_name(scored.source) if scored.source else "the answers"
    identity = model or model_of(scored, "a calibrator")
    questions = _questions(scored)
    given: dict[int, Answered] = {}
    why: dict[int, str] = {}
    for number, each in enumerate(questions):
        answered = each.answered(sources, where)
        reason = answered if isinstance(answered, str) else why_none(answered)
        if reason is not None:
            why[number] = reason
        elif not isinstance(answered, str):
            given[number] = answered
    if not given:
        raise UserError(f"{where}: no calibrator can be fitted: {_listed([f'{questions[n].task}: {text}' for n, text in why.items()])}")
    chosen = choose({str(number): each for number, each in given.items()}, methods, seed=seed, progress=progress)
    made = {"made": date.today().isoformat(), "answers": data_of(scored)}
    entries, judged = [], []
    for number, answered in given.items():
        entry, numbers = questions[number].entry(answered, chosen[str(number)], scored.read.confidence, replicates, seed, len(given) > 1)
        entries.append(entry | questions[number].people(answered, methods, seed) | made)
        judged.append(numbers)
    content = {
        "format": FORMAT,
        "emocaliber": package_version(),
        **made,
        "model": identity if any(identity.values()) else None,
        "settings": {"clip": CLIP, "folds": FOLDS, "prior": PRIOR, "fewest": FEWEST, "methods": list(methods), "seed": seed},
        "questions": entries,
        "uncalibrated": [questions[number].named() | {"why": text} for number, text in why.items()],
    }
    lacking = [f"{questions[number].task} has no calibrator: {text}" for number, text in why.items()]
    lacking += [f"{e['task']} has no share of people: {e[WHY_NO_PEOPLE]}" for e in entries if e.get(WHY_NO_PEOPLE, NO_SHARES) != NO_SHARES]
    warning = unread(scored.outcomes, scored.rows, strict=bool((reading or {}).get("strict")))
    notes = (*(scored.read.notes if scored.read.foreign else ()), *([warning] if warning else ()), *lacking)
    return Calibration(content, tuple(judged), notes)


@dataclass(frozen=True)
class _Question:
    """The answers to one question."""

    task: str
    labels: tuple[str, ...]
    outcomes: list[Outcome]

    def named(self) -> dict[str, Any]:
        return {"task": self.task, "labels": list(self.labels), "n": len(self.outcomes)}

    def answered(self, wanted: Sequence[str], where: str) -> Answered | str:
        """The answers with the sources wanted, by default those that nearly all have; or why there are none."""
        readable = [each for each in self.outcomes if each.answer is not None]
        counts = {source: sum(each.confidence.get(source) is not None for each in readable) for source in self.sources}
        if unknown := [source for source in wanted if source not in counts]:
            there = ", ".join(counts) or "none at all"
            raise UserError(f"{where}: the answers to {self.task} have no confidence {unknown[0]!r}; there are {there}")
        most = max(counts.values(), default=0)
        sources = tuple(wanted) or tuple(source for source, count in counts.items() if count and count >= _MOSTLY * most)
        kept = self.kept(sources)
        if not kept:
            return f"none of {len(self.outcomes):,} answers has a confidence"
        confidences = np.array([[each.confidence[source] for source in sources] for each in kept], dtype=float)
        return Answered(sources, confidences, np.array([each.correct for each in kept]), tuple(each.image or each.id for each in kept))

    def kept(self, sources: Sequence[str]) -> list[Outcome]:
        """The readable answers that have a confidence of every one of these sources, of which there must be one."""
        has_all = (all(each.confidence.get(source) is not None for source in sources) for each in self.outcomes)
        return [each for each, has in zip(self.outcomes, has_all, strict=True) if sources and has and each.answer is not None]

    @property
    def sources(self) -> list[str]:
        """The sources of confidence in these answers; a calibrated one is not calibrated again."""
        return list(dict.fromkeys(source for each in self.outcomes for source in each.confidence if source != CALIBRATED))

    def people(self, answered: Answered, methods: Sequence[str], seed: int) -> dict[str, Any]:
        """The part of the entry about the share of people: null, and why, where the answers do not say it."""
        shares = shares_of(self.kept(answered.sources))
        if isinstance(shares, str):
            return {PEOPLE: None, WHY_NO_PEOPLE: shares}
        return {PEOPLE: fit_people(answered, shares, methods, seed)}

    def entry(
        self, answered: Answered, chosen: Chosen, shown: str, replicates: int, seed: int, pooled: bool
    ) -> tuple[dict[str, Any], Judged]:
        """The question's entry in the file, and the confidences that its numbers are about."""
        fallback = VERBALIZED if VERBALIZED in answered.sources else chosen.map.sources[0]
        source = shown if shown in answered.sources else fallback
        before = answered.of([source])[:, 0]
        judged = Judged(self.task, source, before, chosen.held_out, answered.right.astype(float))
        unread_answers = sum(each.answer is None for each in self.outcomes)
        numbers = [_measured(confidences, answered, replicates, seed) for confidences in (before, chosen.held_out)]
        tried = [{"method": t.candidate.method, "sources": list(t.candidate.sources), "brier": round(t.brier, 6)} for t in chosen.tried]
        left_out = {"no_answer": unread_answers, "no_confidence": len(self.outcomes) - unread_answers - answered.right.size}
        return {
            **self.named(),
            "n": int(answered.right.size),
            "right": int(answered.right.sum()),
            "left_out": left_out,
            "map": map_to_json(chosen.map),
            "shrunk": pooled and chosen.map.method != "isotonic",
            "tried": tried,
            "before": {"source": source} | numbers[0],
            "after": {"source": CALIBRATED} | numbers[1],
        }, judged


def _questions(scored: ScoredRows) -> list[_Question]:
    found: dict[tuple[str, frozenset[str]], _Question] = {}
    for labels, outcome in zip(scored.candidates, scored.outcomes, strict=True):
        found.setdefault(question_key(outcome.task, labels), _Question(outcome.task, labels, [])).outcomes.append(outcome)
    return list(found.values())


def _measured(confidences: Floats, answered: Answered, replicates: int, seed: int) -> dict[str, Any]:
    """ECE, Brier score and AUROC with their intervals, and `bias`, the mean confidence minus the accuracy, in [-1, 1]."""
    n, images = answered.right.size, answered.images
    outcomes = [
        Outcome(str(number), "q", "", "", bool(right), None, None, {"c": float(value)}, image=image)
        for number, (value, right, image) in enumerate(zip(confidences, answered.right, images, strict=True))
    ]
    counts = OutcomeCounts(outcomes, replicates=replicates, seed=seed, confidence="c")
    report = counts.confidence("c", counts.scopes[0], MEASURED)
    gaps, values = stated.levels(confidences - answered.right)
    units = ResamplingUnits(images, ["q"] * n)
    weights = Resampling(units, replicates, seed).counts(np.arange(n), gaps, values.size)
    estimate = bootstrap_estimate(
        float((confidences - answered.right).mean()),
        weights @ values / weights.sum(axis=1),
        units.images(np.arange(n)),
        within=(-1.0, 1.0),
    )
    bias = {"bias": estimate.value, "bias_ci": None if estimate.interval is None else list(estimate.interval)}
    return {name: _rounded(value) for name, value in (report | bias).items() if name != "undefined"}


def _rounded(value: Any) -> Any:
    return [round(each, 6) for each in value] if isinstance(value, list) else None if value is None else round(value, 6)


def _listed(reasons: Sequence[str]) -> str:
    more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
    return "; ".join(reasons[:_SHOWN]) + more


def _question_row(entry: Mapping[str, Any]) -> Row:
    numbers = {f"{name}_{when}": entry[when].get(name) for name in (*MEASURED, "bias") for when in ("before", "after")}
    ends = {
        f"{name}_{when}_{end}": None if (interval := entry[when].get(f"{name}_ci")) is None else interval[at]
        for name in (*MEASURED, "bias")
        for when in ("before", "after")
        for at, end in enumerate(("low", "high"))
    }
    known = {"task": entry["task"], "labels": ", ".join(entry["labels"]), "n": entry["n"], "right": entry["right"]}
    return known | {"method": entry["map"]["method"], "sources": ", ".join(entry["map"]["sources"]), "why_not": None} | numbers | ends


def _uncalibrated_row(entry: Mapping[str, Any]) -> Row:
    return {"task": entry["task"], "labels": ", ".join(entry["labels"]), "n": entry["n"], "why_not": entry["why"]}
