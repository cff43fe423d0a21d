"""The six data sets, as miniatures in their own layouts with their real names."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.io.images import ImageError
from emocaliber.vecbench.sources import SOURCES
from emocaliber.vecbench.sources.reader import Item, LoadedSource, SkipReason

MIKELS = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")
WEBEMO = (
    *("affection", "cheerfullness", "confusion", "contentment", "disappointment", "disgust", "enthrallment", "envy", "exasperation"),
    *("gratitude", "horror", "irritabilty", "lust", "neglect", "nervousness", "optimism", "pride", "rage", "relief", "sadness", "shame"),
    *("suffering", "surprise", "sympathy", "zest"),
)
SIX = ("anger", "fear", "joy", "love", "sadness", "surprise")
VOTED = ("Amusement", "Anger", "Awe", "Content", "Disgust", "Excitement", "Fear", "Sad")

needs_data = pytest.mark.skipif("EMOCALIBER_DATA" not in os.environ, reason="EMOCALIBER_DATA is not set")


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), random.Random(path.name).choice(["red", "teal", "gold"])).save(path)
    return path


def make_fi(folder: Path) -> Path:
    for emotion in MIKELS:
        for number in (1, 2):
            draw(folder / f"emotion_dataset/{emotion}/{emotion}_{number}.jpg")
    return folder


def make_webemo(folder: Path) -> Path:
    for place in range(25):
        draw(folder / f"WEBEmo/images/train25/{place}/{place}a.jpg")
        draw(folder / f"WEBEmo/images/test25/{place}/{place}b.jpg")
    return folder


def make_emoset(folder: Path, *, with_id: bool = True) -> Path:
    places = {emotion: index for index, emotion in enumerate(taxonomy("mikels-8").labels)}
    for split, numbers in {"train": (1, 2), "val": (3,), "test": (4,)}.items():
        entries = []
        for emotion in places:
            for number in numbers:
                name = f"{emotion}_{number:05}"
                draw(folder / f"image/{emotion}/{name}.jpg")
                write(folder / f"annotation/{emotion}/{name}.json", {"image_id": name, "emotion": emotion, "brightness": 0.4})
                entries.append([emotion, *[name] * with_id, f"image/{emotion}/{name}.jpg", f"annotation/{emotion}/{name}.json"])
        write(folder / f"{split}.json", entries)
    write(folder / "info.json", {"emotion": {"label2idx": places}, "brightness": {"label2idx": {"0.0": 0}}})
    return folder


def make_abstract(folder: Path, rows: dict[str, list[int]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "ABSTRACT_groundTruth.csv", "w") as file:
        writer = csv.writer(file, quotechar="'", quoting=csv.QUOTE_ALL)
        writer.writerow(["", *VOTED])
        writer.writerows([name, *votes] for name, votes in rows.items())
    for name in rows:
        draw(folder / "testImages_abstract" / name)
    return folder


def make_artphoto(folder: Path) -> Path:
    for number, emotion in enumerate([*MIKELS[:-1], "sad", "sad"]):
        draw(folder / f"testImages_artphoto/{emotion}_{number:04}.jpg")
    return folder


def make_unbiasedemo(folder: Path) -> Path:
    for emotion in SIX:
        for thing in ("baby", "dog"):
            draw(folder / f"UnBiasedEmo/images/{emotion}/{thing}/{thing}_1.jpg")
    return folder


VOTES = {
    "abstract_0001.jpg": [0, 0, 1, 9, 0, 10, 0, 0],
    "abstract_0002.jpg": [1, 2, 0, 0, 0, 0, 0, 8],
    "abstract_0003.jpg": [0, 4, 0, 0, 3, 0, 0, 0],
}
MAKE = {
    "fi": make_fi,
    "webemo": make_webemo,
    "emoset": make_emoset,
    "abstract": lambda folder: make_abstract(folder, VOTES),
    "artphoto": make_artphoto,
    "unbiasedemo": make_unbiasedemo,
}
INSIDE = {
    "fi": ["emotion_dataset"],
    "webemo": ["WEBEmo", "WEBEmo/images"],
    "emoset": [],
    "abstract": [],
    "artphoto": ["testImages_artphoto"],
    "unbiasedemo": ["UnBiasedEmo", "UnBiasedEmo/images"],
}

every_source = pytest.mark.parametrize("source", SOURCES)


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def by_name(reading: LoadedSource) -> dict[str, Item]:
    return {Path(item.image).name: item for item in reading.items}


def labels(reading: LoadedSource) -> Counter[str]:
    return Counter(item.label for item in reading.items)


def reasons(reading: LoadedSource) -> dict[str, SkipReason]:
    return {each.path: each.reason for each in reading.skipped}


@every_source
def test_every_image_of_a_whole_data_set_is_an_item(source: str, tmp_path: Path) -> None:
    reading = SOURCES[source](MAKE[source](tmp_path))
    drawn = sorted(str(path) for path in tmp_path.rglob("*.jpg"))
    assert [item.image for item in reading.items] == drawn
    assert not reading.skipped
    assert {item.source for item in reading.items} == {reading.source} == {source}


@every_source
def test_any_folder_on_the_way_to_the_images_may_be_given(source: str, tmp_path: Path) -> None:
    whole = SOURCES[source](MAKE[source](tmp_path))
    for inside in INSIDE[source]:
        assert SOURCES[source](tmp_path / inside) == whole


@every_source
def test_unchecked_images_give_the_same_reading_where_nothing_is_broken(source: str, tmp_path: Path) -> None:
    MAKE[source](tmp_path)
    assert SOURCES[source](tmp_path, check_images=False) == SOURCES[source](tmp_path)


@every_source
def test_broken_images_are_skipped_with_the_reason_and_counted_as_done(source: str, tmp_path: Path) -> None:
    MAKE[source](tmp_path)
    broken, *_, cut = sorted(tmp_path.rglob("*.jpg"))
    broken.write_text("<html>404</html>")
    cut.write_bytes(cut.read_bytes()[:-100])
    done: list[int] = []
    reading = SOURCES[source](tmp_path, progress=done.append)
    assert list(reasons(reading).values()) == [SkipReason.BROKEN_IMAGE] * 2
    assert {each.detail.split(";")[0] for each in reading.skipped} >= {"the end of the image is missing"}
    assert all(str(tmp_path) not in each.detail for each in reading.skipped)
    assert done == list(range(1, len(reading.items) + 3))


def test_a_transient_fault_stops_the_reader_and_leaves_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(images: list[str], *_: object) -> Iterator[ImageError]:
        return (ImageError("internal", f"{image}: cannot be read (Input/output error); try again.") for image in images)

    monkeypatch.setattr("emocaliber.vecbench.sources.reader.open_images", failing)
    with pytest.raises(UserError, match=r"amusement_1\.jpg: cannot be read \(Input/output error\).* nothing was left out"):
        SOURCES["fi"](make_fi(tmp_path))


@every_source
@pytest.mark.parametrize("other", MAKE)
def test_another_data_set_is_refused_with_what_was_expected_and_found(source: str, other: str, tmp_path: Path) -> None:
    if source == other:
        return
    MAKE[other](tmp_path)
    with pytest.raises(UserError, match=r"this is not .* Expected .*; found .+") as refused:
        SOURCES[source](tmp_path, check_images=False)
    assert sorted(tmp_path.iterdir())[0].name in str(refused.value)


@every_source
def test_a_folder_that_is_not_there_is_refused(source: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder; give the folder of"):
        SOURCES[source](tmp_path / "nowhere")


def test_a_data_set_that_lacks_an_emotion_is_refused(tmp_path: Path) -> None:
    shutil.rmtree(make_fi(tmp_path) / "emotion_dataset/awe")
    with pytest.raises(UserError, match="found amusement/, anger/, contentment/"):
        SOURCES["fi"](tmp_path)


def test_what_lies_about_in_fi_is_skipped_by_name(tmp_path: Path) -> None:
    root = make_fi(tmp_path) / "emotion_dataset"
    draw(root / "boredom/x.jpg")
    draw(root / ".thumbnails/y.jpg")
    (root / "awe/readme.txt").write_text("hello")
    reading = SOURCES["fi"](root)
    assert reasons(reading) == {"awe/readme.txt": SkipReason.NOT_AN_IMAGE, "boredom/x.jpg": SkipReason.UNKNOWN_LABEL}
    assert "'boredom' is not one of amusement" in reading.skipped[1].detail


def test_links_in_a_circle_are_gone_round_once(tmp_path: Path) -> None:
    root = make_fi(tmp_path) / "emotion_dataset"
    (root / "awe/again").symlink_to(root)
    assert len(SOURCES["fi"](root).items) == 16


def test_webemo_numbers_its_emotions_in_alphabetical_order(tmp_path: Path) -> None:
    found = by_name(SOURCES["webemo"](make_webemo(tmp_path)))
    canonical = taxonomy("webemo-25").canonical
    assert list(WEBEMO) == sorted(WEBEMO)
    assert [found[f"{place}a.jpg"].label for place in range(25)] == [canonical(word) for word in WEBEMO]
    assert found["24a.jpg"].split == "train"
    assert found["3b.jpg"].split == "test"


def test_webemo_by_names_misspelt_as_they_are_is_read_the_same(tmp_path: Path) -> None:
    folder = make_webemo(tmp_path)
    before = labels(SOURCES["webemo"](folder))
    for place, word in enumerate(WEBEMO):
        for split in ("train25", "test25"):
            (folder / "WEBEmo/images" / split / str(place)).rename(folder / "WEBEmo/images" / split / word)
    assert labels(SOURCES["webemo"](folder)) == before
    assert {"cheerfulness", "irritability"} <= set(before)


def test_webemo_has_no_emotion_25_and_its_coarser_folders_are_not_read(tmp_path: Path) -> None:
    folder = make_webemo(tmp_path)
    draw(folder / "WEBEmo/images/train25/25/x.jpg")
    draw(folder / "WEBEmo/images/train7/0/y.jpg")
    reading = SOURCES["webemo"](folder)
    assert reasons(reading) == {"train25/25/x.jpg": SkipReason.UNKNOWN_LABEL}
    assert len(reading.items) == 50


@pytest.mark.parametrize("with_id", [True, False])
def test_emoset_keeps_its_official_split(with_id: bool, tmp_path: Path) -> None:
    reading = SOURCES["emoset"](make_emoset(tmp_path, with_id=with_id))
    assert Counter(item.split for item in reading.items) == {"train": 16, "val": 8, "test": 8}
    assert by_name(reading)["sadness_00003.jpg"] == Item(str(tmp_path / "image/sadness/sadness_00003.jpg"), "sadness", "emoset", "val")


def test_what_emoset_lists_but_lacks_is_skipped(tmp_path: Path) -> None:
    make_emoset(tmp_path)
    (tmp_path / "image/awe/awe_00001.jpg").unlink()
    (tmp_path / "annotation/fear/fear_00002.json").unlink()
    missing = {"image/awe/awe_00001.jpg": SkipReason.MISSING_IMAGE, "image/fear/fear_00002.jpg": SkipReason.MISSING_ANNOTATION}
    assert reasons(SOURCES["emoset"](tmp_path)) == missing
    assert not SOURCES["emoset"](tmp_path, check_images=False).skipped, "the lists are trusted"


def test_an_image_in_two_lists_counts_once(tmp_path: Path) -> None:
    make_emoset(tmp_path)
    write(tmp_path / "test.json", json.loads((tmp_path / "train.json").read_text())[:1])
    reading = SOURCES["emoset"](tmp_path)
    assert [(each.path, each.reason, each.detail) for each in reading.skipped] == [
        ("image/amusement/amusement_00001.jpg", SkipReason.LISTED_TWICE, "amusement, test; before: amusement, train")
    ]
    assert by_name(reading)["amusement_00001.jpg"].split == "train"


@pytest.mark.parametrize("bad", ["{", {"a": 1}, [["awe", "x"]], [[1, 2, 3, 4]], [[]], ["awe"]])
def test_an_emoset_list_of_another_shape_is_an_error_that_names_it(bad: object, tmp_path: Path) -> None:
    make_emoset(tmp_path)
    (tmp_path / "val.json").write_text(bad if isinstance(bad, str) else json.dumps(bad))
    with pytest.raises(UserError, match=r"val\.json.*unpack EmoSet-118K anew"):
        SOURCES["emoset"](tmp_path)


@pytest.mark.parametrize("info", [{}, [], {"emotion": {"label2idx": {"joy": 0}}}])
def test_emoset_with_other_emotions_is_refused(info: object, tmp_path: Path) -> None:
    write(make_emoset(tmp_path) / "info.json", info)
    with pytest.raises(UserError, match=r"info\.json: not EmoSet-118K's: expected the emotions .*; found (none|joy)"):
        SOURCES["emoset"](tmp_path)


@needs_data
def test_emosets_real_info_file_is_accepted(tmp_path: Path) -> None:
    make_emoset(tmp_path)
    (tmp_path / "info.json").write_bytes((Path(os.environ["EMOCALIBER_DATA"]) / "emoset_info.json").read_bytes())
    assert len(SOURCES["emoset"](tmp_path).items) == 32


def test_abstract_compares_votes_as_numbers_and_keeps_them(tmp_path: Path) -> None:
    found = by_name(SOURCES["abstract"](make_abstract(tmp_path, VOTES)))
    first = found["abstract_0001.jpg"]
    assert "9" > "10"
    assert first.label == "excitement"
    assert first.votes is not None
    assert {label: count for label, count in first.votes.items() if count} == {"awe": 1, "contentment": 9, "excitement": 10}
    assert found["abstract_0002.jpg"].label == "sadness"


def test_abstract_drops_ties_images_without_votes_and_images_without_a_line(tmp_path: Path) -> None:
    rows = VOTES | {"tie.jpg": [0, 0, 5, 5, 0, 0, 3, 0], "none.jpg": [0] * 8, "gone.jpg": [1, 0, 0, 0, 0, 0, 0, 0]}
    make_abstract(tmp_path, rows)
    (tmp_path / "testImages_abstract/gone.jpg").unlink()
    draw(tmp_path / "testImages_abstract/new.jpg")
    reading = SOURCES["abstract"](tmp_path)
    assert {each.path: (each.reason, each.detail) for each in reading.skipped} == {
        "tie.jpg": (SkipReason.TIE, "awe 5, contentment 5, fear 3"),
        "none.jpg": (SkipReason.TIE, "no votes"),
        "gone.jpg": (SkipReason.MISSING_IMAGE, "there is no such file; check the name, or where its link points."),
        "new.jpg": (SkipReason.MISSING_ANNOTATION, "ABSTRACT_groundTruth.csv does not list it"),
    }


def test_abstract_votes_may_lie_beside_the_images(tmp_path: Path) -> None:
    images = make_abstract(tmp_path, VOTES) / "testImages_abstract"
    (tmp_path / "ABSTRACT_groundTruth.csv").rename(images / "ABSTRACT_groundTruth.csv")
    assert SOURCES["abstract"](images) == SOURCES["abstract"](tmp_path)
    assert len(SOURCES["abstract"](images).items) == len(VOTES)


def test_a_vote_that_is_no_number_names_line_and_column(tmp_path: Path) -> None:
    file = make_abstract(tmp_path, VOTES) / "ABSTRACT_groundTruth.csv"
    file.write_text(file.read_text().replace("'10'", "'ten'"))
    with pytest.raises(UserError, match=r"groundTruth\.csv, line 2: column 'Excitement' holds 'ten'"):
        SOURCES["abstract"](tmp_path)


def test_abstract_without_a_column_is_refused(tmp_path: Path) -> None:
    file = make_abstract(tmp_path, VOTES) / "ABSTRACT_groundTruth.csv"
    file.write_text(file.read_text().replace("'Sad'", "'Bored'"))
    with pytest.raises(UserError, match=r"a column for each of amusement.* Bored"):
        SOURCES["abstract"](tmp_path)


def test_artphoto_tells_the_emotion_by_the_files_name(tmp_path: Path) -> None:
    reading = SOURCES["artphoto"](make_artphoto(tmp_path))
    assert labels(reading) == Counter([*MIKELS, "sadness"])


def test_unbiasedemo_is_labelled_by_emotion_whatever_the_object(tmp_path: Path) -> None:
    assert labels(SOURCES["unbiasedemo"](make_unbiasedemo(tmp_path))) == dict.fromkeys(SIX, 2)


@needs_data
def test_the_real_labels_of_artphoto_give_its_806_samples(tmp_path: Path) -> None:
    with open(Path(os.environ["EMOCALIBER_DATA"]) / "gpt4v/artphoto/label.csv", newline="") as file:
        names = [f"{row['gt']}_{row['name']}.jpg" for row in csv.DictReader(file)]
    image = draw(tmp_path / "one.jpg").read_bytes()
    (tmp_path / "testImages_artphoto").mkdir()
    for name in names:
        (tmp_path / "testImages_artphoto" / name).write_bytes(image)
    reading = SOURCES["artphoto"](tmp_path)
    counts = {"sadness": 166, "fear": 115, "excitement": 105, "awe": 102, "amusement": 101, "anger": 77, "contentment": 70, "disgust": 70}
    assert labels(reading) == counts
    assert not reading.skipped


@needs_data
def test_the_real_labels_of_abstract_give_its_229_samples(tmp_path: Path) -> None:
    """The 280 images with drawn votes that have the real labels; the 51 without a label are ties."""
    with open(Path(os.environ["EMOCALIBER_DATA"]) / "gpt4v/abstract/label.csv", newline="") as file:
        real = {row["name"]: row["gt"] for row in csv.DictReader(file)}
    names = [*real, *(f"tied_{number}.jpg" for number in range(280 - len(real)))]
    chance = random.Random(0)
    rows = {}
    for name in names:
        votes = [chance.randrange(10) for _ in VOTED]
        votes[VOTED.index(real[name]) if name in real else 0] = 10
        if name not in real:
            votes[1] = 10
        rows[name] = votes
    reading = SOURCES["abstract"](make_abstract(tmp_path, rows), check_images=False)
    counts = {"contentment": 64, "excitement": 36, "fear": 36, "sadness": 32, "amusement": 25, "disgust": 18, "awe": 15, "anger": 3}
    assert labels(reading) == counts
    assert Counter(reasons(reading).values()) == {SkipReason.TIE: 51}
