"""Predictions as files of Label Studio, CVAT and argilla, and votes as cleanlab's two tables."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from emocaliber.__main__ import main
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.integrations.cleanlab_tables import cleanlab_tables, distribution
from emocaliber.integrations.prediction_files import expected_gain, read_predictions

LABELS = ("awe", "fear", "joy")


def predicted(
    image: str, emotion: str | None, shares: tuple[float, ...] = (), calibrated: float | None = None, **more: Any
) -> dict[str, Any]:
    alternatives = [{"emotion": label, "probability": share} for label, share in zip(LABELS, shares, strict=False)]
    row = {"image": image, "emotion": emotion, "confidence": calibrated, "confidence_source": "calibrated", "calibrated": calibrated}
    return row | {"alternatives": alternatives, "model": "tiny", "error": None} | more


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures, of which one could not be read, in the folder where commands are typed; and three people's votes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name in ("a b.png", "c.png"):
        Image.new("RGB", (6, 4)).save(tmp_path / "photos" / name)
    rows = [
        predicted("photos/a b.png", "awe", (0.6, 0.3, 0.1), 0.8),
        predicted("photos/c.png", "fear", (0.2, 0.5, 0.3), 0.45, people=0.45),
        predicted("photos/d.png", None, error={"code": "corrupt", "message": "broken"}),
    ]
    votes = [
        ("a b.png", "ann", "awe"),
        ("a b.png", "bea", "joy"),
        ("a b.png", "ann", "fear"),
        ("c.png", "cem", None),
        ("c.png", "bea", "fear"),
    ]
    cast = [{"image": f"photos/{image}", "person": who, "candidates": list(LABELS), "emotion": said} for image, who, said in votes]
    for file, content in {"rows.jsonl": rows, "votes.jsonl": cast}.items():
        (tmp_path / file).write_text("".join(json.dumps(each) + "\n" for each in content))
    return tmp_path


def test_label_studio_gets_tasks_with_the_score_beside_the_result(folder: Path) -> None:
    assert main(["convert", "rows.jsonl", "--label-studio", "tasks.json"]) == 0
    tasks = {task["data"]["image"]: task for task in json.loads((folder / "tasks.json").read_text())}
    first = tasks["/data/local-files/?d=photos/a%20b.png"]["predictions"][0]
    assert (first["score"], first["model_version"]) == (0.8, "tiny")
    assert first["result"] == [{"from_name": "emotion", "to_name": "image", "type": "choices", "value": {"choices": ["awe"]}}]
    assert tasks["/data/local-files/?d=photos/d.png"]["predictions"] == []


def test_the_queue_begins_with_the_task_whose_label_is_expected_to_tell_most(folder: Path) -> None:
    assert main(["convert", "rows.jsonl", "--label-studio", "tasks.json"]) == 0
    tasks = json.loads((folder / "tasks.json").read_text())
    assert tasks[0]["data"]["image"].endswith("d.png")
    gains = [task["data"].get("expected_gain") for task in tasks]
    assert gains[0] is None  # nothing is known of it, so people are needed most
    assert gains[1] >= gains[2]


def test_a_vote_tells_what_is_uncertain_unless_people_disagree_anyway() -> None:
    even, sure = (1 / 3, 1 / 3, 1 / 3), (0.98, 0.01, 0.01)
    assert expected_gain(even, agreement=1.0) == pytest.approx(1.585, abs=1e-3)  # log2(3): a vote settles it
    assert expected_gain(sure, agreement=1.0) < 0.2
    assert expected_gain(even, agreement=1 / 3) == pytest.approx(0, abs=1e-12)  # votes that are drawn blindly tell nothing
    assert 0 < expected_gain(even, agreement=0.6) < expected_gain(even, agreement=0.8)


def test_cvat_gets_a_tag_with_its_confidence_for_each_answer(folder: Path) -> None:
    assert main(["convert", "rows.jsonl", "--cvat", "annotations.xml"]) == 0
    root = ElementTree.parse(folder / "annotations.xml").getroot()
    images = root.findall("image")
    assert [(image.get("name"), image.get("width"), image.get("height")) for image in images] == [
        ("a b.png", "6", "4"),
        ("c.png", "6", "4"),
    ]
    tag = images[0].find("tag")
    assert tag is not None
    assert (tag.get("label"), tag.get("source"), tag.findtext("attribute")) == ("awe", "auto", "0.8000")
    assert [each.findtext("name") for each in root.iter("label")] == ["awe", "fear", "joy"]


def test_argilla_gets_records_with_suggestions(folder: Path) -> None:
    assert main(["convert", "rows.jsonl", "--argilla", "records.json"]) == 0
    first, _, last = json.loads((folder / "records.json").read_text())
    assert first["suggestions"] == {"emotion": {"value": "awe", "agent": "tiny", "score": 0.8}}
    assert first["fields"] == {"image": "photos/a b.png"}
    assert last["suggestions"] == {}


def test_cleanlab_gets_who_said_what_and_what_the_model_says(folder: Path) -> None:
    assert main(["convert", "rows.jsonl", "--cleanlab", "tables", "--votes", "votes.jsonl"]) == 0
    with (folder / "tables/labels_multiannotator.csv").open() as file:
        assert list(csv.reader(file)) == [["image", "ann", "bea"], ["photos/a b.png", "1", "2"], ["photos/c.png", "", "1"]]
    with (folder / "tables/pred_probs.csv").open() as file:
        header, first, _ = csv.reader(file)
    assert header == ["image", *LABELS]
    assert [float(each) for each in first[1:]] == pytest.approx([0.8, 0.15, 0.05])


def test_the_calibrated_probability_replaces_the_answers_share() -> None:
    labels = Labels.of(LABELS)
    assert distribution(predicted("a", "awe", (0.6, 0.3, 0.1)), labels) == (0.6, 0.3, 0.1)
    assert distribution(predicted("a", "awe", (1.0, 0.0, 0.0), 0.9), labels) == pytest.approx((0.9, 0.05, 0.05))
    with pytest.raises(UserError, match="no probability for each of awe, fear, joy"):
        distribution(predicted("a", "awe", (0.6, 0.4)), labels)


def test_an_image_with_votes_needs_a_prediction(folder: Path) -> None:
    (folder / "fewer.jsonl").write_text((folder / "rows.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match="no answer for 1 of the 2 images with votes"):
        cleanlab_tables(Path("votes.jsonl"), Path("fewer.jsonl"))


def test_cleanlab_itself_takes_the_tables(folder: Path) -> None:
    pytest.importorskip("cleanlab", reason="cleanlab is not among the packages of `dev`; `make try-inspect` runs this")
    import numpy as np
    import pandas as pd
    from cleanlab.multiannotator import get_label_quality_multiannotator

    cleanlab_tables(folder / "votes.jsonl", folder / "rows.jsonl").save(folder / "tables")
    labels = pd.read_csv("tables/labels_multiannotator.csv", index_col="image")
    shares = pd.read_csv("tables/pred_probs.csv", index_col="image")
    found = get_label_quality_multiannotator(labels, np.asarray(shares), verbose=False)
    assert list(found["label_quality"].index) == list(labels.index) or len(found["label_quality"]) == len(labels)
    assert set(found["annotator_stats"].index) == {"ann", "bea"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give one of --inspect, --lmms-eval"),
        (["--cvat", "a.xml", "--argilla", "b.json"], "one kind of file at a time"),
        (["--cleanlab", "tables"], "--cleanlab and --votes go together"),
        (["--cvat", "a.xml", "--votes", "votes.jsonl"], "--cleanlab and --votes go together"),
    ],
)
def test_what_to_write_must_be_clear(words: list[str], told: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "rows.jsonl", *words]) == 2
    assert told in capsys.readouterr().err


def test_other_rows_than_predictions_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"votes.jsonl: holds no predictions; write them with `emocaliber predict"):
        read_predictions(Path(os.path.relpath(folder / "votes.jsonl")))
