"""The cells of tables that others wrote: labels, numbers, confidences and lists, as text or as JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place

Cells = Sequence[tuple[Place, Any]]

_MISSING = frozenset(("", "nan", "<na>"))
_NO_NUMBER = _MISSING | {"none", "null", "na", "n/a", "-"}
_NUMBER = re.compile(r"([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?)\s*(%?)")
_ROUNDING = 1e-6  # above 1, in single precision
_LARGEST_RATING = 10  # numbers up to it may be ratings from 1 to 10; percentages go beyond


def label_text(value: Any) -> str | None:
    """A cell as text, None where it is missing; whole numbers lose their ".0", which pandas gives them beside missing values."""
    if isinstance(value, float):
        value = None if math.isnan(value) else int(value) if value.is_integer() else value
    if value is None:
        return None
    text = str(value).strip()
    if re.fullmatch(r"-?\d+\.0", text):
        text = text[:-2]
    return None if text.casefold() in _MISSING else text


def fractions(column: str, cells: Cells) -> tuple[list[float | None], str | None]:
    """A column of confidences in [0, 1], None where they are missing, and a sentence where the column holds percentages.

    Percentages have a % sign in every row, or are numbers up to 100 of which none could be a fraction. Raises UserError, naming the row,
    for what is outside [0, 1].
    """
    read = [_number(cell, place, column) for place, cell in cells]
    values = [each for each in read if each is not None]
    signs, numbers = [sign for _, sign in values], [value for value, _ in values]
    in_percent = bool(signs) and (
        all(signs)
        or (not any(signs) and min(numbers) >= 0 and _LARGEST_RATING < max(numbers) <= 100 and not any(0 < value < 1 for value in numbers))
    )
    scale = 100.0 if in_percent else 1.0
    for (place, cell), each in zip(cells, read, strict=True):
        if each is not None and (not 0 <= each[0] / scale <= 1 + _ROUNDING or (each[1] and not in_percent)):
            why = _why_not(numbers, signs)
            raise UserError(f"{place}: column '{column}' is {cell!r}, which is no confidence between 0 and 1; {why}.")
    note = f"column '{column}' holds percentages (up to {max(numbers):g}), and is read as such" if in_percent else None
    return [None if each is None else min(each[0] / scale, 1.0) for each in read], note


def stated_fractions(cells: Cells) -> tuple[list[float | None], str | None]:
    """`fractions` for confidences that a model states in its texts: one that cannot be read is missing, and no error."""
    numbers = [(place, cell if is_numeric([cell]) else None) for place, cell in cells]
    try:
        return fractions("confidence", numbers)
    except UserError:  # not all alike, so each is read by itself
        read = [_number(cell, place, "confidence") for place, cell in numbers]
        values = [None if each is None else each[0] / (100 if each[1] else 1) for each in read]
        return [value if value is not None and 0 <= value <= 1 else None for value in values], None


def is_numeric(cells: Iterable[Any]) -> bool:
    """Whether the cells are numbers, perhaps with a % sign, or missing; and not all of them missing."""
    found = False
    for cell in cells:
        if isinstance(cell, str) and cell.strip().casefold() not in _NO_NUMBER:
            if not _NUMBER.fullmatch(cell.strip()):
                return False
            found = True
        elif not isinstance(cell, str) and cell is not None:
            if isinstance(cell, bool) or not isinstance(cell, int | float):
                return False
            found = True
    return found


def _why_not(numbers: Sequence[float], signs: Sequence[bool]) -> str:
    if any(signs) and not all(signs):
        return "other rows have no % sign; write all alike"
    if min(numbers) < 0:
        return "negative numbers look like log-probabilities or logits; give probabilities"
    if any(0 < value < 1 for value in numbers):
        return "other rows hold fractions; write all alike"
    return f"the column runs from {min(numbers):g} to {max(numbers):g}; divide it by its largest possible value"


def _number(cell: Any, place: Place, column: str) -> tuple[float, bool] | None:
    """The number in a cell and whether it has a % sign; None where it is missing. Raises UserError for anything else."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return float(cell), False
    if isinstance(cell, str):
        if cell.strip().casefold() in _NO_NUMBER:
            return None
        if match := _NUMBER.fullmatch(cell.strip()):
            return float(match[1].replace(",", ".")), bool(match[2])
    raise UserError(f"{place}: column '{column}' is {cell!r}; it must be a number between 0 and 1, or empty where there is none.")


def probability(cell: Any, place: Place, column: str) -> float | None:
    """A probability in [0, 1], None where it is missing. Raises UserError, naming the row, for anything else."""
    read = _number(cell, place, column)
    if read is None:
        return None
    if not 0 <= read[0] <= 1 + _ROUNDING or read[1]:
        why = "logits are not probabilities; take their softmax" if not read[1] else "write it as a fraction"
        raise UserError(f"{place}: column '{column}' is {cell!r}, which is no probability between 0 and 1; {why}.")
    return min(read[0], 1.0)


def label_pairs(cell: Any, place: Place, column: str) -> list[tuple[str, Any]]:
    """The labels with their probabilities in `{"awe": 0.7, ...}` or `[{"label": "awe", "score": 0.7}, ...]`."""
    if cell is None:
        return []
    if isinstance(cell, Mapping):
        return list(cell.items())
    pairs = [_pair(each) for each in cell] if isinstance(cell, list) else [None]
    if any(pair is None for pair in pairs):
        raise UserError(f'{place}: column \'{column}\' must hold {{LABEL: PROBABILITY}} or a list of {{"label", "score"}}.')
    return [pair for pair in pairs if pair is not None]


def _pair(each: Any) -> tuple[str, Any] | None:
    if not isinstance(each, Mapping):
        return None
    label = next((each[name] for name in ("label", "emotion", "answer", "name") if name in each), None)
    score = next((each[name] for name in ("score", "probability", "prob", "confidence", "p") if name in each), None)
    return None if label is None else (str(label), score)


def label_list(cell: Any) -> list[str]:
    """A list of labels, as a list or as text: JSON, or separated by |, ; or commas."""
    if isinstance(cell, list):
        return [str(each) for each in cell]
    if not isinstance(cell, str) or not cell.strip():
        return []
    try:
        read = json.loads(cell)
    except ValueError:
        read = None
    if isinstance(read, list):
        return [str(each) for each in read]
    return [part.strip() for part in re.split(r"[|;,]", cell) if part.strip()]
