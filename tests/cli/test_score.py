from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.__main__ import main
from emocaliber.cli import score
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.errors import UserError

TEXT = render(Response(Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms"), "awe", 0.8))
ROW: dict[str, Any] = {"id": "a", "task": "FI-8", "candidates": ["awe", "fear"], "ground_truth": "awe", "response": TEXT, "error": None}


def run(*argv: str) -> int:
    parser = argparse.ArgumentParser()
    score.add_parser(parser.add_subparsers())
    args = parser.parse_args(["score", *argv])
    code: int = args.run(args)
    return code


def write(path: Path, *rows: object) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def test_it_writes_everything_and_prints_a_short_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = ROW | {"id": "b", "response": None, "error": {"code": "timeout", "message": "no reply"}}
    responses = write(tmp_path / "r.jsonl", ROW | {"confidence": {"verb": 0.8, "ans": 0.5}}, failed)
    out = tmp_path / "new" / "run"
    assert run(responses, "--out", str(out)) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n"] == 2
    assert metrics["overall"]["accuracy"] == 0.5
    assert metrics["overall"]["malformed"]["reasons"] == {"no_answer": {"count": 1, "share": 0.5}}
    outcomes = [json.loads(line) for line in (out / "outcomes.jsonl").read_text().splitlines()]
    assert [(row["id"], row["correct"]) for row in outcomes] == [("a", True), ("b", False)]
    assert metrics["settings"]["responses"] == responses
    assert "| FI-8" in (out / "tables.md").read_text() and r"\toprule" in (out / "tables.tex").read_text()
    assert "timeout" in (out / "report.html").read_text() and (out / "figures" / "reliability.png").stat().st_size > 5000
    printed = capsys.readouterr().out
    assert "Overall" in printed and "50.00 [1.26, 98.74]" in printed and "Malformed" in printed
    assert printed.rstrip().endswith(str(out / "report.html"))


def test_the_confidence_that_is_shown_first_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    responses = write(tmp_path / "r.jsonl", ROW | {"confidence": {"verb": 0.8, "ans": 0.5}})
    out = tmp_path / "run"
    assert run(responses, "--out", str(out), "--replicates", "200", "--confidence", "ans") == 0
    assert "Confidence: ans." in capsys.readouterr().out
    assert json.loads((out / "metrics.json").read_text())["settings"]["sources"] == ["ans", "verb"]
    with pytest.raises(UserError, match=r"no response has a confidence 'p_true'; there are verb, ans"):
        run(responses, "--out", str(tmp_path / "other"), "--confidence", "p_true")


def test_the_confidence_that_predict_gives_is_shown_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    responses = write(tmp_path / "r.jsonl", ROW | {"confidence": {"verb": 0.8, "ans": 0.5}, "calibrated": 0.6})
    assert run(responses, "--out", str(tmp_path / "run"), "--numbers-only", "--replicates", "200") == 0
    assert "Confidence: calibrated." in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["settings"]["sources"] == ["calibrated", "verb", "ans"]
    assert "### Confidence: calibrated" in (tmp_path / "run" / "tables.md").read_text().partition("verb")[0]


def test_without_a_folder_the_scores_lie_beside_the_answers_under_the_name_of_their_model(tmp_path: Path) -> None:
    write(tmp_path / "responses.jsonl", ROW | {"model": "wudq/EmoCaliber"})
    for source in ("responses.jsonl", "."):
        assert run(str(tmp_path / source), "--numbers-only", "--replicates", "200") == 0
        assert "| EmoCaliber " in (tmp_path / "scores" / "tables.md").read_text()
        (tmp_path / "scores" / "tables.md").unlink()


def test_a_table_of_others_is_scored_and_kept_as_rows_that_can_be_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.csv").write_text("id,label,pred,prob\na,awe,awe,90%\nb,fear,joyful,40%\nc,fear,,50%\n")
    assert run(str(tmp_path / "net.csv"), "--labels", "awe,fear", "--replicates", "200") == 0
    said = capsys.readouterr()
    assert "truth = label, answer = pred, confidence = prob" in said.err and "percentages" in said.err
    assert "2 of 3 answers cannot be read" in said.err and "Confidence: as given." in said.out
    scores = tmp_path / "net-scores"
    assert "<h1>net: " in (scores / "report.html").read_text()
    assert json.loads((scores / "metrics.json").read_text())["settings"]["read_from"] == str(tmp_path / "net.csv")
    assert main(["trace", "b", "--run", str(scores)]) == 0
    assert "fear" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"net\.csv holds labels, not texts, .*leave out --parity"):
        run(str(tmp_path / "net.csv"), "--labels", "awe,fear", "--parity")


def test_numbers_only_leaves_out_the_figures_and_the_page(tmp_path: Path) -> None:
    assert run(write(tmp_path / "r.jsonl", ROW), "--out", str(tmp_path / "run"), "--numbers-only", "--replicates", "200") == 0
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["metrics.json", "outcomes.jsonl", "tables.md", "tables.tex"]


def test_answers_are_read_leniently_unless_their_rows_or_the_command_say_otherwise(tmp_path: Path) -> None:
    free = ROW | {"response": "Grand.<answer>awe</answer>"}
    responses = write(tmp_path / "r.jsonl", free, free | {"id": "b", "lenient": False})
    for flags, strictly in ((), 1), (("--lenient",), 0), (("--strict",), 2):
        out = tmp_path / f"run{strictly}"
        assert run(responses, "--out", str(out), "--numbers-only", *flags) == 0
        metrics = json.loads((out / "metrics.json").read_text())
        assert metrics["overall"]["malformed"]["count"] == strictly
        assert (metrics["settings"]["lenient"], metrics["settings"]["strict"]) == (2 - strictly, strictly)
        assert (f"{strictly} of 2 answers were read strictly" in (out / "tables.md").read_text()) == bool(strictly)


def test_parity_shows_what_the_released_scripts_say_and_why_it_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    certain_and_wrong = ROW | {"id": "b", "ground_truth": "fear", "response": TEXT.replace("0.80", "1.00")}
    arguments = ("--out", str(tmp_path / "run"), "--parity", "--numbers-only", "--replicates", "200")
    assert run(write(tmp_path / "r.jsonl", ROW, certain_and_wrong), *arguments) == 0
    released = json.loads((tmp_path / "run" / "metrics_parity.json").read_text())
    ours = json.loads((tmp_path / "run" / "metrics.json").read_text())["tasks"]["FI-8"]["confidence"]["verb"]["ece"]
    assert released["tasks"]["FI-8"]["ece"] == pytest.approx(0.1)
    assert ours == pytest.approx((0.2 + 1.0) / 2)
    assert "why they differ" in (tmp_path / "run" / "parity.md").read_text()
    assert str(tmp_path / "run" / "parity.md") in capsys.readouterr().out.splitlines()
    assert "edges: 1 with a confidence of 1" in (tmp_path / "run" / "parity.md").read_text()


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ("{not json", "line 2"),
        ({"id": "b", "task": "FI-8", "candidates": ["awe", "fear"]}, "line 2: field 'ground_truth' is missing"),
        (ROW | {"id": "b", "confidence": {"ans": 1.2}}, r"line 2: field 'confidence\.ans' is 1\.2"),
        (ROW | {"id": "b", "confidence": {"ans": float("nan")}}, "line 2.*(nan|NaN)"),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(tmp_path: Path, bad: object, complaint: str) -> None:
    responses = write(tmp_path / "r.jsonl", ROW, bad)
    with pytest.raises(UserError, match=rf"r\.jsonl.*{complaint}"):
        run(responses, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"r\.jsonl"):
        run(write(tmp_path / "r.jsonl"), "--out", str(tmp_path / "out"))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"r\.jsonl"):
        run(str(tmp_path / "r.jsonl"), "--out", str(tmp_path / "out"))


@pytest.mark.parametrize("replicates", ["199", "5", "many"])
def test_too_few_replicates_are_a_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], replicates: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(write(tmp_path / "r.jsonl", ROW), "--out", str(tmp_path / "run"), "--replicates", replicates)
    assert stopped.value.code == 2
    assert f"'{replicates}' is not a whole number from 200 on; fewer do not show where 95 % of them lie" in capsys.readouterr().err
