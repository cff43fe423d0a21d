"""Both versions of the NRC VAD lexicon are read onto one scale, and a broken line is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from emocaliber.emotions.lexicon import read_lexicon
from emocaliber.emotions.loop import VAD
from emocaliber.errors import UserError

V1 = "Word\tValence\tArousal\tDominance\n"
V2 = "term\tvalence\tarousal\tdominance\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "lexicon.txt"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "version", "detected_by"),
    [
        (V1 + "glow\t0.929\t0.5\t0\n", "v1", "header"),
        ("glow\t0.929\t0.5\t0\n", "v1", "range"),
        (V2 + "glow\t0.858\t0\t-1\n", "v2.1", "header"),
        ("glow\t0.858\t0\t-1\n", "v2.1", "range"),
        ("\ufeff" + V2 + "Glow\t0.858\t0\t-1\r\n\r\n", "v2.1", "header"),
        ("Begriff\tValence\tArousal\tDominance\nglow\t0.858\t0\t-1\n", "v2.1", "range"),
    ],
)
def test_the_version_is_told_and_the_scale_is_one(tmp_path: Path, text: str, version: str, detected_by: str) -> None:
    lexicon = read_lexicon(written(tmp_path, text))
    assert (lexicon.version, lexicon.detected_by) == (version, detected_by)
    assert dict(lexicon) == {"glow": VAD(0.858, 0, -1)}


def test_a_version_2_header_is_believed_where_no_number_is_negative(tmp_path: Path) -> None:
    assert read_lexicon(written(tmp_path, V2 + "glow\t0.5\t0.5\t0.5\n"))["glow"] == VAD(0.5, 0.5, 0.5)


def test_terms_of_several_words_are_kept(tmp_path: Path) -> None:
    assert "a cappella" in read_lexicon(written(tmp_path, V2 + "a cappella\t0.3\t-0.2\t0.1\n"))


def test_it_says_what_it_read(tmp_path: Path) -> None:
    described = read_lexicon(written(tmp_path, V1 + "glow\t0.9\t0.5\t0\n")).describe()
    assert described == "NRC VAD v1 by its header (0..1, converted by 2x - 1), 1 word"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (V1 + "glow\t0.5\t0.5\n", "line 2: .* is not word, valence, arousal, dominance separated by tabs"),
        (V1 + "glow 0.5 0.5 0.5\n", "line 2: "),
        (V1 + "glow\t0.5\thigh\t0.5\n", "line 2: 0.5, high, 0.5 are not three numbers"),
        (V1 + "dim\t0\t0\t0\nglow\t-0.5\t0.5\t0.5\n", r"line 3: the valence of 'glow' is -0.5, outside 0\.\.1, the scale of NRC VAD v1"),
        (V2 + "glow\t0.5\t1.5\t0.5\n", r"line 2: the arousal of 'glow' is 1.5, outside -1\.\.1"),
        (V2 + "glow\t0.5\tnan\t0.5\n", "line 2: the arousal of 'glow' is nan"),
        (V2 + "glow\t0\t0\t0\nglow\t0\t0\t1\n", "line 3: 'glow' has another value on an earlier line"),
        (V2, ": no words in it"),
        ("", ": no words in it"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"lexicon\.txt.*{message}"):
        read_lexicon(written(tmp_path, text))


def test_a_line_given_twice_alike_is_no_mistake(tmp_path: Path) -> None:
    assert len(read_lexicon(written(tmp_path, V2 + "glow\t0\t0\t0\nglow\t0\t0\t0\n"))) == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: cannot be read"):
        read_lexicon(tmp_path / "none.txt")
