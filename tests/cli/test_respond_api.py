"""`emocaliber respond` against a server that is paid by the token: it stops in time, goes on, and tells no secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from emocaliber.__main__ import main
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.io.rows import read_rows
from emocaliber.scenes.dataset import draw_samples
from faulty_server import Answer, FaultyServer, completion, error

KEY = "sk-canary-0123456789"
TEXT = render(Response(Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms"), "awe", 0.8))


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer(lambda asked: Answer(completion(TEXT, pieces=[TEXT], read=700))) as running:
        yield running


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    list(draw_samples(tmp_path / "scenes", 6, 0, size=32, workers=1))
    return tmp_path / "scenes"


def respond(samples: Path, out: Path, *more: str) -> int:
    return main(["respond", str(samples), "--model", "openai:small", "--out", str(out), "--max-new-tokens", "10", *more])


def test_a_budget_stops_the_run_and_a_larger_one_goes_on_without_paying_twice(
    server: FaultyServer, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    out = tmp_path / "run"
    paid = ["--base-url", server.url, "--price", "1000", "1000"]  # 71 cents for each answer
    assert respond(samples, out, *paid, "--budget", "2.5") == 3
    answered = len(list(read_rows(out / "responses.jsonl")))
    assert 1 <= answered == len(server.asked) <= 3
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.endswith(f"{answered} of 6 samples asked, 0 failed, ${0.71 * answered:.4f} spent")
    assert last.startswith(f"stopped with {6 - answered} samples to go: the budget of $2.5 is reached")
    assert respond(samples, out, *paid, "--budget", "9", "--resume") == 0
    rows = list(read_rows(out / "responses.jsonl"))
    assert [row["id"] for row in rows] == [row["id"] for row in read_rows(samples / "samples.jsonl")]
    assert len(server.asked) == 6
    results = json.loads((out / "responses.run.json").read_text())["results"]
    assert results["usage"] == {"prompt_tokens": 4200, "completion_tokens": 60, "cost": pytest.approx(4.26)}


def test_rows_that_were_lost_are_made_of_the_journal(server: FaultyServer, samples: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert respond(samples, out, "--base-url", server.url) == 0
    before = list(read_rows(out / "responses.jsonl"))
    (out / "responses.jsonl").unlink()
    assert respond(samples, out, "--base-url", server.url) == 0
    assert [row["response"] for row in read_rows(out / "responses.jsonl")] == [row["response"] for row in before]
    assert len(server.asked) == 6
    assert main(["score", str(out), "--out", str(tmp_path / "score"), "--numbers-only", "--replicates", "200"]) == 0, "it is no shard"


def test_a_wrong_key_is_wrong_usage_and_told_nowhere(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with FaultyServer(lambda asked: error(401, f"wrong key: {KEY}")) as server:
        assert respond(samples, tmp_path / "run", "--base-url", server.url) == 2
    shown = capsys.readouterr()
    written = b"".join(file.read_bytes() for file in (tmp_path / "run").iterdir())
    assert KEY not in shown.out + shown.err + written.decode()


def test_failures_are_asked_about_again_on_request_alone(server: FaultyServer, samples: Path, tmp_path: Path) -> None:
    well, server.behaviour = server.behaviour, lambda asked: error(400, "the image is too strange")
    out = tmp_path / "run"
    assert respond(samples, out, "--base-url", server.url) == 3
    assert {row["error"]["code"] for row in read_rows(out / "responses.jsonl")} == {"bad_request"}
    server.behaviour = well
    assert respond(samples, out, "--base-url", server.url, "--resume") == 3
    assert respond(samples, out, "--base-url", server.url, "--retry-failed") == 0


def test_a_setting_that_an_api_does_not_have_is_named(samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert respond(samples, tmp_path / "run", "--max-pixels", "9") == 2
    assert "models of the kind 'openai' have no setting 'max_pixels'" in capsys.readouterr().err
