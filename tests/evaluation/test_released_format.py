"""A file in the release's form, at the size of VECBench's test split, scored as formulas written down here say."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from emocaliber.__main__ import main
from emocaliber.core.tasks import TASKS
from emocaliber.emotions.taxonomy import taxonomy

SIZES = {"Abstract-8": 229, "Artphoto-8": 806}  # 1,000 of each other subtask: 8,035 in all
Truth = tuple[str, bool, float | None]  # task, whether the answer is right, the confidence that can be read


@pytest.mark.slow
def test_the_released_form_is_scored_as_independent_formulas_say(tmp_path: Path) -> None:
    rows, truths = released_rows()
    assert len(rows) == 8035
    unread = [re.search(r"( or |>not |boredom|perhaps)", row["response"]) is not None for row in rows]
    assert 200 < sum(unread) < 500
    (tmp_path / "released.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["score", str(tmp_path / "released.jsonl"), "--out", str(tmp_path / "out"), "--numbers-only", "--replicates", "200"]) == 0
    scored = json.loads((tmp_path / "out" / "metrics.json").read_text())
    for task in TASKS:
        assert_same(scored["tasks"][task], [each for each in truths if each[0] == task])
    assert_same({**scored["overall"], "accuracy": scored["overall"]["accuracy_pooled"]}, truths)
    assert scored["overall"]["format"] == 0
    assert scored["overall"]["malformed"]["count"] == sum(unread)


QUIRKS = (
    "<confidence>1.0</confidence>",
    "<confidence>0.0</confidence>",
    "<confidence>85%</confidence>",
    "\n<confidence>\n0.3\n</confidence>\n",
)
FORMS = (
    "<answer>{}</answer>",
    "<answer> {}.</answer>",
    "<answer>\n{}\n</answer>\n",
    "<answer>**{}**</answer>",
    "<answer>It is {}</answer>",
)
STATED = (1.0, 0.0, 0.85, 0.3)
LOST = ("", "<confidence>high</confidence>", "<confidence>85</confidence>", "<confidence>1.2</confidence>", "<confidence>0.7")
UNREADABLE = ("<answer>{} or {}</answer>", "<answer>not {}</answer>", "<answer>boredom</answer>", "So {}, perhaps.")


def released_rows() -> tuple[list[dict[str, Any]], list[Truth]]:
    """The rows, and of each what a careful reader makes of it."""
    chance = random.Random(4)
    rows: list[dict[str, Any]] = []
    truths: list[Truth] = []
    for task, known in TASKS.items():
        labels = list(taxonomy(known.taxonomy).labels)
        for _ in range(SIZES.get(task, 1000)):
            truth, other = chance.sample(labels, 2)
            right = chance.random() < 0.6
            answer = chance.choice(FORMS).format(chance.choice([str.lower, str.upper])(truth if right else other))
            said, confidence = stated(chance)
            if chance.randrange(25) == 0:
                answer, said, confidence, right = chance.choice(UNREADABLE).format(truth, other), "", None, False
            rows.append(
                {
                    "conversations": [{"role": "user", "content": [{"type": "image", "image": f"{task}/{len(rows)}.jpg"}]}],
                    "task": "UnbaisedEmo-6" if task == "UnbiasedEmo-6" else task,
                    "ground_truth": truth,
                    "candidates": labels,
                    "response": f"<think>It is bright.\nSo it goes.</think>{answer}{said}",
                    "confidence": confidence,
                }
            )
            truths.append((task, right, confidence))
    return rows, truths


def stated(chance: random.Random) -> tuple[str, float | None]:
    """The end of a response, and the confidence in it."""
    kind = chance.randrange(20)
    if kind == 0:
        place = chance.randrange(len(QUIRKS))
        return QUIRKS[place], STATED[place]
    if kind == 1:
        return chance.choice(LOST), None
    confidence = round(chance.random(), 2)
    return f"<confidence>{confidence:.2f}</confidence>", confidence


def assert_same(found: dict[str, Any], truths: list[Truth]) -> None:
    """Accuracy over all, and calibration over the answers that have a confidence, to 1e-9."""
    assert found["n"] == len(truths)
    assert found["accuracy"] == pytest.approx(np.mean([right for _, right, _ in truths]), abs=1e-9)
    stated = [(confidence, right) for _, right, confidence in truths if confidence is not None]
    confidences, rights = np.array([each[0] for each in stated]), np.array([each[1] for each in stated], dtype=float)
    verb = found["confidence"]["verb"]
    assert verb["coverage"] == pytest.approx(len(stated) / len(truths), abs=1e-9)
    assert verb["brier"] == pytest.approx(brier_score_loss(rights, confidences), abs=1e-9)
    assert verb["auroc"] == pytest.approx(roc_auc_score(rights, confidences), abs=1e-9)
    hundredths = np.rint(100 * confidences).astype(int)
    bins = np.maximum(-(-hundredths // 10), 1)  # (0, 10] is the first, 0 in it too
    gaps = [abs((rights[bins == b] - confidences[bins == b]).sum()) for b in range(1, 11)]
    assert verb["ece"] == pytest.approx(sum(gaps) / len(stated), abs=1e-9)
