from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.vecbench.sources import custom
from emocaliber.vecbench.sources.reader import LoadedSource, SkipReason


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), "teal").save(path)


def table(folder: Path, text: str) -> Path:
    """A CSV file and the images of its first column."""
    path = folder / "list.csv"
    path.write_text(text)
    for line in text.splitlines()[1:]:
        draw(folder / line.split(",")[0])
    return path


def labels(reading: LoadedSource) -> dict[str, str]:
    return {Path(item.image).name: item.label for item in reading.items}


def reasons(reading: LoadedSource) -> dict[str, SkipReason]:
    return {each.path: each.reason for each in reading.skipped}


def test_the_folders_of_a_folder_are_its_labels(tmp_path: Path) -> None:
    for path in ("calm/a.jpg", "calm/deep/b.png", "tense/c.jpg"):
        draw(tmp_path / path)
    reading = custom.read(tmp_path, "moods")
    assert labels(reading) == {"a.jpg": "calm", "b.png": "calm", "c.jpg": "tense"}
    assert reading.source == "moods"


def test_given_labels_leave_out_other_folders(tmp_path: Path) -> None:
    for path in ("Sad/a.jpg", "awe/b.jpg", "bored/c.jpg"):
        draw(tmp_path / path)
    reading = custom.read(tmp_path, "moods", taxonomy("mikels-8"))
    assert labels(reading) == {"a.jpg": "sadness", "b.jpg": "awe"}
    assert reasons(reading) == {"bored/c.jpg": SkipReason.UNKNOWN_LABEL}


def test_a_folder_without_folders_says_what_it_holds(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg")
    with pytest.raises(UserError, match=r"Expected a folder of images for each label; found a\.jpg"):
        custom.read(tmp_path, "moods")


def test_a_csv_gives_labels_and_splits(tmp_path: Path) -> None:
    path = table(tmp_path, "image,label,split\nx/a.jpg,calm,train\nb.jpg,tense,test\nc.jpg,,\n")
    reading = custom.read(path, "moods")
    assert [(item.image, item.label, item.split) for item in reading.items] == [
        (str(tmp_path / "b.jpg"), "tense", "test"),
        (str(tmp_path / "x/a.jpg"), "calm", "train"),
    ]
    assert reasons(reading) == {"c.jpg": SkipReason.UNKNOWN_LABEL}


@pytest.mark.parametrize("header", ["image,votes.calm,votes.tense,votes.dull", "image,calm,tense,dull"])
def test_the_most_voted_label_wins_as_a_number_and_ties_are_skipped(header: str, tmp_path: Path) -> None:
    path = table(tmp_path, f"{header}\na.jpg,9,10,0\nb.jpg,4,4,1\nc.jpg,0,0,0\n")
    reading = custom.read(path, "moods", ["calm", "tense", "dull"])
    assert labels(reading) == {"a.jpg": "tense"}
    assert reading.items[0].votes == {"calm": 9, "tense": 10, "dull": 0}
    assert reasons(reading) == {"b.jpg": SkipReason.TIE, "c.jpg": SkipReason.TIE}


def test_a_label_stands_against_the_votes_beside_it(tmp_path: Path) -> None:
    path = table(tmp_path, "image,label,votes.calm,votes.tense\na.jpg,calm,1,2\nb.jpg,tense,0,0\n")
    reading = custom.read(path, "moods")
    assert [(item.label, item.votes) for item in reading.items] == [("calm", {"calm": 1, "tense": 2}), ("tense", None)]


def test_ratings_become_polarity_with_the_normal_share_as_votes(tmp_path: Path) -> None:
    rows = "a.jpg,5,1,100\nb.jpg,3,0,10\nc.jpg,4,1,50\nd.jpg,6.5,0.5,0"
    reading = custom.read(table(tmp_path, f"image,valence_mean,valence_sd,n\n{rows}\n"), "moods", midpoint=4)
    assert [(Path(item.image).name, item.label, item.votes) for item in reading.items] == [
        ("a.jpg", "positive", {"positive": 84, "negative": 16}),  # 84.1 % of a normal lie above one deviation below its mean
        ("b.jpg", "negative", {"positive": 0, "negative": 10}),
        ("d.jpg", "positive", None),
    ]
    assert reasons(reading) == {"c.jpg": SkipReason.TIE}


def test_images_may_lie_elsewhere(tmp_path: Path) -> None:
    draw(tmp_path / "far/away/a.jpg")
    path = tmp_path / "list.csv"
    path.write_text("image,label\na.jpg,calm\nb.jpg,tense\n")
    reading = custom.read(path, "moods", images=tmp_path / "far/away")
    assert labels(reading) == {"a.jpg": "calm"}
    assert reasons(reading) == {"b.jpg": SkipReason.MISSING_IMAGE}


def test_an_image_listed_twice_counts_as_first_listed(tmp_path: Path) -> None:
    reading = custom.read(table(tmp_path, "image,label\na.jpg,calm\n./a.jpg,tense\n"), "moods")
    assert labels(reading) == {"a.jpg": "calm"}
    assert reasons(reading) == {"a.jpg": SkipReason.LISTED_TWICE}


@pytest.mark.parametrize(
    ("text", "arguments", "complaint"),
    [
        ("file,label\na.jpg,x\n", {}, "no column 'image'; found file, label"),
        ("image,mood\na.jpg,x\n", {}, "nothing says what the images evoke.*found image, mood"),
        ("image,label\na.jpg,x\n", {"midpoint": 4.0}, "expected the columns valence_mean.*found image, label"),
        ("image,valence_mean,valence_sd,n\na.jpg,high,1,9\n", {"midpoint": 4.0}, "line 2: column 'valence_mean' holds 'high'"),
        ("image,valence_mean,valence_sd,n\na.jpg,5,-1,9\n", {"midpoint": 4.0}, "line 2: column 'valence_sd' holds -1"),
        (
            "image,valence_mean,valence_sd,n\na.jpg,5,1,9\n",
            {"midpoint": 4.0, "labels": ["a", "b"]},
            "positive and negative; leave out a, b",
        ),
        ("image,votes.x,votes.y\na.jpg,1.5,2\n", {}, "line 2: column 'votes.x' holds '1.5'"),
        ("image,votes.x,votes.y\na.jpg,1,2\n", {"labels": ["x", "z"]}, "'votes.y' counts votes for none of x, z"),
        ("image,sad,sadness\na.jpg,1,2\n", {"labels": taxonomy("mikels-8")}, "two columns count votes for the same label"),
        ("image,label\na.jpg,x\nb.jpg,x\n", {}, "labels: 1 given; a taxonomy needs at least two"),
        ("image,label,split\na.jpg,x,dev\nb.jpg,y,\n", {}, "line 2: column 'split' holds 'dev'"),
        ("image,label\n,x\nb.jpg,y\n", {}, "line 2: column 'image' is empty"),
    ],
)
def test_a_csv_of_another_form_is_an_error_one_can_act_on(text: str, arguments: dict[str, object], complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint) as refused:
        custom.read(path, "moods", check_images=False, **arguments)  # type: ignore[arg-type]
    assert str(refused.value).startswith(str(path)) or "labels:" in complaint


def test_a_midpoint_means_nothing_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="midpoint and images belong to a CSV file"):
        custom.read(tmp_path, "moods", midpoint=4)


@pytest.mark.skipif("EMOCALIBER_DATA" not in os.environ, reason="EMOCALIBER_DATA is not set")
def test_oasis_becomes_a_polarity_task_of_390_images() -> None:
    folder = Path(os.environ["EMOCALIBER_DATA"]) / "oasis"
    reading = custom.read(folder / "ratings.csv", "oasis", midpoint=4, images=folder / "images")
    assert len(reading.items) == 390
    assert not reading.skipped
    assert Counter(item.label for item in reading.items).keys() == {"positive", "negative"}
    acorns = next(item for item in reading.items if item.image.endswith("/Acorns 1.jpg"))
    assert (acorns.label, acorns.votes) == ("positive", {"positive": 78, "negative": 24})  # mean 4.686, sd 0.954, n 102: share .764
    assert all(item.votes and 85 < sum(item.votes.values()) < 130 for item in reading.items)
    assert all(item.votes and item.votes[item.label] >= max(item.votes.values()) for item in reading.items)  # near 4, rounding may tie
