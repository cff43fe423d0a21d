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
from emocaliber.errors import UserError
from emocaliber.response import Malformed, parse
from emocaliber.row_formats import located_rows
from emocaliber.rows import Row, RowPath, display_name, numbered_rows
from emocaliber.vecbench import TASKS, Fields, canonical_task, taxonomy_of
from emocaliber.vecbench.fields import identified
from emocaliber.vecbench.released import filled_in

NO_ANSWER = "no_answer"
VERBALIZED = "verb"


@dataclass(frozen=True)
class Outcome:
    """One answered sample. `malformed` says why there is no answer: a reason of the parser, or "no_answer" where the model gave no text.

    `distance` is that of the answer from the truth on the taxonomy's emotion loop, in [0, 0.5]; None without an answer or a loop that
    holds both. `confidence` maps each source ("verb" is the one stated in the text) to a number in [0, 1], or None where it gave none.
    `image` says, as the row does, which image was asked about: answers about one image are not independent. `format` says whether the text
    keeps to the five steps; None where that is not known.
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


def is_correct(answer: str | None, ground_truth: str) -> bool:
    """Whether the answer is the ground truth, case and surrounding space aside. No answer is not correct."""
    return answer is not None and answer.strip().casefold() == ground_truth.strip().casefold()


def outcome(row: Mapping[str, object], taxonomy: emotions.Taxonomy | None = None, *, where: str = "response row") -> Outcome:
    """The outcome of a response row.

    Its fields `id, task, candidates, ground_truth, response` are needed; `confidence, error, votes, posterior, image, lenient` are read
    where present. With `lenient`, the response need not keep to the five steps. A `confidence` that is no object but a number or text is
    a released row's: the release's reading of the tag, which is read here anew. `taxonomy` lends aliases and the loop; by default it is
    that of the VECBench task, and a custom task has none.
    Raises UserError, naming `where` (the row's file and line) and the field, for a row that is not a response row.
    """
    fields = Fields(row, where)
    candidates = fields.labels("candidates")
    ground_truth = fields.label("ground_truth", candidates)
    task = _task(fields, candidates)
    if taxonomy is None:
        taxonomy = taxonomy_of(task)
    text = fields.optional_text("response")
    answer: str | None = None
    verbalized: float | None = None
    malformed: str | None = None
    if text is None or row.get("error") is not None:
        malformed = NO_ANSWER
    else:
        parsed = parse(text, candidates, aliases=taxonomy.aliases if taxonomy else None, lenient=row.get("lenient") is True)
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
        correct=is_correct(answer, ground_truth),
        malformed=malformed,
        distance=_distance(answer, ground_truth, taxonomy),
        confidence=({} if released else fields.fractions("confidence")) | {VERBALIZED: verbalized},
        posterior=fields.posterior("posterior", candidates),
        votes=fields.votes("votes", candidates),
        image=image if isinstance(image, str) else None,
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


def _task(fields: Fields, candidates: Sequence[str]) -> str:
    """The task's name. One that is not VECBench's is a custom task, unless it is nearly the name of a task with just these candidates:
    a slip of the pen would move its answers out of their group, unseen."""
    task = canonical_task(fields.text("task"))
    if task not in TASKS and (meant := _nearly(task, tuple(candidates))):
        remedy = "write that, or give a task of your own another name"
        raise fields.error("task", f"is '{task}', but VECBench calls it '{meant}'", remedy)
    return task


@cache
def _nearly(task: str, candidates: tuple[str, ...]) -> str | None:
    """The task of VECBench with just these candidates and nearly this name."""
    twins = {_letters(name): name for name in TASKS if _are_labels_of(TASKS[name].taxonomy, candidates)}
    close = difflib.get_close_matches(_letters(task), twins, n=1, cutoff=0.85)
    return twins[close[0]] if close else None


def _are_labels_of(name: str, candidates: tuple[str, ...]) -> bool:
    taxonomy = emotions.taxonomy(name)
    return {taxonomy.canonical(label) for label in candidates} == set(taxonomy.labels)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _distance(answer: str | None, ground_truth: str, taxonomy: emotions.Taxonomy | None) -> float | None:
    if answer is None or taxonomy is None or taxonomy.without_vad():
        return None
    said, true = taxonomy.canonical(answer), taxonomy.canonical(ground_truth)
    return None if said is None or true is None else taxonomy.loop().distance(said, true)
