from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emocaliber.core.released import read_standard_vecbench, read_test_metadata, standard_records
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.sample_files import placed_rows
from emocaliber.core.samples import Sample
from emocaliber.core.tasks import TASKS
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.vecbench.sources import SOURCES

STEPS = Reasoning("a kite", "a girl", "a meadow", "she flies it", "that amuses")


def metadata(folder: Path, *rows: str, header: str = "task,split,image_path,label") -> Path:
    path = folder / "test_metadata.csv"
    path.write_text("\n".join([header, *rows, ""]))
    return path


def stage(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "stage1_86k.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read_stage_file(path: Path) -> Iterator[Sample]:
    return (Sample.from_row(row, str(place)) for place, row in placed_rows(path))


def talk(answer: str, confidence: float | None = None) -> list[dict[str, str]]:
    reply = render(Response(STEPS, answer, confidence))
    return [{"role": "user", "content": "<image>Which emotion?"}, {"role": "assistant", "content": reply}]


def test_a_row_of_the_test_metadata_becomes_a_sample(tmp_path: Path) -> None:
    first, second = read_test_metadata(metadata(tmp_path, "UnbaisedEmo-6,test,unb/joy/1.jpg,Joy", "WebEmo-25,test,web/2.jpg,irritabilty"))
    assert first == Sample(
        id="test_metadata/00002",
        image=str(tmp_path / "unb/joy/1.jpg"),
        task="UnbiasedEmo-6",
        candidates=taxonomy("unbiasedemo-6").labels,
        ground_truth="joy",
        source="unbiasedemo",
        split="test",
    )
    assert (second.id, second.ground_truth) == ("test_metadata/00003", "irritability")


@pytest.mark.parametrize("name", TASKS)
def test_every_task_of_vecbench_names_its_source(name: str, tmp_path: Path) -> None:
    label = taxonomy(TASKS[name].taxonomy).labels[0]
    (sample,) = read_test_metadata(metadata(tmp_path, f"{name},test,x.jpg,{label}"), images=tmp_path / "all")
    assert sample.source in SOURCES
    assert sample.image == str(tmp_path / "all/x.jpg")


@pytest.mark.parametrize(
    ("row", "header", "complaint"),
    [
        ("FI-8,x.jpg,awe", "task,image,label", "no column split, image_path; expected .* found task, image, label"),
        ("FI-9,test,x.jpg,awe", "task,split,image_path,label", "there is no task 'FI-9'"),
        ("FI-8,test,x.jpg,joy", "task,split,image_path,label", "line 2: field 'ground_truth' is 'joy', which is not a candidate"),
        ("FI-8,test,,awe", "task,split,image_path,label", "line 2: field 'image'"),
    ],
)
def test_other_metadata_is_an_error(row: str, header: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=complaint):
        list(read_test_metadata(metadata(tmp_path, row, header=header)))


SHAPES: dict[str, dict[str, Any]] = {
    "ms-swift": {"messages": talk("awe"), "images": ["a/b.jpg"]},
    "ms-swift with the image in a table": {"messages": talk("awe"), "images": [{"path": "a/b.jpg", "bytes": None}]},
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": talk("awe")[1]["content"]}],
        "images": "a/b.jpg",
    },
    "the evaluation's": {
        "conversations": [{"role": "user", "content": [{"type": "image", "image": "a/b.jpg"}, {"type": "text", "text": "?"}]}],
        "ground_truth": "awe",
        "candidates": None,
    },
    "verl": {"prompt": [{"role": "user", "content": "<image>?"}], "images": ["a/b.jpg"], "reward_model": {"ground_truth": "awe"}},
    "with a stated truth and another answer": {"messages": talk("fear", 0.2), "images": ["a/b.jpg"], "ground_truth": "Awe"},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_known_shape_of_stage_file_gives_the_same_sample(shape: dict[str, Any], tmp_path: Path) -> None:
    (sample,) = read_stage_file(stage(tmp_path, {"task": "EmoSet-8", **shape}))
    assert sample == Sample(
        id="stage1_86k/00001",
        image=str(tmp_path / "a/b.jpg"),
        task="EmoSet-8",
        candidates=taxonomy("mikels-8").labels,
        ground_truth="awe",
        source="emoset",
        split="train",
    )


def test_an_answer_with_a_confidence_is_not_taken_for_the_truth(tmp_path: Path) -> None:
    ((_, row),) = placed_rows(stage(tmp_path, {"task": "FI-8", "messages": talk("awe", 0.4), "images": ["a.jpg"]}))
    assert row["ground_truth"] is None
    assert row["response"].endswith("<confidence>0.40</confidence>")


def test_an_unknown_form_is_an_error_that_names_the_fields_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 1: these fields are of no form that can be trained on \(text, label\); the forms are verl"):
        list(read_stage_file(stage(tmp_path, {"text": "hi", "label": 3})))


@pytest.mark.parametrize(("messages", "complaint"), [("x", "field 'messages' is 'x', not a list"), ([], "field 'messages' is \\[\\]")])
def test_a_row_of_another_form_than_the_first_is_an_error(messages: Any, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"line 2: {complaint}.*a row of ms-swift has messages"):
        list(read_stage_file(stage(tmp_path, {"task": "EmoSet-8", **SHAPES["ms-swift"]}, {"messages": messages, "images": []})))


def test_the_benchmark_of_the_successor_is_read(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks" / "VECBench" / "Std-VECBench.json"
    file.parent.mkdir(parents=True)
    record = {"prompt": "?", "ground_truth": "Joy", "other_info": {"task": "UnbaisedEmo-6", "candidates": ["joy", "fear"]}}
    file.write_text(json.dumps({"u1": record | {"image_path": "../benchmarks/u/1.jpg"}, "u2": record | {"image_path": ["u/2.jpg"]}}))
    first, second = read_standard_vecbench(file)
    assert (first.id, first.task, first.ground_truth, first.split) == ("u1", "UnbiasedEmo-6", "joy", "test")
    assert (first.image, second.image) == (str(tmp_path / "benchmarks/u/1.jpg"), str(tmp_path / "u/2.jpg"))
    file.write_text(json.dumps({"u1": {"other_info": {}}}))
    assert standard_records(file) is None


def test_rows_keep_the_ids_they_have(tmp_path: Path) -> None:
    rows = [{"id": name, "task": "EmoSet-8", **SHAPES["verl"]} for name in ("one", "two")]
    assert [sample.id for sample in read_stage_file(stage(tmp_path, *rows))] == ["one", "two"]
    with pytest.raises(UserError, match="every row needs its own id"):
        list(read_stage_file(stage(tmp_path, rows[0], rows[0])))
