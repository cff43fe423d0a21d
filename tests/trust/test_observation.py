"""What a watch sees of a row, and its reference."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emocaliber.core.response import Reasoning, Response, render
from emocaliber.errors import UserError
from emocaliber.trust.certificate_file import REFERENCE_BINS
from emocaliber.trust.observation import (
    EMBEDDING,
    EMBEDDING_CELLS,
    observe,
    reference_from_certificate,
    reference_from_file,
    reference_of,
)
from watched_rows import LABELS, certificate, prediction, predictions, write


def response_row(identity: str = "a", **changes: Any) -> dict[str, Any]:
    text = render(Response(Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms"), "awe", 0.8))
    row = {"id": identity, "image": "a.jpg", "task": "EmoSet-8", "candidates": list(LABELS), "model": "mine"}
    return row | {"response": text, "confidence": {"avg": 0.6}, "error": None} | changes


def test_a_prediction_and_a_response_without_a_truth_say_the_same() -> None:
    predicted = observe(prediction("a.jpg", "awe", 0.8), "row 1")
    responded = observe(response_row(), "row 1")
    for name in ("task", "answer", "malformed", "confidence", "source", "model", "image"):
        assert getattr(predicted, name) == getattr(responded, name), name
    assert set(predicted.labels) == set(responded.labels) == set(LABELS)


def test_of_several_confidences_that_of_the_source_is_read() -> None:
    assert observe(response_row(), "row 1", "avg").confidence == 0.6
    assert observe(response_row(), "row 1", "norm").confidence is None


def test_what_cannot_be_parsed_has_no_answer_and_says_why() -> None:
    for row in (prediction("a.jpg", None, None), response_row(response="I do not know")):
        seen = observe(row, "row 1")
        assert seen.answer is None and seen.malformed and seen.confidence is None


@pytest.mark.parametrize("value", [float("nan"), 1.2, -0.1, "high", True])
def test_a_confidence_that_is_no_fraction_is_refused_by_row_and_field(value: object) -> None:
    with pytest.raises(UserError, match=r"line 7: field 'confidence' is .* number from 0 to 1"):
        observe(prediction("a.jpg", "awe", 0.5) | {"confidence": value}, "rows.jsonl, line 7")


def test_a_row_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match="row 1: it is neither a row of `emocaliber predict` nor"):
        observe({"id": "a", "text": "awe"}, "row 1")


def test_a_reference_is_read_from_predictions_without_truths_and_from_answers(tmp_path: Path) -> None:
    predicted = reference_from_file(write(tmp_path / "predictions.jsonl", predictions(60, 1)))
    assert predicted.n == 60 and sum(predicted.counts["answers"]) == 60 and predicted.source == "verb"
    rows = [response_row(str(number), ground_truth="awe") for number in range(60)]
    answered = reference_from_file(write(tmp_path / "responses.jsonl", rows))
    assert answered.counts["confidence"][15] == 60 and answered.source == "verb"  # 0.8 is the upper edge of (0.75, 0.8]
    assert "unfamiliar" not in predicted.counts


def test_a_summary_counts_as_its_rows_do(tmp_path: Path) -> None:
    rows = predictions(400, 99)
    summary = reference_from_certificate(certificate(), "certificate.json")
    whole = reference_from_file(write(tmp_path / "rows.jsonl", rows))
    assert summary.counts == whole.counts
    assert sum(summary.counts["confidence"]) == 400 and len(summary.counts["confidence"]) == REFERENCE_BINS + 1
    assert summary.all_labels == whole.all_labels


def test_too_few_rows_no_file_and_no_summary_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"few\.jsonl: 49 rows are too few to be a reference; 50 are needed"):
        reference_from_file(write(tmp_path / "few.jsonl", predictions(49, 1)))
    with pytest.raises(UserError, match=r"none\.jsonl: there is no such file"):
        reference_from_file(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"c\.json: no reference can be read from it"):
        reference_from_certificate(replace(certificate(), reference={}), "c.json")
    with pytest.raises(UserError, match="of several models, mine, other"):
        reference_from_file(write(tmp_path / "two.jsonl", [*predictions(40, 1), *predictions(40, 2, model="other")]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "other"}, "the answer is of the model 'other', but the reference is of 'mine'"),
        ({"task": "FI-2"}, "the question is 'FI-2', but the reference has 'EmoSet-8'"),
        ({"confidence_source": "norm"}, "the confidence is 'norm', but the reference has 'verb'"),
    ],
)
def test_a_row_of_another_system_is_refused(change: dict[str, Any], words: str) -> None:
    reference = reference_of([observe(row, "r") for row in predictions(60, 1)], "r", mark="")
    with pytest.raises(UserError, match=words):
        reference.check(observe(prediction("a.jpg", "awe", 0.5) | change, "line 3"), "line 3")


def test_pictures_are_found_beside_the_file_of_the_reference(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "white").save(tmp_path / "white.png")
    rows = [row | {"image": "white.png"} for row in predictions(50, 1)]
    reference = reference_from_file(write(tmp_path / "rows.jsonl", rows), pictures=True)
    assert reference.counts["brightness"][-2:] == (50, 0)


def test_embeddings_of_one_half_are_what_is_usual_for_the_other() -> None:
    rows = [row | {"embedding": [number % 7, -number % 5]} for number, row in enumerate(predictions(120, 1))]
    reference = reference_of([observe(row, "r") for row in rows], "r", mark="")
    assert sum(reference.counts[EMBEDDING]) == 60 and reference.usual
    assert reference.usual.cell((50.0, -50.0), "row 1") == EMBEDDING_CELLS - 1
    with pytest.raises(UserError, match="row 1: field 'embedding' has 3 numbers, but 2 in the reference"):
        reference.usual.cell((1.0, 2.0, 3.0), "row 1")
    with pytest.raises(UserError, match="a list of finite numbers"):
        observe(rows[0] | {"embedding": [json.loads("NaN")]}, "row 1")
