"""The same samples in five forms are the same training rows, and a row that does not fit is named with what was expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emocaliber.core.forms import FORMS, form_of, image_file, listed_labels, task_of_labels
from emocaliber.core.response import Reasoning, Response, question, render
from emocaliber.core.sample_files import examined_rows, placed_rows
from emocaliber.core.samples import Sample
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from forms import FORMS_OF_OTHERS, in_form, written

EMOTIONS = taxonomy("mikels-8").labels


def own_rows(count: int = 4, *, response: bool = True) -> list[dict[str, Any]]:
    rows = []
    for number, label in zip(range(count), EMOTIONS, strict=False):
        sample = Sample(f"s{number}", f"images/{number}.png", "EmoSet-8", EMOTIONS, label, "emoset", "train")
        text = render(Response(Reasoning("a kite", "a girl", "a meadow", "she flies it", f"that is {label}"), label))
        rows.append(sample.to_row() | ({"response": text} if response else {}))
    return rows


def trained_on(file: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "question"} for _, row in placed_rows(file)]


@pytest.mark.parametrize("form", FORMS_OF_OTHERS)
@pytest.mark.parametrize("stage", (1, 3))
def test_rows_in_every_form_are_the_rows_of_our_own(form: str, stage: int, tmp_path: Path) -> None:
    rows = own_rows(response=stage == 1)
    ours = trained_on(written(tmp_path / "own.jsonl", rows))
    theirs = trained_on(written(tmp_path / "theirs.jsonl", [in_form(form, row) for row in rows]))
    assert theirs == ours
    assert len(ours) == 4
    assert ("response" in ours[0]) is (stage == 1)


@pytest.mark.parametrize("form", FORMS_OF_OTHERS)
def test_a_form_is_found_by_its_rows(form: str) -> None:
    assert form_of(in_form(form, own_rows(1)[0]), "x").name == form


def bare(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ms-swift with its two fields alone."""
    return {key: value for key, value in in_form("ms-swift", row).items() if key in ("messages", "images")}


def test_messages_and_images_are_enough(tmp_path: Path) -> None:
    rows = [bare(row) for row in own_rows()]
    for row in rows:
        row["images"] = [f"EmoSet-118K/{row['images'][0]}"]
    (first, *_) = trained_on(written(tmp_path / "stage1_86k.jsonl", rows))
    assert first["id"] == "stage1_86k/00001"
    assert (first["task"], first["ground_truth"], first["split"], first["source"]) == ("EmoSet-8", "amusement", "train", "emoset")
    assert first["candidates"] == list(EMOTIONS)


def test_a_file_whose_name_says_test_is_of_the_test_split(tmp_path: Path) -> None:
    for name, split in (("test_8k.jsonl", "test"), ("latest.jsonl", "train"), ("my-test.jsonl", "test")):
        assert trained_on(written(tmp_path / name, [bare(own_rows()[0])]))[0]["split"] == split


def test_a_json_list_is_read_as_llama_factory_writes_it(tmp_path: Path) -> None:
    rows = own_rows()
    (tmp_path / "data.json").write_text(json.dumps([in_form("LLaMA-Factory", row) for row in rows]))
    assert trained_on(tmp_path / "data.json") == trained_on(written(tmp_path / "own.jsonl", rows))


def spoilt(**changes: Any) -> dict[str, Any]:
    return in_form("ms-swift", own_rows(1)[0]) | changes


def asked(answer: str | None, text: str = "", role: str = "user") -> list[dict[str, str]]:
    turns = [{"role": role, "content": text or f"<image>{question(EMOTIONS, confidence=False)}"}]
    return turns if answer is None else [*turns, {"role": "assistant", "content": answer}]


SPOILS: dict[str, tuple[dict[str, Any], str]] = {
    "no image": (spoilt(images=[]), "it has no image, where a question is about one; a row of ms-swift has messages"),
    "two images": (spoilt(images=["a.jpg", "b.jpg"]), "it has 2 images, where a question is about one"),
    "an image that is no path": (spoilt(images=[7]), "its image is 7, not the path of a file"),
    "room for two images": (spoilt(messages=asked(None, "<image><image>?")), "its messages have room for 2 images, and there is 1"),
    "no question": (spoilt(messages=[{"role": "assistant", "content": "awe"}]), "its turns are assistant, not a question"),
    "two answers": (spoilt(messages=[*asked("awe"), {"role": "assistant", "content": "fear"}]), "its turns are user, assistant, assistant"),
    "an unknown role": (spoilt(messages=asked("awe", role="boss")), "a message has the role 'boss'; roles are system, user"),
    "an unknown label": (spoilt(ground_truth="boredom"), "its true label is 'boredom', which is not one of the candidates amusement"),
    "no truth": (
        {"messages": asked(None), "images": ["a.jpg"], "task": "FI-8"},
        "nothing gives the true label: it has no answer, and none of the fields ground_truth, solution, label",
    ),
    "no candidates": (
        {"messages": asked("awe", "<image>Which emotion?"), "images": ["a.jpg"]},
        "nothing gives the candidates: it has neither 'task' nor 'candidates', and its question lists none",
    ),
    "a misspelt task": (
        {"messages": asked("awe", "<image>Which emotion?"), "images": ["a.jpg"], "task": "EmoSett-8"},
        "there is no task 'EmoSett-8' (did you mean EmoSet-8?), and no 'candidates'",
    ),
    "two labels that are one": (spoilt(candidates=["awe", "Awe"]), "the labels 'awe' and 'Awe' are the same label"),
    "an id twice": (spoilt(id="s1"), "field 'id' is 's1', as on line 1; every row needs its own id"),
}


@pytest.mark.parametrize(("row", "complaint"), SPOILS.values(), ids=SPOILS)
def test_a_spoilt_row_is_named_with_what_was_expected(row: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    first, last = (in_form("ms-swift", each) for each in own_rows(3)[1:])
    file = written(tmp_path / "rows.jsonl", [first, row, last])
    with pytest.raises(UserError) as error:
        list(placed_rows(file))
    assert f"{file}, line 2: {complaint}" in str(error.value)
    assert [isinstance(each.row, UserError) for each in examined_rows(file)] == [False, True, False]


def test_the_labels_in_a_question_are_found() -> None:
    assert listed_labels(question(EMOTIONS)) == list(EMOTIONS)
    assert listed_labels("Choose one of [awe, fear].") == ["awe", "fear"]
    assert listed_labels("Which emotion [of yours]?") == []


@pytest.mark.parametrize(
    ("labels", "image", "task"),
    [
        (EMOTIONS, "/data/FI/emotion_dataset/awe/1.jpg", "FI-8"),
        (EMOTIONS, "data/EmoSet-118K/image/1.jpg", "EmoSet-8"),
        (EMOTIONS, "1.jpg", "EmoSet-8"),
        (("positive", "negative"), "WEBEmo/images/1.jpg", "WebEmo-2"),
        (("Content", *EMOTIONS[:2], *EMOTIONS[3:]), "1.jpg", "EmoSet-8"),
        (EMOTIONS[:5], "EmoSet/1.jpg", "custom"),
    ],
)
def test_the_task_is_the_one_with_the_labels(labels: tuple[str, ...], image: str, task: str) -> None:
    assert task_of_labels(labels, image) == task


def test_images_of_another_machine_are_found_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "image" / "awe").mkdir(parents=True)
    (tmp_path / "image" / "awe" / "1.jpg").write_bytes(b"")
    there = str(tmp_path / "image" / "awe" / "1.jpg")
    assert image_file("/mnt/them/EmoSet/image/awe/1.jpg", Path("/x"), tmp_path) == there
    assert image_file("image/awe/1.jpg", tmp_path) == there
    assert image_file("/mnt/them/2.jpg", Path("/x"), tmp_path) == "/mnt/them/2.jpg"


@given(st.dictionaries(st.sampled_from(["messages", "conversations", "prompt", "images", "image", "task", "candidates"]), st.recursive(
    st.none() | st.text(max_size=5) | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["role", "from", "content", "value", "type", "text", "image"]), inner, max_size=3), max_leaves=8)))  # fmt: skip
def test_any_row_is_read_or_gets_a_sentence(row: dict[str, Any]) -> None:
    from emocaliber.io.row_formats import Place

    for form in FORMS.values():
        try:
            list(form.read([(Place(Path("x.jsonl"), 1), row)]))
        except UserError as error:
            assert str(error).startswith("x.jsonl, line 1: ")
