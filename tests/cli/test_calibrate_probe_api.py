"""`emocaliber calibrate probe` of a model that is paid by the token: a budget stops it, and nothing is paid for twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emocaliber.__main__ import main
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.io.rows import read_rows
from emocaliber.scenes.dataset import draw_samples
from faulty_server import Answer, FaultyServer, completion

TEXT = render(Response(Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms"), "awe", 0.8))


def test_a_budget_stops_the_probes_and_a_larger_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    list(draw_samples(tmp_path / "scenes", 10, 0, size=32, workers=1))
    out = tmp_path / "out"
    with FaultyServer(lambda asked: Answer(completion(TEXT, pieces=[TEXT], read=700))) as server:

        def probe(budget: float) -> int:
            settings = [f"base_url={server.url}", "prices=[1000,1000]", f"budget={budget}"]  # 71 cents for each answer
            command = ["calibrate", "probe", "openai:small", str(tmp_path / "scenes"), "--probes", "flip,wording", "--out", str(out)]
            return main([*command, "--json", *settings])

        assert probe(13.0) == 2
        assert "the budget of $13 is reached" in capsys.readouterr().err
        kept = len(list(read_rows(out / "answers.jsonl")))
        assert 10 <= kept <= len(server.asked) < 30
        (out / "answers.jsonl").write_text("".join((out / "answers.jsonl").read_text().splitlines(keepends=True)[:5]))  # some rows are lost
        assert probe(30.0) == 0
        assert len(server.asked) == 30
    found = json.loads(capsys.readouterr().out)
    assert found["probes"]["wording"]["same_answer"] == 1
    assert found["probes"]["flip"]["mean_change"] == 0
    assert "canary" not in "".join(path.read_text() for path in out.iterdir())
