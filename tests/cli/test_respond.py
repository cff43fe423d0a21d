"""`emocaliber respond` writes one row for each sample, goes on where it stopped, and says when some failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from emocaliber import models
from emocaliber.__main__ import main
from emocaliber.models import Reply, Request
from emocaliber.scenes import draw_samples


class Fearful:
    """A model that fears everything, and counts what it is asked."""

    name, notice, batch_size = "fearful", "It fears everything.", 2

    def __init__(self) -> None:
        self.asked = 0

    def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
        for _ in requests:
            self.asked += 1
            yield Reply("fear", 0.5)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Fearful:
    fearful = Fearful()

    def load(name: str, **settings: Any) -> Fearful:
        assert (name, settings) == ("m", {"batch_size": 2, "temperature": 0.0, "seed": 0})
        return fearful

    monkeypatch.setattr(models, "load_model", load)
    return fearful


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    list(draw_samples(tmp_path / "scenes", 5, 0, size=32, workers=1))
    return tmp_path / "scenes" / "samples.jsonl"


def respond(samples: Path, out: Path, *more: str) -> int:
    return main(["respond", str(samples), "--model", "m", "--out", str(out), "--batch-size", "2", *more])


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_sample_becomes_a_row_with_its_image_relative_to_the_file(
    model: Fearful, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs" / "responses.jsonl"
    assert respond(samples, out) == 0
    written = rows(out)
    assert [row["id"] for row in written] == [row["id"] for row in rows(samples)]
    assert {(row["model"], row["response"], row["error"]) for row in written} == {("fearful", "fear", None)}
    assert all((out.parent / row["image"]).is_file() for row in written)
    shown = capsys.readouterr()
    assert shown.out == f"{out}: 5 samples asked, 0 failed\n"
    assert "It fears everything." in shown.err


def test_an_image_that_cannot_be_opened_is_a_row_with_an_error_and_exit_code_3(model: Fearful, samples: Path, tmp_path: Path) -> None:
    (samples.parent / "images" / "scene-0-000001.png").write_bytes(b"no image")
    out = tmp_path / "responses.jsonl"
    assert respond(samples, out) == 3
    assert [row["error"] is not None for row in rows(out)] == [False, True, False, False, False]
    assert respond(samples, out, "--resume") == 3, "the row is still there"


def test_a_broken_run_asks_only_what_is_missing(model: Fearful, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "responses.jsonl"
    assert respond(samples, out) == 0
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:3]) + lines[3][:30])
    model.asked = 0
    assert respond(samples, out, "--resume") == 0
    assert out.read_bytes() == whole
    # Batches are those of an unbroken run: samples 2 and 3 are asked together again.
    assert model.asked == 3


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
