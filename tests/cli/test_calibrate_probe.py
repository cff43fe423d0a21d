"""`emocaliber calibrate probe`, as people and scripts use it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emocaliber.cli.calibrate import probe
from emocaliber.core.model import Request
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.errors import UserError
from emocaliber.io.rows import write_rows
from emocaliber.predict import predictor
from scripted import Scripted

EIGHT = ["amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness"]


def by_detail(request: Request) -> str:
    """Surer the more the picture's pixels differ."""
    spread = float(np.asarray(request.image.convert("L"), dtype=float).std())
    label = "awe" if "awe" in request.candidates else request.candidates[0]
    return render(Response(Reasoning("a", "b", "c", "d", "e"), label, round(min(spread / 150, 1.0), 2)))


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    made = Scripted(by_detail, name="by <detail>")
    monkeypatch.setattr(predictor, "load_model", lambda name, **_: made)
    return made


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    probe.add_parser(parser.add_subparsers())
    args = parser.parse_args(["probe", *map(str, argv)])
    code: int = args.run(args)
    return code


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """A folder of twelve labelled chequered pictures."""
    folder, rows = tmp_path / "boards", []
    folder.mkdir()
    for number in range(12):
        tiles = np.indices((8, 8)).sum(axis=0) % 2
        colours = np.array([[250 - 2 * number, 240, 230], [10, 5 * number, 3 * number]], dtype=np.uint8)
        Image.fromarray(colours[tiles]).resize((64, 64), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        asked = {"task": "EmoSet-8", "candidates": EIGHT, "ground_truth": EIGHT[number % 8]}
        rows.append({"id": f"<s{number}>", "image": f"{number}.png", "source": "boards", "split": "test", **asked})
    write_rows(folder / "samples.jsonl", rows)
    return folder


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_table_has_a_row_for_each_probe_and_the_verdicts_are_counted_below(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("m", boards, "--probes", "blank,flip") == 0
    head, blank, flip, *_, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["probe", "must", "verdict", "pictures", "holds", "moves", "confidence", "right"]
    assert blank.split()[:4] == ["blank", "the", "confidence", "falls"]
    assert "100.00" in blank
    assert flip.startswith("flip")
    assert last == "1 passed, 1 open of 2 probes; confidence read by verb"


def test_json_has_every_number_with_its_interval(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("m", boards, "--probes", "blank,no_truth", "--json") == 0
    found = printed(capsys)
    assert found["n"] == 12
    assert found["settings"]["source"] == "verb"
    blank = found["probes"]["blank"]
    assert blank["falls"] == 1
    assert blank["falls_ci"] == pytest.approx([0.7354, 1], abs=1e-3)
    assert blank["mean_confidence_after"] == 0
    assert found["probes"]["no_truth"]["accuracy_after"] == 0


def test_out_holds_numbers_answers_and_a_page_and_the_same_command_asks_nothing_again(
    boards: Path, tmp_path: Path, model: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run("m", boards, "--out", out, "--json")
    asked, first = len(model.asked), capsys.readouterr().out
    assert asked == 12 * 14
    assert json.loads((out / "probes.json").read_text()) == json.loads(first)
    assert len((out / "answers.jsonl").read_text().splitlines()) == asked
    run("m", boards, "--out", out, "--json")
    assert len(model.asked) == asked
    assert capsys.readouterr().out == first


def test_the_page_has_no_script_and_text_of_files_and_models_is_escaped(boards: Path, tmp_path: Path) -> None:
    run("m", boards, "--out", tmp_path / "out", "--probes", "blank,order")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "script-src 'none'" in page
    assert "&lt;s" in page
    assert "<s0>" not in page
    assert page.count("data:image/jpeg") == 2 * 6  # the picture itself and the blank one, for six examples
    assert "http" not in page.replace("http-equiv", "")


def test_the_same_seed_draws_the_same_and_another_seed_another(boards: Path, model: Scripted) -> None:
    def drawn(seed: int) -> list[tuple[str, str]]:
        model.asked.clear()
        run("m", boards, "--probes", "order", "--seed", seed)
        return [(request.key, request.question) for request in model.asked]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_pictures_without_labels_are_asked_about_a_task_or_own_labels(
    boards: Path, model: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    (boards / "samples.jsonl").unlink()
    assert run("m", boards, "--labels", "awe,calm,dread,joy", "--json") == 0
    found = printed(capsys)["probes"]
    assert "'awe', 'calm', 'dread', 'joy'" in model.asked[0].question
    assert found["no_truth"]["why_not"] == "the true labels are not known"
    assert found["blank"]["accuracy_before"] is None
    assert found["fewer"]["n"] == 12
    assert run("m", f"{boards}/*.png", "--task", "FI-2", "--probes", "blank", "--json") == 0
    assert printed(capsys)["settings"]["task"] == "FI-2"


def test_labels_that_a_model_was_not_taught_have_the_confidence_of_chance_so_a_source_must_be_named(boards: Path, model: Scripted) -> None:
    model.tasks = ("EmoSet-8",)  # type: ignore[attr-defined]
    (boards / "samples.jsonl").unlink()
    with pytest.raises(UserError, match="was not taught all labels of these questions, so `predict` states the confidence of chance"):
        run("m", boards, "--labels", "calm,dread")
    assert model.asked == []
    assert run("m", boards, "--labels", "calm,dread", "--source", "verb", "--probes", "blank") == 0


def test_a_source_that_the_card_names_gives_way_where_the_question_has_no_calibrator(boards: Path, model: Scripted) -> None:
    model.confidence_source = "calibrated"  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="no confidence by the source 'verb_mean'"):  # as `predict` reads it; this model has no tokens
        run("m", boards, "--probes", "blank")


def test_few_pictures_are_warned_of(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("m", boards, "--n", 5, "--probes", "blank") == 0
    shown = capsys.readouterr()
    assert "warning: 5 pictures are too few for intervals, so no probe is decided; give 10 or more" in shown.err
    assert "open" in shown.out


def test_a_broken_picture_is_counted_and_the_exit_code_says_so(boards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (boards / "3.png").write_text("no picture")
    assert run("m", boards, "--probes", "blank") == 3
    shown = capsys.readouterr()
    assert "1 left out as the picture's own question has no answer" in shown.out
    assert "1 question without an answer, as the picture or the model failed; with --out DIR, --retry-failed asks again" in shown.err


@pytest.mark.parametrize(
    ("further", "message"),
    [
        (["--probes", "flop"], "no probe 'flop'; .* did you mean flip"),
        (["--task", "FI-2"], "samples have questions of their own"),
        (["--source", "norn"], "no confidence source 'norn'.*did you mean norm"),
        (["--source", "avg"], "gave no confidence by the source 'avg' in 12 answers; give --source with one of verb"),
        (["--retry-failed"], "--retry-failed needs the answers of an earlier run"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(boards: Path, further: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run("m", boards, *further)


def test_a_folder_without_pictures_and_a_recording_are_refused_before_anything_is_asked(
    boards: Path, tmp_path: Path, model: Scripted
) -> None:
    with pytest.raises(UserError, match="nowhere: there is no such file or folder; check the name"):
        run("m", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the folder holds no images"):
        run("m", tmp_path / "empty")
    with pytest.raises(UserError, match="a recording holds no answers about changed pictures"):
        run("recorded:answers.jsonl", boards)
    (boards / "samples.jsonl").unlink()
    with pytest.raises(UserError, match="no_truth needs the true labels"):
        run("m", boards, "--probes", "no_truth")
    assert model.asked == []
