"""`emocaliber predict`, as people and scripts use it."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from emocaliber.cli import predict
from emocaliber.core.model import Reply, Request
from emocaliber.errors import UserError
from emocaliber.predict import predictor as prediction
from emocaliber.render.terminal import quiet
from stand_ins import ColourModel, photo


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, colour_model: ColourModel) -> ColourModel:
    def load_model(name: str, batch_size: int = 4, **_: object) -> ColourModel:
        colour_model.window = batch_size
        return colour_model

    monkeypatch.setattr(prediction, "load_model", load_model)
    return colour_model


def run(*argv: object) -> int:
    parser = argparse.ArgumentParser()
    predict.add_parser(parser.add_subparsers())
    args = parser.parse_args(["predict", *map(str, argv)])
    code: int = args.run(args)
    return code


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def photos(folder: Path, n: int = 6) -> Path:
    for number in range(n):
        photo(folder / f"{number}.png", f"rgb({40 * number + 20}, 90, {200 - 30 * number})")
    return folder


def test_without_out_a_table_is_printed_and_the_models_notice_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(photos(tmp_path, 2), "--min-confidence", 0.2) == 0
    shown = capsys.readouterr()
    head, first, second = shown.out.splitlines()
    assert head.split() == ["image", "emotion", "confidence", "answer", "alternatives"]
    assert "0.png" in first and " 12 % " in first and "abstain" in first
    assert "1.png" in second and " 24 % " in second and "accepted" in second
    assert "emocaliber: It sees colours only.\n" in shown.err
    assert "2 images, 1 abstained, 1 accepted" in shown.err
    assert "predicting" not in shown.err, "short work leaves no progress where there is no terminal"


def test_every_odd_file_gets_one_row_and_the_code_is_3(tmp_path: Path, oddities: dict[str, str | None]) -> None:
    out = tmp_path / "out.jsonl"
    assert run(tmp_path / "odd", "--out", out) == 3
    assert {row["image"]: row["error"] and row["error"]["code"] for row in rows(out)} == oddities
    assert len(rows(out)) == len(oddities)


def test_the_table_holds_odd_files_too(oddities: dict[str, str | None], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*oddities) == 3
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1 + len(oddities)
    assert "empty: the file is empty; copy or download it again." in shown.out
    assert r"caf\udce9.jpg" in shown.out
    assert "moving.gif: has several frames" in shown.err


def test_a_file_that_is_missing_has_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "missing.jpg", "--out", "-") == 3
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["error"]["code"] == "not_found"


def test_csv_and_parquet_hold_the_same_rows(tmp_path: Path, oddities: dict[str, str | None]) -> None:
    for suffix in ("csv", "parquet"):
        assert run(tmp_path / "odd", "--out", tmp_path / f"out.{suffix}") == 3
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.csv", "out.parquet"]
    with open(tmp_path / "out.csv", newline="") as file:
        flat = list(csv.DictReader(file))
    nested = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["image"] for row in flat] == [row["image"] for row in nested] and len(flat) == len(oddities)
    for row, other in zip(flat, nested, strict=True):
        assert row["emotion"] == (other["emotion"] or "")
        assert row["error.code"] == (other["error"]["code"] if other["error"] else "")
        assert row["reasoning.analysis"] == (other["reasoning"]["analysis"] if other["reasoning"] else "")


def test_tables_have_the_same_columns_whatever_the_rows_hold(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    paths = (photo(tmp_path / "a.png", "teal"), tmp_path / "bad.png")
    for suffix in ("csv", "parquet"):
        for number, path in enumerate(paths):
            run(path, "--out", tmp_path / f"{number}.{suffix}", *(["--min-confidence", "0.1"] if number else []))
    assert pq.read_schema(tmp_path / "0.parquet").equals(pq.read_schema(tmp_path / "1.parquet"))
    headers = [(tmp_path / f"{number}.csv").read_text().splitlines()[0] for number in (0, 1)]
    assert headers[0] == headers[1] and "error.code" in headers[0] and "reasoning.element" in headers[0]


def test_an_image_or_a_list_may_be_piped_in(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = photo(tmp_path / "a.png", "teal")
    responses = []
    for piped in (path.read_bytes(), os.fsencode(path) + b"\n"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        assert run("-", "--out", "-") == 0
        responses.append(json.loads(capsys.readouterr().out))
    assert [row["image"] for row in responses] == ["-", str(path)]
    assert responses[0]["response"] == responses[1]["response"]


def test_a_file_with_rows_is_never_overwritten(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in"), tmp_path / "out.jsonl"
    assert run(folder, "--out", out) == 0
    before = out.read_bytes()
    with pytest.raises(UserError, match=r"out\.jsonl holds rows already; give --resume"):
        run(folder, "--out", out)
    assert out.read_bytes() == before


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_resuming_what_is_finished_changes_nothing_and_keeps_the_exit_code(tmp_path: Path, suffix: str) -> None:
    folder, out = photos(tmp_path / "in"), tmp_path / f"out.{suffix}"
    (folder / "zero.jpg").touch()
    assert run(folder, "--out", out, "--resume") == 3
    before = out.read_bytes()
    assert run(folder, "--out", out, "--resume") == 3
    assert out.read_bytes() == before


def test_images_may_be_added_by_resuming(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    photos(tmp_path / "in", 3)
    run(tmp_path / "in", "--out", out, "--resume")
    photos(tmp_path / "in", 5)
    assert run(tmp_path / "in", "--out", out, "--resume") == 0
    with open(out, newline="") as file:
        assert [Path(row["image"]).name for row in csv.DictReader(file)] == [f"{n}.png" for n in range(5)]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (["--task", "FI-2"], "task was 'EmoSet-8', and is 'FI-2'"),
        (["--labels", "calm,panic"], "task was 'EmoSet-8', and is 'custom'"),
        (["--min-confidence", "0.9"], "min_confidence was not given, and is 0.9"),
        (["--confidence", "norm"], "confidence was not given, and is 'norm'"),
        (["--model", "another"], "model.name was 'lite', and is 'another'"),
    ],
)
def test_rows_of_other_settings_are_not_resumed(tmp_path: Path, settings: list[str], complaint: str) -> None:
    folder, out = photos(tmp_path / "in"), tmp_path / "out.jsonl"
    run(folder, "--out", out)
    before = out.read_bytes()
    with pytest.raises(UserError, match=rf"out\.jsonl was made with other settings: .*{complaint}.* or another --out"):
        run(folder, "--out", out, "--resume", *settings)
    assert out.read_bytes() == before


def test_rows_of_other_labels_are_not_resumed(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in"), tmp_path / "out.jsonl"
    run(folder, "--out", out, "--labels", "calm,panic")
    with pytest.raises(UserError, match=r"labels was \['calm', 'panic'\], and is \['calm', 'glee'\]"):
        run(folder, "--out", out, "--resume", "--labels", "calm,glee")


def test_rows_of_other_weights_under_the_same_name_are_not_resumed(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in"), tmp_path / "out.jsonl"
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"1")
    run(folder, "--out", out, "--model", tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"2")
    with pytest.raises(UserError, match=r"model\.sha256 was '.*', and is '"):
        run(folder, "--out", out, "--resume", "--model", tmp_path / "checkpoint")


def test_rows_of_unknown_settings_are_not_resumed(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in"), tmp_path / "out.jsonl"
    run(folder, "--out", out)
    out.with_suffix(".run.json").unlink()
    with pytest.raises(UserError, match=r"out\.run\.json is missing, so it is not known how .*out\.jsonl was made"):
        run(folder, "--out", out, "--resume")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--out", "x.xlsx"], r"x\.xlsx: predictions are written as \.jsonl, \.csv, \.parquet"),
        (["--resume"], "--resume needs a file"),
        (["--resume", "--out", "-"], "--resume needs a file"),
        (["--task", "FI-9"], "there is no task 'FI-9'"),
        (["--labels", "calm"], "two or more"),
        (["--confidence", "hope"], "there is no confidence source 'hope'"),
    ],
)
def test_mistakes_are_named_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], complaint: str
) -> None:
    monkeypatch.setattr(prediction, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    monkeypatch.chdir(photos(tmp_path, 1))
    with pytest.raises(UserError, match=complaint):
        run("0.png", *options)


@pytest.mark.parametrize("report", ["file/report", "file"])
def test_a_report_that_cannot_be_written_is_refused_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, report: str
) -> None:
    monkeypatch.setattr(prediction, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*: cannot be written \(.*give another folder as --report"):
        run(photos(tmp_path, 1) / "0.png", "--report", tmp_path / report)


def test_no_model_is_loaded_where_there_is_nothing_to_ask_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = photos(tmp_path / "in"), tmp_path / "out.jsonl"
    assert run(folder, "--out", out) == 0
    monkeypatch.setattr(prediction, "load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    before = out.read_bytes()
    capsys.readouterr()
    assert run(folder, "--out", out, "--resume", "--report", tmp_path / "report") == 0
    assert out.read_bytes() == before and (tmp_path / "report/index.html").is_file()
    assert "6 images, 6 answered" in capsys.readouterr().err
    assert run(tmp_path / "missing.jpg", "https://example.org/a.jpg?size=3") == 3
    shown = capsys.readouterr().out
    assert "not_found: there is no such file" in shown and "an address on the network" in shown


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_failed_images_are_tried_again_in_their_places(tmp_path: Path, suffix: str) -> None:
    folder, out = photos(tmp_path / "in"), tmp_path / f"out.{suffix}"
    (folder / "2.png").write_text("not yet an image")
    assert run(folder, "--out", out, "--resume") == 3
    assert run(folder, "--out", out, "--resume") == 3
    photo(folder / "2.png", "teal")
    assert run(folder, "--out", out, "--retry-failed") == 0
    kept = rows(out if suffix == "jsonl" else tmp_path / "out.csv.part.jsonl")
    assert [Path(row["image"]).name for row in kept] == [f"{n}.png" for n in range(6)]
    assert all(row["error"] is None for row in kept)


def test_the_first_failed_images_are_named_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photos(tmp_path / "in", 1)
    for number in range(7):
        (folder / f"bad{number}.png").write_text("no image")
    with quiet():
        assert run(folder, "--out", tmp_path / "out.jsonl") == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.count("(unsupported_format)") for line in lines] == [1, 1, 1, 1, 1, 0, 0]
    assert lines[5] == "emocaliber: and 2 more failed" and "give --retry-failed" in lines[6]


def test_the_settings_of_local_models_reach_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: ColourModel) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(prediction, "load_model", lambda name, **settings: given.update(settings) or model)
    photos(tmp_path, 1)
    run(tmp_path, "--threads", 2, "--device", "cpu", "--free")
    assert (given["threads"], given["device"], given["free"]) == (2, "cpu", True)
    given.clear()
    run(tmp_path)
    assert not given.keys() & {"threads", "device"} and given["free"] is False


def test_the_summary_says_how_many_are_unfamiliar_and_untaught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    to_row = prediction.Prediction.to_row
    monkeypatch.setattr(
        prediction.Prediction, "to_row", lambda self: to_row(self) | {"unfamiliar": self.image.endswith("0.png"), "untaught": True}
    )
    folder, out = photos(tmp_path / "in", 3), tmp_path / "out.jsonl"
    for _ in range(2):  # the second run counts the rows of the first
        assert run(folder, "--out", out, "--resume") == 0
        assert "3 images, 3 answered; 1 unfamiliar (the model recognised nothing" in (err := capsys.readouterr().err)
        assert "; 3 untaught (" in err


def test_a_piped_image_cannot_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo(tmp_path / "a.png").read_bytes())))
    with pytest.raises(UserError, match="an image on standard input has none"):
        run("-", "--out", tmp_path / "o.jsonl", "--resume")


@pytest.mark.parametrize(("settings", "warned"), [([], False), (["--task", "FI-2"], True), (["--labels", "calm,panic"], True)])
def test_a_task_the_model_has_not_learnt_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: ColourModel, settings: list[str], warned: bool
) -> None:
    model.tasks = ("EmoSet-8",)
    run(photos(tmp_path, 1), *settings)
    assert ("warning: colour was not taught all of these labels, only those of EmoSet-8" in capsys.readouterr().err) is warned


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False] * 4 + [True])
    reply = ColourModel._reply

    def interrupted(self: ColourModel, request: Request) -> Reply:
        if next(answers):
            raise KeyboardInterrupt
        return reply(self, request)

    monkeypatch.setattr(ColourModel, "_reply", interrupted)
    assert run(photos(tmp_path / "in"), "--out", tmp_path / "out.jsonl") == 130
    assert "give --resume to continue" in capsys.readouterr().err
    assert len(rows(tmp_path / "out.jsonl")) == 4


SLOW = """
import argparse, sys
from stand_ins import ColourModel
from emocaliber.predict import predictor
from emocaliber.cli import predict
predictor.load_model = lambda name, **_: ColourModel(seconds_each=0.02, window=3)
parser = argparse.ArgumentParser()
predict.add_parser(parser.add_subparsers())
args = parser.parse_args(sys.argv[1:])
sys.exit(args.run(args))
"""


@pytest.mark.slow
def test_after_kill_9_the_same_command_ends_with_the_same_rows(tmp_path: Path) -> None:
    folder = photos(tmp_path / "in", 6)
    for number in range(6, 50):
        photo(folder / f"{number}.png", f"hsl({7 * number}, 80%, 50%)")
    (folder / "7.png").write_text("not an image")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, sys.path)])}

    def command(out: Path) -> list[str]:
        return [sys.executable, "-c", SLOW, "predict", str(folder), "--out", str(out), "--resume"]

    killed, out = 0, tmp_path / "broken.jsonl"
    for enough in (5, 15, 25):
        process = subprocess.Popen(command(out), env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < enough):
            time.sleep(0.005)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed == 3
    with open(out, "ab") as file:
        file.write(b'{"image": "half a li')
    for path in (out, tmp_path / "whole.jsonl"):
        assert subprocess.run(command(path), env=environment, stderr=subprocess.DEVNULL).returncode == 3
    assert rows(out) == rows(tmp_path / "whole.jsonl")
    assert len({row["image"] for row in rows(out)}) == len(rows(out)) == 50


def test_a_report_covers_rows_from_before_a_resume(tmp_path: Path) -> None:
    folder, out = photos(tmp_path / "in", 3), tmp_path / "out.jsonl"
    run(folder, "--out", out)
    photos(tmp_path / "in", 5)
    assert run(folder, "--out", out, "--resume", "--report", tmp_path / "report") == 0
    page = (tmp_path / "report/index.html").read_text()
    assert all(f"{n}.png" in page for n in range(5))


def test_a_report_needs_no_out(tmp_path: Path, oddities: dict[str, str | None]) -> None:
    assert run(tmp_path / "odd", "--report", tmp_path / "report") == 3
    assert (tmp_path / "report/index.html").read_text().count("<article") == sum(code is None for code in oddities.values())


def test_the_command_is_described_without_importing_numpy_or_torch() -> None:
    code = "import sys; from emocaliber.cli import predict; print([m for m in ('numpy', 'torch', 'PIL', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_page_of_somebody_elses_is_not_overwritten(tmp_path: Path) -> None:
    theirs = tmp_path / "site" / "index.html"
    theirs.parent.mkdir()
    theirs.write_text("<h1>My site</h1>")
    with pytest.raises(UserError, match=r"index\.html is not a page of ours.*another folder as --report"):
        run(photo(tmp_path / "a.png"), "--report", tmp_path / "site")
    assert theirs.read_text() == "<h1>My site</h1>"
    for _ in range(2):
        assert run(photo(tmp_path / "a.png"), "--report", tmp_path / "ours") == 0
