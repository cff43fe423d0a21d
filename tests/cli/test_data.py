"""`emocaliber data`: what a path is, as text and JSON, and samples in our own form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from drawn_rows import drawn_rows
from emocaliber.__main__ import main
from emocaliber.core.response import parse, render
from emocaliber.core.samples import read_samples
from emocaliber.emotions.taxonomy import taxonomy
from forms import in_form, written

EMOTIONS = taxonomy("mikels-8").labels
SWIFT = [in_form("ms-swift", row) for row in drawn_rows(6)]


def found(capsys: pytest.CaptureFixture[str], *words: str, code: int = 3) -> list[dict[str, Any]]:
    assert main(["data", "check", "--json", *words]) == code
    listed: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return listed


def test_the_three_stage_files_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stated = [json.loads(json.dumps(row).replace("</answer>", "</answer><confidence>0.40</confidence>")) for row in SWIFT]
    written(tmp_path / "stage1_86k.jsonl", SWIFT)
    written(tmp_path / "stage2_43k_w_conf.jsonl", stated)
    written(tmp_path / "stage3_14k.jsonl", [in_form("ms-swift", row | {"response": ""}) for row in drawn_rows(6)])
    one, two, three = found(capsys, str(tmp_path))
    assert [each["form"] for each in (one, two, three)] == ["ms-swift"] * 3
    assert [each["paper_is"] for each in (one, two, three)] == ["paper (stage1)", "paper (stage2)", "paper (stage3)"]
    assert one["counts"] == {"EmoSet-8": 6} and one["paper"]["EmoSet-8"] == 30022
    assert one["uses"] == [f"emocaliber train stage1 --config 7b samples={tmp_path / 'stage1_86k.jsonl'}"]
    assert two["uses"] == [f"emocaliber train stage2 --config 7b samples={tmp_path / 'stage2_43k_w_conf.jsonl'} targets=given"]
    assert [use.split()[2] for use in three["uses"]] == ["stage2", "stage3"]
    assert (one["wrong"], one["missing"]) == (0, 6), "the images are not there"


def test_a_whole_file_ends_with_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    written(tmp_path / "rows.jsonl", [row | {"images": ["a.png"]} for row in SWIFT])
    assert main(["data", "check", str(tmp_path / "rows.jsonl")]) == 0
    shown = capsys.readouterr().out
    assert "samples for stage 1, with the responses to learn, 6 rows\nform: ms-swift\n" in shown
    assert max(map(len, shown.replace(str(tmp_path), "data").splitlines())) <= 80


def test_images_elsewhere_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x" / "EmoSet").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "x" / "EmoSet" / "a.png")
    file = written(tmp_path / "rows.jsonl", [row | {"images": ["/mnt/other/EmoSet/a.png"]} for row in SWIFT])
    assert found(capsys, str(file))[0]["missing"] == 6
    assert found(capsys, str(file), "--images", str(tmp_path / "x"), code=0)[0]["missing"] == 0


def test_rows_that_do_not_fit_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [row | {"ground_truth": "boredom"} for row in SWIFT] + [SWIFT[0] | {"id": "other", "ground_truth": "fear"}]
    (known,) = found(capsys, str(written(tmp_path / "rows.jsonl", [SWIFT[1] | {"id": "first"}, *wrong])))
    assert known["wrong"] >= 6
    assert len(known["problems"]) == 5
    assert known["problems"][0].startswith(f"{tmp_path / 'rows.jsonl'}, line 2: its true label is 'boredom'")
    assert main(["data", "check", str(tmp_path / "rows.jsonl")]) == 3
    assert f"  and {known['wrong'] - 5} more" in capsys.readouterr().out


def test_a_response_that_cannot_be_learnt_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = next(drawn_rows(1))
    (known,) = found(capsys, str(written(tmp_path / "rows.jsonl", [row | {"response": f"<answer>{row['ground_truth']}</answer>"}])))
    assert "line 1: the response cannot be a training target (missing_tag): there is no <think>" in known["problems"][0]


def standard(**further: Any) -> dict[str, Any]:
    info = {"task": "FI-8", "candidates": list(EMOTIONS)}
    return {f"v{n}": {"image_path": f"../benchmarks/i/{n}.jpg", "prompt": "?", "ground_truth": "awe", "other_info": info, **further} for n in (1, 2)}  # fmt: skip  # noqa: E501


def test_the_successor_s_benchmark_and_predictions_are_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "benchmarks" / "VECBench"
    folder.mkdir(parents=True)
    (folder / "Std-VECBench.json").write_text(json.dumps(standard()))
    (folder / "predictions.json").write_text(json.dumps(standard(generations=["I think <answer>awe</answer>"])))
    bench, predictions = found(capsys, str(folder))
    assert "Std-VECBench.json" in bench["kind"] and bench["counts"] == {"FI-8": 2} and bench["paper_is"] == "paper (test)"
    assert predictions["kind"] == "predictions of EmObserver"
    assert predictions["uses"] == [f"emocaliber score {folder / 'predictions.json'}"]
    assert main(["score", str(folder / "predictions.json"), "--out", str(tmp_path / "scored"), "--numbers-only"]) == 0
    assert json.loads((tmp_path / "scored" / "metrics.json").read_text())["tasks"]["FI-8"]["accuracy"] == 1.0


def test_the_released_test_file_is_converted_and_never_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{key: value for key, value in row.items() if key != "split"} for row in drawn_rows(3)]
    file = written(tmp_path / "test_8k.jsonl", [in_form("the released evaluation", row | {"response": ""}) for row in rows])
    assert found(capsys, str(file))[0]["kind"] == "samples to test on, 3 rows"
    assert main(["data", "convert", str(file), "--out", str(tmp_path / "ours.jsonl")]) == 0
    assert {sample.split for sample in read_samples(tmp_path / "ours.jsonl")} == {"test"}
    assert main(["data", "convert", str(file), "--out", str(tmp_path / "ours.jsonl")]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_data_set_and_what_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in EMOTIONS:
        (tmp_path / "emotion_dataset" / label).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "emotion_dataset" / label / "1.jpg")
    (known,) = found(capsys, str(tmp_path), code=0)
    assert known["kind"] == "the data set FI" and known["counts"]["awe"] == 1
    assert "[sources]" in known["uses"][0]
    assert main(["data", "check", str(tmp_path / "nothing")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["data", "check", str(tmp_path / "empty")]) == 2
    assert "nothing in it is known: no data set of VECBench (FI, EmoSet-118K" in capsys.readouterr().err


def test_answers_are_said_to_be_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("truth,answer,confidence\nawe,awe,0.9\nfear,awe,0.2\n")
    (known,) = found(capsys, str(tmp_path / "a.csv"), code=0)
    assert known["kind"] == "answers of a model" and known["uses"] == [f"emocaliber score {tmp_path / 'a.csv'}"]


def test_what_convert_writes_is_what_was_read(tmp_path: Path) -> None:
    assert main(["data", "convert", str(written(tmp_path / "s.jsonl", SWIFT)), "--out", str(tmp_path / "ours.jsonl")]) == 0
    texts = [json.loads(line)["response"] for line in (tmp_path / "ours.jsonl").read_text().splitlines()]
    assert texts == [render(parse(row["response"], row["candidates"])) for row in drawn_rows(6)]  # type: ignore[arg-type]
