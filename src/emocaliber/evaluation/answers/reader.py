"""Answers of any system, from files of many forms, as response rows for `outcome`.

Our own rows and the released ones are taken as they are. Other rows need a truth, an answer and perhaps a confidence or the probability of
every label, under usual names (`columns`) or in the log of another tool (`logs`). docs/answers.md has all of it for users.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from emocaliber.core.scoring import CONFIDENCE, completed
from emocaliber.core.tasks import taxonomy_of
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.logs import inspect_document
from emocaliber.evaluation.answers.rows import Answers, How, converted
from emocaliber.evaluation.answers.stored import StoredResponses, is_large
from emocaliber.io.row_formats import DELIMITED, Place, located_values
from emocaliber.io.rows import Row, display_name

_OTHER_FILES = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV"),
    **dict.fromkeys((".pkl", ".pickle", ".npy", ".npz", ".pt"), "such files can run code when they are opened; write a CSV file instead"),
    **dict.fromkeys((".gz", ".zip", ".bz2", ".xz", ".zst"), "unpack it first"),
}
_GENERIC = re.compile(
    r"(?:responses?|answers?|predictions?|preds?|samples?|outputs?|results?|submission|test|rows|data|scores?|model|checkpoint"
    r"|checkpoint-\d+|final|best|out|train|eval)(?:-\d+-of-\d+)?",
    re.IGNORECASE,
)


def read_answers(source: Path, how: How | None = None) -> Answers:
    """The answers in a file or a folder of shards.

    Raises UserError, naming the file, the row, the column and the remedy, for what cannot be read or could mean two things.
    """
    how = how or How()
    suffix = source.suffix.lower()
    if suffix in _OTHER_FILES and not source.is_dir():
        raise UserError(f"{display_name(source)}: a {suffix} file is not read; {_OTHER_FILES[suffix]}.")
    if suffix == ".eval":
        return converted(source, [(Place(source, 1), inspect_document(source))], how)
    if how.says_nothing and suffix not in (*DELIMITED, ".json"):
        values: Iterator[tuple[Place, Any]] = located_values(source)
        first = next(values)
        if _is_response_row(first[1]) and is_large(source):
            return _of_responses(StoredResponses(source), how, display_name(source))
        if _is_response_row(first[1]):
            return _of_responses(list(completed(chain([first], values))), how, display_name(source))
        return converted(source, [first, *values], how)
    return converted(source, list(located_values(source)), how)


def answers_in_memory(rows: Sequence[Mapping[str, Any]], how: How, name: str) -> Answers:
    """The answers in rows that are not in a file; `name` stands for it in messages. Raises as `read_answers` does."""
    if not rows:
        raise UserError(f"{name}: there are no rows in it; an evaluation needs at least one.")
    values = [(Place(Path(name), number), dict(row)) for number, row in enumerate(rows, 1)]
    if how.says_nothing and _is_response_row(values[0][1]):
        return _of_responses(list(completed(values)), how, name)
    return converted(Path(name), values, how)


def _of_responses(rows: Sequence[tuple[str, Row]], how: How, name: str) -> Answers:
    """Rows of our own form or of the released one as answers."""
    if not how.strict and _are_untagged(row for _, row in rows):
        return _as_plain(rows, name)
    return Answers(rows)


def _is_response_row(row: Any) -> bool:
    """Whether a row has the form of our own or of the released ones; without candidates, it must name its task and answer in a tag."""
    if not isinstance(row, Mapping) or not {"task", "ground_truth"} <= row.keys():
        return False
    if isinstance(row.get("candidates"), list) or isinstance(row.get("conversations"), list):
        return True
    tagged = "response" in row and (row["response"] is None or "<answer>" in str(row["response"]))
    return tagged and isinstance(row["task"], str) and taxonomy_of(row["task"]) is not None


def _are_untagged(rows: Iterable[Row]) -> bool:
    """Whether no text has an `<answer>` though nobody asked for one: the rows are not from `respond`, nor released."""
    texts = False
    for row in rows:
        if "seconds" in row or "conversations" in row or "<answer>" in str(row.get("response")):
            return False
        texts = texts or bool(row.get("response"))
    return texts


def _as_plain(rows: Iterable[tuple[str, Row]], name: str) -> Answers:
    plain = [(where, row | ({"plain_answer": row["response"]} if "response" in row else {})) for where, row in rows]
    note = f"{name}: no response has an <answer> tag, so each one is read as the answer itself"
    confidence = next((each for _, row in plain if isinstance(stated := row.get("confidence"), Mapping) for each in stated), CONFIDENCE)
    return Answers(plain, (note,), confidence, foreign=True)


def system_name(source: Path, rows: Iterable[Row]) -> str:
    """What to call the system that gave these answers: its model, if the rows agree on one, else the file, else its folder.

    Of a path or a hub id, the last part counts that is not a word such as "responses" or "model".
    """
    return name_from(source, {str(model) for row in rows if (model := row.get("model"))})  # a failed request names none


def name_from(source: Path, models: Collection[str]) -> str:
    """`system_name` where the models that the rows name are known."""
    model = next(iter(models)) if len(models) == 1 else ""
    if parts := _telling(re.split(r"[/\\:]", model)):
        return parts[-1]
    absolute = source.absolute()
    parts = _telling([*absolute.parent.parts[1:], source.name if source.is_dir() else absolute.stem])
    return parts[-1] if parts else source.stem


def _telling(parts: Iterable[str]) -> list[str]:
    return [part for part in parts if part and not _GENERIC.fullmatch(part)]
