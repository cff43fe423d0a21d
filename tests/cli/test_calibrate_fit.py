"""`emocaliber calibrate fit` and `apply`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from emocaliber.__main__ import build_parser
from emocaliber.errors import UserError


def run(*words: str) -> int:
    args = build_parser().parse_args(["calibrate", *words])
    code: int = args.run(args)
    return code


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of another model: its confidence is right half as often as it says."""
    random = np.random.default_rng(0)
    lines = [f"{'awe' if random.random() < p / 2 else 'fear'},awe,{p:.3f}" for p in random.uniform(0.1, 1, 200)]
    file = tmp_path_factory.mktemp("table") / "answers.csv"
    file.write_text("\n".join(["answer,truth,confidence", *lines]) + "\n")
    return file


def test_a_table_is_fitted_and_applied_as_the_page_says(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.json"
    page = tmp_path / "fit" / "index.html"
    assert run("fit", str(table), "--out", str(out), "--report", str(page.parent), "--methods", "platt,beta", "--replicates", "200") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["Question", "n", "Calibrator", "ECE", "after", "Brier", "after", "AUROC", "after"]
    assert shown[1].split()[:2] == ["custom", "200"] and max(map(len, shown[:3])) <= 80
    assert shown[-2:] == [str(out), str(page)] and (page.parent / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert "Each point is the answers of a tenth" in page.read_text() and '<td class="words">custom</td>' in page.read_text()
    assert json.loads(out.read_text())["questions"][0]["labels"] == ["awe", "fear"]

    rows = tmp_path / "rows.jsonl"
    (tmp_path / "new.csv").write_text("answer,confidence\nawe,0.9\nfear,\n")
    assert run("apply", str(tmp_path / "new.csv"), "--calibrator", str(out), "--out", str(rows)) == 0
    first, second = map(json.loads, rows.read_text().splitlines())
    assert 0.3 < first["calibrated"] < 0.6 and first["uncalibrated"] is None
    assert (second["calibrated"], second["uncalibrated"]) == (
        None,
        "the answer has no confidence of the source confidence, which the calibrator needs",
    )
    assert capsys.readouterr().out.splitlines() == [
        "1 of 2 rows calibrated",
        "1 not: the answer has no confidence of the source confidence, which the calibrator needs",
        str(rows),
    ]


def test_json_is_the_content_of_the_file(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.json"
    assert run("fit", str(table), "--out", str(out), "--methods", "platt", "--json", "--replicates", "200") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(out.read_text())


def test_a_name_that_rows_cannot_have_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows\.txt: rows are written as \.jsonl, \.csv, \.parquet"):
        run("apply", str(tmp_path / "none.csv"), "--calibrator", str(tmp_path / "none.json"), "--out", "rows.txt")


def test_without_out_the_table_is_shown_and_nothing_written(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("fit", str(table), "--methods", "platt", "--replicates", "200") == 0
    shown = capsys.readouterr()
    assert "custom" in shown.out and "calibrated already" not in shown.out
    assert "--out calibrator.json keeps them" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_a_confidence_that_is_as_calibrated_as_can_be_told_is_said_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(1)
    lines = [f"{'awe' if random.random() < p else 'fear'},awe,{p:.3f}" for p in random.uniform(0.1, 1, 200)]
    (tmp_path / "answers.csv").write_text("\n".join(["answer,truth,confidence", *lines]) + "\n")
    assert run("fit", str(tmp_path / "answers.csv"), "--methods", "platt", "--replicates", "200") == 0
    assert "custom: confidence was calibrated already, as far as 200 answers can tell" in capsys.readouterr().out
