"""Votes are kept as they come, each person's apart, and become samples whose label most people chose."""

from __future__ import annotations

from pathlib import Path

import pytest

from emocaliber.core.samples import read_samples
from emocaliber.emotions.labels import Labels
from emocaliber.errors import UserError
from emocaliber.io.rows import read_rows
from emocaliber.serving.votes import LONGEST_NAME, Votes, person_key
from emocaliber.training.samples import numbered_sample_rows
from stand_ins import photo

LABELS = Labels.of(("calm", "tense", "joyful"))


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    return [str(photo(tmp_path / "photos" / f"{colour}.png", colour)) for colour in ("red", "green", "blue", "white")]


def opened(tmp_path: Path, images: list[str], labels: Labels = LABELS) -> Votes:
    return Votes(tmp_path / "votes.jsonl", images, "custom", labels)


def test_the_votes_of_several_people_are_apart_and_counted_together(tmp_path: Path, images: list[str]) -> None:
    with opened(tmp_path, images) as votes:
        for person, emotion in (("Ada", "calm"), ("Ben", "tense"), ("Cleo", "calm")):
            votes.cast(person, 0, emotion, 1.5)
        assert votes.of("Ada") == {0: "calm"} and votes.of("Ben") == {0: "tense"}
        assert votes.counts(0) == {"calm": 2, "tense": 1} and len(votes) == 3
    rows = list(read_rows(tmp_path / "votes.jsonl"))
    assert [rows[0][field] for field in ("person", "image", "emotion", "seconds")] == ["Ada", "photos/red.png", "calm", 1.5]
    assert all(row["candidates"] == list(LABELS) and row["task"] == "custom" for row in rows)


def test_the_last_of_a_persons_votes_on_a_picture_counts_however_they_write_their_name(tmp_path: Path, images: list[str]) -> None:
    with opened(tmp_path, images) as votes:
        votes.cast("Ada  Lovelace", 0, "calm")
        votes.cast(" ada lovelace ", 0, "tense")
        votes.cast("ADA LOVELACE", 1, None)
        assert votes.people == ["Ada Lovelace"] and votes.of("Ada Lovelace") == {0: "tense", 1: None}
        assert votes.counts(0) == {"tense": 1} and votes.counts(1) == {}
    assert len(list(read_rows(tmp_path / "votes.jsonl"))) == 3, "every vote stays in the file"


def test_votes_are_there_again_after_the_file_was_cut_off_in_the_middle_of_a_row(tmp_path: Path, images: list[str]) -> None:
    with opened(tmp_path, images) as votes:
        votes.cast("Ada", 0, "calm")
        votes.cast("Ada", 1, None)
    with open(tmp_path / "votes.jsonl", "ab") as file:
        file.write(b'{"image": "photos/blue.png", "per')
    with opened(tmp_path, images) as votes:
        assert votes.of("Ada") == {0: "calm", 1: None}
        votes.cast("Ada", 2, "joyful")
    assert len(list(read_rows(tmp_path / "votes.jsonl"))) == 3


def test_every_person_has_an_order_of_their_own_which_stays(tmp_path: Path, images: list[str]) -> None:
    with opened(tmp_path, images) as votes:
        orders = {person: votes.order_for(person) for person in "abcdefgh"}
        assert all(sorted(order) == [0, 1, 2, 3] for order in orders.values())
        assert len(set(map(tuple, orders.values()))) > 3
        assert orders["a"] == votes.order_for("A ")


def test_samples_have_the_label_that_most_chose_and_ties_are_named(tmp_path: Path, images: list[str]) -> None:
    with opened(tmp_path, images) as votes:
        for person, emotions in (("Ada", ("calm", "tense", "calm")), ("Ben", ("calm", "joyful", None)), ("Cleo", ("tense", None, None))):
            for place, emotion in enumerate(emotions):
                votes.cast(person, place, emotion)
        (tmp_path / "out").mkdir()
        said = votes.write_samples(tmp_path / "out" / "samples.jsonl")
    assert said.endswith("samples.jsonl: 2 samples; without a sample: 1 with a tie, 1 with no vote")
    red, blue = read_samples(tmp_path / "out" / "samples.jsonl")
    assert (red.ground_truth, red.votes, Path(red.image).resolve()) == ("calm", {"calm": 2, "tense": 1}, Path(images[0]))
    assert (blue.ground_truth, blue.votes, blue.candidates) == ("calm", {"calm": 1}, LABELS)


def test_training_reads_samples_of_its_own_split_only(tmp_path: Path, images: list[str]) -> None:
    with opened(tmp_path, images) as votes:
        votes.cast("Ada", 1, "joyful")
        votes.write_samples(tmp_path / "samples.jsonl", "train")
        ((line, row),) = numbered_sample_rows(tmp_path / "samples.jsonl")
        assert (line, row["ground_truth"], row["votes"], row["image"]) == (1, "joyful", {"joyful": 1}, images[1])
        votes.write_samples(tmp_path / "samples.jsonl")
    with pytest.raises(UserError, match="must not see the test split"):
        list(numbered_sample_rows(tmp_path / "samples.jsonl"))


def test_votes_among_other_labels_are_not_mixed_in(tmp_path: Path, images: list[str]) -> None:
    with opened(tmp_path, images) as votes:
        votes.cast("Ada", 0, "calm")
    with pytest.raises(UserError, match=r"line 1: field 'candidates' has the labels calm, tense, joyful; give the same labels as before"):
        opened(tmp_path, images, Labels.of(("calm", "tense")))
    opened(tmp_path, images).close()  # the refusal has released the file


def test_a_vote_is_a_name_and_a_label(tmp_path: Path, images: list[str]) -> None:
    with opened(tmp_path, images) as votes:
        with pytest.raises(UserError, match="'sad' is not among the labels calm, tense, joyful"):
            votes.cast("Ada", 0, "sad")
        for name in ("", "  ", "x" * (LONGEST_NAME + 1), "a\0b", "a\u202eb"):
            with pytest.raises(UserError, match="is no name to keep votes under"):
                votes.cast(name, 0, "calm")
        assert len(votes) == 0
    assert (tmp_path / "votes.jsonl").read_text() == ""


def test_two_servers_do_not_write_one_file(tmp_path: Path, images: list[str]) -> None:
    with opened(tmp_path, images), pytest.raises(UserError, match=r"votes\.jsonl"):
        opened(tmp_path, images)


def test_names_with_one_letter_in_two_forms_are_one_name() -> None:
    assert person_key("Zo\u00eb") == person_key("zoe\u0308")
