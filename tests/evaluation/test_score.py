"""A score in Python: from a file, a DataFrame or dicts, with the numbers of the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import emocaliber as ec
from emocaliber.__main__ import main

EXAMPLES = Path(__file__).parents[2] / "examples" / "answers"
ROWS = [
    {"id": str(number), "truth": truth, "answer": answer, "confidence": confidence}
    for number, (truth, answer, confidence) in enumerate(
        [("awe", "awe", 0.9), ("fear", "awe", 0.6), ("fear", "fear", None), ("awe", "", 0.2), ("joy", "joy", 0.8)] * 4
    )
]


def test_a_score_has_the_numbers_of_the_command(tmp_path: Path) -> None:
    score = ec.score(EXAMPLES / "pandas.csv")
    assert main(["score", str(EXAMPLES / "pandas.csv"), "--out", str(tmp_path / "by-command"), "--numbers-only"]) == 0
    assert score.save(tmp_path / "by-python", page=False).name == "tables.md"
    for name in ("outcomes.jsonl", "tables.md", "answers.jsonl"):
        assert (tmp_path / "by-python" / name).read_bytes() == (tmp_path / "by-command" / name).read_bytes()
    by_command, by_python = (json.loads((tmp_path / each / "metrics.json").read_text()) for each in ("by-command", "by-python"))
    assert by_command["tasks"] == by_python["tasks"] == score.summary["tasks"]
    assert score.name == "pandas" and any("truth = label" in note for note in score.notes)


def test_rows_in_memory_and_a_dataframe_are_scored_alike() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    by_rows, by_frame = ec.score(ROWS, name="mine"), ec.score(pandas.DataFrame(ROWS), name="mine")
    assert by_rows.summary == by_frame.summary
    overall = by_rows.summary["overall"]
    assert overall["accuracy"] == pytest.approx(0.6) and overall["n"] == 20
    assert overall["malformed"]["share"] == pytest.approx(0.2)
    frame = by_rows.to_frame()
    assert frame.loc["overall", "accuracy"] == pytest.approx(0.6)
    assert frame.loc["overall", "accuracy_low"] < 0.6 < frame.loc["overall", "accuracy_high"]
    assert frame.loc["custom", "confidence.coverage"] == pytest.approx(overall["confidence"]["confidence"]["coverage"])


def test_columns_may_be_named() -> None:
    renamed = [{"uid": row["id"], "said": row["answer"], "real": row["truth"], "sure": row["confidence"]} for row in ROWS]
    score = ec.score(renamed, columns={"id": "uid", "answer": "said", "truth": "real", "confidence": "sure"})
    assert score.summary == ec.score(ROWS).summary


def test_labels_may_be_one_text_as_on_the_command_line() -> None:
    assert ec.score(ROWS, labels="awe, fear,joy").summary == ec.score(ROWS, labels=["awe", "fear", "joy"]).summary


@pytest.mark.parametrize(
    ("how", "error", "complaint"),
    [
        (
            {"columns": {"gpt": "answer"}},
            ec.UserError,
            "columns: 'gpt' is not one of .*if it is the column, write {ROLE: 'gpt'}",
        ),
        ({"truth": "label"}, ec.UserError, "label: there is no such file of truths; .*write columns={'truth': 'label'}"),
        ({"colums": {}}, TypeError, r"^score\(\) got an unexpected keyword argument 'colums'"),
    ],
)
def test_an_argument_that_means_nothing_is_refused_in_the_words_of_python(
    how: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        ec.score(ROWS, **how)


def test_what_was_taken_for_what_is_shown_with_the_numbers() -> None:
    percent = [{**row, "confidence": 100 * (row["confidence"] or 0)} for row in ROWS]
    assert "column 'confidence' holds percentages" in repr(ec.score(percent))


def test_a_score_is_shown_as_text_and_in_a_notebook() -> None:
    score = ec.score([{**row, "truth": "<awe>" if row["truth"] == "awe" else row["truth"]} for row in ROWS], name="<mine>")
    assert repr(score).startswith("<mine>, 20 answers") and "custom" in repr(score)
    assert "&lt;mine&gt;" in score._repr_html_() and "<mine>" not in score._repr_html_()


@pytest.mark.parametrize(
    ("answers", "error", "complaint"),
    [
        (3, TypeError, "must be a path, a DataFrame"),
        ([1], TypeError, "rows must be dicts"),
        ([], ec.UserError, "there are no rows"),
        ([{"truth": "awe"}], ec.UserError, "no column has the usual name of the answer"),
        (
            [{"id": 1, "truth": "awe", "answer": "awe", "confidence": 7}, {"id": 2, "truth": "fear", "answer": "awe", "confidence": 0.5}],
            ec.UserError,
            "'confidence' is 7",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(answers: Any, error: type[Exception], complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        ec.score(answers)
