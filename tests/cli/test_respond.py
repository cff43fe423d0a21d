"""`emocaliber respond` writes one row for each sample, goes on where it stopped, and says when some failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emocaliber import models
from emocaliber.__main__ import main
from emocaliber.core.model import Reply, Request
from emocaliber.io.rows import read_rows
from emocaliber.scenes.dataset import draw_samples


class Fearful:
    """A model that fears everything, and counts what it is asked."""

    name, notice, window = "fearful", "It fears everything.", 2

    def __init__(self) -> None:
        self.asked = 0
        self.settings: dict[str, Any] = {}

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        for _ in requests:
            self.asked += 1
            yield Reply("<answer>fear</answer>", 0.5)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Fearful:
    fearful = Fearful()

    def load(name: str, **settings: Any) -> Fearful:
        assert name == "m"
        fearful.settings = settings
        return fearful

    monkeypatch.setattr(models, "load_model", load)
    return fearful


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    list(draw_samples(tmp_path / "scenes", 5, 0, size=32, workers=1))
    return tmp_path / "scenes" / "samples.jsonl"


def respond(samples: Path, out: Path, *more: str) -> int:
    return main(["respond", str(samples), "--model", "m", "--out", str(out), *more])


def rows(path: Path) -> list[dict[str, Any]]:
    return list(read_rows(path))


def test_every_sample_becomes_a_row_with_its_image_relative_to_the_file(
    model: Fearful, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "responses.jsonl"
    assert respond(samples, out, "--lenient") == 0
    written = rows(out)
    assert [row["id"] for row in written] == [row["id"] for row in rows(samples)]
    assert {(row["model"], row["response"], row["error"]) for row in written} == {("fearful", "<answer>fear</answer>", None)}
    assert all((out.parent / row["image"]).is_file() for row in written)
    shown = capsys.readouterr()
    assert shown.out == f"{out}: 5 of 5 samples asked, 0 failed\nnext: emocaliber score {out}\n"
    assert "It fears everything." in shown.err


def test_what_comes_next_works_as_it_is_printed(model: Fearful, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert respond(samples, tmp_path / "run") == 0
    command = capsys.readouterr().out.splitlines()[-1].removeprefix("next: emocaliber ").split()
    assert "--lenient" not in command
    assert main([*command, "--numbers-only", "--replicates", "200"]) == 0
    metrics = json.loads((tmp_path / "run" / "scores" / "metrics.json").read_text())
    assert metrics["overall"]["malformed"]["count"] == 0
    assert metrics["settings"]["lenient"] == 5


def test_flags_become_settings_under_the_names_of_run_files(model: Fearful, samples: Path, tmp_path: Path) -> None:
    settings = {
        "temperature": 0.5,
        "seed": 1,
        "batch_size": 2,
        "max_new_tokens": 9,
        "min_pixels": 3,
        "max_pixels": 4,
        "base_url": ["http://a", "http://b"],
        "concurrency": 5,
        "requests_per_minute": 6,
        "tokens_per_minute": 7,
        "prices": [1.0, 2.0],
        "budget": 8.0,
    }
    flags = "--temperature 0.5 --seed 1 --batch-size 2 --max-new-tokens 9 --min-pixels 3 --max-pixels 4 --base-url http://a"
    flags += " --base-url http://b --concurrency 5 --rpm 6 --tpm 7 --price 1 2 --budget 8"
    assert respond(samples, tmp_path / "flags.jsonl", *flags.split()) == 0
    assert model.settings == settings
    config = tmp_path / "run.toml"
    config.write_text("[settings]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    assert respond(samples, tmp_path / "file.jsonl", "--config", str(config), "--seed", "2") == 0
    assert model.settings == settings | {"seed": 2}


def test_without_flags_the_model_decides(model: Fearful, samples: Path, tmp_path: Path) -> None:
    assert respond(samples, tmp_path / "r.jsonl") == 0
    assert model.settings == {}


def test_an_image_that_cannot_be_opened_is_a_row_with_an_error_and_exit_code_3(
    model: Fearful, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (samples.parent / "images" / "scene-0-000001.png").write_bytes(b"no image")
    out = tmp_path / "responses.jsonl"
    assert respond(samples, out) == 3
    assert [row["error"] is not None for row in rows(out)] == [False, True, False, False, False]
    assert respond(samples, out, "--resume") == 3, "the row is still there"
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 5 failed; the same command with --retry-failed asks about them again"


def test_a_broken_run_asks_only_what_is_missing(model: Fearful, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "responses.jsonl"
    assert respond(samples, out) == 0
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:3]) + lines[3][:30])
    model.asked = 0
    assert respond(samples, out, "--resume") == 0
    assert out.read_bytes() == whole
    # Windows are those of an unbroken run: samples 2 and 3 are asked together again.
    assert model.asked == 3


SLOW = """
import sys
from emocaliber import models
from emocaliber.__main__ import main
from stand_ins import ColourModel
models.load_model = lambda name, **settings: ColourModel(window=2, seconds_each=float(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""


def in_a_process(seconds_each: float, *words: object) -> subprocess.Popen[bytes]:
    tests = str(Path(__file__).parent.parent)
    path = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SLOW, str(seconds_each), *map(str, words)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_shard_that_is_killed_ends_with_the_rows_of_one_that_was_not(samples: Path, tmp_path: Path) -> None:
    list(draw_samples(samples.parent, 16, 0, size=32, workers=1))
    words = ["respond", samples, "--model", "m", "--shard", "2/2", "--out"]
    name = "responses-2-of-2.jsonl"
    assert in_a_process(0, *words, tmp_path / "whole").wait() == 0
    broken = tmp_path / "broken" / name
    process = in_a_process(0.2, *words, broken.parent)
    while not (broken.exists() and broken.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 3 <= broken.read_bytes().count(b"\n") < 8
    assert in_a_process(0, *words, broken.parent, "--resume").wait() == 0
    assert broken.read_bytes() == (tmp_path / "whole" / name).read_bytes()
    first, second = json.loads(broken.with_suffix(".run.json").read_text())["sessions"]
    assert first["ended"] is None
    assert second["ended"] is not None


@pytest.mark.slow
def test_of_two_processes_on_one_file_one_works_and_the_other_says_who_has_it(samples: Path, tmp_path: Path) -> None:
    list(draw_samples(samples.parent, 16, 0, size=32, workers=1))
    words = ["respond", samples, "--model", "m", "--resume", "--out", tmp_path / "r.jsonl"]
    for _ in range(3):
        team = [in_a_process(0.1, *words) for _ in range(2)]
        codes = [process.wait() for process in team]
        complaints = [process.stderr.read().decode() for process in team if process.stderr]
        assert sorted(codes) == [0, 2]
        pid = team[codes.index(0)].pid
        assert f"r.jsonl is in use by process {pid} on " in complaints[codes.index(2)]
        assert [row["id"] for row in rows(tmp_path / "r.jsonl")] == [row["id"] for row in rows(samples)]
        (tmp_path / "r.jsonl").unlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.run.json", "scenes"]


def test_the_samples_themselves_are_never_overwritten(model: Fearful, samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = samples.read_bytes()
    assert respond(samples, samples) == 2
    assert samples.read_bytes() == before
    assert "is the file of samples itself" in capsys.readouterr().err


def test_a_file_without_samples_is_a_mistake(model: Fearful, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert respond(empty, tmp_path / "responses.jsonl") == 2
    assert "empty.jsonl holds no samples" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on(
    model: Fearful, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(requests: Iterable[Request]) -> Iterator[Reply]:
        if model.asked:
            raise KeyboardInterrupt
        yield from Fearful.answer(model, requests)

    monkeypatch.setattr(model, "answer", interrupted)
    out = tmp_path / "r.jsonl"
    assert respond(samples, out) == 130
    assert len(rows(out)) == 2
    assert f"give --resume to continue {out}" in capsys.readouterr().err
