"""Probing a model: what is asked, in which order, what is written, and what comes out of models whose confidence is known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emocaliber.core.calibrators import Calibrators, Logistic, QuestionCalibrator
from emocaliber.core.model import Model, ModelError, Reply, Request
from emocaliber.core.response import Reasoning, Response, render
from emocaliber.errors import UserError
from emocaliber.io.rows import read_rows, write_rows
from emocaliber.trust.probing import AnswersFile, ProbePlan, Prober, plan_of_pictures, plan_of_samples
from scripted import Say, Scripted
from stand_ins import ColourModel

EIGHT = ["amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness"]
STEPS = Reasoning("a", "b", "c", "d", "e")


def boards(folder: Path, n: int = 12) -> Path:
    """Chequered pictures, each of two colours, with their sample rows."""
    rows = []
    for number in range(n):
        tiles = np.indices((8, 8)).sum(axis=0) % 2
        colours = np.array([[250 - 2 * number, 240, 230], [10, 5 * number, 3 * number]], dtype=np.uint8)
        folder.mkdir(exist_ok=True)
        Image.fromarray(colours[tiles]).resize((64, 64), Image.Resampling.NEAREST).save(folder / f"{number}.png")
        label = EIGHT[number % 8]
        rows.append(
            {
                "id": f"s{number}",
                "image": f"{number}.png",
                "task": "EmoSet-8",
                "candidates": EIGHT,
                "ground_truth": label,
                "source": "boards",
                "split": "test",
            }
        )
    write_rows(folder / "samples.jsonl", rows)
    return folder


def says(label: str, confidence: float | None) -> str:
    return render(Response(STEPS, label, confidence))


def by_detail(request: Request) -> str:
    """Surer the more the picture's pixels differ; always awe, or else the first candidate."""
    spread = float(np.asarray(request.image.convert("L"), dtype=float).std())
    label = "awe" if "awe" in request.candidates else request.candidates[0]
    return says(label, round(min(spread / 150, 1.0), 2))


def probed(model: Model, plan: ProbePlan, source: str = "verb") -> dict[str, Any]:
    prober = Prober(model, plan, source)
    list(prober.ask())
    return {result.probe.name: result for result in prober.results()}


def plan_for(folder: Path, names: str | None = None, n: int = 100) -> ProbePlan:
    return plan_of_samples([folder], n=n, names=names)


def test_a_confidence_that_rests_on_what_is_seen_falls_without_it(tmp_path: Path) -> None:
    results = probed(Scripted(by_detail), plan_for(boards(tmp_path, 24), "blank,blurred,flip"))
    assert results["blank"].verdict == "passes"
    assert results["blank"].after == 0
    assert results["blurred"].numbers["falls"].value == 1
    assert results["flip"].numbers["mean_change"].value == 0


def test_a_guess_about_an_unfamiliar_picture_has_the_confidence_of_chance_as_in_predict(tmp_path: Path) -> None:
    class Lost(Scripted):
        unfamiliar = "nothing"
        guesses_unfamiliar = True
        calibrators = Calibrators((QuestionCalibrator("EmoSet-8", tuple(EIGHT), Logistic(("verb",), (1.0,), 0.0)),))

    def says_so(request: Request) -> str:
        blank = float(np.asarray(request.image, dtype=float).std(axis=(0, 1)).max()) < 1
        return render(Response(replace(STEPS, element="nothing") if blank else STEPS, "awe", 0.9))

    blank = probed(Lost(says_so), plan_for(boards(tmp_path, 24), "blank"), "calibrated")["blank"]
    assert (blank.verdict, blank.before, blank.after) == ("passes", pytest.approx(0.9), 1 / 8)


def test_a_confidence_that_ignores_the_picture_fails_where_it_must_fall_and_only_there(tmp_path: Path) -> None:
    results = probed(Scripted(lambda request: says("awe", 0.9)), plan_for(boards(tmp_path, 24), "blank,noise,mosaic,swapped,flip,wording"))
    assert {name for name, result in results.items() if result.verdict == "fails"} == {"blank", "noise", "mosaic", "swapped"}


def test_a_habit_of_naming_the_first_candidate_is_seen_in_another_order(tmp_path: Path) -> None:
    results = probed(Scripted(lambda request: says(request.candidates[0], 0.9)), plan_for(boards(tmp_path, 24), "order,flip"))
    assert results["order"].numbers["same_answer"].value < 0.5
    assert results["order"].verdict == "fails"
    assert results["flip"].numbers["same_answer"].value == 1


def test_a_synonym_counts_as_the_same_answer(tmp_path: Path) -> None:
    results = probed(Scripted(lambda request: says(request.candidates[1], 0.9)), plan_for(boards(tmp_path, 12), "synonyms"))
    assert results["synonyms"].numbers["same_answer"].value == 1


def test_each_question_is_asked_as_the_probe_says(tmp_path: Path) -> None:
    model = Scripted(by_detail)
    probed(model, plan_for(boards(tmp_path, 10)))
    by_probe: dict[str, list[Request]] = {}
    for request in model.asked:
        by_probe.setdefault(request.key.partition(":")[2], []).append(request)
    assert next(iter(by_probe)) == "original"
    assert len(model.asked) == 14 * 10
    first = by_probe["original"][0]
    assert "'amusement', 'awe'" in first.question
    assert "'fun', 'wonder'" in by_probe["synonyms"][0].question
    assert by_probe["wording"][0].question.startswith("A person looks at this picture.")
    assert [len(by_probe[name][0].candidates) for name in ("original", "fewer", "no_truth", "order")] == [8, 6, 7, 8]
    truths = {row["id"]: row["ground_truth"] for row in read_rows(tmp_path / "samples.jsonl")}
    assert all(truths[request.key.partition(":")[0]] not in request.question for request in by_probe["no_truth"])
    assert all(one.image.tobytes() == two.image.tobytes() for one, two in zip(by_probe["original"], by_probe["order"], strict=True))
    assert all(one.image.tobytes() != two.image.tobytes() for one, two in zip(by_probe["original"], by_probe["swapped"], strict=True))


def test_without_any_confidence_nothing_is_asked_beyond_the_pictures_own_questions(tmp_path: Path) -> None:
    model = Scripted(lambda request: says("awe", None))
    with pytest.raises(
        UserError, match="scripted gave no confidence by the source 'verb' in 12 answers; it can be scored for accuracy only"
    ):
        probed(model, plan_for(boards(tmp_path)))
    assert len(model.asked) == 12


def test_a_source_that_a_model_lacks_is_answered_with_those_that_it_has(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="by the source 'avg' in 12 answers; give --source with one of verb"):
        probed(Scripted(by_detail), plan_for(boards(tmp_path)), "avg")


def test_without_any_answer_the_first_failure_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"12 of 12 pictures have no readable answer \(refused 12; the first: I will not\)"):
        probed(Scripted(lambda request: ModelError("refused", "I will not")), plan_for(boards(tmp_path)))


def test_of_a_picture_that_failed_nothing_more_is_asked_and_it_is_counted(tmp_path: Path) -> None:
    folder = boards(tmp_path)
    (folder / "3.png").write_bytes(b"no picture")
    model = Scripted(by_detail)
    results = probed(model, plan_for(folder, "blank"))
    assert results["blank"].n == 11
    assert results["blank"].left_out == {"the picture's own question has no answer": 1}
    assert len(model.asked) == 22


def test_a_model_of_fixed_questions_is_not_asked_in_other_words(tmp_path: Path) -> None:
    class Fixed(ColourModel):
        fixed_questions = True

    asked: list[Request] = []

    class Remembering(Fixed):
        def answer(self, requests: Iterable[Request]) -> Iterator[Reply]:
            for request in requests:
                asked.append(request)
                yield from super().answer([request])

    model = Remembering(tasks=("EmoSet-8",))
    results = probed(model, plan_for(boards(tmp_path), "synonyms,wording,fewer,order"))
    assert "not taught other words" in results["synonyms"].why
    assert "no other wording" in results["wording"].why
    assert results["fewer"].n == 12
    of_fewer = next(request for request in asked if request.key.endswith(":fewer"))
    assert len(of_fewer.candidates) == 6
    assert "'amusement', 'awe', 'contentment'" in of_fewer.question  # the whole question that it was taught
    assert {request.key.partition(":")[2] for request in asked} == {"original", "fewer", "order"}


def test_an_order_that_does_not_reach_the_model_is_not_asked(tmp_path: Path) -> None:
    class Fixed(ColourModel):
        fixed_questions = True

    pictures = sorted(str(path) for path in boards(tmp_path).glob("*.png"))
    some = plan_of_pictures(pictures, n=12, task="", labels=["awe", "fear", "sadness"], names="order")
    assert probed(Fixed(tasks=("EmoSet-8",)), some)["order"].why == "colour is asked the same question in any order of these candidates"
    assert probed(ColourModel(), some)["order"].n == 12


def test_pictures_without_labels_are_asked_the_question_of_a_task_and_no_probe_that_needs_labels(tmp_path: Path) -> None:
    pictures = sorted(str(path) for path in boards(tmp_path).glob("*.png"))
    plan = plan_of_pictures(pictures, n=10, task="fi-2")
    results = probed(Scripted(lambda request: says(request.candidates[0], 0.7)), plan)
    assert len(plan.samples) == 10
    assert plan.samples[0].task == "FI-2"
    assert results["no_truth"].why == "the true labels are not known"
    assert results["fewer"].why == "too few candidates would be left"
    assert results["swapped"].n == 10


def test_a_larger_number_of_pictures_contains_a_smaller_one(tmp_path: Path) -> None:
    folder = boards(tmp_path)
    few, many = ({sample.id for sample in plan_for(folder, n=n).samples} for n in (4, 9))
    assert len(few) == 4
    assert few < many


# On disk.


def write(file: AnswersFile, say: Say, plan: ProbePlan) -> list[Request]:
    model = Scripted(say)
    try:
        for row in Prober(model, plan, "verb", file.rows).ask():
            file.write(row)
    finally:
        file.close()
    return model.asked


def content(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_interrupted_run_goes_on_where_it_was_and_asks_nothing_twice(tmp_path: Path) -> None:
    plan = plan_for(boards(tmp_path / "boards"), "blank,fewer,order")
    whole = write(AnswersFile(tmp_path / "whole" / "answers.jsonl", "m", {}, plan), by_detail, plan)

    left = [17]

    def breaks(request: Request) -> str:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return by_detail(request)

    path = tmp_path / "cut" / "answers.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write(AnswersFile(path, "m", {}, plan), breaks, plan)
    with open(path, "ab") as file:
        file.write(b'{"id": "s1:bla')  # a row that was being written when the process was killed
    rest = write(AnswersFile(path, "m", {}, plan), by_detail, plan)
    assert len(rest) == len(whole) - 17 == 4 * 12 - 17
    assert content(path) == content(tmp_path / "whole" / "answers.jsonl")
    assert write(AnswersFile(path, "m", {}, plan), by_detail, plan) == []


def test_further_probes_of_the_same_pictures_join_the_earlier_answers(tmp_path: Path) -> None:
    folder, path = boards(tmp_path / "boards"), tmp_path / "answers.jsonl"
    for names, asked in (("blank", 24), ("blank,flip", 12), ("flip", 0)):
        plan = plan_for(folder, names)
        assert len(write(AnswersFile(path, "m", {}, plan), by_detail, plan)) == asked


def test_answers_of_another_model_or_other_pictures_are_not_taken_up(tmp_path: Path) -> None:
    folder, path = boards(tmp_path / "boards"), tmp_path / "answers.jsonl"
    plan = plan_for(folder, "blank")
    write(AnswersFile(path, "m", {}, plan), by_detail, plan)
    with pytest.raises(UserError, match=r"made with other settings: model.name was 'm', and is 'other'"):
        AnswersFile(path, "other", {}, plan)
    with pytest.raises(UserError, match=r"n was 100, and is 5"):
        AnswersFile(path, "m", {}, plan_for(folder, "blank", n=5))
    path.with_suffix(".run.json").unlink()
    with pytest.raises(UserError, match="is missing, so it is not known"):
        AnswersFile(path, "m", {}, plan)


def test_failed_questions_are_asked_again_only_on_request(tmp_path: Path) -> None:
    plan, path = plan_for(boards(tmp_path / "boards"), "blank"), tmp_path / "answers.jsonl"

    def at_times(request: Request) -> str | ModelError:
        return ModelError("timeout", "too slow") if request.key in ("s3:original", "s5:blank") else by_detail(request)

    write(AnswersFile(path, "m", {}, plan), at_times, plan)
    assert write(AnswersFile(path, "m", {}, plan), by_detail, plan) == []
    again = write(AnswersFile(path, "m", {}, plan, retry_failed=True), by_detail, plan)
    assert [request.key for request in again] == ["s3:original", "s3:blank", "s5:blank"]
    assert not any(row["error"] for row in content(path))


def test_two_runs_cannot_write_the_same_answers(tmp_path: Path) -> None:
    plan, path = plan_for(boards(tmp_path / "boards"), "blank"), tmp_path / "answers.jsonl"
    first = AnswersFile(path, "m", {}, plan)
    with pytest.raises(UserError):
        AnswersFile(path, "m", {}, plan)
    first.close()
    AnswersFile(path, "m", {}, plan).close()
