"""The rows of `emocaliber predict`, from a file or `Predictions.to_frame`, as answers without truths."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath

from emocaliber.core.calibrators import CALIBRATED
from emocaliber.io.rows import Row

_ALL = ("image", "emotion", "confidence", "confidence_source")


def are_predictions(rows: Iterable[Row]) -> bool:
    """Whether every row has the fields of a prediction."""
    return all(all(name in row for name in _ALL) for row in rows)


def columns(rows: Iterable[Row]) -> Mapping[str, Sequence[str]]:
    """The columns of predictions by role."""
    calibrated = any(row.get(CALIBRATED) not in (None, "") for row in rows)
    sources = ["confidence", CALIBRATED] if calibrated else ["confidence"]
    return {"id": ["image"], "answer": ["emotion"], "confidence": sources}


def unflattened(row: Row) -> Row:
    """A prediction with its nested fields, which a CSV file holds as `error.code`, `error.message` and JSON text."""
    nested = dict(row)
    if isinstance(code := row.get("error.code"), str) and code:
        nested["error"] = {"code": code, "message": row.get("error.message") or code}
    elif isinstance(code := row.get("error"), str) and code:  # of a DataFrame
        nested["error"] = {"code": code, "message": row.get("message") or code}
    if isinstance(text := row.get("alternatives"), str):
        try:
            nested["alternatives"] = json.loads(text) if text else None
        except ValueError:
            nested["alternatives"] = text
    return nested


def by_file_name(images: Sequence[str], truths: Iterable[str]) -> dict[str, str] | None:
    """The id in `truths` of each image, by the names of the files; None where names are not unique or an image has no truth."""
    names = [PurePath(image).name for image in images]
    ids = list(truths)
    known = {PurePath(each).name: each for each in ids}
    if len(known) < len(ids) or len(set(names)) < len(names) or not set(names) <= known.keys():
        return None
    return {image: known[name] for image, name in zip(images, names, strict=True)}
