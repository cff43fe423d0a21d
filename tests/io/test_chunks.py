"""A file in parts has the rows of the file, with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from emocaliber.errors import UserError
from emocaliber.io.chunks import chunks
from emocaliber.io.rows import numbered_rows

CONTENT = b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": "\xc3\xa9"}\n  \n{"a": [1, 2, 3]}\n{"a": null}'


@pytest.mark.parametrize("size", [1, 7, 20, 1000])
def test_parts_of_any_size_have_all_rows_with_their_lines(tmp_path: Path, size: int) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(CONTENT)
    parts = chunks(file, size)
    assert [row for part in parts for row in part.rows()] == list(numbered_rows(file))
    assert sum(part.rows_in() for part in parts) == 4
    assert len(parts) == (1 if size == 1000 else len(parts)) and parts[-1].stop == len(CONTENT)


def test_a_row_that_cannot_be_read_is_named_by_its_line_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n' * 5 + b'{"a": \n')
    said = []
    for read in (lambda: list(numbered_rows(file)), lambda: [row for part in chunks(file, 12) for row in part.rows()]):
        with pytest.raises(UserError, match=r"rows\.jsonl, line 6: ") as caught:
            read()
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_file_without_rows_has_no_parts(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    assert chunks(tmp_path / "rows.jsonl") == []
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read"):
        chunks(tmp_path / "none.jsonl")
