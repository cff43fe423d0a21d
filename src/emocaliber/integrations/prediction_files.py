"""Predictions as files that tools for labelling import: Label Studio, CVAT, argilla. Written from the rows of `emocaliber predict`.

People label better when they do not see a percentage: argilla's metadata holds the confidence, the suggestion shows the label alone.
"""

from __future__ import annotations

import json
import math
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
    """Tasks to import into Label Studio, with a prediction where there is an answer. `prefix` goes before each path, to make an address.

    They come in the order in which people's labels are expected to tell most, for its sequential sampling: images without an answer first,
    then by `expected_gain`, which a task's data holds too, so that its columns can be sorted by it.
    """
    made: list[tuple[float, dict[str, Any]]] = []
    for row in rows:
        data: dict[str, Any] = {field: prefix + quote(str(row["image"]))}
        gain = gain_of(row)
        if gain is not None:
            data["expected_gain"] = round(gain, 4)
        given = [label_studio_regions(row, from_name, field)] if row.get("emotion") else []
        made.append((math.inf if gain is None else gain, {"data": data, "predictions": given}))
    return [task for _, task in sorted(made, key=lambda each: -each[0])]


def gain_of(row: Row) -> float | None:
    """The expected gain of one person's label for the image of a prediction, in bits; None where the model gives no distribution.

    How far people agree on such an image follows from the two calibrated numbers of the row: of the share of `people` who would give the
    answer, `agreement` agree with the majority where the answer is the majority's, and the others are spread evenly. Without `people`, a
    label is taken for the truth.
    """
    shares = calibrated_shares(row)
    if shares is None:
        return None
    p, k, people = shares[str(row["emotion"])], len(shares), row.get("people")
    if people in (None, "") or abs(p - (1 - p) / (k - 1)) < 1e-9:
        return expected_gain(list(shares.values()), 1.0)
    agreement = (float(str(people)) - (1 - p) / (k - 1)) / (p - (1 - p) / (k - 1))
    return expected_gain(list(shares.values()), min(1.0, max(1 / k, agreement)))


def calibrated_shares(row: Row) -> dict[str, float] | None:
    """P(label) of a prediction: the model's own distribution, with the calibrated confidence for the answer, if there is one.

    The others then share the rest in proportion. None without an answer or a distribution over two labels or more.
    """
    shares = {str(each["emotion"]): float(each["probability"]) for each in row.get("alternatives") or ()}
    answer = row.get("emotion")
    if answer not in shares or len(shares) < 2:
        return None
    given = row.get("calibrated")
    mine = shares[answer] if given in (None, "") else float(str(given))
    others = sum(share for label, share in shares.items() if label != answer)
    even = (1 - mine) / (len(shares) - 1)
    return {label: mine if label == answer else share / others * (1 - mine) if others > 0 else even for label, share in shares.items()}


def expected_gain(shares: Sequence[float], agreement: float) -> float:
    """The mutual information of one person's label and the label of most people, in bits: what a label is expected to tell.

    `shares` are the probabilities of the K labels; a person gives the label of most people with probability `agreement`, else any other.
    """
    k = len(shares)
    other = (1 - agreement) / (k - 1)
    said = [share * agreement + (1 - share) * other for share in shares]
    noise = _bits([agreement, *[other] * (k - 1)])
    return _bits(said) - noise


def _bits(shares: Iterable[float]) -> float:
    return -math.fsum(share * math.log2(share) for share in shares if share > 0)


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
