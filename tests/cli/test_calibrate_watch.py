"""`emocaliber calibrate watch`: the command, and what a kill leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emocaliber.__main__ import main
from watched_rows import certificate, predictions, write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path / "reference.jsonl", predictions(200, 0))
    certificate().save(tmp_path / "certificate.json")
    write(tmp_path / "rows.jsonl", predictions(200, 1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


WATCH = ("calibrate", "watch", "rows.jsonl", "--state", "state.json")


def test_a_stream_without_a_change_is_a_table_and_exit_code_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WATCH, "--certificate", "certificate.json"]) == 0
    shown = capsys.readouterr().out
    assert "200 rows against 400 of the reference" in shown and "No alarm" in shown and "promise" in shown


def test_an_alarm_is_exit_code_3_with_a_chart_gauges_and_a_void_certificate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "rows.jsonl", predictions(100, 2, first="awe"), add=True)
    assert main([*WATCH, "--certificate", "certificate.json", "--report", "report", "--metrics", "watch.prom", "--json"]) == 3
    summary = json.loads(capsys.readouterr().out)
    assert summary["voided"] and "answers" in summary["alarm"]["tests"]
    assert json.loads((folder / "report" / "watch.json").read_text()) == summary
    assert (folder / "report" / "watch.png").read_bytes().startswith(b"\x89PNG")
    assert "<h1>Alarm</h1>" in (folder / "report" / "index.html").read_text()
    assert "emocaliber_watch_voided 1" in (folder / "watch.prom").read_text()
    assert json.loads((folder / "certificate.json").read_text())["voided"]["reason"] == summary["alarm"]["sentence"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "there is nothing to compare with"),
        (("--reference", "reference.jsonl", "--labels", "l.csv"), "--labels needs --certificate"),
        (("--certificate", "certificate.json", "--pictures"), "--pictures needs --reference"),
        (("--reference", "missing.jsonl"), "missing.jsonl: there is no such file"),
    ],
)
def test_what_is_missing_is_said(folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str) -> None:
    assert main([*WATCH, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_killed_watch_loses_no_row_and_counts_none_twice(folder: Path) -> None:
    rows, state = folder / "rows.jsonl", folder / "state.json"
    write(rows, predictions(1500, 1))
    command = [sys.executable, "-m", "emocaliber", *WATCH, "--reference", "reference.jsonl", "--follow", "--every", "0.01"]
    process = subprocess.Popen(command, cwd=folder, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while counted(state) < 256:
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert counted(state) >= 256
    write(rows, predictions(100, 5), add=True)
    assert main([*WATCH, "--reference", "reference.jsonl"]) == 0
    killed = json.loads(state.read_text())
    state.unlink()
    assert main([*WATCH, "--reference", "reference.jsonl"]) == 0
    assert json.loads(state.read_text()) == killed
    assert killed["watch"]["rows"] == 1600


def counted(state: Path) -> int:
    """The rows that a state has counted; 0 where there is none."""
    return int(json.loads(state.read_text())["watch"]["rows"]) if state.exists() else 0
