from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.core.samples import Sample, read_samples
from emocaliber.errors import UserError

ROW: dict[str, Any] = {
    "id": "a",
    "image": "images/a.png",
    "task": "FI-8",
    "candidates": ["awe", "fear", "anger"],
    "ground_truth": "awe",
    "source": "fi",
    "split": "test",
    "votes": {"awe": 7, "fear": 4},
    "posterior": {"awe": 0.6, "fear": 0.3, "anger": 0.1},
}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_sample_is_read_with_its_image_beside_the_file(tmp_path: Path) -> None:
    (sample,) = read_samples(write(tmp_path / "samples.jsonl", ROW))
    assert sample.image == str(tmp_path / "images" / "a.png")
    assert tuple(sample.candidates) == ("awe", "fear", "anger")
    assert sample.votes == {"awe": 7, "fear": 4}


def test_the_image_is_absolute_even_where_the_file_is_named_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "samples.jsonl", ROW)
    monkeypatch.chdir(tmp_path)
    (sample,) = read_samples("samples.jsonl")
    assert Path(sample.image) == tmp_path / "images" / "a.png"


def test_a_sample_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    (sample,) = read_samples(write(tmp_path / "samples.jsonl", ROW))
    assert sample.to_row(tmp_path) == ROW
    (tmp_path / "elsewhere").mkdir()
    copy = write(tmp_path / "elsewhere" / "copy.jsonl", sample.to_row(tmp_path / "elsewhere"))
    (again,) = read_samples(copy)
    assert Path(again.image).resolve() == Path(sample.image).resolve()


def test_what_is_not_known_is_left_out_of_the_row() -> None:
    bare = {key: value for key, value in ROW.items() if key not in ("votes", "posterior")}
    sample = Sample.from_row(bare, "row")
    assert sample.votes is None and sample.posterior is None
    assert sample.to_row() == bare


def test_the_misspelt_task_of_the_release_is_mended() -> None:
    assert Sample.from_row(ROW | {"task": "UnbaisedEmo-6"}, "row").task == "UnbiasedEmo-6"


@pytest.mark.parametrize(
    ("field", "value", "problem", "remedy"),
    [
        ("id", 7, "is 7", "string"),
        ("image", " ", "is ' '", "string"),
        ("candidates", "awe, fear", "is 'awe, fear'", "list"),
        ("candidates", ["awe"], r"is \['awe'\]", "two or more"),
        ("candidates", ["awe", "Awe "], "'awe' and 'Awe ' are the same label", "rename"),
        ("ground_truth", "joy", "not a candidate", "one of awe, fear, anger"),
        ("votes", {"joy": 3}, "names 'joy', which is not a candidate", "among awe"),
        ("votes", {"awe": 0}, "holds no vote", "at least one"),
        ("votes.awe", {"awe": -1}, "is -1", "whole numbers"),
        ("votes.awe", {"awe": 1.5}, r"is 1\.5", "whole numbers"),
        ("votes.awe", {"awe": True}, "is True", "whole numbers"),
        ("posterior", [0.5, 0.5], r"is \[0\.5, 0\.5\]", "probabilities"),
        ("posterior", {"awe": 0.5, "fear": 0.3}, r"sums to 0\.8", "sum to 1"),
        ("posterior.awe", {"awe": 1.5}, r"is 1\.5", "sum to 1"),
        ("posterior", {"awe": None}, "sums to 0", "sum to 1"),
    ],
)
def test_a_wrong_field_is_named_with_its_file_line_and_remedy(tmp_path: Path, field: str, value: object, problem: str, remedy: str) -> None:
    path = write(tmp_path / "samples.jsonl", ROW, ROW | {"id": "b"} | {field.split(".")[0]: value})
    with pytest.raises(UserError, match=rf"samples\.jsonl, line 2: field '{field}':? .*{problem}.*; .*{remedy}"):
        list(read_samples(path))


@pytest.mark.parametrize("field", ["id", "image", "task", "candidates", "ground_truth", "source", "split"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    path = write(tmp_path / "samples.jsonl", {key: value for key, value in ROW.items() if key != field})
    with pytest.raises(UserError, match=rf"line 1: field '{field}' is missing"):
        list(read_samples(path))


def test_the_same_id_twice_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "samples.jsonl", ROW, ROW | {"id": "b"}, ROW)
    with pytest.raises(UserError, match=r"line 3: field 'id' is 'a', as on line 1"):
        list(read_samples(path))


def test_lines_are_counted_though_blank_ones_go_before(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(f"\n\n{json.dumps(ROW | {'split': None})}\n")
    with pytest.raises(UserError, match="line 3: field 'split' is None"):
        list(read_samples(path))


def test_probabilities_rounded_to_two_decimals_pass() -> None:
    assert Sample.from_row(ROW | {"posterior": {"awe": 0.33, "fear": 0.33, "anger": 0.33}}, "row").posterior is not None


def test_labels_that_parquet_filled_with_null_are_absent() -> None:
    assert Sample.from_row(ROW | {"votes": {"awe": 7, "fear": None, "joy": None}}, "row").votes == {"awe": 7}
