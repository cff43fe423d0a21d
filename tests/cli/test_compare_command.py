from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.__main__ import main
from emocaliber.core.response import Reasoning, Response, render


def scored(folder: Path, name: str, right: int) -> str:
    rows: list[dict[str, Any]] = []
    for number in range(60):
        answer = "awe" if number < right else "fear"
        text = render(Response(Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms"), answer, 0.5))
        rows.append({"id": str(number), "task": "FI-8", "candidates": ["awe", "fear"], "ground_truth": "awe", "response": text})
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["score", str(file), "--out", str(folder / name), "--numbers-only", "--replicates", "200"]) == 0
    return str(folder / name)


def test_two_scored_folders_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = scored(tmp_path, "a", 20), scored(tmp_path, "b", 50)
    capsys.readouterr()
    assert main(["compare", a, b]) == 0
    printed = capsys.readouterr().out
    assert "+50.00" in printed and f"A: {a}" in printed and "*" in printed
    assert main(["compare", a, b, "--json"]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (first["metric"], first["difference"], first["test"]) == ("accuracy", 0.5, "mcnemar")


def test_a_folder_that_was_not_scored_is_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert "has no outcomes.jsonl; give a folder that `emocaliber score ... --out` wrote" in capsys.readouterr().err


def test_a_file_of_something_else_is_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "outcomes.jsonl").write_text('{"id": "1"}\n')
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert "outcomes.jsonl, line 1: this is not an outcome" in capsys.readouterr().err


def test_outcomes_of_earlier_versions_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = scored(tmp_path, "a", 20), scored(tmp_path, "b", 50)
    file = Path(a) / "outcomes.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({key: row[key] for key in row if key != "format"}) + "\n" for row in rows))
    capsys.readouterr()
    assert main(["compare", a, b]) == 0
    assert "+50.00" in capsys.readouterr().out


def test_too_few_replicates_are_a_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["compare", str(tmp_path), str(tmp_path), "--replicates", "199"])
    assert stopped.value.code == 2
    assert "'199' is not a whole number from 200 on" in capsys.readouterr().err
