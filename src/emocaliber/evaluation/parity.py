"""The numbers that the authors' released scripts print for the same answers, reproduced with their faults, beside ours.

The prediction is the first candidate, in the order of the list, that occurs anywhere in the lower-cased `<answer>`: "no danger" is read
as anger. An `<answer>` that spans lines is not seen; where none is seen the whole response is searched; where nothing is found the
prediction is "unknown". Failed inferences are left out, and so is an answer whose confidence cannot be read. ECE has ten bins
`[low, high)`, so that a confidence of 1 is in none of them, yet it counts in the denominator. Answers without a confidence leave ECE,
Brier and AUC. Groups are pooled over samples, with F1 weighted by support; "Overall" searches the whole response for every answer.

Not known of the scripts, and chosen here: a failed inference is a row with an `error` or a null response; the confidence is the row's
own where it has one (a number or a text), else the text between `<confidence>` tags on one line, read by `float`; NaN and infinities
count as missing; labels are compared without case.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from emocaliber.core.samples import Fields
from emocaliber.core.tasks import GROUPS, TASKS, canonical_task, group_of
from emocaliber.evaluation.metrics import Floats
from emocaliber.io.rows import Row
from emocaliber.render.table import percent

LeftOut = Literal["failed", "bad_confidence"]

UNKNOWN = "unknown"
EDGES = np.linspace(0, 1, 11)
_ANSWER = re.compile(r"<answer>(.*?)</answer>")
_CONFIDENCE = re.compile(r"<confidence>(.*?)</confidence>")

# The reasons for differences, by their keyword in the table.
_REASONS = {
    "reading": "theirs is the first candidate of the list that occurs in the answer; ours is malformed and wrong unless it is the only one",
    "whole response": "theirs is the first candidate of the list that occurs anywhere in the response, the reasoning included",
    "left out": "failed inferences and answers whose confidence cannot be read are not in their numbers; in ours they are wrong",
    "pooled": "theirs is over all samples of the group, ours the mean over its tasks",
    "edges": "their bins are [low, high), ours (low, high]; a confidence of 1 is in none of theirs",
    "confidences": "an answer is in a number about confidence only if one could be read, by theirs and by ours not always the same",
}


@dataclass(frozen=True)
class _Read:
    """One answer as the scripts read it; `anywhere` is the prediction from the whole response."""

    truth: str
    prediction: str
    anywhere: str
    confidence: float | None
    left_out: LeftOut | None


def parity(rows: Iterable[Row]) -> dict[str, Any]:
    """`{"tasks": {TASK: P}, "groups": {GROUP: P}, "overall": P}` from response rows, the released ones or ours (`scoring.response_rows`).

    P = `n, accuracy, f1_weighted, ece, brier, auc` as fractions, null where there is nothing to compute them from; `accuracy_mean`, over
    tasks, in groups and overall; and the counts behind the differences: `with_confidence`, `at_confidence_1`, `failed`, `bad_confidence`.
    Raises UserError, naming the field, for a row that is not a response row.
    """
    by_task: dict[str, list[_Read]] = {name: [] for name in TASKS}
    for number, row in enumerate(rows, 1):
        fields = Fields(row, f"response row {number}")
        by_task.setdefault(canonical_task(fields.text("task")), []).append(_read(fields, row))
    by_task = {name: reads for name, reads in by_task.items() if reads}
    groups = {group: [reads for name, reads in by_task.items() if group_of(name) == group] for group in GROUPS}
    everything = [[replace(read, prediction=read.anywhere) for read in reads] for reads in by_task.values()]
    return {
        "tasks": {name: _numbers(reads) for name, reads in by_task.items()},
        "groups": {group: _pooled(members) for group, members in groups.items() if members},
        "overall": _pooled(everything),
    }


def _read(fields: Fields, row: Row) -> _Read:
    candidates, truth = fields.labels("candidates"), fields.text("ground_truth").strip().lower()
    response = fields.optional_text("response")
    if response is None or row.get("error") is not None:
        return _Read(truth, UNKNOWN, UNKNOWN, None, "failed")
    answer = _ANSWER.search(response)
    prediction = _first_named(answer.group(1) if answer else response, candidates)
    anywhere = _first_named(response, candidates)
    try:
        return _Read(truth, prediction, anywhere, _confidence(row.get("confidence"), response), None)
    except ValueError:
        return _Read(truth, prediction, anywhere, None, "bad_confidence")


def _first_named(text: str, candidates: Sequence[str]) -> str:
    lowered = text.lower()
    return next((label.lower() for label in candidates if label.lower() in lowered), UNKNOWN)


def _confidence(stated: object, response: str) -> float | None:
    """Raises ValueError for a text that is not a number."""
    if not isinstance(stated, str | int | float):  # none, or the table of sources of a row of ours
        tag = _CONFIDENCE.search(response)
        if tag is None:
            return None
        stated = tag.group(1)
    number = float(stated)
    return number if math.isfinite(number) else None


def _pooled(tasks: Sequence[Sequence[_Read]]) -> dict[str, Any]:
    accuracies = [_numbers(reads)["accuracy"] for reads in tasks]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    pooled = _numbers([read for reads in tasks for read in reads])
    return {"n": pooled["n"], "accuracy_mean": sum(known) / len(known) if known else None, **pooled}


def _numbers(reads: Sequence[_Read]) -> dict[str, Any]:
    kept = [read for read in reads if read.left_out is None]
    stated = [(read.confidence, read.prediction == read.truth) for read in kept if read.confidence is not None]
    confidence = np.array([confidence for confidence, _ in stated], dtype=float)
    right = np.array([right for _, right in stated], dtype=float)
    left_out = Counter(read.left_out for read in reads)
    return {
        "n": len(kept),
        "accuracy": float(np.mean([read.prediction == read.truth for read in kept])) if kept else None,
        "f1_weighted": _weighted_f1([read.truth for read in kept], [read.prediction for read in kept]),
        "ece": _ece(confidence, right),
        "brier": float(np.mean((confidence - right) ** 2)) if stated else None,
        "auc": _auc(confidence, right),
        "with_confidence": len(stated),
        "at_confidence_1": int(np.sum(confidence == 1)),
        "failed": left_out["failed"],
        "bad_confidence": left_out["bad_confidence"],
    }


def _weighted_f1(truths: Sequence[str], predictions: Sequence[str]) -> float | None:
    """scikit-learn's `f1_score(average="weighted")`: F1 by label, weighted by how often the label is the truth."""
    support, given = Counter(truths), Counter(predictions)
    hits = Counter(truth for truth, prediction in zip(truths, predictions, strict=True) if truth == prediction)
    f1 = [count * 2 * hits[label] / (count + given[label]) for label, count in support.items()]
    return math.fsum(f1) / len(truths) if truths else None


def _ece(confidence: Floats, right: Floats) -> float | None:
    """ECE over `[low, high)`; confidences in no bin count in the denominator alone."""
    gaps = [0.0]
    for low, high in pairwise(EDGES):
        inside = (low <= confidence) & (confidence < high)
        if inside.any():
            gaps.append(float(inside.mean() * abs(confidence[inside].mean() - right[inside].mean())))
    return sum(gaps) if confidence.size else None


def _auc(confidence: Floats, right: Floats) -> float | None:
    """Mann and Whitney's U over the number of pairs, which is the area under the ROC curve; None unless some are right and some wrong."""
    rights = float(right.sum())
    pairs = rights * (right.size - rights)
    if not pairs:
        return None
    from scipy.stats import rankdata  # takes half a second to import, which every `score` would wait for

    return float((rankdata(confidence) @ right - rights * (rights + 1) / 2) / pairs)


def parity_table(parity: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """A Markdown table of each number of `parity` beside ours from `summarise`, in percent, with a keyword for the reason of a difference.

    The keywords are explained below the table.
    """
    lines = ["| | number | released scripts | ours | why they differ |", "| --- | --- | ---: | ---: | --- |"]
    for kind, scope in (("tasks", None), ("groups", None), ("overall", "Overall")):
        for name in [scope] if scope else parity[kind]:
            theirs, ours = (each[kind] if scope else each[kind][name] for each in (parity, summary))
            for number, their, our, why in _compared(kind, theirs, ours):
                lines.append(f"| {name} | {number} | {their} | {our} | {why if their != our else ''} |")
    return "\n".join([*lines, "", *(f"- **{word}**: {meaning}" for word, meaning in _REASONS.items())]) + "\n"


def _compared(kind: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> Iterable[tuple[str, str, str, str]]:
    """(name, theirs, ours, possible reasons for a difference) for each number of a task, group or overall."""
    verbalized = ours["confidence"].get("verb", {})
    covered = round(ours["n"] * (verbalized.get("coverage") or 0))
    left_out = theirs["failed"] + theirs["bad_confidence"]
    malformed = f"{ours['malformed']['count']:,} malformed"
    reading = f"whole response: {malformed}" if kind == "overall" else f"reading: {malformed}"
    gone = f"left out: {theirs['failed']:,} failed, {theirs['bad_confidence']:,} unreadable"
    answers = f"{reading}; {gone}" if left_out else reading
    edges = f"edges: {theirs['at_confidence_1']:,} with a confidence of 1"
    stated = f"{reading}; confidences: {theirs['with_confidence']:,} against {covered:,}"
    yield "n", f"{theirs['n']:,}", f"{ours['n']:,}", gone
    if kind == "tasks":
        yield "accuracy", percent(theirs["accuracy"]), percent(ours["accuracy"]), answers
    else:
        yield "accuracy, pooled", percent(theirs["accuracy"]), percent(ours["accuracy_pooled"]), answers
        yield "accuracy, mean over tasks", percent(theirs["accuracy_mean"]), percent(ours["accuracy"]), answers
        answers = f"pooled; {answers}"
    yield "F1, weighted", percent(theirs["f1_weighted"]), percent(ours["f1_weighted"]), answers
    yield "ECE", percent(theirs["ece"]), percent(verbalized.get("ece")), f"{edges}; {stated}"
    yield "Brier", percent(theirs["brier"]), percent(verbalized.get("brier")), stated
    yield "AUC", percent(theirs["auc"]), percent(verbalized.get("auroc")), stated
