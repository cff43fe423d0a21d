"""Mistyped commands and options, and where to ask for help."""

from __future__ import annotations

from pathlib import Path

import pytest

from emocaliber.__main__ import main


@pytest.mark.parametrize(
    ("words", "usage", "meant"),
    [
        (["predcit", "a.jpg"], "emocaliber [-h]", "there is no 'predcit'; did you mean predict?"),
        (["bench", "stat", "x"], "emocaliber bench", "there is no 'stat'; did you mean stats?"),
        (["predict", "a.jpg", "--batchsize", "3"], "emocaliber predict", "--batchsize 3; did you mean --batch-size?"),
        (["predict", "a.jpg", "--json"], "emocaliber predict", "there is no --json; --out - prints JSON Lines on standard output"),
        (["predict", "a.jpg", "--device", "gpu"], "emocaliber predict", "--device: there is no 'gpu'; did you mean cuda?"),
        (
            ["train", "stage1", "--config", "7b", "--out", "runs/x"],
            "emocaliber train stage1",
            "there is no --out; settings are given without dashes: out=runs/x",
        ),
        (["train", "all", "--config", "7b", "--learning-rate", "5e-6"], "emocaliber train all", "without dashes: learning_rate=5e-6"),
        (["score", "a.jsonl", "--out", "o", "--figures"], "emocaliber score", "unrecognized arguments: --figures"),
        (
            ["predict", "a.jpg", "--min-confidence", "40"],
            "emocaliber predict",
            "--min-confidence: '40' is not a number from 0 to 1, such as 0.4",
        ),
        (["bench", "audit", "x", "--distance", "40"], "emocaliber bench audit", "--distance: '40' is not a whole number from 0 to 16"),
    ],
)
def test_a_mistyped_command_is_met_with_its_own_usage(words: list[str], usage: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(words)
    shown = capsys.readouterr().err
    assert leaving.value.code == 2
    assert shown.startswith(f"usage: {usage}") and meant in shown


@pytest.mark.parametrize("words", [["help"], ["help", "score"], ["help", "bench", "stats"]])
def test_help_is_a_command_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(words)
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: emocaliber", *words[1:], "[-h]"]))


def test_quiet_and_debug_may_stand_before_the_command_or_after(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--quiet", "emotions"], ["emotions", "-q", "--debug"]):
        assert main(words) == 0
        assert "mikels-8" in capsys.readouterr().out


def test_an_image_in_place_of_a_command_is_met_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(SystemExit):
        main(["photo.jpg"])
    assert "there is no 'photo.jpg', and it is a file or folder; for images: emocaliber predict photo.jpg" in capsys.readouterr().err
