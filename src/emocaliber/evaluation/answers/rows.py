"""Rows of others as response rows: columns found, truths joined by id, labels, confidences and probabilities read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emocaliber.core.calibrators import PEOPLE_FIELDS
from emocaliber.core.response import Malformed, MalformedReason, parse
from emocaliber.core.samples import identified
from emocaliber.core.scoring import CONFIDENCE, FIRST_SOURCES, VERBALIZED
from emocaliber.core.tasks import CUSTOM_TASK, TASKS, labels_of, nearly, taxonomy_of
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import label_key
from emocaliber.errors import UserError
from emocaliber.evaluation.answers import predictions
from emocaliber.evaluation.answers.cells import fractions, label_list, label_pairs, label_text, probability, stated_fractions
from emocaliber.evaluation.answers.columns import Columns, columns_of, why_no_id
from emocaliber.evaluation.answers.facts import Facts
from emocaliber.evaluation.answers.logs import Placed, plain_rows
from emocaliber.evaluation.answers.spellings import known_tasks, misspelt_answers, misspelt_truths
from emocaliber.evaluation.answers.texts import told_in
from emocaliber.evaluation.answers.truths import Truths
from emocaliber.io.row_formats import Place
from emocaliber.io.rows import Row, display_name

PROBABILITY = "probability"
_KEPT = ("votes", "posterior", "lenient")  # fields of response rows and samples
_EXAMPLES, _LISTED = 3, 30
_LONGEST_LABEL = 3  # words


@dataclass(frozen=True)
class How:
    """How a file of answers is to be read, beyond what it says itself: see `emocaliber score --help`.

    `unlabelled` answers need no truth, and the `ground_truth` of their rows is None.
    """

    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Sequence[str] = ()
    task: str | None = None
    truth: Path | Sequence[Row] | None = None
    partial: bool = False
    strict: bool = False
    unlabelled: bool = False

    @property
    def says_nothing(self) -> bool:
        return not (self.columns or self.labels or self.task or self.truth)


@dataclass(frozen=True)
class Answers:
    """Response rows, each after its place, and the sentences that say how a file of others was read; none for rows of our own form.

    `confidence` is the source to show first; for rows of our own, `first_source` of them. `foreign` rows were converted from another form;
    `missing` says which answers are not there.
    """

    rows: Sequence[tuple[str, Row]]
    notes: tuple[str, ...] = ()
    shown: str | None = None
    foreign: bool = False
    missing: str | None = None

    @property
    def confidence(self) -> str:
        if self.shown is not None:
            return self.shown
        facts = Facts()
        for _, row in self.rows:
            facts.add(row)
        return facts.first_source


def converted(source: Path, values: Sequence[tuple[Place, Any]], how: How) -> Answers:
    name = display_name(source)
    kind, placed = plain_rows(values)
    rows = [row for _, row in placed]
    if how.task is not None and taxonomy_of(how.task) is None and (meant := nearly(how.task, TASKS)):
        raise UserError(f"--task {how.task!r}: there is no such task; write {meant}, or give a task of your own another name.")
    if how.truth and "truth" in how.columns:
        raise UserError("--truth FILE and --columns truth=COLUMN both name the truth; give one of them.")
    wanted = ("answer",) if how.truth or how.unlabelled else ("truth", "answer")
    told = how.columns
    if predicted := predictions.are_predictions(rows):
        placed = [(place, predictions.unflattened(row)) for place, row in placed]
        rows, told = [row for _, row in placed], {**predictions.columns(row for _, row in placed), **told}
    truths = Truths.read(how.truth, by_image=predicted) if how.truth else None
    columns = columns_of(rows, name, told, how.labels, wanted)
    if predicted:
        columns = replace(columns, text="response", image="image")
    if columns.answer is None and columns.probabilities is None and not columns.per_label:
        labels = _seen(truths.values() if truths else (row.get(columns.truth) for row in rows) if columns.truth else ())
        columns = columns_of(rows, name, told, labels or _labels_of_either(rows), wanted)
    if not columns.per_label and columns.probabilities is None and columns.answer is None:
        raise _lacking_answer(values, name)
    if truths is None and columns.truth is None and predicted and not how.unlabelled:
        raise UserError(f"{name}: these are predictions without truths; give --truth FILE, a table with the columns 'image' and 'label'.")
    if truths is None and columns.truth is None and not how.unlabelled:
        raise _lacking_truth(values, rows, name, columns)
    notes = [f"{name}: {len(rows):,} rows, {kind or columns.described()}"]
    table = _Table(placed, columns, name)
    if columns.id is None:
        notes.append(f"{why_no_id(rows)}, and each row is called by its number")
    if truths:
        notes += table.join(truths, how)
    out = list(identified(table.response_rows(how), required=True))
    return Answers(out, (*notes, *table.notes), table.first_source, foreign=True, missing=table.missing)


def _lacking_answer(values: Sequence[tuple[Place, Any]], name: str) -> UserError:
    listed = ", ".join(f"'{display_name(column)}'" for column in _columns_in_file(values))
    return UserError(f"{name}: no column has the usual name of the answer; name it with --columns answer=COLUMN. Columns: {listed}.")


def _lacking_truth(values: Sequence[tuple[Place, Any]], rows: Sequence[Row], name: str, found: Columns) -> UserError:
    """The error for a file without truths: which of its columns, beside those `found` for other roles, could hold them."""
    read = {column for row in rows for column in row}
    free = [column for column in _columns_in_file(values) if column in read and column not in found.taken]
    if not free:
        return UserError(f"{name}: no column is left for the truth; give the truths as --truth FILE, or add a column 'truth'.")
    listed = ", ".join(f"'{display_name(column)}'" for column in free)
    return UserError(
        f"{name}: no column has the usual name of the truth; name it with --columns truth=COLUMN, if it is one of {listed}, or give the "
        "truths as --truth FILE."
    )


def _columns_in_file(values: Sequence[tuple[Place, Any]]) -> list[str]:
    return list(dict.fromkeys(column for _, value in values if isinstance(value, Mapping) for column in value))


def _labels_of_either(rows: Sequence[Row]) -> list[str]:
    """The labels in a column called `label` or `emotion`, which may be the truth if the other columns are probabilities."""
    columns = columns_of(rows, "", {}, (), ("truth",)) if rows else Columns()
    return _seen(row.get(columns.truth) for row in rows) if columns.truth else []


def _seen(values: Iterable[Any]) -> list[str]:
    """The different labels among values, sorted, each in its first spelling."""
    texts: dict[str, str] = {}
    for value in values:
        if (text := label_text(value)) is not None:
            texts.setdefault(label_key(text), text)
    return sorted(texts.values())


class _Table:
    """The rows of a file of others, on their way to response rows; `notes` say what was taken for what."""

    def __init__(self, placed: Placed, columns: Columns, name: str) -> None:
        self.placed, self.columns, self.name = placed, columns, name
        self.notes: list[str] = []
        self.missing: str | None = None
        self.first_source = VERBALIZED
        self._ids = [self._id(place, row, number) for number, (place, row) in enumerate(placed, 1)]
        self._truths: list[tuple[Place, Any]] = [(place, self._cell(row, columns.truth)) for place, row in placed]
        self._extra: list[Row] = [{} for _ in placed]

    def _id(self, place: Place, row: Row, number: int) -> str:
        key = label_text(self._cell(row, self.columns.id)) if self.columns.id is not None else f"{number:05}"
        if key is None:
            raise UserError(f"{place}: column '{self.columns.id}' is empty; every row needs an id.")
        return key

    @staticmethod
    def _cell(row: Row, column: str | None) -> Any:
        return None if column is None else row.get(column)

    def join(self, truths: Truths, how: How) -> Iterator[str]:
        """Takes the truths from a file of their own, by id, and yields what it did. Raises UserError for ids in one of the files only."""
        ids = self._ids
        if truths.numbered and self.columns.id is None:
            if len(ids) != len(truths.by_id):
                raise UserError(
                    f"{self.name}: has {len(ids):,} rows and {truths.name} {len(truths.by_id):,}, and neither has ids; give both a "
                    "column 'id'."
                )
            ids = list(truths.by_id)
            yield f"neither file has ids, so the rows of {truths.name} are taken in order"
        unknown = [each for each in ids if each not in truths.by_id]
        predicted = unknown and predictions.are_predictions(row for _, row in self.placed)
        if predicted and (same := predictions.by_file_name(ids, truths.by_id)) is not None:
            ids, unknown = [same[each] for each in ids], []
            yield f"the images of {truths.name} lie in other folders, so they are matched by their file names"
        if unknown:
            raise UserError(
                f"{truths.name}: has no truth for {len(unknown):,} of {len(ids):,} answers ({_some(unknown)}); its own ids are such as "
                f"{_some(list(truths.by_id)[:_EXAMPLES])}. Make the ids agree, or name the column with --columns id=COLUMN."
            )
        answered = set(ids)
        if lacking := [each for each in truths.by_id if each not in answered]:
            if not how.partial:
                raise UserError(
                    f"{self.name}: has no answer for {len(lacking):,} of the {len(truths.by_id):,} ids in {truths.name} "
                    f"({_some(lacking)}); add them (an empty answer counts as wrong), or score what is there with --partial."
                )
            self.missing = f"{len(lacking):,} of the {len(truths.by_id):,} ids in {truths.name} have no answer"
        found = [truths.by_id[each] for each in ids]
        self._truths = [(place, self._cell(row, truths.columns.truth)) for place, row in found]
        named = {role: column for role in ("task", "candidates", "image") if (column := getattr(truths.columns, role)) is not None}
        self._extra = [{**row, **{role: row.get(column) for role, column in named.items()}} for _, row in found]
        for (place, _), (mine, _), known in zip(found, self.placed, self._extra, strict=True):
            if isinstance(image := known.get("image"), str):  # relative to the file of truths
                known["image"] = Path(os.path.relpath(place.file.parent / image, mine.file.parent)).as_posix()
        yield f"truths from {truths.name}: {truths.columns.described()}"

    def response_rows(self, how: How) -> Iterator[tuple[Place, Row]]:
        """The rows, with candidates for each task."""
        truths = ["" if how.unlabelled else self._truth(place, value) for place, value in self._truths]
        tasks = [how.task or label_text(self._told(number, "task")) or CUSTOM_TASK for number in range(len(self.placed))]
        probabilities = self._probabilities()
        said = self._said(probabilities)
        texts = any("<answer>" in text for text in said if text)  # a text without the tag is an answer only where none has it
        stated = self._confidences()
        whole = said
        if not texts:
            said = self._read_texts(said, stated)
        given = [label_list(self._told(number, "candidates")) for number in range(len(self.placed))]
        labels: dict[str, Labels] = {}
        for task in dict.fromkeys(tasks):
            mine = [number for number, each in enumerate(tasks) if each == task]
            labels[task] = self._labels(task, mine, truths, () if texts else said, probabilities, given, how)
            if not texts and not how.unlabelled and not all(given[number] for number in mine):
                self._note_spellings([truths[number] for number in mine], [said[number] for number in mine], labels[task], how)
        self._sources(stated, probabilities, texts)
        for number, (place, row) in enumerate(self.placed):
            candidates = labels_of(tasks[number], given[number]) if given[number] and not how.labels else labels[tasks[number]]
            where, truth = self._truths[number][0], truths[number]
            if (named := candidates.named(truth)) is None and not how.unlabelled:
                raise UserError(
                    f"{where}: the truth is {truth!r}, which is not among the labels {', '.join(candidates)}; correct it, or give all "
                    "labels with --labels."
                )
            confidence = {source: values[number] for source, values in stated.items()}
            if probabilities:
                by_label = {candidates.named(label): value for label, value in probabilities[number].items()}
                answer = candidates.named(said[number] or "")
                confidence[PROBABILITY if stated else CONFIDENCE] = by_label.get(answer) if answer else None
            out: Row = {"id": self._ids[number], "task": tasks[number], "candidates": list(candidates), "ground_truth": named}
            out |= {"response": said[number]} if texts else {"plain_answer": said[number]}
            text = label_text(self._cell(row, self.columns.text)) or whole[number]
            if text is not None and not texts and candidates.named(text) is None:  # for the page
                out["response"] = text
            image, error = self._told(number, "image"), self._cell(row, self.columns.error)
            if error is not None and label_text(error) is not None:
                told = error if isinstance(error, Mapping) else {"message": error}
                out["error"] = {"code": str(told.get("code", "error")), "message": str(told.get("message", error))}
            if isinstance(image, str) and image:
                out["image"] = image
            known = {**self._extra[number], **row}
            out |= {name: known[name] for name in _KEPT if isinstance(known.get(name), Mapping | bool)}
            if all(name in row for name in PEOPLE_FIELDS):  # of `predict` and `calibrate apply`
                out |= {name: probability(row[name], place, name) for name in PEOPLE_FIELDS}
            yield place, out | {"confidence": confidence, "model": label_text(self._cell(row, self.columns.model))}

    def _told(self, number: int, role: str) -> Any:
        own = self._cell(self.placed[number][1], getattr(self.columns, role))
        return self._extra[number].get(role) if own is None else own

    def _truth(self, place: Place, value: Any) -> str:
        text = label_text(value)
        if text is None or isinstance(value, Mapping | list):
            raise UserError(f"{place}: the truth is {value!r}; every row needs one label there.")
        return text

    def _said(self, probabilities: Sequence[Mapping[str, float]]) -> list[str | None]:
        """What each row answers: a label or a text; the likeliest label where there is no column of answers."""
        if (column := self.columns.answer) is None:
            return [max(each, key=each.__getitem__) if each else None for each in probabilities]
        said = [row.get(column) for _, row in self.placed]
        for (place, _), value in zip(self.placed, said, strict=True):
            if isinstance(value, Mapping | list):
                raise UserError(f"{place}: column '{column}' holds a {type(value).__name__}, not a label or a text; give another column.")
        return [label_text(value) for value in said]

    def _read_texts(self, said: list[str | None], stated: dict[str, list[float | None]]) -> list[str | None]:
        """The answers within texts that are JSON or have lines such as "Answer: awe", whose confidences are added to `stated`; otherwise
        `said` itself."""
        found = told_in(said)
        if found is None:
            return said
        form, told = found
        self.notes.append(f"the answers are read from texts in the form of {form}")
        cells = [(place, each.confidence if each else None) for (place, _), each in zip(self.placed, told, strict=True)]
        if any(cell is not None for _, cell in cells):
            stated[VERBALIZED], note = stated_fractions(cells)
            self.notes += [note] if note else []
        return [each.answer if each else text for each, text in zip(told, said, strict=True)]

    def _confidences(self) -> dict[str, list[float | None]]:
        """The confidences by source, as fractions."""
        found: dict[str, list[float | None]] = {}
        for source, column in self.columns.confidence.items():
            cells = [(place, row.get(column)) for place, row in self.placed]
            names = list(dict.fromkeys(name for _, cell in cells if isinstance(cell, Mapping) for name in cell))
            if names and (other := next(((place, cell) for place, cell in cells if not isinstance(cell, Mapping | None)), None)):
                raise UserError(f"{other[0]}: column '{column}' is {other[1]!r}, but in other rows it holds confidences by name.")
            parts = {name: [(place, (cell or {}).get(name)) for place, cell in cells] for name in names}
            for part, its_cells in parts.items() if names else [(source, cells)]:
                found[part], note = fractions(f"{column}.{part}" if names else column, its_cells)
                self.notes += [note] if note else []
        return found

    def _probabilities(self) -> list[dict[str, float]]:
        """The probabilities of the labels in each row; empty where the file has none."""
        if self.columns.per_label:
            per_label = self.columns.per_label
            cells = [[(label, name, row.get(name)) for label, name in per_label.items()] for _, row in self.placed]
        elif (column := self.columns.probabilities) is not None:
            pairs = [label_pairs(row.get(column), place, column) for place, row in self.placed]
            cells = [[(label, f"{column}.{label}", value) for label, value in each] for each in pairs]
        else:
            return []
        return [
            {label: value for label, name, cell in row if (value := probability(cell, place, name)) is not None}
            for (place, _), row in zip(self.placed, cells, strict=True)
        ]

    def _labels(
        self,
        task: str,
        mine: Sequence[int],
        truths: Sequence[str],
        said: Sequence[str | None],
        probabilities: Sequence[Mapping[str, float]],
        given: Sequence[Sequence[str]],
        how: How,
    ) -> Labels:
        """The labels of a task: the told ones, those of a known task, those with probabilities, or all that occur."""
        if how.labels:
            return labels_of(task, list(how.labels))
        if known := taxonomy_of(task):
            return labels_of(task, known.labels)
        if all(given[number] for number in mine):
            return labels_of(task, given[mine[0]])
        if how.unlabelled and not probabilities:
            raise UserError(f"{self.name}: nothing says which labels the task '{task}' could have been answered with; give --labels.")
        seen = _seen(truths[number] for number in mine)
        if probabilities:
            seen = _seen([*dict.fromkeys(label for number in mine for label in probabilities[number]), *seen])
        elif said:
            seen = self._with_answers(seen, [text for number in mine if (text := said[number]) is not None])
        if len(seen) < 2:
            raise UserError(f"{self.name}: {seen[0]!r} is the only label in it; give all that could have been chosen with --labels.")
        shown = ", ".join(seen[:_LISTED]) + (", ..." if len(seen) > _LISTED else "")
        self.notes.append(f"task '{task}': its labels are the {len(seen)} that occur, {shown} (others: --labels)")
        return labels_of(task, seen)

    def _note_spellings(self, truths: Sequence[str], said: Sequence[str | None], labels: Labels, how: How) -> None:
        known = labels.taxonomy is not None or how.labels
        note = misspelt_answers(said, labels if known else Labels.of(_seen(truths)))
        tasks = None if known else known_tasks(truths)
        self.notes += [*([note] if note else []), *(() if known else misspelt_truths(truths)), *([tasks] if tasks else [])]

    def _with_answers(self, truths: list[str], answers: Sequence[str]) -> list[str]:
        """The labels that occur as truths or answers. Long answers are no labels; nor are any others if there are more than truths."""
        known = Labels.of(truths) if truths else Labels()
        others = []
        for answer in _seen(answers):
            read = parse(f"<answer>{answer}</answer>", known, lenient=True)
            if label_key(answer) and isinstance(read, Malformed) and read.reason == MalformedReason.NOT_A_CANDIDATE:
                others.append(answer)
        named = sum(known.named(answer) is not None for answer in answers)
        if answers and not named and len(others) == len(_seen(answers)) and len(answers) >= _EXAMPLES:
            raise UserError(
                f"{self.name}: no answer ({_some(others)}) is one of the true labels ({_some(truths)}); name other columns with --columns "
                "truth=COLUMN,answer=COLUMN, or give the labels with --labels."
            )
        short = [answer for answer in others if len(answer.split()) <= _LONGEST_LABEL]
        return _seen([*truths, *(short if len(short) <= len(truths) else [])])

    def _sources(self, stated: Mapping[str, Any], probabilities: Sequence[Any], texts: bool) -> None:
        if stated or probabilities:
            self.first_source = next((source for source in FIRST_SOURCES if source in stated), next(iter(stated), CONFIDENCE))
        elif not texts:
            self.first_source = CONFIDENCE


def _some(ids: Iterable[str]) -> str:
    listed = list(ids)
    return ", ".join(map(repr, listed[:_EXAMPLES])) + (", ..." if len(listed) > _EXAMPLES else "")
