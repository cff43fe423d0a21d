"""The files that the authors released: response rows, `test_metadata.csv` and `Std-VECBench.json`. Those of VEC-CoT: `core.forms`.

A released response row holds `conversations` (messages in Qwen's form, with the image in the user's), `task`, `ground_truth`,
`candidates`, `response` and `confidence`. It has no id, and may lack conversations or candidates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emocaliber.core.samples import Fields, Sample, identified
from emocaliber.core.tasks import task, taxonomy_of
from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place, read_table
from emocaliber.io.rows import Row, display_name, opened


def filled_in(row: Row) -> Row:
    """The row with a missing `image` taken from its conversations, and missing `candidates` from its VECBench task.

    With the candidates, `ground_truth` takes their spelling. All other fields stay as they are.
    """
    if isinstance(row.get("image"), str) and row.get("candidates") is not None:
        return row
    filled = dict(row)
    if not isinstance(row.get("image"), str) and (image := _image_of(row.get("conversations"))) is not None:
        filled["image"] = image
    task = row.get("task")
    if row.get("candidates") is None and isinstance(task, str) and (known := taxonomy_of(task)):
        filled["candidates"] = list(known.labels)
        if isinstance(truth := row.get("ground_truth"), str):
            filled["ground_truth"] = known.canonical(truth) or truth
    return filled


def _image_of(conversations: object) -> str | None:
    """The path of the first image in a list of messages; None without one."""
    for message in conversations if isinstance(conversations, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, Mapping) and isinstance(image := part.get("image"), str):
                return image
    return None


# Released files as samples.

_METADATA = ("task", "split", "image_path", "label")


def read_test_metadata(path: Path, *, images: Path | None = None) -> Iterator[Sample]:
    """The samples of `test_metadata.csv`. Image paths are relative to `images`, by default the file's folder, and come out absolute.

    Raises UserError, naming file, line and column, for other columns, a task that is not VECBench's, or a label that is not the task's.
    """
    table = read_table(path)
    if missing := [column for column in _METADATA if column not in table.columns]:
        raise UserError(
            f"{display_name(path)}: no column {', '.join(missing)}; expected the columns {', '.join(_METADATA)}, found {table.header}."
        )
    rows = (
        (
            place._replace(shard=path.stem),
            {"task": row["task"], "split": row["split"], "image": row["image_path"], "ground_truth": row["label"]},
        )
        for place, row in table.rows
    )
    return _samples(rows, (images or path.parent).absolute())


def _samples(rows: Iterator[tuple[Place, Row]], folder: Path) -> Iterator[Sample]:
    for where, row in identified(rows, required=False):
        name = task(Fields(row, where).text("task")).name
        sample = Sample.from_row({**filled_in(row), "source": name.rpartition("-")[0].casefold()}, where)
        yield replace(sample, image=str(folder / sample.image))


# Std-VECBench.json: {id: {image_path, prompt, ground_truth, other_info: {task, candidates}}}; predictions have `generations` too.

_BENCHMARKS = "../benchmarks/"  # how its image paths begin; the file lies in benchmarks/VECBench


def standard_records(path: Path) -> dict[str, Mapping[str, Any]] | None:
    """The records of `Std-VECBench.json`, or of predictions in its form, by id; None for another JSON file."""
    with opened(path) as file:
        try:
            document = json.load(file)
        except (ValueError, RecursionError):
            return None
    return document if is_standard(document) else None


def is_standard(document: object) -> bool:
    """Whether a JSON document has the form of `Std-VECBench.json`: a record with task and candidates for each id."""
    if not isinstance(document, Mapping) or not document:
        return False
    infos = [record.get("other_info") for record in document.values() if isinstance(record, Mapping) and "ground_truth" in record]
    return len(infos) == len(document) and all(isinstance(info, Mapping) and {"task", "candidates"} <= info.keys() for info in infos)


def read_standard_vecbench(path: Path, *, images: Path | None = None) -> Iterator[Sample]:
    """The samples of `Std-VECBench.json`, in the test split. Image paths start from `images`, by default from the folder of benchmarks.

    Raises UserError, naming the record and the field, for one that is no sample.
    """
    root = path.absolute().parent.parent
    for identity, record in (standard_records(path) or {}).items():
        where = f"{display_name(path)}, record {display_name(identity)}"
        info = record["other_info"]
        name = task(Fields(info, where).text("task")).name
        given = record.get("image_path")
        given = given[0] if isinstance(given, list) and len(given) == 1 else given
        row = {"id": identity, "image": given, "task": name, "candidates": info["candidates"], "split": "test"}
        sample = Sample.from_row(row | {"ground_truth": record["ground_truth"], "source": name.rpartition("-")[0].casefold()}, where)
        inside = sample.image.replace("\\", "/").removeprefix(_BENCHMARKS)
        folder = images or (root if sample.image != inside else root.parent)
        yield replace(sample, image=str(folder.absolute() / inside))
