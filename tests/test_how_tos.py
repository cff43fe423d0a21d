"""The commands of the how-tos run, in the order in which a reader types them."""

from __future__ import annotations

import json
import random
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from emocaliber.__main__ import main
from emocaliber.emotions.taxonomy import taxonomy

ROOT = Path(__file__).parents[1]
# Commands that need a network, a GPU, hours, or somebody at a page.
NOT_HERE = re.compile(r"wudq/|openai:|emocaliber (label|serve|train|cot|respond|scenes)\b")


def commands(page: str) -> Iterator[list[str]]:
    """The words of each command of a page, in its blocks and in its sentences."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    for line in re.findall(r"^ *\$ (emocaliber [^\n#]+)|`(emocaliber [^`]+)`", text, re.M):
        command = " ".join("".join(line).split())
        if not NOT_HERE.search(command):
            yield shlex.split(command)[1:]


def answers(file: Path, n: int, seed: int) -> None:
    chance = random.Random(seed)
    labels = list(taxonomy("mikels-8").labels)
    lines = ["image,truth,answer,confidence"]
    for number in range(n):
        truth, sure = labels[number % len(labels)], round(chance.uniform(0.4, 1), 2)  # the same pictures for every system
        answer = truth if chance.random() < sure else chance.choice([label for label in labels if label != truth])
        lines.append(f"{number:04}.jpg,{truth},{answer},{sure}")
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_from_answers_to_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answers(Path("answers.csv"), 400, 1)
    answers(Path("others.csv"), 400, 2)
    ran = [command for command in commands("how-to-answers") if main(command) == 0]
    assert [command[0] for command in ran] == ["score", "score", "compare", "calibrate", "calibrate", "calibrate"]
    assert Path("certificate", "index.html").is_file() and Path("calibrated.jsonl").is_file()


@pytest.mark.slow
def test_from_photographs_to_answers_that_are_sure_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("cat.jpg", "rocket.jpg"):
        shutil.copy(ROOT / "examples" / "photos" / name, Path("photos", name))
    labels = list(taxonomy("mikels-8").labels)
    samples = [
        {"id": name, "image": f"photos/{name}", "task": "EmoSet-8", "candidates": labels, "ground_truth": label, "votes": {label: 3}}
        for name, label in (("cat.jpg", "contentment"), ("rocket.jpg", "awe"))
    ]
    Path("samples.jsonl").write_text("".join(json.dumps(each) + "\n" for each in samples))
    codes = [(command[0], "certify" in command, main(command)) for command in commands("how-to-photographs")]
    # Two photographs certify nothing, which the command says with exit code 3; what follows has no certificate then.
    assert [code for name, certifies, code in codes if name == "predict"][:5] == [0] * 5
    assert [code for _, certifies, code in codes if certifies] == [3]
    assert [code for name, _, code in codes if name == "score"] == [0]
    assert Path("page", "index.html").is_file()
