"""Calibrators from files of answers to files of answers: what is recorded, what is refused, and that `score` reads the result."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emocaliber as ec
from emocaliber.core.calibrators import Calibrators, Logistic, QuestionCalibrator
from emocaliber.errors import UserError
from emocaliber.models.card import read_calibrators
from emocaliber.trust.applying import apply_calibrators

MAP = Logistic(("verb",), (1.0,), 0.0)
LABELS = {"FI-2": ["positive", "negative"], "mine": ["calm", "tense"]}


def rows(n: int, task: str = "FI-2", seed: int = 0, **further: Any) -> list[dict[str, Any]]:
    """Response rows whose stated confidence is too high: right with probability 0.8 of it."""
    random = np.random.default_rng(seed)
    right_label, wrong_label = LABELS[task]
    found = []
    for number in range(n):
        stated = round(float(random.uniform(0.3, 0.99)), 2)
        answer = right_label if random.random() < 0.8 * stated else wrong_label
        text = f"<answer>{answer}</answer><confidence>{stated}</confidence>"
        row = {"id": f"{task}{number}", "task": task, "candidates": LABELS[task], "ground_truth": right_label, "response": text}
        found.append(row | {"model": "m", "error": None, "confidence": {"commit": round(float(random.random()), 3)}} | further)
    return found


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ec.Calibration]:
    file = write(tmp_path_factory.mktemp("fit") / "answers.jsonl", [*rows(400), *rows(20, "mine", seed=1)])
    return file, ec.calibrate(file, methods=["platt", "beta"], replicates=200)


def test_a_calibrator_says_what_it_was_fitted_on(fitted: tuple[Path, ec.Calibration]) -> None:
    file, found = fitted
    (entry,) = found.content["questions"]
    assert (entry["task"], entry["labels"], entry["n"]) == ("FI-2", LABELS["FI-2"], 400)
    assert entry["right"] == sum(row["response"].startswith("<answer>positive") for row in rows(400))
    assert entry["answers"] == {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "rows": 420}
    assert found.content["model"]["name"] == "m"
    assert {each["method"] for each in entry["tried"]} == {"platt", "beta"} and entry["map"]["sources"] == ["verb"]
    assert len(entry["made"]) == 10
    for moment in ("before", "after"):
        low, high = entry[moment]["brier_ci"]
        assert low < entry[moment]["brier"] < high
    assert entry["before"]["source"] == "verb" and entry["before"]["bias"] > 0.08
    assert abs(entry["after"]["bias"]) < 0.03 and entry["after"]["ece"] < entry["before"]["ece"]


def test_a_question_with_few_answers_has_none_and_says_so(fitted: tuple[Path, ec.Calibration]) -> None:
    _, found = fitted
    (lacking,) = found.content["uncalibrated"]
    assert lacking["task"] == "mine" and "20 answers have a confidence" in lacking["why"]
    assert any(note.startswith("mine has no calibrator") for note in found.notes)
    assert "mine has no calibrator: 20 answers" in repr(found), "what lacks one is shown beside the others"
    assert "FI-2" in repr(found) and max(map(len, repr(found).splitlines()[:3])) <= 80


def test_saved_and_applied_again_it_adds_two_fields_and_changes_no_other(fitted: tuple[Path, ec.Calibration], tmp_path: Path) -> None:
    _, found = fitted
    read = read_calibrators(found.save(tmp_path / "c.json"))
    given = [*rows(30, seed=7), *rows(5, "mine"), rows(1)[0] | {"id": "x", "response": None, "error": {"code": "timeout", "message": "t"}}]
    for row in given:
        del row["ground_truth"]  # no truth is needed
    applied = apply_calibrators(read, write(tmp_path / "new.jsonl", given))
    assert [{key: value for key, value in row.items() if key not in ("calibrated", "uncalibrated")} for row in applied] == given
    assert all(0 < row["calibrated"] < 1 and row["uncalibrated"] is None for row in applied[:30])
    assert applied.calibrated == 30
    assert [row["uncalibrated"] for row in applied[30:]] == [
        *["it was not fitted for mine, but for FI-2"] * 5,
        "there is no answer that can be read",
    ]
    assert applied[:30] == tuple(found.apply(given)[:30]), "the same in Python, from rows in memory"


def test_answers_of_another_model_are_not_calibrated(fitted: tuple[Path, ec.Calibration]) -> None:
    applied = fitted[1].apply(rows(3, model="other"))
    assert dict(applied.reasons) == {"it was fitted on answers of m, not of other": 3}
    assert repr(applied) == "<Applied: 0 of 3 rows calibrated; 3 not: it was fitted on answers of m, not of other>"


def test_one_method_may_be_given_as_a_text(tmp_path: Path) -> None:
    found = ec.calibrate(rows(60), methods="platt", replicates=50)
    assert {each["method"] for each in found.content["questions"][0]["tried"]} == {"platt"}


def test_score_shows_the_calibrated_confidence_first(fitted: tuple[Path, ec.Calibration], tmp_path: Path) -> None:
    out = fitted[1].apply(rows(300, seed=8)).save(tmp_path / "calibrated.jsonl")
    score = ec.score(out, replicates=200)
    assert score.summary["settings"]["sources"][0] == "calibrated"
    confidence = score.summary["overall"]["confidence"]
    assert confidence["calibrated"]["coverage"] == 1 and confidence["calibrated"]["brier"] < confidence["verb"]["brier"]


def test_a_table_of_another_model_goes_through_fit_apply_and_score(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    table = [("awe" if random.random() < 0.7 * p else "fear", "awe", f"{p:.3f}") for p in random.uniform(0.2, 1, 300)]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("pred", "label", "p"), *table, ("fear", "fear", "0.9")])
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("pred", "p"), *[(answer, p) for answer, _, p in table[:50]]])
    found = ec.calibrate(tmp_path / "t.csv", columns="truth=label,answer=pred,confidence=p", methods=["platt"], replicates=200)
    out = found.apply(tmp_path / "new.csv", columns="answer=pred,confidence=p").save(tmp_path / "out.csv")
    with out.open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [row["p"] for row in written] == [p for _, _, p in table[:50]] and all(float(row["calibrated"]) < 1 for row in written)


NUMBERS = "the answers: no calibrator can be fitted: FI-2: "


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (rows(12), NUMBERS + "12 answers have a confidence, and a calibrator needs at least 50"),
        ([row | {"response": "<answer>positive</answer>"} for row in rows(60)], NUMBERS + "none of 60 answers is wrong"),
        ([row | {"confidence": {}, "response": "<answer>positive</answer>"} for row in rows(60)], NUMBERS + "none of 60 answers has a"),
        ([{"answer": "awe", "confidence": 0.4}] * 60, "column"),
        ([row | {"confidence": {"commit": float("nan")}} for row in rows(60)], "field 'confidence.commit' is nan"),
        ([*rows(60), *[row | {"id": f"o{row['id']}"} for row in rows(60, model="other")]], "answers of 2 models (m, other)"),
    ],
)
def test_answers_without_a_calibrator_in_them_are_refused_in_a_sentence(given: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(UserError) as refused:
        ec.calibrate(given, replicates=200)
    assert why in str(refused.value)


def test_unknown_sources_and_methods_are_named(fitted: tuple[Path, ec.Calibration]) -> None:
    with pytest.raises(UserError, match="no confidence 'comit'; there are commit, verb"):
        ec.calibrate(rows(60), sources=["comit"])
    with pytest.raises(UserError, match=r"no method 'plat'; .*did you mean platt"):
        ec.calibrate(rows(60), methods=["plat"])


def test_what_cannot_be_written_or_read_is_refused(fitted: tuple[Path, ec.Calibration], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.jsonl, \.csv, \.parquet"):
        fitted[1].apply(rows(1)).save(tmp_path / "x.txt")
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(UserError, match=r"c\.json: this is not JSON"):
        read_calibrators(tmp_path / "c.json")


def test_applying_needs_no_scikit_learn() -> None:
    code = (
        "import sys; import emocaliber.trust.applying as a; from emocaliber.core.calibrators import *;"
        "c = Calibrators((QuestionCalibrator('t', ('a', 'b'), Logistic(('verb',), (1.0,), 0.0)),));"
        "row = {'id': '1', 'task': 't', 'candidates': ['a', 'b'], 'response': '<answer>a</answer><confidence>0.7</confidence>'};"
        "assert a.apply_calibrators(c, [row])[0]['calibrated'] == 0.7; print('sklearn' in sys.modules, 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"


def test_calibrators_of_one_question_alone_give_rows_their_labels() -> None:
    found = Calibrators((QuestionCalibrator("custom", ("awe", "fear"), Logistic(("confidence",), (1.0,), 0.0)),))
    applied = apply_calibrators(found, [{"answer": "awe", "confidence": 0.25}])
    assert applied[0] == {"answer": "awe", "confidence": 0.25, "calibrated": 0.25, "uncalibrated": None}


def test_predictions_are_calibrated_without_their_truths(tmp_path: Path) -> None:
    labels = ("positive", "negative")
    found = Calibrators((QuestionCalibrator("FI-2", labels, Logistic(("confidence",), (0.0,), 0.0)), QuestionCalibrator("x", labels, MAP)))
    row = {
        "image": "a.jpg",
        "task": "FI-2",
        "emotion": "positive",
        "confidence": 0.9,
        "confidence_source": "verb",
        "model": "m",
        "error": None,
    }
    applied = apply_calibrators(found, [row, row | {"image": "b.jpg", "task": "WebEmo-2"}])
    assert [(each["calibrated"], each["uncalibrated"]) for each in applied] == [
        (0.5, None),
        (None, "it was not fitted for WebEmo-2, but for FI-2, x"),
    ]
    assert applied[0] == row | {"calibrated": 0.5, "uncalibrated": None}
