"""From a model's response to an outcome: was it right, how far off, and how sure was it by each way of asking.

The only place that says what "correct" means. Training targets, rewards, evaluation and serving all ask here.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from emocaliber import emotions
from emocaliber.core.released import filled_in
from emocaliber.core.response import Malformed, in_five_steps, parse
from emocaliber.core.samples import Fields, identified
from emocaliber.core.tasks import TASKS, canonical_task, taxonomy_of
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.io.row_formats import located_rows
from emocaliber.io.rows import Row, RowPath, display_name, numbered_rows

NO_ANSWER = "no_answer"
VERBALIZED = "verb"


@dataclass(frozen=True)
class Outcome:
    """One answered sample. `malformed` says why there is no answer: a reason of the parser, or "no_answer" where the model gave no text.

    `distance` is that of the answer from the truth on the taxonomy's emotion loop, in [0, 0.5]; None without an answer or a loop that
    holds both. `confidence` maps each source ("verb" is the one stated in the text) to a number in [0, 1], or None where it gave none.
    `image` says, as the row does, which image was asked about: answers about one image are not independent. `format` is whether the text
    keeps to the five steps, which training asks for and an answer does not need; None where there is no text.
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

    def to_row(self) -> dict[str, object]:
        """The outcome as a JSON row."""
        return dict(vars(self))

    @classmethod
    def from_row(cls, row: Mapping[str, Any], where: str) -> Outcome:
        """Reads what `to_row` gives. Raises UserError naming `where` (the row's file and line) for another row."""
        try:
            return cls(**row)
        except TypeError as error:
            raise UserError(f"{where}: this is not an outcome as `emocaliber score` writes them ({error}); score again") from error


def is_correct(answer: str | None, ground_truth: str, labels: Labels) -> bool:
    """Whether the answer names the same of the labels as the ground truth. No answer, and one that names none, is not correct."""
    named = None if answer is None else labels.named(answer)
    return named is not None and named == labels.named(ground_truth)


def outcome(
    row: Mapping[str, object], taxonomy: emotions.Taxonomy | None = None, *, strict: bool = False, where: str = "response row"
) -> Outcome:
    """The outcome of a response row.

    Its fields `id, task, candidates, ground_truth, response` are needed; `confidence, error, votes, posterior, image, lenient` are read
    where present. An `<answer>` that names exactly one candidate is an answer, whatever form the rest has (see `parse`); if `strict`, or
    where the row's `lenient` is false, the response must keep to the five steps. A `confidence` that is no object but a number or text is
    a released row's: the release's reading of the tag, which is read here anew. `taxonomy` lends other spellings of the labels and the
    loop; by default it is that of the VECBench task, and a custom task has none.
    Raises UserError, naming `where` (the row's file and line) and the field, for a row that is not a response row.
    """
    fields = Fields(row, where)
    task = canonical_task(fields.text("task"))
    candidates = fields.labels("candidates", taxonomy or taxonomy_of(task))
    _check_task(fields, task, candidates)
    ground_truth = fields.label("ground_truth", candidates)
    text = fields.optional_text("response")
    answer: str | None = None
    verbalized: float | None = None
    malformed: str | None = None
    if text is None or row.get("error") is not None:
        malformed = NO_ANSWER
    else:
        parsed = parse(text, candidates, lenient=not (strict or row.get("lenient") is False))
        if isinstance(parsed, Malformed):
            malformed = str(parsed.reason)
        else:
            answer, verbalized = parsed.answer, parsed.confidence
    stated, image = row.get("confidence"), row.get("image")
    released = isinstance(stated, str | int | float) and not isinstance(stated, bool)
    return Outcome(
        id=fields.text("id"),
        task=task,
        ground_truth=ground_truth,
        answer=answer,
        correct=is_correct(answer, ground_truth, candidates),
        malformed=malformed,
        distance=None if answer is None else candidates.distance(answer, ground_truth),
        confidence=({} if released else fields.fractions("confidence")) | {VERBALIZED: verbalized},
        posterior=fields.posterior("posterior", candidates),
        votes=fields.votes("votes", candidates),
        image=image if isinstance(image, str) else None,
        format=None if malformed == NO_ANSWER or text is None else in_five_steps(text),
    )


def response_rows(sources: RowPath | Sequence[RowPath]) -> Iterator[tuple[str, Row]]:
    """The response rows of files, folders of shards or saved data sets (see `located_rows`), each after its place for complaints.

    Released rows are filled in so that `outcome` takes them. Where the first row has no id, rows are named by their places.
    Raises UserError, naming the place, for the first row that cannot be read or repeats an id, and where there is no row at all.
    """
    for where, row in identified(located_rows(sources), required=False):
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


def _check_task(fields: Fields, task: str, candidates: Sequence[str]) -> None:
    """A task that is not VECBench's is a custom one, unless it has nearly the name of a task with just these candidates: a slip of the pen
    would move its answers out of their group, unseen."""
    if task not in TASKS and (meant := _nearly(task, tuple(candidates))):
        remedy = "write that, or give a task of your own another name"
        raise fields.error("task", f"is '{task}', but VECBench calls it '{meant}'", remedy)


@cache
def _nearly(task: str, candidates: tuple[str, ...]) -> str | None:
    """The task of VECBench with just these candidates and nearly this name."""
    twins = {_letters(name): name for name in TASKS if _are_labels_of(TASKS[name].taxonomy, candidates)}
    close = difflib.get_close_matches(_letters(task), twins, n=1, cutoff=0.85)
    return twins[close[0]] if close else None


def _are_labels_of(name: str | Path | emotions.Taxonomy, candidates: tuple[str, ...]) -> bool:
    taxonomy = emotions.taxonomy(name)
    return {taxonomy.canonical(label) for label in candidates} == set(taxonomy.labels)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
