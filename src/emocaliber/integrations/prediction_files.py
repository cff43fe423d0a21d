"""Predictions as files that tools for labelling import: Label Studio, CVAT, argilla. Written from the rows of `emocaliber predict`.

People label better when they do not see a percentage: argilla's metadata holds the confidence, the suggestion shows the label alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from emocaliber.errors import UserError
from emocaliber.evaluation.answers import predictions
from emocaliber.io.images import ImageError, open_image
from emocaliber.io.row_formats import located_values
from emocaliber.io.rows import Row, display_name, write_atomically


def read_predictions(path: Path) -> list[Row]:
    """The rows of `emocaliber predict` in a file (.jsonl, .csv, .parquet), failed ones too. Raises UserError for any other file."""
    rows = [value for _, value in located_values(path)]
    if not all(isinstance(row, Mapping) for row in rows) or not predictions.are_predictions(rows):
        raise UserError(f"{display_name(path)}: holds no predictions; write them with `emocaliber predict IMAGES --out {path.name}`.")
    return [predictions.unflattened(row) for row in rows]


def answered(rows: Iterable[Row]) -> list[Row]:
    """The predictions with an answer."""
    return [row for row in rows if row.get("emotion")]


def label_studio_regions(row: Row, from_name: str, to_name: str) -> dict[str, Any]:
    """A prediction as Label Studio has it: the label as a choice, and the confidence as the `score` of the whole."""
    found: dict[str, Any] = {
        "model_version": str(row.get("model") or "emocaliber"),
        "result": [{"from_name": from_name, "to_name": to_name, "type": "choices", "value": {"choices": [row["emotion"]]}}],
    }
    return found | ({} if row.get("confidence") is None else {"score": float(row["confidence"])})


def label_studio_tasks(rows: Sequence[Row], prefix: str, *, field: str = "image", from_name: str = "emotion") -> list[dict[str, Any]]:
    """Tasks to import into Label Studio, with a prediction where there is an answer. `prefix` goes before each path, to make an address."""
    tasks = []
    for row in rows:
        given = [label_studio_regions(row, from_name, field)] if row.get("emotion") else []
        tasks.append({"data": {field: prefix + quote(str(row["image"]))}, "predictions": given})
    return tasks


def cvat_xml(rows: Sequence[Row]) -> str:
    """Annotations in CVAT's own form for images, 1.1: a tag with its confidence for each image that has an answer.

    CVAT matches images by name, so a task must have files of the same names. Raises UserError for two images of one name, or one that
    cannot be opened, as CVAT needs its size.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for name in _labels(rows):
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "tag"
        attribute = ElementTree.SubElement(ElementTree.SubElement(label, "attributes"), "attribute")
        for part, text in {"name": "confidence", "mutable": "False", "input_type": "text", "default_value": "", "values": ""}.items():
            ElementTree.SubElement(attribute, part).text = text
    seen: set[str] = set()
    for number, row in enumerate(answered(rows)):
        name = PurePath(str(row["image"])).name
        if name in seen:
            raise UserError(f"two images are called {name!r}, and CVAT knows images by name; rename one, or write a file for each folder.")
        seen.add(name)
        try:
            size = open_image(str(row["image"])).image.size
        except ImageError as error:
            raise UserError(f"{row['image']}: CVAT needs the size of each image: {error}") from error
        image = {"id": str(number), "name": name, "width": str(size[0]), "height": str(size[1])}
        tag = ElementTree.SubElement(ElementTree.SubElement(root, "image", image), "tag", {"label": str(row["emotion"]), "source": "auto"})
        if row.get("confidence") is not None:
            ElementTree.SubElement(tag, "attribute", {"name": "confidence"}).text = f"{row['confidence']:.4f}"
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def argilla_records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Records as argilla 2 reads them: the image, the answer as a suggestion to the question `emotion`, the confidence as metadata."""
    records = []
    for row in rows:
        record: dict[str, Any] = {"id": str(row["image"]), "fields": {"image": str(row["image"])}, "metadata": {}, "suggestions": {}}
        if row.get("emotion"):
            record["suggestions"]["emotion"] = {"value": row["emotion"], "agent": str(row.get("model") or "emocaliber")}
            if row.get("confidence") is not None:
                record["suggestions"]["emotion"]["score"] = float(row["confidence"])
                record["metadata"] = {"confidence": float(row["confidence"])}
        records.append(record)
    return records


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, of finite numbers only."""
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n")


def _labels(rows: Iterable[Row]) -> list[str]:
    known = (label for row in rows for label in [*(each["emotion"] for each in row.get("alternatives") or ()), row.get("emotion")])
    return list(dict.fromkeys(label for label in known if label))
