from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, roc_auc_score

from emocaliber.core.released import filled_in
from emocaliber.core.scoring import outcome
from emocaliber.core.tasks import GROUPS, TASKS, canonical_task
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.evaluation.parity import parity, parity_table
from emocaliber.evaluation.summary import summarise

Row = dict[str, Any]
SIZES = dict.fromkeys(TASKS, 1000) | {"Abstract-8": 229, "Artphoto-8": 806}
THINK = "<think><element>e</element><human>h</human><context>c</context><interaction>i</interaction><analysis>{}</analysis></think>"


def released_rows(seed: int = 0) -> Iterator[Row]:
    """8,035 rows as the authors released theirs, with every oddity their scripts stumble over."""
    draw = random.Random(seed)
    for task, size in SIZES.items():
        labels = list(taxonomy(TASKS[task].taxonomy).labels)
        written = "UnbaisedEmo-6" if task == "UnbiasedEmo-6" else task
        for _ in range(size):
            truth = draw.choice(labels)
            confidence = draw.choice([round(draw.random(), 2), 1.0, 0.3, 0.6, 0.7, 0.95])
            said = truth if draw.random() < 0.3 + 0.5 * confidence else draw.choice(labels)
            row = {"task": written, "ground_truth": truth, "candidates": labels}
            yield row | {"conversations": conversation(), **reply(draw, said, draw.choice(labels), confidence)}


def conversation() -> list[Row]:
    return [{"role": "user", "content": [{"type": "image", "image": "a.jpg"}, {"type": "text", "text": "Which emotion?"}]}]


def reply(draw: random.Random, said: str, thought: str, confidence: float) -> Row:
    """Mostly a proper reply; now and then one of the oddities."""
    think, answer, stated = THINK.format(f"it feels like {thought}"), f"<answer>{said}</answer>", f"<confidence>{confidence}</confidence>"
    odd = draw.random()
    if odd < 0.02:
        return {"response": None, "confidence": None}
    if odd < 0.04:
        answer = "<answer>no danger</answer>"
    elif odd < 0.06:
        answer = f"<answer>\n{said}\n</answer>"
    elif odd < 0.08:
        answer = said.upper()
    elif odd < 0.10:
        think, answer = "", "<answer>nothing at all</answer>"
    elif odd < 0.12:
        return {"response": think + answer, "confidence": None}
    elif odd < 0.14:
        return {"response": think + answer + "<confidence>quite sure</confidence>", "confidence": None}
    elif odd < 0.16:
        return {"response": think + answer + f"<confidence>\n{confidence}\n</confidence>", "confidence": None}
    elif odd < 0.18:
        return {"response": think + answer + stated, "confidence": str(confidence)}
    elif odd < 0.20:
        return {"response": think + answer + "<confidence>high</confidence>", "confidence": "high"}
    return {"response": think + answer + stated, "confidence": confidence if odd < 0.6 else None}


# The released formulas once more, as plainly as can be


def plain_prediction(text: str, candidates: list[str]) -> str:
    for candidate in candidates:
        if candidate in text.lower():
            return candidate
    return "unknown"


def plain_reading(row: Row, *, whole: bool) -> tuple[str, str, float] | None:
    """Truth, prediction and confidence (NaN where there is none), or None for a row that leaves the file."""
    text = row["response"]
    if text is None:
        return None
    found = re.findall(r"<answer>(.*?)</answer>", text)
    prediction = plain_prediction(found[0] if found and not whole else text, row["candidates"])
    stated = row["confidence"]
    if stated is None:
        tags = re.findall(r"<confidence>(.*?)</confidence>", text)
        stated = tags[0] if tags else "nan"
    try:
        return row["ground_truth"], prediction, float(stated)
    except ValueError:
        return None


def plain_numbers(rows: list[Row], *, whole: bool = False) -> dict[str, float]:
    kept = [reading for row in rows if (reading := plain_reading(row, whole=whole)) is not None]
    truths, predictions = [truth for truth, _, _ in kept], [prediction for _, prediction, _ in kept]
    confidences = np.array([confidence for _, _, confidence in kept])
    correct = np.array([truth == prediction for truth, prediction, _ in kept], dtype=float)
    correct, confidences = correct[~np.isnan(confidences)], confidences[~np.isnan(confidences)]
    ece, edges = 0.0, np.linspace(0, 1, 11)
    for i in range(10):
        inside = (confidences >= edges[i]) & (confidences < edges[i + 1])
        if inside.sum():
            ece += inside.sum() / len(confidences) * abs(correct[inside].mean() - confidences[inside].mean())
    return {
        "n": len(kept),
        "accuracy": accuracy_score(truths, predictions),
        "f1_weighted": f1_score(truths, predictions, average="weighted", zero_division=0),
        "ece": ece,
        "brier": brier_score_loss(correct, confidences),
        "auc": roc_auc_score(correct, confidences),
    }


def same(found: Row, plain: dict[str, float]) -> bool:
    """To the last digit but the rounding of sums taken in another order."""
    return {name: found[name] for name in plain} == pytest.approx(plain, rel=1e-12, abs=0)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return list(released_rows())


@pytest.fixture(scope="module")
def found(rows: list[Row]) -> Row:
    return parity(rows)


def test_there_are_as_many_answers_as_in_the_paper(rows: list[Row]) -> None:
    assert len(rows) == 8035


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_the_numbers_of_the_released_formulas(rows: list[Row], found: Row, task: str) -> None:
    assert same(found["tasks"][task], plain_numbers([row for row in rows if canonical_task(row["task"]) == task]))


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_pooled_and_its_mean_over_tasks_stands_beside(rows: list[Row], found: Row, group: str) -> None:
    members = [[row for row in rows if canonical_task(row["task"]) == task] for task in TASKS if TASKS[task].group == group]
    assert same(found["groups"][group], plain_numbers([row for member in members for row in member]))
    means = [plain_numbers(member)["accuracy"] for member in members]
    assert found["groups"][group]["accuracy_mean"] == pytest.approx(sum(means) / len(means), rel=1e-12)


def test_overall_searches_the_whole_response(rows: list[Row], found: Row) -> None:
    assert same(found["overall"], plain_numbers(rows, whole=True))
    assert found["overall"]["accuracy"] != plain_numbers(rows)["accuracy"]


# Each fault by itself


def row(response: str | None = "<answer>awe</answer>", **fields: Any) -> Row:
    labels = list(taxonomy("mikels-8").labels)
    return {"task": "FI-8", "ground_truth": "awe", "candidates": labels, "response": response} | fields


def test_no_danger_is_read_as_anger() -> None:
    assert parity([row("<answer>no danger</answer>", ground_truth="anger")])["tasks"]["FI-8"]["accuracy"] == 1


def test_the_first_candidate_of_the_list_wins_not_the_first_said() -> None:
    ambiguous = row("<answer>sadness, not awe</answer>", candidates=["awe", "sadness"])
    assert parity([ambiguous])["tasks"]["FI-8"]["accuracy"] == 1
    assert parity([ambiguous | {"candidates": ["sadness", "awe"]}])["tasks"]["FI-8"]["accuracy"] == 0


def test_an_answer_over_two_lines_sends_the_search_through_the_whole_response() -> None:
    assert parity([row("<think>awe</think><answer>\nfear\n</answer>")])["tasks"]["FI-8"]["accuracy"] == 1


def test_a_hundred_wrong_answers_at_confidence_1_have_no_calibration_error() -> None:
    sure = parity([row("<answer>fear</answer>", confidence=1.0)] * 100)["tasks"]["FI-8"]
    assert (sure["accuracy"], sure["ece"], sure["brier"], sure["auc"]) == (0, 0, 1, None)


def test_excluded_answers_are_counted() -> None:
    task = parity([row(), row(None), row(confidence="sure"), row(error={"code": "timeout", "message": "m"})])["tasks"]["FI-8"]
    assert (task["n"], task["failed"], task["bad_confidence"], task["with_confidence"]) == (1, 2, 1, 0)
    assert task["ece"] is None and task["brier"] is None


@pytest.mark.parametrize("stated", [float("nan"), "nan", "inf", None])
def test_a_confidence_that_is_no_finite_number_is_missing(stated: object) -> None:
    task = parity([row(confidence=stated), row(confidence=0.5)])["tasks"]["FI-8"]
    assert (task["n"], task["with_confidence"], task["brier"]) == (2, 1, 0.25)


def test_only_failures_give_no_numbers() -> None:
    overall = parity([row(None)])["overall"]
    assert overall["n"] == 0
    assert all(overall[name] is None for name in ("accuracy", "accuracy_mean", "f1_weighted", "ece", "brier", "auc"))


def test_rows_of_ours_are_read_by_their_text() -> None:
    ours = row("<answer>awe</answer><confidence>0.75</confidence>", confidence={"verb": 0.1})
    assert parity([ours])["overall"]["brier"] == 0.25**2


def test_the_row_at_fault_is_named() -> None:
    with pytest.raises(UserError, match="response row 2: field 'candidates'"):
        parity([row(), row(candidates=None)])


# The table


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:] if line.startswith("|")]


def test_the_table_sets_the_numbers_side_by_side_and_says_why_they_differ(rows: list[Row], found: Row) -> None:
    outcomes = [outcome(filled_in(each) | {"id": str(number)}) for number, each in enumerate(rows)]
    summary = summarise(outcomes, replicates=10)
    lines = cells(parity_table(found, summary))
    assert list(dict.fromkeys(line[0] for line in lines)) == [*TASKS, *GROUPS, "Overall"]
    for _, _, theirs, ours, why in lines:
        assert bool(why) == (theirs != ours)
    table = {(name, number): (theirs, ours, why) for name, number, theirs, ours, why in lines}
    theirs, ours, why = table["FI-8", "n"]
    assert (ours, theirs) == ("1,000", f"{found['tasks']['FI-8']['n']:,}")
    assert why == f"left out: {found['tasks']['FI-8']['failed']} failed, {found['tasks']['FI-8']['bad_confidence']} unreadable"
    assert f"edges: {found['tasks']['FI-8']['at_confidence_1']} with a confidence of 1" in table["FI-8", "ECE"][2]
    assert f"reading: {summary['tasks']['FI-8']['malformed']['count']} malformed" in table["FI-8", "accuracy"][2]
    assert "whole response" in table["Overall", "accuracy, pooled"][2]
    assert table["ID VER", "accuracy, pooled"][1] == f"{100 * summary['groups']['ID VER']['accuracy_pooled']:.2f}"


def test_without_a_difference_no_reason_is_given() -> None:
    proper = THINK.format("calm") + "<answer>awe</answer><confidence>0.75</confidence>"
    summary = summarise([outcome(row(proper, id="a"))], replicates=10)
    reasons = [(theirs == ours, why) for _, _, theirs, ours, why in cells(parity_table(parity([row(proper)]), summary))]
    assert set(reasons) == {(True, "")}
