"""From a model's response to an outcome: was it right, how far off, and how sure was it by each way of asking.

The only place that says what "correct" means. Training targets, rewards, evaluation and serving all ask here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from emocaliber import emotions
from emocaliber.response import Malformed, parse
from emocaliber.vecbench import TASKS, Fields, canonical_task, identified_rows

NO_ANSWER = "no_answer"
VERBALIZED = "verb"


@dataclass(frozen=True)
class Outcome:
    """One answered sample. `malformed` says why there is no answer: a reason of the parser, or "no_answer" where the model gave no text.

    `distance` is that of the answer from the truth on the taxonomy's emotion loop, in [0, 0.5]; None without an answer or a loop that
    holds both. `confidence` maps each source ("verb" is the one stated in the text) to a number in [0, 1], or None where it gave none.
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

    def to_row(self) -> dict[str, object]:
        """The outcome as a JSON row."""
        return asdict(self)


def is_correct(answer: str | None, ground_truth: str) -> bool:
    """Whether the answer is the ground truth, case and surrounding space aside. No answer is not correct."""
    return answer is not None and answer.strip().casefold() == ground_truth.strip().casefold()


def outcome(row: Mapping[str, object], taxonomy: emotions.Taxonomy | None = None, *, where: str = "response row") -> Outcome:
    """The outcome of a response row.

    Its fields `id, task, candidates, ground_truth, response` are needed; `confidence, error, votes, posterior` are read where present.
    `taxonomy` lends aliases and the loop; by default it is that of the VECBench task, and a custom task has none.
    Raises UserError, naming `where` (the row's file and line) and the field, for a row that is not a response row.
    """
    fields = Fields(row, where)
    candidates = fields.labels("candidates")
    ground_truth = fields.label("ground_truth", candidates)
    task = canonical_task(fields.text("task"))
    if taxonomy is None and task in TASKS:
        taxonomy = emotions.taxonomy(TASKS[task].taxonomy)
    text = fields.optional_text("response")
    answer: str | None = None
    verbalized: float | None = None
    malformed: str | None = None
    if text is None or row.get("error") is not None:
        malformed = NO_ANSWER
    else:
        parsed = parse(text, candidates, aliases=taxonomy.aliases if taxonomy else None)
        if isinstance(parsed, Malformed):
            malformed = str(parsed.reason)
        else:
            answer, verbalized = parsed.answer, parsed.confidence
    return Outcome(
        id=fields.text("id"),
        task=task,
        ground_truth=ground_truth,
        answer=answer,
        correct=is_correct(answer, ground_truth),
        malformed=malformed,
        distance=_distance(answer, ground_truth, taxonomy),
        confidence=fields.fractions("confidence") | {VERBALIZED: verbalized},
        posterior=fields.posterior("posterior", candidates),
        votes=fields.votes("votes", candidates),
    )


def read_outcomes(path: str | Path, taxonomy: emotions.Taxonomy | None = None) -> Iterator[Outcome]:
    """The outcomes of a file of response rows, in order.

    Raises UserError, naming the file, the line and the field, for the first row that is not a response row or repeats an id.
    """
    for where, row in identified_rows(path):
        yield outcome(row, taxonomy, where=where)


def _distance(answer: str | None, ground_truth: str, taxonomy: emotions.Taxonomy | None) -> float | None:
    if answer is None or taxonomy is None or taxonomy.without_vad():
        return None
    said, true = taxonomy.canonical(answer), taxonomy.canonical(ground_truth)
    return None if said is None or true is None else taxonomy.loop().distance(said, true)
