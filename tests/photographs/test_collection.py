"""Photographs and what is known of them: contents, ratings, and rows that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from emocaliber.errors import UserError
from emocaliber.photographs.collection import read_imagenet_samples, read_oasis
from emocaliber.photographs.content import KINDS, contents, of_imagenet_class, of_oasis_theme

HEADER = "image,category,valence_mean,valence_sd,valence_n,arousal_mean,arousal_sd,arousal_n\n"


def oasis(folder: Path, *rows: str) -> Path:
    (folder / "images").mkdir(parents=True)
    for row in rows:
        Image.new("RGB", (8, 6)).save(folder / "images" / row.split(",")[0])
    (folder / "ratings.csv").write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return folder


def test_every_content_has_one_of_four_kinds_and_words_of_its_own() -> None:
    found = contents().values()
    assert {content.kind for content in found} == set(KINDS)
    assert len({content.words for content in found}) == len(found)


@pytest.mark.parametrize(
    ("number", "name", "key"),
    [
        (151, "Chihuahua", "dog"),
        (268, "Mexican_hairless", "dog"),
        (269, "timber_wolf", "wolf"),
        (0, "tench", "fish"),
        (69, "trilobite", "shell"),
        (517, "crane", "thing"),
        (764, "rifle", "weapon"),
        (981, "ballplayer", "sport"),
        (134, "crane", "bird"),
    ],
)
def test_imagenet_classes_have_a_content(number: int, name: str, key: str) -> None:
    assert of_imagenet_class(number, name).key == key


def test_a_theme_that_is_in_several_categories_has_the_content_of_its_own() -> None:
    assert of_oasis_theme("Wedding", "Person").kind == "person"
    assert of_oasis_theme("Wedding", "Scenery").kind == "place"
    assert of_oasis_theme("Wedding", "Object").key == "toy"


def test_a_theme_that_is_not_listed_has_the_plainest_content_of_its_category() -> None:
    assert of_oasis_theme("Zeppelin", "Object").key == "thing"


def test_ratings_are_brought_to_the_scale_of_the_lexicon(tmp_path: Path) -> None:
    [photograph] = read_oasis(oasis(tmp_path / "oasis", "Angry face 1.jpg,Person,1.0,1.5,100,7.0,0.75,100"))
    assert photograph.ratings is not None
    assert (photograph.ratings.valence, photograph.ratings.arousal) == (-1, 1)
    assert (photograph.ratings.valence_sd, photograph.ratings.arousal_sd) == (0.5, 0.25)
    assert (photograph.name, photograph.content.key, photograph.person) == ("Angry face 1", "face", True)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("Dog 1.jpg,Dogs,4,1,100,4,1,100", "row 2: category is 'Dogs'; it must be one of Person, Animal, Scenery, Object"),
        ("Dog 1.jpg,Animal,8,1,100,4,1,100", "row 2: ratings must lie between 1 and 7"),
        ("Dog 1.jpg,Animal,,1,100,4,1,100", "row 2: could not convert"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_oasis(oasis(tmp_path / "oasis", row))


def test_an_image_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = oasis(tmp_path / "oasis", "Dog 1.jpg,Animal,4,1,100,4,1,100")
    (folder / "images" / "Dog 1.jpg").unlink()
    with pytest.raises(UserError, match=r"row 2: .*Dog 1\.jpg is not there"):
        read_oasis(folder)


def test_a_folder_that_is_not_that_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the folder of OASIS"):
        read_oasis(tmp_path)
    with pytest.raises(UserError, match="has 0 files called like"):
        read_imagenet_samples(tmp_path)


@pytest.mark.skipif("EMOCALIBER_DATA" not in os.environ, reason="needs real photographs: set EMOCALIBER_DATA")
def test_the_real_collections_are_read_whole() -> None:
    folder = Path(os.environ["EMOCALIBER_DATA"])
    rated, named = read_oasis(folder / "oasis"), read_imagenet_samples(folder / "imagenet_samples")
    assert (len(rated), len(named)) == (390, 995), "five of ImageNet's classes are printed pages and screens"
    assert sum(photograph.content.key == "thing" for photograph in rated) < 40
    assert sum(photograph.content.key == "thing" for photograph in named) < 140
