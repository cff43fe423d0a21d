"""`emocaliber completion`: scripts that real shells take."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emocaliber.__main__ import main


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str], tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The script of the shell that the test is about."""
    pytest.importorskip("shtab", reason="shtab is not installed")
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    assert main(["completion", request.param]) == 0
    file = tmp_path / f"emocaliber.{request.param}"
    file.write_text(capsys.readouterr().out)
    return file


def completed_by_bash(script: Path, *words: str, folder: Path | None = None) -> set[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    ask = f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _shtab_emocaliber; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    return set(subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, cwd=folder).stdout.split())


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_completes_commands_actions_options_tasks_and_files(script: Path, tmp_path: Path) -> None:
    assert {"calibrate", "compare", "completion"} <= completed_by_bash(script, "emocaliber", "c")
    assert completed_by_bash(script, "emocaliber", "calibrate", "ce") == {"certify"}
    assert completed_by_bash(script, "emocaliber", "predict", "--tas") == {"--task"}
    assert {"EmoSet-8", "Emotion6-6"} & completed_by_bash(script, "emocaliber", "predict", "--task", "Emo")
    (tmp_path / "answers.csv").touch()
    assert completed_by_bash(script, "emocaliber", "score", "ans", folder=tmp_path) == {"answers.csv"}
    assert "--rpm" not in completed_by_bash(script, "emocaliber", "respond", "--r"), "earlier names are kept, and not offered"


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_completes_with_the_short_help(script: Path) -> None:
    ask = f"source {script}; complete -C 'emocaliber calibrate ce'; complete -C 'emocaliber predict --task EmoS'"
    shown = subprocess.run(["fish", "-c", ask], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("certify\t")
    assert "EmoSet-8" in shown


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_reads_the_script(script: Path) -> None:
    subprocess.run(["zsh", "-n", script], check=True)
    assert script.read_text().startswith("#compdef emocaliber")


def test_without_its_package_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "emocaliber completion needs more packages" in capsys.readouterr().err
