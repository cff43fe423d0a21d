"""Views of photographs and pictures that are none: the same seed draws the same, and files that are there are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emocaliber.errors import UserError
from emocaliber.photographs import sheets as kinds
from emocaliber.photographs.collection import Photograph
from emocaliber.photographs.content import contents
from emocaliber.photographs.pictures import sheets, views_of
from emocaliber.photographs.views import light_of, random_view


@pytest.fixture
def photograph(tmp_path: Path) -> Photograph:
    levels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(levels).resize((160, 120), Image.Resampling.BICUBIC).save(tmp_path / "dog.png")
    return Photograph("dog", tmp_path / "dog.png", contents()["dog"])


def test_a_view_has_the_size_asked_for_and_is_another_picture(photograph: Photograph) -> None:
    image = Image.open(photograph.file)
    views = [random_view(image, np.random.default_rng(seed), 64) for seed in (1, 1, 2)]
    assert [view.size for view in views] == [(64, 64)] * 3
    assert views[0].tobytes() == views[1].tobytes() != views[2].tobytes()


def test_the_first_view_is_the_photograph_itself_and_the_others_are_made_once(photograph: Photograph, tmp_path: Path) -> None:
    files = views_of([photograph], tmp_path / "views", count=3, side=64)["dog"]
    assert files[0] == photograph.file
    before = [file.stat().st_mtime_ns for file in files]
    assert views_of([photograph], tmp_path / "views", count=3, side=64)["dog"] == files
    assert [file.stat().st_mtime_ns for file in files] == before
    content = files[1].read_bytes()
    files[1].unlink()
    views_of([photograph], tmp_path / "views", count=3, side=64)
    assert files[1].read_bytes() == content, "made again, it is the same"


def test_a_photograph_that_cannot_be_opened_is_named(photograph: Photograph, tmp_path: Path) -> None:
    photograph.file.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"dog\.png.*Leave the photograph out"):
        views_of([photograph], tmp_path / "views", count=2, side=64)


LOOKS = [kinds.blank, kinds.gradient, kinds.noise, kinds.page, kinds.screen, kinds.chart, kinds.scribble, kinds.cartoon, kinds.icon]


@pytest.mark.parametrize("look", LOOKS)
def test_every_kind_of_sheet_is_drawn_from_the_seed_alone(look: object) -> None:
    for seed in range(12):
        first, again = (look(np.random.default_rng(seed), 96) for _ in range(2))  # type: ignore[operator]
        assert (first.size, first.mode) == ((96, 96), "RGB")
        assert first.tobytes() == again.tobytes()


def test_sheets_are_made_once_and_differ(photograph: Photograph, tmp_path: Path) -> None:
    files = sheets(tmp_path / "sheets", 12, side=64, seed=3, after=[photograph])
    assert len({file.read_bytes() for file in files}) == 12
    assert sheets(tmp_path / "sheets", 12, side=64, seed=3, after=[photograph]) == files


def test_light_is_measured_between_0_and_1() -> None:
    assert light_of(Image.new("RGB", (9, 9))) == (0, 0)
    assert light_of(Image.new("RGB", (9, 9), (255, 255, 255))) == (1, 0)
    assert light_of(Image.new("RGB", (9, 9), (255, 0, 0))) == (1, 1)
