"""`emocaliber cot`, from samples to the files that train a model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batch_server import BatchServer
from drawn_rows import drawn_rows
from emocaliber.__main__ import main
from emocaliber.io.lock import Lock
from emocaliber.io.rows import read_rows, write_rows
from emocaliber.veccot import recipe
from emocaliber.veccot.ledger import Ledger
from faulty_server import Asked, FaultyServer, completion
from provider import JUDGE_PROMPT, PRICES, TEACHER_PROMPT, Provider
from stand_ins import ColourModel

OFFLINE = ("--teacher", "narrator", "--judge", "checks")


def samples(folder: Path, n: int) -> Path:
    """Drawn rows with a small picture each."""
    rows = list(drawn_rows(n))
    (folder / "images").mkdir(parents=True)
    for number, row in enumerate(rows):
        Image.new("RGB", (12, 12), (number % 256, number // 256, 50)).save(folder / row["image"], compress_level=1)
    write_rows(folder / "samples.jsonl", rows)
    return folder


def build(folder: Path, *more: str) -> int:
    return main(["cot", "build", str(folder), "--ledger", str(folder / "ledger.db"), *more])


@pytest.mark.slow
def test_two_thousand_scenes_offline_from_samples_to_three_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples(tmp_path, 2000)
    assert build(tmp_path, *OFFLINE) == 0
    out = capsys.readouterr().out
    accepted = int(re.search(r"2,000 samples: ([\d,]+) accepted", out)[1].replace(",", ""))  # type: ignore[index]
    assert accepted >= 1980
    assert main(["cot", "export", "--ledger", str(tmp_path / "ledger.db"), "--out", str(tmp_path / "out"), "--formats", "rows"]) == 0
    ids = [row["id"] for stage in (1, 2, 3) for row in read_rows(tmp_path / "out" / f"stage{stage}.jsonl")]
    assert len(ids) == len(set(ids)) == accepted


def test_statistics_and_audit_read_the_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples(tmp_path, 8)
    build(tmp_path, *OFFLINE)
    capsys.readouterr()
    assert main(["cot", "stats", "--ledger", str(tmp_path / "ledger.db"), "--json", "--picture", str(tmp_path / "p.png")]) == 0
    assert json.loads(capsys.readouterr().out)["samples"]["accepted"] == 8
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert main(["cot", "stats", "--ledger", str(tmp_path / "ledger.db")]) == 0
    assert main(["cot", "audit", "--ledger", str(tmp_path / "ledger.db"), "--out", str(tmp_path / "audit.html"), "--n", "4"]) == 0
    assert "4 texts" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, problem",
    [
        (("--judge", "checks"), "no teacher is named; give --teacher"),
        (("--teacher", "narrator"), "no judge is named; give --judge"),
        ((*OFFLINE, "--set", "checks.shortest=many"), r"shortest must be a whole number"),
        ((*OFFLINE, "--teacher-prompt", "/none.txt"), "/none.txt: cannot be read as a prompt"),
        (("--teacher", "openai:m", "--judge", "checks", "--budget", "1"), r"a budget needs prices: give \[teacher\]"),
    ],
)
def test_mistakes_end_with_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], problem: str) -> None:
    samples(tmp_path, 2)
    assert build(tmp_path, *words) == 2
    assert re.search(problem, capsys.readouterr().err)


def test_samples_that_were_not_drawn_want_another_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples(tmp_path, 3)
    write_rows(tmp_path / "samples.jsonl", [{name: row[name] for name in row if name != "scene"} for row in drawn_rows(3)])
    assert build(tmp_path, *OFFLINE) == 3
    assert "3 failed" in capsys.readouterr().out


def test_two_runs_do_not_build_one_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples(tmp_path, 2)
    with Lock(tmp_path / "ledger.db", "ledger"):
        assert build(tmp_path, *OFFLINE) == 2
    assert f"ledger.db is in use by process {os.getpid()} on " in capsys.readouterr().err
    assert build(tmp_path, *OFFLINE) == 0


def test_a_ledger_is_not_resumed_with_other_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "load_model", lambda name: ColourModel())
    samples(tmp_path, 2)
    weights = tmp_path / "teacher" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"1")
    words = ("--teacher", str(weights.parent), "--judge", "checks")
    assert build(tmp_path, *words) == build(tmp_path, *words) == 0
    capsys.readouterr()
    weights.write_bytes(b"2")
    assert build(tmp_path, *words) == 2
    shown = capsys.readouterr().err
    assert re.search(r"ledger\.db was made with other weights of .*teacher: they were \w{64}, and are \w{64}\. .* another --ledger", shown)


@pytest.fixture
def provider() -> Provider:
    return Provider(delay=0.01, broken=0.0, slow=0.0)


def api(folder: Path, url: str) -> list[str]:
    """Flags for a teacher and a judge of the provider."""
    for name, prompt in (("teacher", TEACHER_PROMPT), ("judge", JUDGE_PROMPT)):
        (folder / f"{name}.txt").write_text(prompt)
    words = [f"{name}.{setting}" for name in PRICES for setting in (f"base_url={url}", f"prices={list(PRICES[name])}", "backoff=0.01")]
    prompts = ["--teacher-prompt", str(folder / "teacher.txt"), "--judge-prompt", str(folder / "judge.txt")]
    return ["--teacher", "openai:teacher", "--judge", "openai:judge", *prompts, "--set", *words]


@pytest.mark.slow
def test_a_dry_run_says_what_all_will_cost(tmp_path: Path, provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    samples(tmp_path, 120)
    with FaultyServer(provider) as server:
        assert build(tmp_path, *api(tmp_path, server.url), "--dry-run", "30") == 0
        said = capsys.readouterr().out
        found = re.search(r"the other (\d+) samples: \$([\d.]+) \(95 % interval \$([\d.]+) to \$([\d.]+)\)", said)
        assert found, said
        assert "dry run: 30 samples tried" in said
        before = provider.account
        assert build(tmp_path, *api(tmp_path, server.url)) == 0
    rest, price, low, high = (float(number) for number in found.groups())
    assert rest == 90
    assert low <= price <= high
    assert price == pytest.approx(provider.account - before, rel=0.25)


@pytest.mark.slow
def test_the_budget_stops_a_run_before_it_is_exceeded(tmp_path: Path, provider: Provider, capsys: pytest.CaptureFixture[str]) -> None:
    samples(tmp_path, 100)
    with FaultyServer(provider) as server:
        assert build(tmp_path, *api(tmp_path, server.url), "teacher.max_new_tokens=300", "judge.max_new_tokens=200", "--budget", "0.1") == 3
        said = capsys.readouterr().out
        assert "the budget of $0.1 is reached" in said
        assert 0.05 < provider.account <= 0.1
        with Ledger(tmp_path / "ledger.db") as book:
            assert book.totals().cost == pytest.approx(provider.account)
        assert build(tmp_path, *api(tmp_path, server.url), "teacher.max_new_tokens=300", "judge.max_new_tokens=200", "--budget", "9") == 0
    with Ledger(tmp_path / "ledger.db") as book:
        assert book.totals().accepted >= 98
        assert book.totals().cost == pytest.approx(provider.account)


def test_batches_build_the_same_ledger_at_half_the_price(tmp_path: Path, provider: Provider) -> None:
    samples(tmp_path, 12)

    def answer(fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        asked = Asked(fields["messages"][0]["content"][-1]["text"], 0, {}, fields, "")
        return 200, json.loads(completion(provider.text(asked), read=1000, written=100))

    with BatchServer(answer=answer) as server:
        words = [f"{name}.{setting}" for name in PRICES for setting in ("prices=[1.0, 10.0]", "poll=0.01")]
        flags = [*api(tmp_path, server.url), *words]
        assert main(["cot", "batch", str(tmp_path), "--ledger", str(tmp_path / "ledger.db"), *flags]) == 0
        with Ledger(tmp_path / "ledger.db") as book:
            assert book.totals().accepted == 12
            assert book.totals().cost == pytest.approx(server.cost(1.0, 10.0))
        assert server.half.total() > server.full.total()


@pytest.mark.slow
def test_an_interrupt_lets_what_is_under_way_end(tmp_path: Path) -> None:
    samples(tmp_path, 300)
    provider = Provider(delay=0.1, broken=0.0, slow=0.0)
    with FaultyServer(provider) as server:
        command = [sys.executable, "-m", "emocaliber", "cot", "build", str(tmp_path), "--ledger", str(tmp_path / "ledger.db")]
        process = subprocess.Popen(
            [*command, *api(tmp_path, server.url), "teacher.concurrency=4"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while len(provider.served["judge"]) < 5:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopping after the requests in flight" in err
    assert "it was told to stop" in out
    with Ledger(tmp_path / "ledger.db") as book:
        assert book.totals().cost == pytest.approx(provider.account), "all that was paid for is in the ledger"
        assert 5 <= book.totals().accepted < 290
