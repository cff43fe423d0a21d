from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.scoring import Outcome, outcome
from emocaliber.errors import UserError
from emocaliber.evaluation.answers.cells import fractions
from emocaliber.evaluation.answers.columns import parse_columns
from emocaliber.evaluation.answers.reader import read_answers, system_name
from emocaliber.evaluation.answers.rows import Answers, How
from emocaliber.io.row_formats import Place

OWN = {"id": "a", "task": "FI-8", "candidates": ["awe", "fear"], "ground_truth": "awe", "seconds": 1.0}


def put(folder: Path, name: str, content: str | list[Any]) -> Path:
    file = folder / name
    file.write_text(content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content))
    return file


def read(file: Path, columns: str = "", **how: Any) -> Answers:
    return read_answers(file, How(columns=parse_columns(columns) if columns else {}, **how))


def outcomes(answers: Answers) -> list[Outcome]:
    return [outcome(row, where=where) for where, row in answers.rows]


def test_rows_of_our_own_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = [OWN | {"response": "<answer>awe</answer>"}, OWN | {"id": "b", "response": "awe"}]
    answers = read(put(tmp_path, "r.jsonl", rows))
    assert [row for _, row in answers.rows] == rows and not answers.foreign and not answers.notes


@pytest.mark.parametrize(("calibrated", "first"), [([0.5, 0.6], "calibrated"), ([None, None], "verb"), ([], "verb")])
def test_the_first_confidence_of_our_own_rows_is_the_one_that_predict_gives(
    tmp_path: Path, calibrated: list[float | None], first: str
) -> None:
    added = [{"calibrated": value} if calibrated else {} for value in calibrated or [None, None]]
    own = OWN | {"response": "<answer>awe</answer>", "confidence": {"verb": 0.9}}
    rows = [own | {"id": str(number)} | each for number, each in enumerate(added)]
    assert read(put(tmp_path, "r.jsonl", rows)).confidence == first


def test_texts_of_others_without_any_tag_are_the_answers_themselves(tmp_path: Path) -> None:
    plain = [{name: value for name, value in OWN.items() if name != "seconds"} | {"response": "It is awe."}]
    answers = read(put(tmp_path, "r.jsonl", plain))
    assert [(each.answer, each.format, each.confidence) for each in outcomes(answers)] == [("awe", None, {})]
    assert "no response has an <answer> tag" in answers.notes[0]
    assert outcomes(read(put(tmp_path, "r.jsonl", [OWN | {"response": "awe"}])))[0].malformed == "missing_tag"
    assert outcomes(read(put(tmp_path, "r.jsonl", plain), strict=True))[0].malformed == "missing_tag"


def test_where_some_texts_have_the_tag_the_others_are_malformed(tmp_path: Path) -> None:
    said = ["<answer>awe</answer><confidence>0.7</confidence>", "awe", ""]
    rows = [{"truth": truth, "response": text} for truth, text in zip(("awe", "fear", "awe"), said, strict=True)]
    found = outcomes(read(put(tmp_path, "r.jsonl", rows)))
    assert [(each.answer, each.malformed) for each in found] == [("awe", None), (None, "missing_tag"), (None, "no_answer")]
    assert found[0].confidence == {"verb": 0.7}


def test_truths_of_another_file_are_joined_by_id_in_any_order(tmp_path: Path) -> None:
    answers = put(tmp_path, "a.csv", "id,label\n2,awe\n1,fear\n")
    truths = put(tmp_path, "t.csv", "id,label,task\n1,fear,EmoSet-8\n2,sadness,EmoSet-8\n")
    assert [(each.id, each.task, each.correct) for each in outcomes(read(answers, truth=truths))] == [
        ("2", "EmoSet-8", False),
        ("1", "EmoSet-8", True),
    ]


def test_samples_of_the_benchmark_serve_as_truths_with_all_that_they_know(tmp_path: Path) -> None:
    sample = {"id": "a", "image": "a.jpg", "task": "mine", "candidates": ["awe", "fear", "joy"], "ground_truth": "awe"}
    sample |= {"votes": {"awe": 2, "joy": 1}}
    (tmp_path / "bench").mkdir()
    truths = put(tmp_path / "bench", "test.jsonl", [sample])
    answers = read(put(tmp_path, "a.csv", "id,pred\na,joy\n"), truth=truths)
    (found,) = outcomes(answers)
    assert (found.task, found.answer, found.image, found.votes) == ("mine", "joy", "bench/a.jpg", {"awe": 2, "joy": 1})
    assert answers.rows[0][1]["candidates"] == sample["candidates"]


def test_a_label_beside_a_text_was_read_in_it_unless_the_text_has_tags(tmp_path: Path) -> None:
    row = {"truth": "awe", "emotion": "awe", "response": "Awe or fear, who knows?"}
    (found,) = outcomes(read(put(tmp_path, "a.jsonl", [row]), labels=["awe", "fear"]))
    assert (found.answer, found.format) == ("awe", None)
    (found,) = outcomes(read(put(tmp_path, "a.jsonl", [row | {"response": "<answer>fear</answer>"}]), labels=["awe", "fear"]))
    assert found.answer == "fear"


def test_ids_that_do_not_agree_are_refused_with_their_number(tmp_path: Path) -> None:
    answers, fewer = put(tmp_path, "a.csv", "id,label\n1,awe\n2,fear\n"), put(tmp_path, "f.csv", "id,label\n1,awe\n")
    with pytest.raises(UserError, match=r"f\.csv: has no truth for 1 of 2 answers \('2'\)"):
        read(answers, truth=fewer)
    with pytest.raises(UserError, match=r"f\.csv: has no answer for 1 of the 2 ids in .*a\.csv \('2'\)"):
        read(fewer, truth=answers)
    assert read(fewer, truth=answers, partial=True, labels=["awe", "fear"]).missing == f"1 of the 2 ids in {answers} have no answer"


@pytest.mark.parametrize(
    ("table", "options", "complaint"),
    [
        ("id,target,gold,pred\n1,awe,fear,awe\n", {}, "the columns 'target' and 'gold' could each be the truth; .*--columns truth=target"),
        ("name,x\n1,awe\n", {}, r"no column has the usual name of the answer; .*--columns answer=COLUMN\. Columns: 'name', 'x'"),
        ("pred,x\nawe,1\n", {}, "no column has the usual name of the truth; .*truth=COLUMN, if it is one of 'x', or give .* --truth FILE"),
        ("id,pred\n1,awe\n", {}, "no column is left for the truth; give the truths as --truth FILE"),
        ("id,truth,pred\n1,awe,awe\n2,,fear\n", {}, r"a\.csv, line 3: the truth is ''"),
        (
            "truth,pred\nawe,awe\nfear,awe\n",
            {"labels": ["awe", "joy"]},
            "a.csv, line 3: the truth is 'fear', which is not among the labels",
        ),
        ("truth,pred\n" + "awe,1\nfear,2\n" * 2, {}, r"no answer \('1', '2'\) is one of the true labels \('awe', 'fear'\)"),
        ("truth,pred\nawe,awe\n", {}, "'awe' is the only label in it; .*--labels"),
        ("id,truth,pred\n1,awe,awe\n1,fear,awe\n", {}, "a.csv, line 3: field 'id' is '1', as on line 2"),
        ("truth,pred,conf\nawe,fear,0.5\nfear,fear,1.5\n", {}, "a.csv, line 3: column 'conf' is '1.5', which is no confidence"),
        ("truth,p_awe,p_fear\nawe,0.5,2.5\n", {}, "a.csv, line 2: column 'p_fear' is '2.5', which is no probability .*softmax"),
        ("truth,pred\nawe,awe\n", {"task": "EmoSet8"}, "--task 'EmoSet8': there is no such task; write EmoSet-8"),
        ("truth,pred\nawe,awe\n", {"columns": "answer=said"}, "there is no column 'said' to take; there are truth, pred"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_remedy(tmp_path: Path, table: str, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        read(put(tmp_path, "a.csv", table), **options)


def test_a_file_of_another_kind_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.xlsx: a \.xlsx file is not read; save the sheet as CSV"):
        read(put(tmp_path, "a.xlsx", "x"))


def test_the_likeliest_label_is_the_answer_and_its_probability_the_confidence(tmp_path: Path) -> None:
    rows = [{"truth": "awe", "probs": {"awe": 0.25, "fear": 0.75}}, {"truth": "joy", "probs": {"awe": 0.5, "fear": 0.5}}]
    answers = read(put(tmp_path, "a.jsonl", rows))
    assert [(each.answer, each.confidence) for each in outcomes(answers)] == [("fear", {"confidence": 0.75}), ("awe", {"confidence": 0.5})]
    assert answers.rows[0][1]["candidates"] == ["awe", "fear", "joy"]


def test_probabilities_beside_an_answer_and_a_confidence_are_a_source_of_their_own(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", "truth,answer,confidence,awe,fear\nawe,fear,0.9,0.7,0.3\nfear,fear,0.8,0.1,0.9\n")
    answers = read(file, labels=["awe", "fear"])
    assert [each.confidence for each in outcomes(answers)] == [
        {"confidence": 0.9, "probability": 0.3},
        {"confidence": 0.8, "probability": 0.9},
    ]
    assert answers.confidence == "confidence"


def test_labels_that_are_never_the_truth_have_probabilities_too(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", "id,label,awe,fear,joy\n1,awe,0.5,0.4,0.1\n2,fear,0.1,0.2,0.7\n")
    assert [each.answer for each in outcomes(read(file))] == ["awe", "joy"]


def test_several_confidences_are_several_sources(tmp_path: Path) -> None:
    head = "truth,answer,confidence_verb,confidence_token,p1,p2,confidence_kind\n"
    file = put(tmp_path, "a.csv", head + "awe,fear,0.9,0.5,0.1,0.2,verb\nfear,fear,0.8,,0.3,0.4,verb\n")
    assert outcomes(read(file))[1].confidence == {"verb": 0.8, "token": None}
    told = read(file, "confidence=p2+p1")
    assert outcomes(told)[0].confidence == {"p2": 0.2, "p1": 0.1} and told.confidence == "p2"


def test_whole_numbers_are_labels_with_and_without_a_point(tmp_path: Path) -> None:
    found = outcomes(read(put(tmp_path, "a.csv", "truth,pred\n0,0.0\n1,1.0\n1,\n")))
    assert [(each.answer, each.correct) for each in found] == [("0", True), ("1", True), (None, False)]


@pytest.mark.parametrize(
    "names", ["true_emotion,emotion_pred", "true_class,pred_class", "emotion_true,predicted_emotion", "gt_label,label_pred"]
)
def test_the_truth_and_the_answer_may_be_named_by_what_they_are(tmp_path: Path, names: str) -> None:
    assert [each.correct for each in outcomes(read(put(tmp_path, "a.csv", f"{names}\nawe,awe\nfear,awe\n")))] == [True, False]


def test_a_column_that_repeats_values_is_no_id_which_is_said(tmp_path: Path) -> None:
    answers = read(put(tmp_path, "a.csv", "filename,truth,pred\na,awe,awe\na,fear,awe\nb,fear,awe\n"))
    assert "'filename' repeats 1 value, so it is not the id, and each row is called by its number" in answers.notes
    assert "there is no id, and each row is called by its number" in read(put(tmp_path, "a.csv", "truth,pred\nawe,awe\nfear,awe\n")).notes


FIELDS = (
    "id",
    "truth",
    "pred",
    "label",
    "conf",
    "probs",
    "p_awe",
    "p_fear",
    "candidates",
    "task",
    "error",
    "response",
    "doc_id",
    "custom_id",
)
WORDS = st.sampled_from(["awe", "fear", "0.7", "85%", "", "nan", "?", "<answer>awe</answer>", "FI-8", "\ud800"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 120) | st.floats(allow_nan=True) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["awe", "label", "score", "body", "content"]), inner, max_size=2)
    ),
    max_leaves=4,
)
ROWS = st.fixed_dictionaries({"truth": WORDS, "pred": WORDS}, optional=dict.fromkeys(FIELDS[3:], VALUES))


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), VALUES) | ROWS, min_size=1, max_size=3) | VALUES)
def test_any_json_is_read_or_refused_in_one_sentence(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "any.json"
    file.write_text(json.dumps(document))
    try:
        answers = read(file)
        found = outcomes(answers)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert len(found) == len(answers.rows) >= 1
        json.dumps([row for _, row in answers.rows], allow_nan=False)


def cells(*values: Any) -> list[tuple[Place, Any]]:
    return [(Place(Path("a.csv"), number), value) for number, value in enumerate(values, 2)]


@given(st.lists(st.integers(0, 100), min_size=1).filter(lambda percents: max(percents) > 10))
def test_percentages_are_read_where_the_whole_column_holds_them(percents: list[int]) -> None:
    expected = [percent / 100 for percent in percents]
    for column in (percents, [f"{percent} %" for percent in percents], [str(percent) for percent in percents]):
        read, note = fractions("p", cells(*column))
        assert read == pytest.approx(expected) and note is not None


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ((0.5, 80), "other rows hold fractions"),
        ((3, 5), "runs from 3 to 5"),
        (("85%", 0.5), "other rows have no % sign"),
        ((-0.1, -2.0), "log-probabilities"),
        ((85, 120), "runs from 85 to 120"),
        (("high",), "must be a number"),
    ],
)
def test_what_is_neither_a_fraction_nor_a_percentage_is_refused(column: tuple[Any, ...], why: str) -> None:
    with pytest.raises(UserError, match=rf"a\.csv, line \d: column 'p' .*{why}"):
        fractions("p", cells(*column))


@pytest.mark.parametrize(
    ("file", "model", "name"),
    [
        ("runs/tiny/responses.jsonl", "tiny", "tiny"),
        ("runs/x/responses.jsonl", "wudq/EmoCaliber", "EmoCaliber"),
        ("r.jsonl", "/runs/mine/stage3/model", "stage3"),
        ("r.jsonl", "openai:gpt-5", "gpt-5"),
        ("runs/mine/responses.jsonl", None, "mine"),
        ("runs/mine/responses-3-of-8.jsonl", None, "mine"),
        ("runs/resnet_v2.csv", None, "resnet_v2"),
    ],
)
def test_a_system_is_called_by_its_model_or_its_file_or_its_folder(file: str, model: str | None, name: str) -> None:
    assert system_name(Path(file), [{"model": model}, {"model": None}]) == name


def test_rows_of_two_models_do_not_name_the_system() -> None:
    assert system_name(Path("both.jsonl"), [{"model": "a"}, {"model": "b"}]) == "both"


def test_an_option_of_another_form_is_refused() -> None:
    assert parse_columns("truth=a, confidence=b+c") == {"truth": ["a"], "confidence": ["b", "c"]}
    for text in ("truth", "truth=", "label=a"):
        with pytest.raises(UserError, match="is not ROLE=COLUMN with a role among truth, answer"):
            parse_columns(text)
