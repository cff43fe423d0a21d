"""Which columns of a table hold the truth, the answer, the confidence and the id: by name, by the usual names, or as told.

A name matches in any case, with any punctuation: "Ground Truth" is `ground_truth`.
"""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from emocaliber.core.calibrators import CALIBRATED
from emocaliber.emotions.taxonomy import label_key
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.cells import is_numeric
from emocaliber.io.rows import Row, display_name

EITHER = ("label", "labels", "class", "emotion", "category", "sentiment", "y")  # the truth or the answer, whichever is lacking


def _both_ways(words: Sequence[str]) -> tuple[str, ...]:
    """`true_emotion`, `emotion_true` and the like."""
    return tuple(name for word in words for what in EITHER[:-1] for name in (f"{word}_{what}", f"{what}_{word}"))


# The usual names of each field. The first one counts even where others are there as well.
NAMES: Mapping[str, tuple[str, ...]] = {
    "id": (
        *("id", "sample_id", "image_id", "custom_id", "doc_id", "question_id", "uid", "key", "filename", "file_name", "file"),
        *("image", "image_path", "img", "path", "index", "idx", "unnamed_0", ""),
    ),
    "truth": (
        *("truth", "ground_truth", "groundtruth", "gt", "gold", "gold_label", "target", "targets", "y_true", "true", "true_label"),
        *("actual", "expected", "reference", "annotation"),
        *_both_ways(("true", "truth", "gt", "gold", "actual", "target", "annotated")),
    ),
    "answer": (
        *("answer", "prediction", "pred", "preds", "predicted", "predicted_label", "pred_label", "predicted_class", "predicted_emotion"),
        *("y_pred", "yhat", "y_hat", "model_answer"),
        *_both_ways(("predicted", "pred", "prediction", "answer")),
        *("response", "output", "completion", "generated_text", "model_output", "generation"),
        *("model_response", "reply", "text"),
    ),
    "confidence": (
        *("confidence", "conf", "confidence_score", "prob", "probability", "p", "certainty", "score", "pred_prob", "pred_score", "y_prob"),
        *("y_score", "max_prob"),
    ),
    "probabilities": ("probabilities", "probs", "proba", "distribution", "label_probabilities", "scores", "predictions", "alternatives"),
    "task": ("task", "subtask", "task_name"),
    "candidates": ("candidates", "choices", "options"),
    "image": ("image", "image_path", "img", "filename", "file_name", "file", "path"),
    "model": ("model", "model_name"),
    "error": ("error",),
}
ROLES = ("truth", "answer", "confidence", "id", "task", "image")  # what --columns may name
_CONFIDENCE_OF = re.compile(r"(?:confidence|conf)[_. ](.+)", re.IGNORECASE)
_PROBABILITY_OF = re.compile(r"(?:probability|probabilities|probs?|proba|p|score)[_. ](.+)", re.IGNORECASE)
_BOTH = ("truth", "answer")
_CONTEXT = ("task", "candidates", "image", "model", "error")
_ONE_ONLY = ("truth", "answer", "confidence", "probabilities")
_TEXTS = frozenset(NAMES["answer"][NAMES["answer"].index("response") :])


@dataclass(frozen=True)
class Columns:
    """The columns of a table by role; None where there is none.

    `confidence` maps each source to its column, `per_label` each label to the column of its probability; `probabilities` is a column that
    holds the probabilities of all labels. `text` is a column with the model's text, where `answer` is another one.
    """

    id: str | None = None
    truth: str | None = None
    answer: str | None = None
    confidence: Mapping[str, str] = field(default_factory=dict)
    per_label: Mapping[str, str] = field(default_factory=dict)
    probabilities: str | None = None
    text: str | None = None
    task: str | None = None
    candidates: str | None = None
    image: str | None = None
    model: str | None = None
    error: str | None = None

    @property
    def taken(self) -> set[str]:
        """All columns that have a role."""
        single = (getattr(self, role) for role in ("id", "truth", "answer", "probabilities", "text", *_CONTEXT))
        return {name for name in (*single, *self.confidence.values(), *self.per_label.values()) if name is not None}

    def described(self) -> str:
        """The columns in words, such as "truth = label, answer = pred"."""
        found = [(role, getattr(self, role)) for role in ("id", "truth", "answer")]
        parts = [f"{role} = {display_name(column) or '(unnamed)'}" for role, column in found if column is not None]
        if self.confidence:
            parts.append(f"confidence = {', '.join(map(display_name, self.confidence.values()))}")
        if self.probabilities is not None:
            parts.append(f"probabilities = {display_name(self.probabilities)}")
        if self.per_label:
            parts.append(f"probabilities = {', '.join(map(display_name, self.per_label.values()))}")
        return ", ".join(parts)


def parse_columns(text: str) -> dict[str, list[str]]:
    """The columns in an option such as "truth=label,answer=pred,confidence=p" by role; "confidence=a+b" names two.

    Raises UserError for a part of another form and for a role that there is not.
    """
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        role, equals, names = (each.strip() for each in part.partition("="))
        if not equals or role not in ROLES or not names:
            raise UserError(f"--columns {text!r}: {part.strip()!r} is not ROLE=COLUMN with a role among {', '.join(ROLES)}.")
        found[role] = [name.strip() for name in names.split("+")] if role == "confidence" else [names]
    return found


def columns_of(
    rows: Sequence[Row], where: str, told: Mapping[str, Sequence[str]], labels: Iterable[str] = (), wanted: Collection[str] = _BOTH
) -> Columns:
    """The columns of these rows. `told` are those of `parse_columns`; with `labels`, a column named as a label holds its probability.

    `wanted` names which of truth and answer the file is to have; either may be None. Raises UserError, naming `where` (the file), the
    columns and the option to give, where two columns could have one role, and for a told column that is not there.
    """
    present = list(dict.fromkeys(name for row in rows for name in row))
    for name in (name for names in told.values() for name in names):
        if name not in present:
            raise UserError(f"{where}: there is no column {name!r} to take; there are {', '.join(map(display_name, present))}.")
    taken = {name for names in told.values() for name in names}
    free = [name for name in present if name not in taken]
    single = {role: names[0] for role, names in told.items() if role != "confidence"}
    per_label = _per_label(free, rows, labels)
    if len(per_label) > 1:
        free = [name for name in free if name not in per_label.values()]
    found = Columns(
        **{role: _only(role, free, rows, where) for role in _CONTEXT} | single,
        confidence={_source(name, told["confidence"]): name for name in told["confidence"]} if "confidence" in told else {},
        per_label=per_label if len(per_label) > 1 else {},
    )
    if not found.per_label:
        nested = [name for name in free if any(isinstance(row.get(name), Mapping | list) for row in rows)]
        found = replace(found, probabilities=_only("probabilities", nested, rows, where))
    free = [name for name in free if name != found.probabilities]
    truth, answer, text = _truth_and_answer(found, free, rows, where, wanted)
    found = replace(found, truth=truth, answer=answer, text=text)
    if "confidence" not in told:
        found = replace(found, confidence=_confidences([name for name in free if name not in (truth, answer, text)], rows, where))
    return found if found.id is not None else replace(found, id=_id(free, rows))


def _truth_and_answer(
    told: Columns, free: Sequence[str], rows: Sequence[Row], where: str, wanted: Collection[str]
) -> tuple[str | None, str | None, str | None]:
    """The columns of the truth, of the answer, and of the text in which the answer was read; None where there is none."""
    truth = told.truth if told.truth is not None else _only("truth", free, rows, where)
    answer, text = (told.answer, None) if told.answer is not None else _answer(free, rows, where)
    either = [name for name in free if usual_name(name) in EITHER and name not in (truth, answer)]
    if "answer" not in wanted:  # in a file of truths, an answer is the true one
        found = (column for column in (truth, _same(either, "truth", rows, where), answer) if column is not None)
        return next(found, None), None, None
    lacks_truth = "truth" in wanted and truth is None
    lacks_answer = answer is None and told.probabilities is None and not told.per_label
    if lacks_truth and lacks_answer and len(either) > 1:
        raise _ambiguous("truth", either, where)
    if lacks_truth and not lacks_answer:
        truth = _same(either, "truth", rows, where)
    elif lacks_answer and not lacks_truth:
        answer = _same(either, "answer", rows, where)
    elif either and told.answer is None and answer is not None and usual_name(answer) in _TEXTS and not _has_tags(rows, answer):
        text, answer = answer, _same(either, "answer", rows, where)  # the label that was read in the text
    return truth if "truth" in wanted else None, answer, text


def _has_tags(rows: Sequence[Row], column: str) -> bool:
    return any("<answer>" in str(row.get(column)) for row in rows)


def usual_name(name: str) -> str:
    """The name in the form of `NAMES`: "Ground Truth" is "ground_truth"."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def _only(role: str, free: Sequence[str], rows: Sequence[Row], where: str) -> str | None:
    """The column of a role; None without one. Raises UserError for two that differ, where it matters which one is taken."""
    names = NAMES[role]
    found = [name for name in free if usual_name(name) in names]
    first = min(found, key=lambda name: names.index(usual_name(name)), default=None)
    return first if first is None or role not in _ONE_ONLY or usual_name(first) == names[0] else _same(found, role, rows, where)


def _same(found: Sequence[str], role: str, rows: Sequence[Row], where: str) -> str | None:
    """The first of some columns, which must all hold the same; None of none."""
    if any(row.get(name) != row.get(found[0]) for name in found[1:] for row in rows):
        raise _ambiguous(role, found, where)
    return found[0] if found else None


def _ambiguous(role: str, found: Sequence[str], where: str) -> UserError:
    listed = " and ".join(f"'{display_name(name)}'" for name in found)
    named = shlex.quote(f"{role}={display_name(found[0])}")
    return UserError(f"{where}: the columns {listed} could each be the {role}; say which with --columns {named}.")


def _answer(free: Sequence[str], rows: Sequence[Row], where: str) -> tuple[str | None, str | None]:
    """The column of the answer, and that of the text from which it was taken, if there are both."""
    texts = [name for name in free if usual_name(name) in _TEXTS]
    named = [name for name in free if name not in texts]
    answer, text = _only("answer", named, rows, where), _only("answer", texts, rows, where)
    return (text, None) if answer is None else (answer, text)


def _confidences(free: Sequence[str], rows: Sequence[Row], where: str) -> dict[str, str]:
    """The columns of confidences by source: those named `confidence_SOURCE`, after the only one named in another way."""
    several = dict(_named_after(_CONFIDENCE_OF, free, rows))
    plain = _only("confidence", [name for name in free if name not in several], rows, where)
    found = {"confidence": plain} if plain is not None else {}
    if CALIBRATED in free and is_numeric(row.get(CALIBRATED) for row in rows):  # of `emocaliber calibrate apply`
        found[CALIBRATED] = CALIBRATED
    return found | {source: name for name, source in several.items()}


def _named_after(pattern: re.Pattern[str], free: Sequence[str], rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """The columns of numbers whose names match, and what they are named after."""
    for name in free:
        match = pattern.fullmatch(name)
        if match and usual_name(name) not in NAMES["confidence"] and is_numeric(row.get(name) for row in rows):
            yield name, match[1]


def _source(name: str, told: Sequence[str]) -> str:
    """The source that a named column gives: "confidence" if it is the only one, else the column's name."""
    return "confidence" if len(told) == 1 else name


def _per_label(free: Sequence[str], rows: Sequence[Row], labels: Iterable[str]) -> dict[str, str]:
    """The columns of the labels' probabilities by label: `p_awe`, `prob_awe`, or `awe` itself if every label has a column."""
    prefixed = {label: name for name, label in _named_after(_PROBABILITY_OF, free, rows)}
    if len(prefixed) > 1:
        return prefixed
    by_key = {label_key(name): name for name in free}
    wanted = list(labels)
    if not wanted or not all(label_key(label) in by_key for label in wanted):
        return {}
    found = {label: by_key[label_key(label)] for label in wanted}
    usual = {name for names in NAMES.values() for name in names} | set(EITHER)
    others = {
        name: name for name in free if name not in found.values() and usual_name(name) not in usual and _sums(rows, [name]) is not None
    }
    sums, with_others = _sums(rows, found.values()), _sums(rows, [*found.values(), *others])
    if sums is None:
        return {}
    # Labels that are never the truth have columns too: with theirs, the probabilities of a row sum to 1.
    return found | others if with_others and not _are_one(sums) and _are_one(with_others) else found


def _sums(rows: Sequence[Row], names: Iterable[str]) -> list[float] | None:
    """The sum of some columns in each row; None if a value is no number."""
    listed = list(names)
    try:
        return [math.fsum(float(row[name]) for name in listed) for row in rows]
    except (TypeError, ValueError, KeyError):
        return None


def _are_one(sums: Sequence[float]) -> bool:
    return all(abs(value - 1) <= 0.02 for value in sums)


def _id(free: Sequence[str], rows: Sequence[Row]) -> str | None:
    """The first usual name of an id that every row has, and no two rows alike; `id` itself in any case; None without one."""
    by_key = {usual_name(name): name for name in reversed(free)}
    for usual in NAMES["id"]:
        if (name := by_key.get(usual)) is None:
            continue
        values = [row.get(name) for row in rows]
        if usual == "id" or (None not in values and len(set(map(str, values))) == len(values)):
            return name
    return None


def why_no_id(rows: Sequence[Row]) -> str:
    """Why no column of these rows, for which `columns_of` finds none, is their id."""
    by_key = {usual_name(name): name for name in dict.fromkeys(name for row in rows for name in row)}
    name = next((by_key[usual] for usual in NAMES["id"] if usual in by_key), None)
    if name is None:
        return "there is no id"
    counts = Counter(str(row[name]) for row in rows if row.get(name) is not None)
    if repeated := sum(count > 1 for count in counts.values()):
        return f"'{display_name(name)}' repeats {repeated:,} value{'s' * (repeated > 1)}, so it is not the id"
    return f"'{display_name(name)}' is empty in {len(rows) - counts.total():,} rows, so it is not the id"
