"""Large files: the rows stay in the file, and every number and every error is that of rows in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.errors import UserError
from emocaliber.evaluation.answers import stored
from emocaliber.evaluation.score import Score, score_answers
from emocaliber.io import chunks

ANSWER = "<think><element>a</element><human>b</human><context>c</context><interaction>d</interaction><analysis>e</analysis></think>"


def row(number: int, **changed: Any) -> dict[str, Any]:
    answer = ("awe", "fear", "sadness", "amusement")[number % 4]
    text = f"{ANSWER if number % 5 else ''}<answer>{answer}</answer><confidence>0.{number % 10}1</confidence>"
    found = {"id": f"s{number:03}", "image": f"{number // 2}.jpg", "task": ("EmoSet-8", "own")[number % 2], "ground_truth": "fear"}
    found |= {"candidates": ["amusement", "awe", "fear", "sadness"], "model": "m", "seconds": 1, "error": None, "response": text}
    votes = {"votes": {"awe": 3, "fear": 1}} if number % 3 else {}
    return found | {"confidence": {"ans": number / 100, "avg": None if number % 7 else 1}} | votes | changed


def put(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return file


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "LARGE", 0)
    monkeypatch.setattr(stored, "chunks", lambda file: chunks.chunks(file, 2000))


def scored(source: Path, out: Path, **told: Any) -> tuple[Score, bytes]:
    found = score_answers(source, replicates=200, **told)
    found.save_numbers(out)
    return found, b"".join((out / name).read_bytes() for name in ("metrics.json", "outcomes.jsonl", "tables.md"))


@pytest.mark.parametrize("told", [{}, {"strict": True}, {"lenient": True}, {"confidence": "ans"}], ids=str)
def test_a_large_file_has_the_same_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]) -> None:
    rows = [row(number, **({"response": "no tag"} if number % 6 == 4 else {})) for number in range(60)]
    rows[7]["lenient"] = False
    file = put(tmp_path / "run.jsonl", rows)
    kept, before = scored(file, tmp_path / "kept", **told)
    large(monkeypatch)
    left, after = scored(file, tmp_path / "left", **told)
    assert before == after
    assert (left.notes, left.name) == (kept.notes, kept.name) and left.notes
    assert list(left.rows) == list(kept.rows) and left.rows[41] == kept.rows[41] and left.rows[-2:] == kept.rows[-2:]
    assert list(left.outcomes) == list(kept.outcomes)


def test_so_have_shards_rows_without_ids_and_released_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = [{key: value for key, value in row(number).items() if key not in ("id", "model", "seconds")} for number in range(40)]
    put(tmp_path / "shards" / "a.jsonl", released[:25])
    put(tmp_path / "shards" / "b.jsonl", released[25:])
    kept, before = scored(tmp_path / "shards", tmp_path / "kept")
    large(monkeypatch)
    left, after = scored(tmp_path / "shards", tmp_path / "left")
    assert before == after and left.rows[30] == kept.rows[30] and left.outcomes[30].id == "b/00006"


def test_labels_without_tags_are_read_as_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{key: value for key, value in row(number, response="fear").items() if key != "seconds"} for number in range(40)]
    file = put(tmp_path / "run.jsonl", rows)
    _, before = scored(file, tmp_path / "out")
    large(monkeypatch)
    assert scored(file, tmp_path / "out")[1] == before


SPOILT = {
    "an id of another part": {35: {"id": "s002"}},
    "no answer": {30: {"response": 7}, 38: {"ground_truth": "joy"}},
    "a confidence": {30: {"confidence": {"ans": 1.5}}},
    "an id after a field": {3: {"ground_truth": "joy"}, 35: {"id": "s002"}},
    "a list of labels": {30: {"candidates": ["awe"]}},
    "an id that is none": {30: {"id": " "}},
}


@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_an_error_is_the_same_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: dict[int, dict[str, Any]]) -> None:
    file = put(tmp_path / "run.jsonl", [row(number, **spoilt.get(number, {})) for number in range(40)])
    with pytest.raises(UserError) as kept:
        score_answers(file)
    large(monkeypatch)
    with pytest.raises(UserError) as left:
        score_answers(file)
    assert str(left.value) == str(kept.value) and "run.jsonl, line" in str(kept.value)


def test_a_line_that_is_no_json_comes_before_a_row_that_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path / "run.jsonl", [row(number, **({"task": 1} if number == 5 else {})) for number in range(40)])
    file.write_text(file.read_text() + '{"id": \n')
    large(monkeypatch)
    with pytest.raises(UserError, match="line 41: "):
        score_answers(file)


def test_a_file_that_changes_is_not_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = put(tmp_path / "run.jsonl", [row(number) for number in range(40)])
    large(monkeypatch)
    found = score_answers(file, replicates=200)
    put(file, [row(number) for number in range(39)])
    for read in (lambda: list(found.rows), lambda: found.rows[3]):
        with pytest.raises(UserError, match="has changed since it was opened"):
            read()
