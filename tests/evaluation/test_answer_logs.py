from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emocaliber.errors import UserError
from emocaliber.evaluation.answers.logs import plain_rows
from emocaliber.io.row_formats import Place


def plain(*values: Any) -> list[dict[str, Any]]:
    return [row for _, row in plain_rows([(Place(Path("log.json"), number), value) for number, value in enumerate(values, 1)])[1]]


def inspect_log(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"version": 2, "eval": {"task": "moods", "model": "acme/v1"}, "samples": list(samples)}


def sample(completion: str, target: Any = "awe", **fields: Any) -> dict[str, Any]:
    return {"id": 1, "epoch": 1, "target": target, "output": {"completion": completion}} | fields


def test_inspect_logs_give_what_the_scorer_read_unless_the_text_has_tags() -> None:
    scores = {"pattern": {"value": "C", "answer": "awe"}}
    assert plain(inspect_log(sample("So it is awe, then.", scores=scores)))[0] | {"error": None} == {
        **{"id": "1", "truth": "awe", "answer": "awe", "task": "moods", "model": "acme/v1", "error": None},
    }
    text = "<answer>awe</answer><confidence>0.4</confidence>"
    assert plain(inspect_log(sample(text, scores=scores)))[0]["answer"] == text


def test_inspect_letters_stand_for_choices_and_epochs_for_the_same_sample() -> None:
    fields = {"choices": ["awe", "fear"], "scores": {"choice": {"value": "I", "answer": "B"}}}
    first, second = plain(inspect_log(sample("B", ["A"], **fields), sample("A", "A", epoch=2, **fields)))
    assert (first["truth"], first["answer"], first["candidates"]) == ("awe", "fear", ["awe", "fear"])
    assert (second["id"], second["image"]) == ("1#2", "1")


def test_inspect_errors_and_message_parts_are_read() -> None:
    parts = {"choices": [{"message": {"content": [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "awe"}]}}]}
    first, second = plain(inspect_log(sample("", output=parts), sample("", error={"message": "time is up"}, output={})))
    assert first["answer"] == "awe" and second["error"] == {"code": "error", "message": "time is up"}


def test_lmms_eval_rows_give_their_filtered_responses() -> None:
    row = {
        "doc_id": 3,
        "target": "awe",
        "resps": [["It is awe"]],
        "filtered_resps": ["awe"],
        "doc": {"task": "FI-8", "candidates": ["awe"]},
    }
    assert plain(row) == [{"id": 3, "truth": "awe", "answer": "awe", "task": "FI-8", "candidates": ["awe"]}]
    assert plain({"doc_id": 3, "target": "awe", "resps": [["It is awe"]]})[0]["answer"] == "It is awe"
    with pytest.raises(UserError, match=r"log\.json, row 1: field 'filtered_resps' holds no text but floats"):
        plain({"doc_id": 3, "target": "awe", "filtered_resps": [[-1.5, False]]})


@pytest.mark.parametrize(
    "row",
    [
        {"response": {"status_code": 200, "body": {"choices": [{"message": {"content": "awe"}}], "model": "m"}}, "error": None},
        {"response": {"body": {"output": [{"type": "reasoning"}, {"type": "message", "content": [{"text": "awe"}]}], "model": "m"}}},
        {"result": {"type": "succeeded", "message": {"content": [{"type": "text", "text": "awe"}], "model": "m"}}},
    ],
)
def test_results_of_batches_give_their_texts(row: dict[str, Any]) -> None:
    assert plain({"custom_id": "a"} | row) == [{"id": "a", "answer": "awe", "model": "m", "error": None}]


@pytest.mark.parametrize(
    "row",
    [
        {"response": None, "error": {"code": "late"}},
        {"response": {"status_code": 500, "body": {"error": {"message": "no"}}}},
        {"result": {"type": "expired"}},
    ],
)
def test_failed_requests_have_an_error_and_no_answer(row: dict[str, Any]) -> None:
    (read,) = plain({"custom_id": "a"} | row)
    assert read["answer"] is None and read["error"] in [
        {"code": "error", "message": each} for each in ('{"code": "late"}', "no", "expired")
    ]


def test_other_documents_give_the_rows_within_them() -> None:
    rows = [{"truth": "awe", "pred": "fear"}, {"truth": "joy", "pred": "joy"}]
    assert plain({"results": rows, "accuracy": 0.5}) == rows
    assert plain({"truth": {"0": "awe", "1": "joy"}, "pred": {"0": "fear", "1": "joy"}}) == rows, "as pandas writes columns"
    split = {"columns": ["truth", "pred"], "index": [0, 1], "data": [["awe", "fear"], ["joy", "joy"]]}
    assert plain(split) == rows, 'as pandas writes orient="split"'
    with pytest.raises(UserError, match=r"row 2: is a JSON list"):
        plain(split | {"data": [["awe", "fear"], ["joy"]]})
    assert plain([{"label": "awe", "score": 1.0}]) == [{"probabilities": [{"label": "awe", "score": 1.0}]}]
    with pytest.raises(UserError, match=r"row 2: is a JSON int"):
        plain({"truth": "awe"}, 3)
