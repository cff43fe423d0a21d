"""The files that the authors released: response rows, `test_metadata.csv` of VECBench, and the stage files of VEC-CoT.

A released response row holds `conversations` (messages in Qwen's form, with the image in the user's), `task`, `ground_truth`,
`candidates`, `response` and `confidence`. It has no id, and may lack conversations or candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from emocaliber.core.response import Response, parse
from emocaliber.core.samples import Fields, Sample, identified
from emocaliber.core.tasks import labels_of, task, taxonomy_of
from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place, located_rows, read_table
from emocaliber.io.rows import Row, display_name


def filled_in(row: Row) -> Row:
    """The row with a missing `image` taken from its conversations, and missing `candidates` from its VECBench task.

    With the candidates, `ground_truth` takes their spelling. All other fields stay as they are.
    """
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
    for message in _mappings(conversations):
        for part in _mappings(message.get("content")):
            if isinstance(image := part.get("image"), str):
                return image
    return None


def _mappings(items: object) -> Iterable[Mapping[str, object]]:
    return (item for item in items if isinstance(item, Mapping)) if isinstance(items, list) else ()


# Released files as samples.

_METADATA = ("task", "split", "image_path", "label")
_MESSAGES = ("messages", "conversations", "prompt")


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
            replace(place, shard=path.stem),
            {"task": row["task"], "split": row["split"], "image": row["image_path"], "ground_truth": row["label"]},
        )
        for place, row in table.rows
    )
    return _samples(rows, (images or path.parent).absolute())


def read_stage_file(path: Path, *, images: Path | None = None) -> Iterator[Sample]:
    """The samples of a stage file of VEC-CoT (.jsonl, .parquet or .arrow), in the training split unless a row names another.

    The form of these rows is not documented. Three are read, each with a `task`: that of ms-swift (`messages`, `images`), of the released
    evaluation (`conversations`) and of verl (`prompt`, `images`, `reward_model.ground_truth`).
    Where a row has no ground truth, the answer in its last message is taken if no confidence follows it: answers of stage 1 were kept for
    being right, those of stage 2 may be wrong. Image paths as in `read_test_metadata`.
    Raises UserError, naming file, line and the fields found, for a row of another form.
    """
    rows = ((replace(place, shard=path.stem), _as_sample_row(row, str(place))) for place, row in located_rows(path))
    return _samples(rows, (images or path.parent).absolute())


def _samples(rows: Iterator[tuple[Place, Row]], folder: Path) -> Iterator[Sample]:
    for where, row in identified(rows, required=False):
        name = task(Fields(row, where).text("task")).name
        sample = Sample.from_row({**filled_in(row), "source": name.rpartition("-")[0].casefold()}, where)
        yield replace(sample, image=str(folder / sample.image))


def _as_sample_row(row: Row, where: str) -> Row:
    """The row with the fields of a sample, from any of the three forms."""
    messages: list[object] = next((row[field] for field in _MESSAGES if isinstance(row.get(field), list)), [])
    filled = filled_in({"split": "train", "conversations": messages, **row})
    if "image" not in filled and (image := _first_image(row.get("images"))) is not None:
        filled["image"] = image
    if filled.get("ground_truth") is None and (truth := _ground_truth(filled, messages)) is not None:
        filled = filled_in({**filled, "ground_truth": truth})
    missing = [field for field in ("image", "task", "ground_truth") if not isinstance(filled.get(field), str)]
    if missing:
        known = "messages and images (ms-swift), conversations, or prompt, images and reward_model (verl), each with a task"
        found = ", ".join(display_name(str(field)) for field in row)
        raise UserError(
            f"{where}: nothing gives the {' or the '.join(missing)} of the sample. Rows that can be read have {known}; found {found}."
        )
    return filled


def _first_image(images: object) -> str | None:
    first = images[0] if isinstance(images, list) and images else images
    path = first.get("path") if isinstance(first, Mapping) else first
    return path if isinstance(path, str) else None


def _ground_truth(row: Row, messages: list[object]) -> str | None:
    stated = row.get("reward_model")
    if isinstance(stated, Mapping) and isinstance(truth := stated.get("ground_truth"), str):
        return truth
    last = messages[-1] if messages else None
    answer = last.get("content", last.get("value")) if isinstance(last, Mapping) else None
    candidates, name = row.get("candidates"), row.get("task")
    if not (isinstance(answer, str) and isinstance(name, str) and isinstance(candidates, list)):
        return None
    response = parse(answer, labels_of(name, [str(candidate) for candidate in candidates]), confidence="forbidden")
    return response.answer if isinstance(response, Response) else None
