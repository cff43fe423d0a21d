"""The factory through a service's batches: a ledger like any other, whose account is the service's, at about half the price."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batch_server import Answer, BatchServer, told
from emocaliber.io.rows import write_rows
from emocaliber.veccot.export import export_stages
from emocaliber.veccot.factory import build_ledger
from emocaliber.veccot.ledger import Ledger
from emocaliber.veccot.recipe import read_recipe
from small_ledger import sample
from small_ledger import told as reasoning

PRICES = (2.0, 8.0)
CRITERIA = ("hallucination", "label_leakage", "inconsistency", "conformity")


class TwoModels:
    """A teacher who gives every other label away when first asked about an image, and a judge who dislikes kites whose number ends in 3."""

    def __init__(self) -> None:
        self.pictures: list[str] = []
        self.asked: Counter[int] = Counter()

    def __call__(self, fields: dict[str, Any]) -> Answer:
        picture, question = (part.get("text") or part["image_url"]["url"] for part in fields["messages"][0]["content"])
        if picture not in self.pictures:
            self.pictures.append(picture)
        number = self.pictures.index(picture)
        if question.startswith("teach"):
            label = re.findall(r"label (\w+)", question)[0]
            text = reasoning(label, number)
            if number % 2 and not self.asked[number]:
                text = text.replace("A wide", f"With {label}, a wide")
            self.asked[number] += 1
        else:
            text = json.dumps({name: {"rating": 2 if number % 10 == 3 else 5, "reason": "So it is."} for name in CRITERIA})
        status, answer = told(fields)
        answer["choices"][0]["message"]["content"] = text
        return status, answer


@pytest.mark.slow
@pytest.mark.parametrize("budget", [None, 0.03])
def test_a_ledger_is_built_through_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float | None) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    samples = [sample(tmp_path / "images", number, "UnbiasedEmo-6") for number in range(12)]
    write_rows(tmp_path / "train.jsonl", [each.to_row(tmp_path) for each in samples])
    flags: dict[str, dict[str, Any]] = {"checks": {"shortest": 1, "similarity": 1.1}}
    with BatchServer(answer=TwoModels()) as server:
        for role, prompt in (("teacher", "teach: label {label} of {candidates}"), ("judge", "judge: {label}: {response}")):
            (tmp_path / role).write_text(prompt, "utf-8")
            settings = {"model": "openai:gpt", "base_url": server.url, "prices": list(PRICES), "poll": 0.0, "max_new_tokens": 200}
            flags[role] = {**settings, "prompt": str(tmp_path / role)}
        build_ledger([tmp_path / "train.jsonl"], tmp_path / "ledger", read_recipe(None, flags), budget=budget, batches=True)
        with Ledger(tmp_path / "ledger") as book:
            totals = book.totals()
        assert totals.cost == pytest.approx(server.cost(*PRICES))
        assert max((server.full + server.half).values()) <= 12 * 3
    if budget is None:
        assert (totals.accepted, totals.rejected, totals.failed) == (11, 1, 0)
        assert totals.by_reason == {"label_before_analysis": 6, **dict.fromkeys(CRITERIA, 2)}
        assert server.full.total() == 2 and sum(export_stages(tmp_path / "ledger", tmp_path / "out").counts["stage1"].values()) in (6, 7)
    else:
        assert 0 < totals.cost <= budget and totals.accepted < 11
