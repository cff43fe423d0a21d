"""`emocaliber` itself: finding commands, and turning what happens into exit codes and sentences."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emocaliber import __main__ as front
from emocaliber.errors import UserError


def emocaliber(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "emocaliber", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


Act = Callable[[], int]
Install = Callable[[Act], None]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes `emocaliber act` do what it is told."""

    def install(act: Act) -> None:
        def build() -> argparse.ArgumentParser:
            parser = argparse.ArgumentParser()
            parser.add_argument("--debug", action="store_true")
            parser.add_subparsers().add_parser("act").set_defaults(run=lambda args: act())
            return parser

        monkeypatch.setattr(front, "build_parser", build)
        monkeypatch.delenv("EMOCALIBER_DEBUG", raising=False)

    return install


def raising(error: BaseException) -> Act:
    def act() -> int:
        raise error

    return act


def test_help_lists_every_command() -> None:
    shown = emocaliber("--help")
    assert shown.returncode == 0
    for name in front.COMMANDS:
        assert re.search(rf"\n    {name}\s", shown.stdout)
    assert "Exit codes: 0 all well" in shown.stdout


@pytest.mark.parametrize("name", front.COMMANDS)
def test_every_command_has_help_of_its_own(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        front.main([name, "--help"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: emocaliber {name} ")


def test_version_is_told_and_nothing_else_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        front.main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out.startswith("emocaliber ")


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main([]) == 2
    assert "Begin with: emocaliber predict photo.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["dream"], ["scenes"], ["score"]])
def test_wrong_usage_is_exit_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        front.main(words)
    assert leaving.value.code == 2
    assert "usage: emocaliber" in capsys.readouterr().err


def test_the_commands_own_exit_code_is_returned(command: Install) -> None:
    command(lambda: 3)
    assert front.main(["act"]) == 3


def test_a_users_mistake_is_a_sentence_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main(["emotions", "no-such-taxonomy"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("emocaliber: unknown taxonomy 'no-such-taxonomy'; give one of mikels-8")


def test_a_users_mistake_needs_no_traceback_even_when_debugging(command: Install, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(UserError("the row has no id")))
    assert front.main(["--debug", "act"]) == 2
    assert capsys.readouterr().err == "emocaliber: the row has no id\n"


def test_an_unexpected_error_is_one_sentence_and_exit_code_1(command: Install, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(ZeroDivisionError("over\nnothing")))
    assert front.main(["act"]) == 1
    shown = capsys.readouterr().err
    assert shown == "emocaliber: unexpected error (ZeroDivisionError: over nothing); --debug shows where it happened\n"


@pytest.mark.parametrize("by", ["flag", "environment"])
def test_debugging_shows_where_an_unexpected_error_happened(
    by: str, command: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(ZeroDivisionError("nothing")))
    if by == "environment":
        monkeypatch.setenv("EMOCALIBER_DEBUG", "1")
    assert front.main(["--debug", "act"] if by == "flag" else ["act"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_is_exit_code_130(command: Install, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(KeyboardInterrupt()))
    assert front.main(["act"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_goes_away_causes_no_complaint() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        command = [sys.executable, "-m", "emocaliber", "emotions", "WebEmo-25", "--json"]
        ended = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "stage1", "--config", "nowhere.toml"],
        ["train", "all", "--config", "nowhere"],
        ["respond", "nowhere.jsonl", "--model", "tiny", "--out", "r"],
    ],
)
def test_a_file_that_is_not_there_is_named_before_anything_heavy_is_loaded(words: list[str]) -> None:
    code = f"import sys; from emocaliber.__main__ import main; code = main({words!r}); print(code, 'transformers' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "2 False\n"
    assert "nowhere" in shown.stderr


def test_settings_may_follow_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "stage0.toml"
    file.write_text('out = "o"\nsamples = "s"\nlearning_rate = 0.1\nbatch_size = 4\n')
    assert front.main(["train", "stage0", "--config", str(tmp_path), "width=64", "speed=3"]) == 2
    assert "on the command line: there is no setting 'speed' here" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--batch-size", "0"), ("--temperature", "-1"), ("--temperature", "nan"), ("--seed", "x")])
def test_numbers_out_of_range_are_wrong_usage(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        front.main(["respond", "s.jsonl", "--model", "m", "--out", "r.jsonl", option, value])
    assert leaving.value.code == 2
    assert f"argument {option}: '{value}' is not a" in capsys.readouterr().err
