"""A folder of `score` that is written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import emocaliber as ec
from emocaliber.__main__ import main
from emocaliber.evaluation.folder import check_folder

TABLE = "id,truth,answer,confidence\n1,awe,awe,0.9\n2,fear,awe,0.4\n3,fear,fear,0.6\n"


def put(folder: Path, name: str) -> Path:
    (folder / name).write_text(TABLE)
    return folder / name


def test_numbers_alone_remove_the_page_and_figures_of_the_earlier_score_and_no_other_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = put(tmp_path, "a.csv"), tmp_path / "out"
    assert main(["score", str(file), "--out", str(out), "--replicates", "200"]) == 0
    (out / "figures" / "mine.png").write_bytes(b"mine")
    capsys.readouterr()
    assert main(["score", str(file), "--out", str(out), "--replicates", "200", "--numbers-only"]) == 0
    assert "files of the earlier score" in capsys.readouterr().err
    assert not (out / "report.html").exists() and [each.name for each in (out / "figures").iterdir()] == ["mine.png"]


def test_the_score_of_other_answers_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other, out = put(tmp_path, "a.csv"), put(tmp_path, "b.csv"), tmp_path / "out"
    ec.score(one, replicates=200).save(out, page=False)
    before = (out / "metrics.json").read_bytes()
    assert main(["score", str(other), "--out", str(out)]) == 2
    assert f"holds the score of answers of {one}" in capsys.readouterr().err
    with pytest.raises(ec.UserError, match="another folder"):
        ec.score([{"truth": "awe", "answer": "awe"}, {"truth": "fear", "answer": "fear"}], replicates=200).save(out)
    assert (out / "metrics.json").read_bytes() == before


def test_answers_in_memory_may_be_saved_again(tmp_path: Path) -> None:
    score = ec.score([{"truth": "awe", "answer": "awe"}, {"truth": "fear", "answer": "fear"}], replicates=200)
    score.save(tmp_path / "out", page=False)
    assert score.save(tmp_path / "out", page=False).is_file()


@pytest.mark.parametrize("content", [{"loss": 1.0}, [], "no JSON"])
def test_metrics_of_another_tool_are_not_replaced(tmp_path: Path, content: object) -> None:
    (tmp_path / "metrics.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ec.UserError, match=r"metrics\.json was not written by `score`.*--out"):
        check_folder(tmp_path, tmp_path / "a.csv")
