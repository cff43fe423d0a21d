"""Settings anywhere on the command line, options under their earlier names, and limits of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from emocaliber.__main__ import build_parser, main
from emocaliber.cli.arguments import image_limits, split_settings
from emocaliber.io.images import DEFAULT_LIMITS


@pytest.mark.parametrize(
    "line",
    [
        "train stage1 model=m seed=1 --config 7b --plan --memory 80GB",
        "train stage1 --config 7b model=m seed=1 --plan --memory 80GB",
        "train stage1 --config 7b --plan model=m --memory 80GB seed=1",
        "train stage1 --config 7b --plan --memory 80GB model=m seed=1",
    ],
)
def test_settings_may_stand_anywhere(line: str) -> None:
    args = build_parser().parse_args(line.split())
    assert (args.settings, args.config, args.memory, args.plan) == (["model=m", "seed=1"], "7b", "80GB", True)


def test_after_two_dashes_every_word_is_positional() -> None:
    assert build_parser().parse_args(["predict", "--model", "tiny", "--", "-a.jpg", "b.jpg"]).paths == ["-a.jpg", "b.jpg"]


def test_every_command_that_takes_settings_takes_them_alone_and_last(capsys: pytest.CaptureFixture[str]) -> None:
    for line, named in (
        ("predict a.jpg --model openai:x temperature=-1", "temperature is -1"),
        ("respond a.jsonl --model openai:x --out o temperature=-1", "temperature is -1"),
        ("rewards --preset paper colour=1", "colour"),
        ("cot build a.jsonl --ledger l.db --teacher narrator --judge checks nothing.x=1", "'nothing.x=1' must look like TABLE.KEY=VALUE"),
        ("train sweep table7 --plugin emocaliber.errors colour=1", "colour"),
    ):
        assert main(line.split()) == 2, line
        assert named in capsys.readouterr().err


def test_an_existing_file_is_never_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=1.jpg").touch()
    assert split_settings(["a=1.jpg", "b.jpg", "a=2", "teacher.x=1", "./c=3"]) == (["a=1.jpg", "b.jpg", "./c=3"], ["a=2", "teacher.x=1"])


@pytest.mark.parametrize(
    ("line", "dest", "value", "now"),
    [
        ("respond s --out o --no-confidence", "confidence", False, "--no-ask-confidence"),
        ("respond s --out o --rpm 6", "requests_per_minute", 6, "--requests-per-minute"),
        ("respond s --out o --price 1 2", "prices", [1.0, 2.0], "--prices"),
        ("bench stats d --picture f.png", "figure", Path("f.png"), "--figure"),
        ("cot stats --ledger l --picture f.png", "figure", Path("f.png"), "--figure"),
        ("cot build --ledger l --set teacher.a=1 judge.b=2", "set", ["teacher.a=1", "judge.b=2"], "teacher.a=1 judge.b=2"),
    ],
)
def test_an_earlier_name_still_works_and_says_the_one_of_today(
    line: str, dest: str, value: object, now: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = build_parser().parse_args(line.split())
    assert getattr(args, dest) == value
    said = capsys.readouterr().err
    assert now in said
    assert said.count("\n") == 1


def test_limits_of_images_are_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = build_parser().parse_args(["predict", "a", "--max-megapixels", "100", "--max-megabytes", "0.5"])
    limits = image_limits(given)
    assert (limits.max_pixels, limits.max_bytes) == (100_000_000, 500_000)
    assert image_limits(build_parser().parse_args(["respond", "a", "--out", "o"])) == DEFAULT_LIMITS
    Image.new("RGB", (200, 200)).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "a.png"), "--max-megapixels", "0.03", "--out", "-"]) == 3
    assert '"too_many_pixels"' in capsys.readouterr().out


def test_the_list_of_tasks_fits_a_terminal_of_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["tasks"]) == 0
    whole = capsys.readouterr().out
    monkeypatch.setattr("emocaliber.cli.tasks.width_of", lambda stream: 80)
    assert main(["tasks"]) == 0
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 80 < max(map(len, whole.splitlines()))
    assert narrow.split() == whole.split()


def test_tasks_lists_the_tasks_and_emotions_knows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FI-2")]
    assert line.split() == ["FI-2", "ID", "VSA", "polarity-2", "positive,", "negative"]
    assert main(["emotions", "fi-2"]) == 0
    assert capsys.readouterr().out.startswith("polarity-2\n")
    assert main(["tasks", "nope"]) == 2
