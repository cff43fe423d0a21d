"""The share of people from a file of answers with votes or posteriors to rows, predictions and their page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import emocaliber as ec
from emocaliber.__main__ import build_parser
from emocaliber.core.calibrators import Calibrators, Logistic, PeopleModel, QuestionCalibrator
from emocaliber.core.source_words import people_words
from emocaliber.errors import UserError
from emocaliber.models.card import read_calibrators
from emocaliber.predict.predictor import Predictor, Query
from emocaliber.predict.report import write_prediction_report
from emocaliber.predict.table import PredictionTable
from stand_ins import ColourModel

LABELS = ["awe", "fear"]


def rows(n: int, seed: int = 0, people: int | None = None, task: str = "mine") -> list[dict[str, Any]]:
    """Answers whose true shares scatter around three quarters of the stated confidence."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(n):
        stated = round(float(random.uniform(0.2, 0.98)), 2)
        share = round(float(random.beta(0.75 * stated * 20, (1 - 0.75 * stated) * 20)), 4)
        truth = "awe" if random.random() < share else "fear"
        votes = int(random.binomial(people, share)) if people else 0
        known = {"votes": {"awe": votes, "fear": people - votes}} if people else {"posterior": {"awe": share, "fear": round(1 - share, 4)}}
        row = {"id": f"{task}{seed}-{number}", "task": task, "candidates": LABELS, "ground_truth": truth, "confidence": {"verb": stated}}
        found.append(row | {"response": f"<answer>awe</answer><confidence>{stated}</confidence>", "model": "m", "error": None} | known)
    return found


@pytest.fixture(scope="module")
def fitted() -> ec.Calibration:
    return ec.calibrate([*rows(500), *[{**row, "posterior": None} for row in rows(60, task="other")]], methods=["platt"], replicates=200)


def test_a_calibrator_says_how_its_shares_of_people_were_fitted(fitted: ec.Calibration) -> None:
    mine, other = fitted.content["questions"]
    assert {key: mine["people"][key] for key in ("truth", "fitted", "levelled", "level")} == {
        "truth": "posterior",
        "fitted": 300,
        "levelled": 200,
        "level": 0.8,
    }
    assert mine["people"]["distance"] == pytest.approx(0.08, abs=0.03)
    assert (other["people"], other["why_no_people"]) == (None, "no answer has votes or a posterior")
    assert "mine: the share of people who would say so is 0.9 of 10 off on average" in repr(fitted)
    assert not any("people" in note for note in fitted.notes), "where nothing was said about people, nothing is missing"


def test_some_answers_without_votes_leave_the_question_without_people_and_a_note_says_so() -> None:
    given = rows(80, people=11)
    del given[0]["votes"]
    found = ec.calibrate(given, methods=["platt"], replicates=200)
    assert any(note.startswith("mine has no share of people: 1 of 80 answers have neither votes nor") for note in found.notes)
    assert "people" not in found.apply(rows(3))[0], "nothing is invented"


def test_saved_and_applied_it_adds_the_share_and_its_interval(fitted: ec.Calibration, tmp_path: Path) -> None:
    read = read_calibrators(fitted.save(tmp_path / "c.json"))
    found = fitted.apply([*rows(400, seed=1), *rows(2, task="other"), rows(1)[0] | {"response": None}])
    model = read.find("mine", LABELS)
    assert model is not None and model.people is not None
    for row in found[:20]:
        share = model.people(row["confidence"])
        assert (row["people"], row["people_low"], row["people_high"]) == (share.people, share.low, share.high)
        assert 0 <= row["people_low"] < row["people"] < row["people_high"] <= 1
    assert all(row["calibrated"] is not None and row["people"] is row["people_low"] is None for row in found[400:402])
    assert found[402]["people"] is None and found.with_people == 400
    scored = ec.score(found[:400], replicates=200).summary["overall"]["people"]
    assert scored["mae"] < 0.12 and scored["interval_coverage"] == pytest.approx(0.8, abs=0.08)


def test_votes_do_nearly_as_well_as_posteriors() -> None:
    new = rows(400, seed=2)
    for given in (rows(600, people=11), rows(600)):
        found = ec.score(ec.calibrate(given, methods=["platt"], replicates=200).apply(new)[:], replicates=200)
        assert found.summary["overall"]["people"]["interval_coverage"] == pytest.approx(0.8, abs=0.09)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"inner": 2}, "its inner part in"),
        ({"level": 0.9}, "its level 0.8"),
        ({"map": {"method": "magic"}}, "is no map of the methods"),
        ({"concentration": {}}, "is no share of people"),
    ],
)
def test_a_file_with_an_impossible_share_of_people_is_refused(fitted: ec.Calibration, change: dict[str, Any], why: str) -> None:
    content = json.loads(json.dumps(fitted.content))
    content["questions"][0]["people"] |= change
    with pytest.raises(UserError, match=rf"c\.json: question 1 cannot be read .*{why}.*fit the calibrator again"):
        Calibrators.from_json(content, "c.json")


def test_the_command_says_what_it_fitted_and_what_it_added(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(120)))
    for words in (
        ["fit", "a.jsonl", "--out", "c.json", "--methods", "platt", "--replicates", "200"],
        ["apply", "a.jsonl", "--calibrator", "c.json", "--out", "out.csv"],
    ):
        args = build_parser().parse_args(["calibrate", *(str(tmp_path / word) if "." in word else word for word in words)])
        assert args.run(args) == 0
    shown = capsys.readouterr().out
    assert "mine: the share of people who would say so is" in shown and "120 rows with the share of people" in shown
    assert "people_low" in (tmp_path / "out.csv").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0.72, 0.5, 0.81), "about 7 of 10 people would say so (5 to 8)"),
        ((0.72, 0.69, 0.74), "about 7 of 10 people would say so"),
        ((0.03, 0.0, 0.2), "under 1 of 10 people would say so (0 to 2)"),
        ((None, None, None), None),
    ],
)
def test_a_share_of_people_in_words(numbers: tuple[float | None, ...], words: str | None) -> None:
    assert people_words(*numbers) == words


@pytest.mark.filterwarnings("ignore")
def test_predictions_their_table_and_their_page_say_it(tmp_path: Path) -> None:
    even = Logistic(("verb",), (0.0,), 0.0)
    people = PeopleModel(even, ("verb",), (0.0,), 2.0, 0.8)
    calibrators = Calibrators((QuestionCalibrator("custom", ("calm", "panic"), even, people),))
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    predictor = Predictor(ColourModel(), calibrators=calibrators)
    query, other = Query.of(labels="calm,panic"), Query.of(labels="calm,joy")
    assert predictor.knows_people(query) and not predictor.knows_people(other)
    found = predictor.predict(tmp_path / "red.png", labels="calm,panic")
    assert found.people == 0.5 and found.people_low is not None and found.people_low < 0.4
    assert "about 5 of 10 people would say so (3 to 7)" in repr(found) and "5 of 10" in found._repr_html_()
    table = PredictionTable([found.image], query, None, people=True)
    assert "people" in str(table.head()) and "5 of 10 (3 to 7)" in "".join(map(str, table.lines(found)))
    page = write_prediction_report([found.to_row()], tmp_path / "page", model="m").read_text()
    assert "About 5 of 10 people would say so (3 to 7)." in page
    unknown = predictor.predict(tmp_path / "red.png", labels="calm,joy")
    assert unknown.people is unknown.people_low is None
    assert "of 10 people" not in write_prediction_report([unknown.to_row()], tmp_path / "other", model="m").read_text()
