from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emocaliber.core.response import Reasoning, Response, render
from emocaliber.core.scoring import is_correct, outcome, read_outcomes
from emocaliber.emotions.labels import Labels
from emocaliber.emotions.loop import VAD
from emocaliber.emotions.taxonomy import Taxonomy, taxonomy
from emocaliber.errors import UserError
from emocaliber.io.rows import convert

REASONING = Reasoning("a storm", "nobody", "the sea", "none", "it overwhelms")


def say(answer: str, confidence: float | None = None) -> str:
    return render(Response(REASONING, answer, confidence))


def row(response: str | None, **fields: Any) -> dict[str, Any]:
    candidates = ["amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness"]
    return {"id": "a", "task": "FI-8", "candidates": candidates, "ground_truth": "awe", "response": response} | fields


def test_a_right_answer_is_correct_and_at_no_distance() -> None:
    result = outcome(row(say("awe", 0.85)))
    assert (result.answer, result.correct, result.malformed, result.distance) == ("awe", True, None, 0.0)
    assert result.confidence == {"verb": 0.85}


def test_a_wrong_answer_has_its_distance_on_the_loop() -> None:
    result = outcome(row(say("anger")))
    assert not result.correct
    assert result.distance == taxonomy("mikels-8").loop().distance("awe", "anger") > 0


def test_two_labels_lie_half_a_loop_apart() -> None:
    fields = {"task": "FI-2", "candidates": ["positive", "negative"], "ground_truth": "positive"}
    assert outcome(row(say("negative"), **fields)).distance == 0.5


def test_verbalized_confidence_is_what_the_text_says_and_the_other_sources_come_from_the_row() -> None:
    result = outcome(row(say("awe", 0.85), confidence={"verb": 0.2, "ans": 0.4, "avg": None}))
    assert result.confidence == {"verb": 0.85, "ans": 0.4, "avg": None}
    assert outcome(row(say("awe"), confidence={"verb": 0.2})).confidence == {"verb": None}


def test_a_malformed_text_keeps_the_parsers_reason_and_the_rows_confidences() -> None:
    result = outcome(row(say("joy", 0.9), confidence={"ans": 0.4}))
    assert (result.answer, result.correct, result.malformed, result.distance) == (None, False, "not_a_candidate", None)
    assert result.confidence == {"ans": 0.4, "verb": None}


FREE = "It looks calm to me.\n<answer>The emotion is awe.</answer> <confidence>85%</confidence>"


def test_an_answer_in_another_form_is_an_answer_unless_a_strict_reading_is_asked_for() -> None:
    for read in (outcome(row(FREE)), outcome(row(FREE, lenient=True))):
        assert (read.answer, read.correct, read.malformed, read.confidence) == ("awe", True, None, {"verb": 0.85})
        assert read.format is False
    assert outcome(row(FREE), strict=True).malformed == "missing_tag"
    assert outcome(row(FREE, lenient=False)).malformed == "missing_tag", "as whoever asked wanted it"
    assert outcome(row("no tags at all")).malformed == "missing_tag"


@pytest.mark.parametrize(("response", "form"), [(say("awe", 0.9), True), (say("joy"), True), (FREE, False), ("awe", False), (None, None)])
def test_form_is_a_rate_of_its_own(response: str | None, form: bool | None) -> None:
    assert outcome(row(response)).format is form


@pytest.mark.parametrize("silent", [row(None), row(say("awe"), error={"code": "timeout", "message": "no reply in 60 s"})])
def test_without_a_response_there_is_no_answer(silent: dict[str, Any]) -> None:
    result = outcome(silent)
    assert (result.answer, result.correct, result.malformed, result.confidence) == (None, False, "no_answer", {"verb": None})


def test_aliases_of_the_tasks_taxonomy_are_read() -> None:
    alias, label = next(iter(taxonomy("webemo-25").aliases.items()))
    labels = list(taxonomy("webemo-25").labels)
    assert outcome(row(say(alias), task="WebEmo-25", candidates=labels, ground_truth=label)).correct


def test_labels_are_the_same_in_both_directions() -> None:
    misspelt = ["irritabilty" if label == "irritability" else label for label in taxonomy("webemo-25").labels]
    asked = row(say("irritability"), task="WebEmo-25", candidates=misspelt, ground_truth="irritabilty")
    result = outcome(asked)
    assert (result.answer, result.ground_truth, result.correct, result.distance) == ("irritabilty", "irritabilty", True, 0.0)
    assert outcome(asked | {"ground_truth": "Irritability"}).correct
    assert outcome(asked | {"response": say("rage")}).distance == taxonomy("webemo-25").loop().distance("rage", "irritability")


@pytest.mark.parametrize(
    ("candidates", "truth", "said"),
    [
        (["радость", "страх"], "радость", "Радость!"),
        (["快乐", "恐惧"], "快乐", "这张图片是快乐的"),
        (["😀", "😢"], "😀", "clearly 😀"),
        (["Freude", "Überraschung"], "Überraschung", "u\u0308berraschung"),
        (["joie", "peur"], "joie", "\uff2a\uff2f\uff29\uff25"),
    ],
)
def test_labels_may_be_of_any_script(candidates: list[str], truth: str, said: str) -> None:
    assert outcome(row(f"<answer>{said}</answer>", task="Moods", candidates=candidates, ground_truth=truth)).correct


@pytest.mark.parametrize(
    ("candidates", "complaint"),
    [
        (["Happy", "Happy!"], "the labels 'Happy' and 'Happy!' are the same label"),
        ([":)", ":("], r"the label ':\)' has no letter, digit or symbol to tell it by"),
        (["sad", "sadness", "awe"], "the labels 'sad' and 'sadness' are the same label"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused_by_name(candidates: list[str], complaint: str) -> None:
    with pytest.raises(UserError, match=f"r.jsonl, line 4: field 'candidates': {complaint}"):
        outcome(row(say("awe"), candidates=candidates), where="r.jsonl, line 4")


def test_votes_and_posteriors_are_kept_under_the_candidates_spelling() -> None:
    assert outcome(row(say("awe"), votes={"Awe": 3, "sad": 2})).votes == {"awe": 3, "sadness": 2}
    with pytest.raises(UserError, match="field 'votes' has two numbers for 'sadness'"):
        outcome(row(say("awe"), votes={"sad": 3, "sadness": 2}))


def test_a_custom_task_has_no_distance_unless_a_taxonomy_with_a_loop_is_lent() -> None:
    custom = row(say("dull"), task="Moods", candidates=["bright", "dull"], ground_truth="bright")
    vad = {"bright": VAD(1, 0, 0), "dull": VAD(-1, 0, 0)}
    assert outcome(custom).distance is None
    assert outcome(custom, Taxonomy("moods", ("bright", "dull"))).distance is None
    assert outcome(custom, Taxonomy("moods", ("bright", "dull"), vad=vad)).distance == 0.5


@pytest.mark.parametrize(("answer", "right"), [("awe", True), (" AWE", True), ("fear", False), ("", False), (None, False)])
def test_correct_means_the_same_label(answer: str | None, right: bool) -> None:
    assert is_correct(answer, "Awe", Labels.of(["awe", "fear"])) is right


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"response": 3}, "field 'response' is 3"),
        ({"ground_truth": "joy"}, "field 'ground_truth' is 'joy', which is not a candidate"),
        ({"confidence": {"ans": 1.2}}, r"field 'confidence\.ans' is 1\.2; .*between 0 and 1"),
        ({"confidence": {"ans": float("nan")}}, r"field 'confidence\.ans' is nan"),
        ({"confidence": {"ans": "high"}}, r"field 'confidence\.ans' is 'high'"),
        ({"confidence": {"ans": float("inf")}}, r"field 'confidence\.ans' is inf"),
        ({"confidence": [0.9]}, r"field 'confidence' is \[0\.9\]"),
        ({"confidence": True}, r"field 'confidence' is True"),
        ({"candidates": None}, "field 'candidates' is None; give it a list"),
    ],
)
def test_a_row_that_is_not_a_response_row_is_refused_by_field(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=f"r.jsonl, line 4: {complaint}"):
        outcome(row(say("awe")) | fields, where="r.jsonl, line 4")


@pytest.mark.parametrize("field", ["id", "task", "candidates", "ground_truth", "response"])
def test_a_missing_field_is_named(field: str) -> None:
    without = {name: value for name, value in row(say("awe")).items() if name != field}
    with pytest.raises(UserError, match=f"r.jsonl, line 4: field '{field}' is missing; give it"):
        outcome(without, where="r.jsonl, line 4")


@pytest.mark.parametrize("written", ["1.2", "-0.1", "NaN", "inf", "sure", ""])
def test_a_confidence_in_the_text_that_is_no_fraction_is_missing_and_does_not_cost_the_answer(written: str) -> None:
    text = say("awe", 0.5).replace("0.50", written)
    result = outcome(row(text))
    assert (result.malformed, result.correct, result.confidence) == (None, True, {"verb": None})
    assert outcome(row(text), strict=True).malformed == "bad_confidence"


@pytest.mark.parametrize("stated", [0.9, 1.2, "0.9", "sure", None])
def test_the_confidence_of_a_released_row_is_left_alone_as_the_text_has_it(stated: object) -> None:
    assert outcome(row(say("awe", 0.25), confidence=stated)).confidence == {"verb": 0.25}


def test_the_truth_may_differ_in_case_from_its_candidate() -> None:
    result = outcome(row(say("awe"), ground_truth=" Awe"))
    assert (result.ground_truth, result.correct) == ("awe", True)


def test_the_image_of_the_row_is_kept_as_it_is_written() -> None:
    assert outcome(row(say("awe"), image="../a.jpg")).image == "../a.jpg"
    assert outcome(row(say("awe"), image={"bytes": None})).image is None


@pytest.mark.parametrize("slip", ["EmoSet8", "emo_set-8", "EmosSet-8", "Emoset-8."])
def test_a_slip_in_the_name_of_a_task_is_pointed_out(slip: str) -> None:
    with pytest.raises(UserError, match=f"r.jsonl, line 4: field 'task' is '{slip}', but VECBench calls it 'EmoSet-8'; write that"):
        outcome(row(say("awe"), task=slip), where="r.jsonl, line 4")


@pytest.mark.parametrize("name", ["Moods", "EmoSet-8-val", "FI-9", "FI-8-hard-negatives"])
def test_any_other_name_is_a_task_of_ones_own(name: str) -> None:
    assert outcome(row(say("awe"), task=name)).task == name


def test_nearly_the_name_of_a_task_with_other_labels_is_a_task_of_ones_own() -> None:
    assert outcome(row(say("awe"), task="FI8", candidates=["awe", "fear"])).task == "FI8"


def put(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def nameless(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in row(say("awe", 0.25), **fields).items() if name != "id"}


def test_released_rows_are_read_and_named_by_their_lines(tmp_path: Path) -> None:
    conversations = [{"role": "user", "content": [{"type": "image", "image": "a.jpg"}, {"type": "text", "text": "Which?"}]}]
    bare = {"task": "UnbaisedEmo-6", "ground_truth": "Joy", "response": say("joy"), "confidence": None}
    path = put(tmp_path / "released.jsonl", nameless(conversations=conversations, confidence=0.3), bare)
    first, second = read_outcomes(path)
    assert (first.id, first.image, first.confidence) == ("00001", "a.jpg", {"verb": 0.25})
    assert (second.id, second.task, second.correct, second.image) == ("00002", "UnbiasedEmo-6", True, None)


def test_shards_are_read_together_and_their_nameless_rows_told_apart(tmp_path: Path) -> None:
    for shard in ("rank0.jsonl", "rank1.jsonl"):
        put(tmp_path / shard, nameless(), nameless())
    named = [result.id for result in read_outcomes(tmp_path)]
    assert named == ["rank0/00001", "rank0/00002", "rank1/00001", "rank1/00002"]
    assert [result.id for result in read_outcomes([tmp_path / "rank0.jsonl", tmp_path / "rank1.jsonl"])] == named


def test_parquet_gives_the_same_outcomes_as_json_lines(tmp_path: Path) -> None:
    rows = [row(say("awe", 0.5), confidence={"ans": 0.4}), row(None, id="b", votes={"awe": 3, "fear": 1})]
    path = put(tmp_path / "r.jsonl", *rows)
    convert(path, tmp_path / "r.parquet")
    from_parquet = [result.to_row() for result in read_outcomes(tmp_path / "r.parquet")]
    assert from_parquet[0] == next(read_outcomes(path)).to_row()
    assert from_parquet[1]["votes"] == {"awe": 3, "fear": 1}


def test_whole_numbers_serve_as_ids(tmp_path: Path) -> None:
    assert [result.id for result in read_outcomes(put(tmp_path / "r.jsonl", row(say("awe"), id=7)))] == ["7"]


def test_a_row_without_an_id_among_named_ones_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"r\.jsonl, line 2: field 'id' is missing"):
        list(read_outcomes(put(tmp_path / "r.jsonl", row(say("awe")), nameless())))


def test_an_id_in_two_shards_is_refused_by_both_their_names(tmp_path: Path) -> None:
    paths = [put(tmp_path / name, row(say("awe"))) for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(UserError, match=r"b\.jsonl, line 1: field 'id' is 'a', as in .*a\.jsonl, line 1"):
        list(read_outcomes(paths))


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ('{"id": "b"', r"line 3: .*one JSON object"),
        ("[1]", "line 3: found a JSON list"),
        ('{"id": "b", "task": "FI-8", "response": NaN}', "line 3: field 'response': NaN is not JSON"),
        ('{"id": "b", "task": "FI-8", "response": "x"}', "line 3: field 'ground_truth' is missing"),
    ],
)
def test_a_bad_row_is_named_by_the_line_it_really_stands_on(tmp_path: Path, bad: str, complaint: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(row(say("awe"))) + "\n\n" + bad + "\n")
    with pytest.raises(UserError, match=rf"r\.jsonl, {complaint}"):
        list(read_outcomes(path))


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"r\.jsonl: there are no rows in it"):
        list(read_outcomes(put(tmp_path / "r.jsonl")))


def test_an_answer_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(2 * (json.dumps(row(say("awe"))) + "\n"))
    with pytest.raises(UserError, match=r"r\.jsonl, line 2: field 'id' is 'a', as on line 1"):
        list(read_outcomes(path))


def test_an_outcome_is_a_json_row() -> None:
    result = outcome(row(say("awe", 0.5), posterior={"awe": 0.75, "fear": 0.25}))
    assert json.loads(json.dumps(result.to_row())) == {
        "id": "a",
        "task": "FI-8",
        "ground_truth": "awe",
        "answer": "awe",
        "correct": True,
        "malformed": None,
        "distance": 0.0,
        "confidence": {"verb": 0.5},
        "posterior": {"awe": 0.75, "fear": 0.25},
        "votes": None,
        "image": None,
        "format": True,
        "people": None,
    }
