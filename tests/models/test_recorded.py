"""A recorded model says what its file says, and says so where the file says nothing."""

from __future__ import annotations

import json
import math
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emocaliber.core.model import Reply, Request
from emocaliber.core.samples import Sample
from emocaliber.core.scoring import outcome
from emocaliber.core.sources import confidences, evidence
from emocaliber.core.tasks import taxonomy_of
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.inference.engine import respond
from emocaliber.io.rows import convert, read_rows, write_rows
from emocaliber.models import load_model
from emocaliber.models.recorded import RecordedModel
from stand_ins import photo

DOCUMENT = Path(__file__).parents[2] / "docs" / "recorded-answers.md"
LABELS = ("awe", "fear")


def request(key: str, **settings: Any) -> Request:
    return Request(Image.new("RGB", (8, 8)), "Which emotion?", LABELS, key=key, **settings)


def recorded(folder: Path, *rows: dict[str, Any], name: str = "answers.jsonl") -> RecordedModel:
    write_rows(folder / name, rows)
    return RecordedModel(folder / name)


def reply(model: RecordedModel, key: str, **settings: Any) -> Reply:
    (only,) = model.answer([request(key, **settings)])
    return only


def test_answers_come_in_the_order_of_the_requests(tmp_path: Path) -> None:
    model = recorded(
        tmp_path, {"id": "a", "response": "<answer>awe</answer>"}, {"id": "b", "response": "<answer>fear</answer>", "seconds": 2}
    )
    replies = list(model.answer(request(key) for key in "bab"))
    assert [(each.text, each.seconds) for each in replies] == [
        ("<answer>fear</answer>", 2.0),
        ("<answer>awe</answer>", 0.0),
        ("<answer>fear</answer>", 2.0),
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_any_row_format_and_numbers_as_ids_will_do(tmp_path: Path, suffix: str) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"id": 7, "response": "seven"}, {"id": 8, "response": "eight"}])
    convert(tmp_path / "rows.jsonl", tmp_path / f"answers{suffix}")
    assert reply(RecordedModel(tmp_path / f"answers{suffix}"), "8").text == "eight"


def test_rows_without_ids_are_found_by_their_images(tmp_path: Path) -> None:
    model = recorded(tmp_path, {"image": "photos/1.jpg", "response": "one"}, {"image": str(tmp_path / "2.jpg"), "response": "two"})
    assert [reply(model, str(tmp_path / path)).text for path in ("photos/1.jpg", "2.jpg")] == ["one", "two"]


def test_released_rows_are_found_by_the_image_in_their_conversation(tmp_path: Path) -> None:
    said = [{"role": "user", "content": [{"type": "image", "image": "x.jpg"}, {"type": "text", "text": "?"}]}]
    model = recorded(tmp_path, {"conversations": said, "task": "FI-2", "response": "<answer>positive</answer>", "confidence": "0.85"})
    found = reply(model, str(tmp_path / "x.jpg"))
    assert (found.text, found.further) == ("<answer>positive</answer>", {"own": 0.85})


def test_what_is_not_in_the_file_is_an_error_that_names_both(tmp_path: Path) -> None:
    found = reply(recorded(tmp_path, {"id": "a", "response": "x"}), "b")
    assert found.error is not None and found.error.code == "not_recorded"
    assert "answers.jsonl" in found.error.message and "'b'" in found.error.message


@pytest.mark.parametrize("settings", [{"temperature": 0.7}, {"max_new_tokens": 1}])
def test_a_recording_cannot_be_asked_anything_else(tmp_path: Path, settings: dict[str, Any]) -> None:
    found = reply(recorded(tmp_path, {"id": "a", "response": "x"}), "a", **settings)
    assert found.error is not None and "cannot be sampled" in found.error.message


def test_recorded_errors_stay_errors(tmp_path: Path) -> None:
    refused = {"id": "a", "response": None, "error": {"code": "refused", "message": "it declined"}}
    broken = {"id": "b", "response": None, "error": {"code": "truncated", "message": "the image ends early"}}
    model = recorded(tmp_path, refused, broken, {"id": "c", "response": None})
    errors = [each.error for each in model.answer(map(request, "abc"))]
    assert [each.code for each in errors if each] == ["refused", "not_recorded", "not_recorded"]
    assert [each.message for each in errors if each][:2] == ["it declined", "the image ends early"]


@pytest.mark.parametrize(
    ("stated", "further"),
    [
        (0.7, {"own": 0.7}),
        ({"mine": 0.25, "ans": None}, {"mine": 0.25}),
        ("0.7", {"own": 0.7}),
        ("N/A", {}),
        (None, {}),
    ],
)
def test_confidence_is_a_number_or_several_by_name(tmp_path: Path, stated: Any, further: dict[str, float]) -> None:
    assert reply(recorded(tmp_path, {"id": "a", "response": "x", "confidence": stated}), "a").further == further


def test_a_confidence_above_one_names_its_row(tmp_path: Path) -> None:
    model = recorded(tmp_path, {"id": "z", "response": "x"}, {"id": "a", "response": "x", "confidence": 85})
    with pytest.raises(UserError, match=r"answers\.jsonl, line 2: field 'confidence\.own' is 85; .*between 0 and 1"):
        reply(model, "a")


def test_log_probabilities_give_every_source_its_due(tmp_path: Path) -> None:
    def token(text: str, probability: float, **others: float) -> dict[str, Any]:
        top = [{"token": name, "logprob": math.log(value)} for name, value in (others or {text: probability}).items()]
        return {"token": text, "logprob": math.log(probability), "top_logprobs": top}

    listed = [token("<answer>", 1.0), token("fear", 0.6, fear=0.6, awe=0.2), token("</answer>", 1.0)]
    model = recorded(tmp_path, {"id": "a", "response": "<answer>fear</answer>", "logprobs": {"content": listed}})
    found = confidences(evidence(reply(model, "a"), LABELS))
    assert found["ans"] == pytest.approx(0.6) and found["norm"] == pytest.approx(0.75) and found["avg"] == pytest.approx(2.6 / 3)


def test_log_probabilities_of_another_text_name_their_row(tmp_path: Path) -> None:
    model = recorded(tmp_path, {"id": "a", "response": "fear", "logprobs": {"content": [{"token": "awe", "logprob": -1.0}]}})
    with pytest.raises(UserError, match="line 1: field 'logprobs' does not list the tokens of the response"):
        reply(model, "a")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"response": "x"}], "line 1: field 'id' is missing; give every row the id of its sample"),
        ([{"id": "a"}], "line 1: field 'response' is missing"),
        ([{"id": "a", "response": "x"}, {"id": "a", "response": "y"}], "line 2: field 'id' is 'a', as in .*line 1; .* keep one"),
        ([], "there are no rows"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, rows: list[dict[str, Any]], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        recorded(tmp_path, *rows)


def test_what_nobody_asked_for_is_counted_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = recorded(tmp_path, *({"id": str(n), "response": "x"} for n in range(1200)))
    list(model.answer(map(request, ["1", "2", "1"])))
    assert "1,198 of the 1,200 answers" in capsys.readouterr().err


def test_requests_are_taken_one_by_one(tmp_path: Path) -> None:
    taken: list[str] = []
    model = recorded(tmp_path, {"id": "a", "response": "x"})
    replies = model.answer(taken.append(key) or request(key) for key in "aaa")  # type: ignore[func-returns-value]
    next(replies)
    assert taken == ["a"]


def spoken(number: int, tokens: int) -> dict[str, Any]:
    """A row whose response has that many tokens, each with 20 alternatives."""
    content = [
        {"token": word, "logprob": -0.1, "top_logprobs": [{"token": word if n == 0 else f"w{n}", "logprob": -0.1 - n} for n in range(20)]}
        for word in (f"{number} ", *("x " for _ in range(tokens - 1)))
    ]
    return {"id": f"s{number}", "response": "".join(each["token"] for each in content), "logprobs": {"content": content}}


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "rows", "most"), [(".jsonl", 2000, 3e6), (".parquet", 500, 15e6), (".arrow", 500, 15e6)])
def test_memory_does_not_grow_with_what_rows_hold(tmp_path: Path, suffix: str, rows: int, most: float) -> None:
    source = tmp_path / "rows.jsonl"
    write_rows(source, (spoken(number, tokens=20) for number in range(rows)))
    file = tmp_path / f"answers{suffix}"
    if suffix == ".arrow":
        write_arrow(source, file)
    else:
        convert(source, file)
    tracemalloc.start()
    model = RecordedModel(file)
    asked = [f"s{number}" for number in range(0, rows, 97)]
    for key, found in zip(reversed(asked), model.answer(map(request, reversed(asked))), strict=True):
        assert found.text.startswith(f"{key[1:]} x ") and found.tokens is not None and len(found.tokens.logprobs) == 20
        del found
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < most, f"{held:,} bytes are held"
    del model


def write_arrow(source: Path, file: Path) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist(list(read_rows(source)))
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)


def test_every_answer_of_a_file_with_several_row_groups_is_its_own(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": range(50), "response": [f"says {n}" for n in range(50)]}), tmp_path / "rows.parquet", row_group_size=7)
    model = RecordedModel(tmp_path / "rows.parquet")
    order = [str(n) for n in (49, 0, 7, 6, 48, *range(50))]
    assert [each.text for each in model.answer(map(request, order))] == [f"says {n}" for n in order]


def test_a_first_line_with_a_byte_order_mark_and_blank_lines_are_read_again_as_they_were(tmp_path: Path) -> None:
    lines = ("\ufeff", '{"id": "a", "response": "é"}\n', "\n", '{"id": "b", "response": "ü"}')
    (tmp_path / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
    model = RecordedModel(tmp_path / "rows.jsonl")
    assert [reply(model, key).text for key in "aba"] == ["é", "ü", "é"]


@pytest.mark.parametrize("now", ['{"id": "b", "response": "x"}\n{"id": "a", "response": "y"}\n', "", None])
def test_a_file_that_changes_under_a_run_is_refused(tmp_path: Path, now: str | None) -> None:
    model = recorded(tmp_path, {"id": "a", "response": "x"}, {"id": "b", "response": "y"})
    assert reply(model, "a").text == "x"
    file = tmp_path / "answers.jsonl"
    if now is None:
        file.unlink()
    else:
        file.write_text(now)
    with pytest.raises(UserError, match=r"answers\.jsonl.*(the file has changed since it was opened|cannot be read)"):
        reply(model, "b")


def test_its_name_is_what_its_rows_say_or_its_files(tmp_path: Path) -> None:
    assert recorded(tmp_path, {"id": "a", "response": "x"}, name="affectgpt.jsonl").name == "affectgpt"
    assert recorded(tmp_path, {"id": "a", "response": "x", "model": "AffectGPT"}).name == "AffectGPT"
    model = load_model(f"recorded:{tmp_path / 'answers.jsonl'}", system="mine")
    assert (model.name, model.window) == ("mine", None)
    with pytest.raises(UserError, match="'recorded' have no setting 'temperature'"):
        load_model(f"recorded:{tmp_path / 'answers.jsonl'}", temperature=1.0)


def test_samples_become_rows_as_with_any_model(tmp_path: Path) -> None:
    images = [str(photo(tmp_path / f"{name}.jpg")) for name in "ab"]
    samples = [Sample(name, image, "Mine", LABELS, "awe", "mine", "test") for name, image in zip("ab", images, strict=True)]
    model = recorded(tmp_path, {"id": "a", "response": "So: <answer>It is awe.</answer>", "confidence": 0.7})
    first, second = respond(samples, model, lenient=True)
    assert (first["error"], first["confidence"]["own"], first["confidence"]["verb"]) == (None, 0.7, None)
    assert outcome(first).correct
    assert (second["response"], second["error"]["code"], outcome(second).correct) == (None, "not_recorded", False)


def code(name: str) -> str:
    """The document's Python block that mentions `name`."""
    (block,) = (each for each in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL) if name in each)
    return str(block)


def test_the_documents_way_from_emotion_llama_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = [
        {"id": "a", "status": "success", "answer": "Happy.", "error": None},
        {"id": "b", "status": "error", "answer": None, "error": {"stage": "inference", "type": "RuntimeError", "message": "no video"}},
    ]
    write_rows("predictions.jsonl", said)
    exec(code("predictions.jsonl"), {})
    model = RecordedModel("answers.jsonl")
    replies = list(model.answer(map(request, "ab")))
    assert model.name == "Emotion-LLaMA" and replies[0].text == "<answer>joy</answer>"
    assert replies[1].error is not None and replies[1].error.code == "not_recorded"


def test_the_documents_way_from_affectgpt_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez_compressed("epoch.npz", name2reason=np.array({"a": "He smiles <3."}))
    Path("labels.json").write_text('{"a": "joy"}')
    exec(code("epoch.npz"), {})
    model = RecordedModel("answers.jsonl")
    found = evidence(reply(model, "a"), ("joy", "fear"))
    assert model.name == "AffectGPT" and found is not None and found.response.answer == "joy"
    assert found.response.reasoning.analysis == "He smiles 3."


def test_the_documents_example_is_read_as_it_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"```jsonl\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)
    rows = [json.loads(line) for line in example.splitlines()]
    model = recorded(tmp_path, *rows)
    answers: list[str | None] = []
    for row in rows:
        taxonomy = taxonomy_of(row["id"].split("/")[0])
        assert taxonomy is not None
        found = evidence(reply(model, row["id"]), Labels.of(taxonomy.labels, taxonomy))
        answers.append(found.response.answer if found else None)
    assert answers == ["fear", "joy", None]
