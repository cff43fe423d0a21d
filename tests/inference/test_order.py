"""Rows come in any order, and end in that of the samples, without being held in memory."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emocaliber.inference.order import put_in_order
from emocaliber.io.rows import read_rows, write_rows


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(9)), texts=st.lists(st.text(max_size=20), min_size=9, max_size=9))
def test_rows_end_in_the_order_of_their_samples(tmp_path: Path, order: list[int], texts: list[str]) -> None:
    rows = [{"id": str(number), "response": text} for number, text in enumerate(texts)]
    write_rows(tmp_path / "rows.jsonl", [rows[number] for number in order])
    put_in_order(tmp_path / "rows.jsonl", {str(number): number for number in range(9)})
    assert list(read_rows(tmp_path / "rows.jsonl")) == rows


def test_a_file_that_is_in_order_is_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"id": "b"}\n\n{"id":   "a"}\n')
    put_in_order(file, {"b": 0, "a": 1})
    assert file.read_text() == '{"id": "b"}\n\n{"id":   "a"}\n'
    put_in_order(file, {"a": 0, "b": 1})
    assert [json.loads(line)["id"] for line in file.read_text().splitlines()] == ["a", "b"]
