"""`emocaliber doctor`: what is there, what is missing for what, how fast."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

from emocaliber.__main__ import main
from emocaliber.cli import SOME_FAILED
from emocaliber.predict import speed


def wanting(monkeypatch: pytest.MonkeyPatch, *requirements: str) -> None:
    monkeypatch.setattr("emocaliber.io.installed.requires", lambda name: list(requirements))


def test_each_purpose_is_complete_or_names_what_is_missing_and_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanting(monkeypatch, "numpy>=1", "torch>=2", 'no-such-package>=1; extra == "train"', 'shtab>=1; extra == "of-a-plug-in"')
    assert main(["doctor", "--no-speed"]) == 0
    shown = capsys.readouterr().out
    assert f"EmoCaliber {metadata.version('emocaliber')} on Python 3." in shown
    assert "score, compare, calibrate, bench; models of others over HTTP  yes" in shown
    assert "train                                                         missing: no-such-package" in shown
    assert "For train:\n  pip install 'no-such-package>=1'" in shown
    assert "of-a-plug-in" in shown


def test_a_missing_package_that_is_always_needed_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wanting(monkeypatch, "numpy>=1", "no-such-package>=1", "torch>=2")
    assert main(["doctor", "--json"]) == SOME_FAILED
    told = json.loads(capsys.readouterr().out)
    assert told["speed"] is None, "without its packages, nothing is timed"
    problems = [each["problem"] for group in told["packages"].values() for each in group]
    assert problems.count("no-such-package is missing") == 1


def test_without_torch_what_needs_none_is_still_well(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wanting(monkeypatch, "numpy>=1", "torch>=99")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "is not >=99" in shown
    assert "loaded in" not in shown


def test_the_model_that_ships_is_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wanting(monkeypatch, "numpy>=1")
    monkeypatch.setattr(speed, "measure", lambda model: speed.Speed(model, 2.0, 1.0, 0.5, 0.25, 16))
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "loaded in 2.0 s, first image 1.00 s; then 0.50 s for one image alone and 0.25 s for each of 16 together." in shown
    assert "A thousand images take about 4 minutes." in shown


def test_a_speed_is_the_time_between_two_looks_at_the_clock() -> None:
    ticks = iter(range(100))
    found = speed.measure("tiny", 4, clock=lambda: float(next(ticks)))
    assert (found.loading, found.first, found.alone, found.batched, found.images) == (1, 1, 1, 0.25, 4)
