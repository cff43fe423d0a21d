"""The logs of other tools as plain rows: lmms-eval, inspect-ai, EmObserver, batches of OpenAI and Anthropic, pipelines of transformers.

A plain row has `id`, `truth`, `answer` and, where the log has them, `task`, `candidates`, `model`, `error` and `probabilities`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emocaliber.core.released import is_standard
from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place
from emocaliber.io.rows import Row, display_name

Placed = list[tuple[Place, Row]]

_LISTS = ("samples", "logs", "rows", "data", "results", "predictions", "answers")  # the fields of a document that hold its rows
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def plain_rows(values: Sequence[tuple[Place, Any]]) -> tuple[str | None, Placed]:
    """What kind of log the values of a file are (None for rows that need no conversion), and its rows.

    Raises UserError, naming the place, for a document without rows and for a row that its kind of log does not have.
    """
    if len(values) == 1 and isinstance(document := values[0][1], Mapping):
        place = values[0][0]
        if isinstance(document.get("eval"), Mapping) and "samples" in document:
            return "a log of inspect-ai", _inspect(document, place)
        if is_standard(document) and any("generations" in record for record in document.values()):
            return "predictions of EmObserver", _emobserver(document, place)
        if (rows := _rows_within(document)) is not None:
            values = [(Place(place.file, number, place.shard), row) for number, row in enumerate(rows, 1)]
    if all(isinstance(value, list) for _, value in values):
        return "a list of labels with their scores for each image", [(place, {"probabilities": value}) for place, value in values]
    if stray := next((each for each in values if not isinstance(each[1], Mapping)), None):
        raise UserError(f"{stray[0]}: is a JSON {type(stray[1]).__name__}; every row must be a JSON object with its fields by name.")
    rows_ = [(place, dict(value)) for place, value in values]
    first = rows_[0][1]
    if "doc_id" in first and ("filtered_resps" in first or "resps" in first):
        return "a log of lmms-eval", [(place, _lmms_eval(row, place)) for place, row in rows_]
    if "custom_id" in first and isinstance(first.get("response"), Mapping | None) and ("response" in first or "result" in first):
        return "the results of a batch", [(place, _batched(row, place)) for place, row in rows_]
    return None, rows_


def _emobserver(document: Mapping[str, Any], place: Place) -> Placed:
    """`{id: {image_path, ground_truth, other_info: {task, candidates}, generations}}`; the first generation is the answer."""
    return [
        (
            Place(place.file, number),
            {
                "id": identity,
                "image": _first(record.get("image_path")),
                "truth": record["ground_truth"],
                "answer": _first(record.get("generations")),
                "task": record["other_info"]["task"],
                "candidates": record["other_info"]["candidates"],
            },
        )
        for number, (identity, record) in enumerate(document.items(), 1)
    ]


def _rows_within(document: Mapping[str, Any]) -> list[Any] | None:
    """The rows in a JSON document: a list under a usual name, or the columns that pandas writes (also as
    orient="split"); None if it is itself a row."""
    for name in _LISTS:
        if isinstance(rows := document.get(name), list) and rows and all(isinstance(row, Mapping) for row in rows):
            return rows
    names, data = document.get("columns"), document.get("data")
    if isinstance(names, list) and isinstance(data, list) and len(set(map(str, names))) == len(names):  # pandas' orient="split"
        return [dict(zip(map(str, names), row, strict=True)) if _has_length(row, len(names)) else row for row in data] or None
    columns = list(document.values())
    if len(columns) > 1 and all(isinstance(column, Mapping) and column.keys() == columns[0].keys() for column in columns):
        return [{name: column[index] for name, column in document.items()} for index in columns[0]]
    return None


def _has_length(row: Any, length: int) -> bool:
    return isinstance(row, list) and len(row) == length


# inspect-ai: `samples[].target`, `.output.completion`, `.scores`.


def inspect_document(path: Path) -> Any:
    """The JSON document in a `.eval` file, read by inspect_ai itself, as its compression is not Python's. Raises UserError without it."""
    try:
        from inspect_ai.log import read_eval_log
    except ImportError as error:
        remedy = "pip install inspect_ai, or convert it where that is installed: inspect log convert FILE --to json --output-dir DIR"
        raise UserError(f"{display_name(path)}: a .eval file is read with inspect_ai; {remedy}.") from error
    try:
        return json.loads(
            read_eval_log(str(path.absolute()), resolve_attachments=True).model_dump_json(exclude={"samples": {"__all__": {"events"}}})
        )
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"{display_name(path)}: is no log of inspect_ai ({error}).") from error


def _inspect(document: Mapping[str, Any], place: Place) -> Placed:
    samples, settings = document.get("samples"), document["eval"]
    if not isinstance(samples, list) or not samples:
        raise UserError(f"{display_name(place.file)}: this log has no samples; run the evaluation with its samples logged.")
    read = [_inspected(sample, Place(place.file, number)) for number, sample in enumerate(samples, 1)]
    tagged = any("<answer>" in (row["completion"] or "") for _, row in read)  # then the text has more than what a scorer took from it
    for _, row in read:
        completion, scored = row.pop("completion"), row.pop("scored")
        row["answer"] = completion if tagged or scored is None else scored
        row |= {"task": row.get("task", settings.get("task")), "model": settings.get("model")}
    return read


def _inspected(sample: Any, place: Place) -> tuple[Place, Row]:
    if not isinstance(sample, Mapping) or "target" not in sample:
        raise UserError(f"{place}: field 'target' is missing; this is not a sample as inspect-ai logs it.")
    output, error = _mapping(sample.get("output")), sample.get("error")
    completion = output.get("completion")
    if not isinstance(completion, str):
        completion = _content(_mapping(_first(output.get("choices"))).get("message"))
    completion = _with_steps(completion, _mapping(_first(output.get("choices"))).get("message"))
    scored = [_mapping(score).get("answer") for score in _mapping(sample.get("scores")).values()]
    answer = next((each for each in scored if isinstance(each, str) and each.strip()), None)
    epoch, choices = sample.get("epoch", 1), sample.get("choices")
    target = sample["target"]
    if isinstance(target, list):
        if len(target) != 1:
            raise UserError(f"{place}: field 'target' holds {len(target)} targets; every sample needs one.")
        target = target[0]
    row: Row = {
        "id": f"{sample.get('id')}" + ("" if epoch == 1 else f"#{epoch}"),
        "truth": _choice(target, choices),
        "completion": completion,
        "scored": _choice(answer, choices),
        "error": {"code": "error", "message": str(error.get("message", error))} if isinstance(error, Mapping) else None,
    }
    if epoch != 1:
        row["image"] = f"{sample.get('id')}"  # resampled together with the sample's first epoch
    return place, row | ({"candidates": choices} if isinstance(choices, list) else {}) | _known(_mapping(sample.get("metadata")))


def _with_steps(completion: Any, message: Any) -> Any:
    """The completion after the five steps, which inspect_ai takes out of the text as reasoning; other reasoning is no part of it."""
    parts = _mapping(message).get("content")
    told = [part.get("reasoning") for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    steps = next((each for each in told if isinstance(each, str) and "<element>" in each and "<answer>" not in each), None)
    whole = isinstance(completion, str) and "<answer>" in completion and "<think>" not in completion
    return f"<think>{steps}</think>{completion}" if steps and whole else completion


def _known(kept: Mapping[str, Any]) -> Row:
    """What this package keeps of a row in the log of another tool; nothing of others' metadata, which names no candidates."""
    if not isinstance(kept.get("candidates"), list):
        return {}
    texts = {name: kept[name] for name in ("task", "image") if isinstance(kept.get(name), str)}
    tables = {name: dict(kept[name]) for name in ("votes", "posterior", "confidence", "error") if isinstance(kept.get(name), Mapping)}
    return {"candidates": kept["candidates"], **texts, **tables}


def _choice(text: Any, choices: Any) -> Any:
    """The choice of a multiple-choice question that a letter stands for; any other text unchanged."""
    if isinstance(choices, list) and isinstance(text, str) and text in _LETTERS[: len(choices)] and len(text) == 1 and text not in choices:
        return choices[_LETTERS.index(text)]
    return text


# lmms-eval (and lm-evaluation-harness): `doc_id`, `doc`, `target`, `resps`, `filtered_resps`.


def _lmms_eval(row: Row, place: Place) -> Row:
    said = _first(row.get("filtered_resps") or row.get("resps"))
    if said is not None and not isinstance(said, str):
        raise UserError(
            f"{place}: field 'filtered_resps' holds no text but {type(said).__name__}s, as of a task that compares the likelihoods of "
            "its choices; score one that generates its answers."
        )
    doc = _mapping(row.get("doc"))
    known = {name: doc[name] for name in ("task", "candidates", "image") if isinstance(doc.get(name), str | list)}
    ours = _known(doc)
    key = doc["id"] if ours and isinstance(doc.get("id"), str) else row.get("doc_id")  # doc_id counts within one task
    return {"id": key, "truth": _first(row.get("target")), "answer": said, **known, **ours}


def _first(value: Any) -> Any:
    while isinstance(value, list):
        if not value:
            return None
        value = value[0]
    return value


# Batches: `custom_id`, then `response.body` (OpenAI) or `result.message` (Anthropic).


def _batched(row: Row, place: Place) -> Row:
    response, result = _mapping(row.get("response")), _mapping(row.get("result"))
    body = _mapping(response.get("body")) or _mapping(result.get("message"))
    failure = row.get("error") or body.get("error") or result.get("error")
    text: str | None = None
    if choices := body.get("choices"):
        text = _content(_mapping(_first(choices)).get("message"))
    elif "output" in body or "content" in body:
        text = _content({"content": body.get("content")}) if "content" in body else _outputs(body["output"])
    elif failure is None:
        if not body and result.get("type") not in (None, "succeeded"):
            failure = result["type"]
        else:
            raise UserError(f"{place}: field 'response.body.choices' is missing; these are not the results of a batch of chats.")
    message = _mapping(failure).get("message", failure)
    error = None if failure is None else {"code": "error", "message": message if isinstance(message, str) else json.dumps(message)}
    return {"id": row.get("custom_id"), "answer": text, "model": body.get("model"), "error": error}


def _outputs(outputs: Any) -> str | None:
    messages = outputs if isinstance(outputs, list) else []
    texts = [_content(each) for each in messages if _mapping(each).get("type") == "message"]
    return "".join(text for text in texts if text) or None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _content(message: Any) -> str | None:
    """The text of a message, whose content is a text or a list of parts."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, list):
        return "".join(text for part in content if isinstance(text := _mapping(part).get("text"), str)) or None
    return content if isinstance(content, str) else None
