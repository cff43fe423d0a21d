from __future__ import annotations

from pathlib import Path

import pytest

from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place, number, read_table, whole_number


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_keeps_the_lines_its_rows_end_on(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, '\ufeffa, b\r\n1 ,"x,\ny"\n\n 3,4\n'))
    assert table.columns == ("a", "b")
    assert [(place.number, row) for place, row in table.rows] == [(3, {"a": "1", "b": "x,\ny"}), (5, {"a": "3", "b": "4"})]
    assert str(table.rows[0][0]) == f"{tmp_path}/t.csv, line 3"


def test_the_quotes_may_be_single_ones(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, "'','Awe'\n'a,b', '10'\n"), quote="'").rows[0][1] == {"": "a,b", "Awe": "10"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file is empty"),
        ("a,a\n1,2\n", "line 1: the column 'a' occurs twice"),
        ("a,b\n1,2\n1,2,3\n", "line 3: 3 values under 2 columns"),
        (b"a\n\xff\n", "line 2: not text in UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "the file is in UTF-16"),
        ('a\n1\n"x\n2\n3\n', "line 3: a quote .* opens in this row and is not closed"),
        ('a,b\n1,2\n"x"y,2\n', "line 3: not a row of a CSV file"),
    ],
)
def test_what_is_no_table_is_an_error_with_its_place(text: str | bytes, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=complaint) as refused:
        read_table(written(tmp_path, text))
    assert str(refused.value).startswith(str(tmp_path))


def test_a_table_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: cannot be read"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize("text", ["", "-1", "1.0", "one", "\u0663", "\u00b2"])
def test_votes_are_whole_numbers(text: str) -> None:
    with pytest.raises(UserError, match="line 4: column 'awe' holds"):
        whole_number(text, Place(Path("t.csv"), 4), "awe")


@pytest.mark.parametrize("text", ["", "nan", "inf", "-inf", "x", "1e999"])
def test_ratings_are_finite_numbers(text: str) -> None:
    with pytest.raises(UserError, match="line 4: column 'mean' holds"):
        number(text, Place(Path("t.csv"), 4), "mean")
