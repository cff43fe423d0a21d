"""The code in docs/contributing.md does what the page says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emocaliber.confidence import rewards
from emocaliber.confidence.incentives import Incentives
from emocaliber.core.model import Reply, Request
from emocaliber.core.prompts import load_prompt
from emocaliber.core.response import Malformed, parse
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.evaluation import calibration, stated

PAGE = (Path(__file__).parents[1] / "docs" / "contributing.md").read_text("utf-8")


def blocks(section: str) -> list[str]:
    """The code blocks of one section of the page."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```(?:python|toml)\n(.*?)^```", text, re.M | re.S)


def entries(block: str, names: dict[str, Any]) -> Iterator[Any]:
    """The values of a block of lines, each one entry of a dictionary."""
    for line in block.splitlines():
        yield from eval(f"{{{line.partition('#')[0]}}}", names).values()


def test_the_reader_reads_a_folder_of_each_label(tmp_path: Path) -> None:
    labels = taxonomy("unbiasedemo-6").labels
    for shade, label in enumerate(labels):
        (tmp_path / label).mkdir()
        Image.new("RGB", (16, 16), (40 * shade, 0, 0)).save(tmp_path / label / "one.png")
    (tmp_path / labels[0] / "notes.txt").touch()
    names: dict[str, Any] = {}
    exec(blocks("A data set")[0], names)
    found = names["read"](tmp_path)
    assert [item.label for item in found.items] == sorted(labels)
    assert len(found.skipped) == 1


def test_the_metric_is_one_with_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    names = dict(vars(calibration))
    function, table = blocks("A metric")
    exec(function, names)
    monkeypatch.setattr(calibration, "overconfidence", names["overconfidence"], raising=False)
    metric, bounds = entries(table, {"calibration": calibration})
    monkeypatch.setitem(stated.METRICS, "overconfidence", metric)
    monkeypatch.setitem(stated.BOUNDS, "overconfidence", bounds)
    found = stated.confidence_metrics(np.full(50, 0.9), np.arange(50) < 30)
    assert found["overconfidence"] == pytest.approx(0.3)
    low, high = found["overconfidence_ci"]
    assert low < 0.3 < high


def test_the_reward_is_checked_for_what_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    score, preset = blocks("A reward")[0].splitlines()
    monkeypatch.setattr(rewards, "SCORES", {**rewards.SCORES, "linear": next(entries(score, {}))})
    settings = next(entries(preset, dict(vars(rewards))))
    assert "stating the true probability does not pay best" in Incentives(settings).warnings()


def test_the_model_answers_every_request() -> None:
    names: dict[str, Any] = {"Iterable": Iterable, "Iterator": Iterator, "Reply": Reply, "Request": Request}
    exec(blocks("A model")[0], names)
    labels = Labels.of(["calm", "tense"])
    replies = list(names["UniformModel"]("floor").answer(Request(Image.new("RGB", (8, 8)), "?", labels) for _ in range(3)))
    parsed = [parse(reply.text, labels, lenient=True) for reply in replies]
    assert len(parsed) == 3
    assert not any(isinstance(each, Malformed) for each in parsed)


def test_the_prompt_can_be_asked(tmp_path: Path) -> None:
    file = tmp_path / "brief.toml"
    file.write_text(blocks("A prompt")[0], "utf-8")
    question = load_prompt(str(file)).question("EmoSet-8", taxonomy("mikels-8").labels)
    assert "'awe'" in question
    assert question.startswith("Which emotion might")
    assert "<confidence>" in question
