"""What the user names becomes a list of images."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from emocaliber.errors import UserError
from emocaliber.io.inputs import find_images


def find(*arguments: object, stdin: bytes = b"") -> list[str | bytes]:
    return find_images([str(argument) for argument in arguments], io.BytesIO(stdin))


def names(found: list[str | bytes]) -> list[str]:
    return [Path(os.fsdecode(path)).name for path in found]


def touch(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def test_files_are_taken_as_named_whatever_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "b.txt")
    assert find(tmp_path / "missing.jpg", tmp_path / "b.txt") == [str(tmp_path / "missing.jpg"), str(tmp_path / "b.txt")]


def test_a_folder_gives_what_looks_like_an_image_in_order_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a/2.png", "a/1.heic", "c.txt", ".hidden.jpg", ".git/x.png", "a/deep/er/3.webp")
    assert names(find(tmp_path)) == ["1.heic", "2.png", "3.webp", "b.JPG"]


def test_the_same_file_is_taken_once_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    monkeypatch.chdir(tmp_path)
    assert find("a.jpg", "./a.jpg", tmp_path / "a.jpg", ".", "*.jpg") == ["a.jpg", "./b.jpg"]


def test_a_link_to_a_file_is_a_file_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    assert names(find(tmp_path)) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("pattern", ["", "**/*.jpg"])
def test_folders_linked_in_a_circle_are_entered_once(tmp_path: Path, pattern: str) -> None:
    touch(tmp_path, "x/y/a.jpg")
    for number in range(3):
        (tmp_path / f"x/y/up{number}").symlink_to(tmp_path)
    assert names(find(tmp_path / pattern)) == ["a.jpg"]


def test_a_linked_folder_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.jpg", "photos/b.jpg")
    (tmp_path / "photos/more").symlink_to(tmp_path / "elsewhere")
    assert names(find(tmp_path / "photos")) == ["b.jpg", "a.jpg"]


def test_pipes_and_dangling_links_are_listed_so_that_they_get_a_row(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert names(find(tmp_path)) == ["gone.jpg", "loop.jpg", "pipe.jpg"]


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"\xff\xfe.jpg")
    name.touch()
    assert find(tmp_path) == find(name) == [str(name)]
    assert find("-", stdin=os.fsencode(name) + b"\n") == [str(name)]


def test_a_glob_left_by_the_shell_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.jpg", "a/b/2.jpg", "a/b/3.png", "a/.4.jpg", "c/5.jpg")
    monkeypatch.chdir(tmp_path)
    assert find("a/**/*.jpg") == ["a/1.jpg", "a/b/2.jpg"]
    assert find("?") == ["a/1.jpg", "a/b/2.jpg", "a/b/3.png", "c/5.jpg"]
    assert find("a/.*.jpg") == ["a/.4.jpg"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "photo[1].jpg", "photo1.jpg")
    assert names(find(tmp_path / "photo[1].jpg")) == ["photo[1].jpg"]


@pytest.mark.parametrize("nothing", ["empty", "*.jpg"])
def test_a_folder_or_glob_without_images_is_a_mistake_that_is_named(tmp_path: Path, nothing: str) -> None:
    touch(tmp_path, "empty/notes.txt")
    with pytest.raises(UserError, match=nothing.replace("*", r"\*")):
        find(tmp_path / nothing)


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_standard_input_may_list_files_and_folders(tmp_path: Path, separator: bytes) -> None:
    touch(tmp_path, "folder/1.jpg", "2.jpg")
    lines = [os.fsencode(tmp_path / "folder"), b"", os.fsencode(tmp_path / "2.jpg"), b"no such.jpg"]
    assert names(find("-", stdin=separator.join(lines))) == ["1.jpg", "2.jpg", "no such.jpg"]


@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8", b"P6\n4 4\n255\n", b"II*\0"]
)
def test_standard_input_may_be_an_image(head: bytes) -> None:
    assert find("-", stdin=head + b"\n" * 500) == [head + b"\n" * 500]


@pytest.mark.parametrize("name", ["BMW.jpg", "P6", "GIF8.gif", "RIFF", "II.tif"])
def test_a_list_is_not_taken_for_an_image_by_its_first_name(name: str) -> None:
    assert find("-", stdin=name.encode() + b"\nsecond.jpg\n") == [name, "second.jpg"]


def test_an_image_on_standard_input_is_not_read_without_bound() -> None:
    assert len(find("-", stdin=b"\xff\xd8\xff" + bytes(120_000_000))[0]) < 100_000_100


def test_an_empty_standard_input_is_a_mistake() -> None:
    with pytest.raises(UserError, match="standard input is empty"):
        find("-", stdin=b"\n\n")
