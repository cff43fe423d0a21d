"""The code in docs/contributing.md does what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emocaliber.core.model import Reply, Request
from emocaliber.core.prompts import load_prompt
from emocaliber.core.response import Malformed, parse
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.taxonomy import taxonomy

PAGE = (Path(__file__).parents[1] / "docs" / "contributing.md").read_text("utf-8")


def blocks(section: str) -> list[str]:
    """The code blocks of one section of the page."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```(?:python|toml)\n(.*?)^```", text, re.M | re.S)


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


def printed(code: str) -> Any:
    """What a program prints as JSON, in a process of its own, as what it adds to the tables stays there."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    return json.loads(done.stdout)


def test_the_metric_is_one_with_an_interval() -> None:
    use = """
import json
from emocaliber.evaluation.stated import confidence_metrics
print(json.dumps(confidence_metrics([0.9] * 50, [number < 30 for number in range(50)])))
"""
    found = printed(blocks("A metric")[0] + use)
    assert found["overconfidence"] == pytest.approx(0.3)
    low, high = found["overconfidence_ci"]
    assert low < 0.3 < high


def test_the_reward_is_checked_for_what_it_pays() -> None:
    use = """
import json
from emocaliber.confidence.incentives import Incentives
print(json.dumps(list(Incentives(PRESETS["linear"]).warnings())))
"""
    assert "stating the true probability does not maximise the expected reward" in printed(blocks("A reward")[0] + use)


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
