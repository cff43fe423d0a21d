"""A certificate made from answers: what it says, what it counts, and for which predictions it decides."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import emocaliber as ec
from emocaliber.errors import UserError
from emocaliber.predict.predictor import Predictor
from emocaliber.trust.acceptance import Acceptance
from emocaliber.trust.certificate_file import REFERENCE_BINS, Certificate, read_certificate, voided
from emocaliber.trust.certificate_page import certificate_table, write_certificate_page
from emocaliber.trust.certify import certify
from stand_ins import ColourModel, photo

LABELS = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]


def row(number: int, confidence: float | None, right: bool, **others: Any) -> dict[str, Any]:
    said = "awe" if right else "fear"
    return {"id": f"{number}", "truth": "awe", "answer": said, "confidence": confidence, "task": "EmoSet-8", "model": "colour"} | others


def answers(n: int, seed: int = 0, **others: Any) -> list[dict[str, Any]]:
    """Answers whose accuracy is their confidence."""
    draw = random.Random(seed)
    confidences = [round(draw.betavariate(4, 1.5), 2) for _ in range(n)]
    return [row(number, each, draw.random() < each, **others) for number, each in enumerate(confidences)]


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return replace(certify(answers(2000)), source="verb")


def test_a_certificate_says_what_it_promises_and_what_it_counted(certificate: Certificate) -> None:
    kept = [each for each in answers(2000) if each["confidence"] >= (certificate.threshold or 0)]
    content = certificate.to_json()
    assert content["certified"] is True and content["accuracy"] == 0.8 and content["delta"] == 0.05 and content["n"] == 2000
    assert content["accepted"] == len(kept) and content["coverage"] == len(kept) / 2000
    assert content["accepted_right"] == sum(each["answer"] == "awe" for each in kept)
    assert content["reference"]["accepted"] == len(kept) and sum(content["reference"]["confidence_histogram"]) == 2000
    assert len(content["reference"]["confidence_histogram"]) == REFERENCE_BINS
    assert content["model"]["name"] == "colour" and [each["task"] for each in content["per_question"]] == ["EmoSet-8"]
    assert f"at least {certificate.threshold:g} are right in at least 80 %" in certificate.terms
    assert "at most 5 % of calibrations" in certificate.terms


def test_the_order_of_the_answers_changes_nothing() -> None:
    rows = answers(600)
    shuffled = random.Random(1).sample(rows, len(rows))
    assert certify(rows).to_json()["per_question"] == certify(shuffled).to_json()["per_question"]


def test_fewer_errors_are_certified_for_fewer_answers(certificate: Certificate) -> None:
    at = certificate.pooled.coverage_at_error
    assert certificate.coverage > at["0.1"] >= at["0.05"]
    shown = certificate_table(certificate).as_text()
    assert "at 10 % error" in shown and "at 5 % error" in shown and "Asked for: at least 80 % right" in shown


def test_malformed_answers_and_missing_confidences_are_never_accepted_and_always_counted() -> None:
    rows = answers(800) + [row(1000 + n, None, True) for n in range(100)]
    rows += [row(2000 + n, 1.0, True, answer="") for n in range(100)]
    made = certify(rows)
    assert (made.n, made.reference["malformed"]) == (1000, 100)
    assert made.threshold is not None and made.coverage == sum(r["confidence"] >= made.threshold for r in rows[:800]) / 1000
    assert any("100 of 900 readable answers have no such confidence" in note for note in made.notes)


def test_too_few_answers_are_told_how_many_would_do() -> None:
    made = certify(answers(150), accuracy=0.88)
    enough = made.pooled.enough
    assert not made.certified and enough is not None and enough > 150
    assert f"this cannot be certified with 150 answers: about {enough:,} would do" in made.terms


def test_twelve_answers_are_told_that_even_all_right_would_not_do() -> None:
    made = certify([row(number, 0.9, False) for number in range(12)], labels=LABELS)
    assert "cannot be certified with 12 answers: even if all accepted answers were right, it would take 14" in made.terms


def test_answers_all_wrong_need_more_than_more_of_them() -> None:
    made = certify([row(number, number / 500, False) for number in range(500)], labels=LABELS)
    assert "nor with more like these" in made.terms


def test_answers_all_right_are_certified_at_once() -> None:
    made = certify([row(number, 0.5 + number / 1000, True) for number in range(500)], labels=LABELS)
    assert made.certified and made.coverage > 0.9


def test_each_question_has_its_promise_by_itself_or_together_with_the_others() -> None:
    rows = answers(900) + [each | {"id": f"x{each['id']}", "task": "FI-8"} for each in answers(900, seed=1)]
    alone, together = certify(rows), certify(rows, together=True)
    assert [each.task for each in alone.per_question] == [each.task for each in together.per_question] == ["EmoSet-8", "FI-8"]
    assert {each.what.delta for each in alone.per_question} == {0.05} and {each.what.delta for each in together.per_question} == {0.025}
    for by_itself, with_others in zip(alone.per_question, together.per_question, strict=True):
        assert by_itself.what.coverage >= with_others.what.coverage
    assert "each of these promises, by itself" in alone.terms and "at least one of these promises" in together.terms
    assert alone.per_question[0].what == certify(rows[:900]).per_question[0].what


@pytest.mark.parametrize(
    ("rows", "how", "sentence"),
    [
        ([{"id": "1", "answer": "awe", "confidence": 0.5}], {}, "no column"),
        (answers(30), {"source": "verb"}, "no answer has a confidence from 'verb'; it has confidences from confidence"),
        ([row(n, None, True) for n in range(30)], {"labels": LABELS}, "no answer has a confidence, so there is no threshold"),
        ([*answers(30), row(99, 0.5, True, model="other")], {}, "answers of 2 models"),
        (answers(30), {"accuracy": 80}, "accuracy must lie between 0 and 1, and is 80; for 80 percent write 0.8"),
        (answers(30), {"delta": 0}, "delta must lie between 0 and 1, and is 0"),
        (answers(30), {"expires": 0}, "at least a day"),
        (answers(30), {"model": "mine"}, "the rows say that the model is 'colour'"),
    ],
)
def test_what_cannot_be_certified_is_refused_in_a_sentence(rows: list[dict[str, Any]], how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        certify(rows, **how)


def test_an_accuracy_in_quotes_is_no_number() -> None:
    with pytest.raises(TypeError, match=r"must be a number between 0 and 1, not '0\.8'"):
        certify(answers(30), accuracy="0.8")  # type: ignore[arg-type]


def test_two_answers_about_one_image_are_told_of() -> None:
    rows = [each | {"image": f"{number // 2}.jpg"} for number, each in enumerate(answers(100))]
    assert any("50 answers are about an image that has another answer" in note for note in certify(rows).notes)


def test_predictions_lend_their_source(tmp_path: Path) -> None:
    rows = [{"image": f"{n}.jpg", "emotion": "awe", "confidence": 0.7, "confidence_source": "verb", "error": None} for n in range(40)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (tmp_path / "t.csv").write_text("image,label\n" + "".join(f"{n}.jpg,awe\n" for n in range(40)))
    made = certify(tmp_path / "p.jsonl", truth=tmp_path / "t.csv", labels=LABELS, model="colour")
    assert (made.source, made.model["name"]) == ("verb", "colour")


# The file.


def test_a_file_gives_the_same_certificate_back(certificate: Certificate, tmp_path: Path) -> None:
    file = certificate.save(tmp_path / "c.json")
    assert read_certificate(file) == replace(certificate, notes=tuple(certificate.notes)) and read_certificate(file).id == certificate.id
    assert voided(certificate, "row 7", "drift").id == certificate.id, "a watch voids the one that rows name"
    assert "80 %" in repr(certificate) and certificate.id in repr(certificate)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("not JSON", "is no certificate, as it is not JSON"),
        ("[]", "is no certificate; `emocaliber"),
        ('{"accuracy": 1}', "is no certificate"),
    ],
)
def test_another_file_is_no_certificate(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_certificate(tmp_path / "c.json")


def test_a_changed_threshold_is_noticed(certificate: Certificate, tmp_path: Path) -> None:
    content = certificate.to_json()
    content["per_question"][0]["threshold"] = 0.1
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="its content is not the one that its id names"):
        read_certificate(tmp_path / "c.json")
    del content["per_question"]
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="a part is missing"):
        read_certificate(tmp_path / "c.json")


def test_the_page_has_the_terms_and_the_figure(certificate: Certificate, tmp_path: Path) -> None:
    page = write_certificate_page(certificate, tmp_path).read_text()
    assert certificate.terms[1:].replace("'", "&#39;") in page and "data:image/png" in page and (tmp_path / "certificate.png").is_file()


# Predictions.


def decided(certificate: Certificate, tmp_path: Path, colour: str = "red", **asked: Any) -> Any:
    return Predictor(ColourModel()).predict(photo(tmp_path / f"{colour}.png", colour), certificate=certificate, **asked)


@pytest.mark.filterwarnings("ignore:It sees colours only")
@pytest.mark.parametrize(("colour", "accepted"), [("red", True), ("teal", False), ("black", False)])
def test_a_certificate_accepts_from_its_threshold_on(certificate: Certificate, tmp_path: Path, colour: str, accepted: bool) -> None:
    found = decided(certificate, tmp_path, colour)
    assert (found.accepted, found.certificate, found.uncertified) == (accepted, certificate.id, None)


@pytest.mark.filterwarnings("ignore:It sees colours only")
def test_a_certificate_that_does_not_hold_decides_nothing_and_says_why(certificate: Certificate, tmp_path: Path) -> None:
    long_ago = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    cases: dict[str, tuple[Certificate, dict[str, Any]]] = {
        "expired on": (replace(certificate, expires=long_ago), {}),
        "is for the model other, and this is colour": (replace(certificate, model={"name": "other"}), {}),
        "does not say which model": (replace(certificate, model={"name": None}), {}),
        r"is for another question \(EmoSet-8\)": (certificate, {"task": "FI-2"}),
        "is for the confidence source avg, and this confidence is from verb": (replace(certificate, source="avg"), {}),
        "is void since row 7: drift": (voided(certificate, "row 7", "drift"), {}),
        "nothing could be certified for EmoSet-8": (replace(certify(answers(50)), source="verb"), {}),
    }
    for reason, (given, asked) in cases.items():
        with pytest.warns(UserWarning, match=f"no answer is accepted, and none rejected: .*{reason}"):
            found = decided(given, tmp_path, **asked)
        assert (found.accepted, found.certificate) == (None, None)
        assert reason.replace("\\", "") in found.uncertified


def test_other_weights_of_the_same_model_are_another_model(certificate: Certificate) -> None:
    acceptance = Acceptance.of(certificate=replace(certificate, model={"name": "colour", "sha256": "a"}))
    same, other, unknown = (
        acceptance.decide(0.99, "EmoSet-8", LABELS, source="verb", model="colour", weights=lambda each=each: each)
        for each in ("a", "b", None)
    )
    assert same.accepted is True and unknown.accepted is True
    assert other.accepted is None and "other weights of colour" in (other.uncertified or "")


def test_a_certificate_and_a_least_confidence_exclude_each_other(certificate: Certificate) -> None:
    with pytest.raises(UserError, match="give one of them"):
        Predictor(ColourModel()).predict("a.png", certificate=certificate, min_confidence=0.5)


def test_the_package_has_it_at_its_front_door() -> None:
    assert ec.certify is certify and ec.Certificate is Certificate
