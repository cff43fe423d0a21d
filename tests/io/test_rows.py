from __future__ import annotations

import csv
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emocaliber.errors import UserError
from emocaliber.io import rows
from emocaliber.io.row_formats import located_rows
from emocaliber.io.rows import RowWriter, convert, display_name, numbered_rows, read_rows, write_atomically, write_rows

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=4), max_size=5)


def put(path: Path, *items: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


# Reading


def test_reading_takes_a_bom_blank_lines_and_a_missing_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": "\xc3\xa9"}')
    assert list(read_rows(path)) == [{"a": 1}, {"a": "é"}]


@pytest.mark.parametrize(
    "bad", [b'{"a": ', b"[1]", b"7", b'{"a": NaN}', b'{"a": -Infinity}', b'"\xff"', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\n' + bad + b'\n{"a": 2}\n')
    reader = read_rows(path)
    assert next(reader) == {"a": 1}
    with pytest.raises(UserError, match=r"rows\.jsonl, line 3: "):
        next(reader)


LITERALS = (
    "-0",
    "-0.0",
    "1e400",
    "1E-400",
    "9" * 30,
    "0.1234567890123456789",
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"\x7f\u2028"',
    '{"a": 1, "a": 2}',
)


@settings(max_examples=300)
@given(
    st.dictionaries(st.text(max_size=5), JSON, max_size=4).map(json.dumps) | st.sampled_from(LITERALS).map('{{"a": {}}}'.format), st.data()
)
def test_a_line_is_the_row_that_the_standard_reader_makes_of_it(line: str, data: st.DataObject) -> None:
    """Also with a byte of it gone or changed."""
    raw = bytearray(line.encode())
    if data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        expected = json.loads(raw.decode("utf-8"), parse_constant=lambda name: [][0])
    except (ValueError, IndexError):
        expected = None
    try:
        row = rows.row_of_line(bytes(raw), "rows.jsonl", 1)
    except UserError:
        row = None
    assert repr(row) == repr(expected if isinstance(expected, dict) else None)


def test_rows_are_numbered_by_their_lines_blank_ones_included(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"a": 1}\n\n{"a": 2}\n')
    assert list(numbered_rows(path)) == [(2, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_have_is_named_by_its_field(tmp_path: Path, number: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"confidence": {"verb": 0.5, "ans": ' + number + "}}\n")
    with pytest.raises(UserError, match=rf"rows\.jsonl, line 1: field 'confidence\.ans': {number} is not JSON, a missing number is null"):
        list(read_rows(path))


def test_a_file_cut_off_within_a_line_says_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2, "b')
    with pytest.raises(UserError, match=r"rows\.jsonl, line 2: .*the file ends within this line"):
        list(read_rows(path))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    for name in ("gone.jsonl", "gone.parquet", "torn.parquet", "a.csv", ""):
        with pytest.raises(UserError, match=name or "cannot be read"):
            list(read_rows(tmp_path / name))


# Writing


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    written = [{"id": "1", "text": "é\n\u2028\udce9", "confidence": {"verb": 0.25, "ans": None}, "labels": ["a"]}, {"id": "2"}]
    with RowWriter(path) as writer:
        for row in written:
            writer.write(row)
            assert list(read_rows(path))[-1] == row  # there before the file is closed
    writer.close()
    assert writer.done == {"1", "2"}
    assert list(read_rows(path)) == written
    assert path.read_bytes().isascii()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_refused_by_its_name_and_leaves_no_trace(tmp_path: Path, value: float) -> None:
    with RowWriter(tmp_path / "rows.jsonl") as writer:
        writer.write({"id": "1"})
        with pytest.raises(ValueError, match=r"confidence\.verb"):
            writer.write({"id": "2", "confidence": {"verb": value}})
    assert list(read_rows(tmp_path / "rows.jsonl")) == [{"id": "1"}]
    assert writer.done == {"1"}


def test_without_resume_the_file_starts_empty(tmp_path: Path) -> None:
    path = put(tmp_path / "rows.jsonl", {"id": "old"})
    with RowWriter(path) as writer:
        assert writer.done == set()
    assert path.read_bytes() == b""


@given(ROWS, st.data())
@settings(deadline=None, max_examples=40)
def test_resuming_after_a_cut_at_any_byte_loses_only_the_cut_row(
    tmp_path_factory: pytest.TempPathFactory, items: list[Any], data: Any
) -> None:
    path = put(tmp_path_factory.mktemp("cut") / "rows.jsonl", *({**item, "id": str(n)} for n, item in enumerate(items)))
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    kept = [line for line in whole.splitlines(keepends=True)]
    complete = sum(1 for end in range(1, len(kept) + 1) if len(b"".join(kept[:end])) - 1 <= cut)  # all but its newline is enough
    with RowWriter(path, resume=True) as writer:
        assert writer.done == {str(n) for n in range(complete)}
        for line in kept[complete:]:
            writer.write(json.loads(line))
    assert path.read_bytes() == whole


def test_zeros_left_by_a_power_failure_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"id": "1"}\n' + bytes(4096))
    with RowWriter(path, resume=True) as writer:
        assert writer.done == {"1"}
    assert path.read_bytes() == b'{"id": "1"}\n'


@pytest.mark.parametrize("content", [b'{"id": "1"}\nbroken\n{"id": "2"}\n', b'{"name": "1"}\n', b"image,emotion\na.jpg,awe", b"\x89PNG"])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"mine\.txt, line \d"):
        RowWriter(path, resume=True)
    assert path.read_bytes() == content


def test_the_key_may_be_any_field_and_is_compared_as_text(tmp_path: Path) -> None:
    path = put(tmp_path / "rows.jsonl", {"image": "a.jpg"}, {"image": 7})
    with RowWriter(path, resume=True, key="image") as writer:
        assert writer.done == {"a.jpg", "7"}


def test_resuming_what_does_not_exist_starts_it(tmp_path: Path) -> None:
    with RowWriter(tmp_path / "rows.jsonl", resume=True) as writer:
        writer.write({"id": "1"})
    assert list(read_rows(tmp_path / "rows.jsonl")) == [{"id": "1"}]


def test_a_killed_writer_has_left_every_row_it_wrote(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    script = (
        "import os, signal, sys; from emocaliber.io.rows import RowWriter; writer = RowWriter(sys.argv[1])\n"
        "for n in range(10): writer.write({'id': str(n)})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(rows.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script, str(path)], check=False, env=environment)
    with RowWriter(path, resume=True) as writer:
        assert writer.done == {str(n) for n in range(10)}


def test_rows_reach_the_disk_by_count_and_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    with RowWriter(tmp_path / "a.jsonl", sync_rows=3, sync_seconds=1e9) as writer:
        for n in range(7):
            writer.write({"id": n})
        assert len(syncs) == 2
    assert len(syncs) == 3
    with RowWriter(tmp_path / "b.jsonl", sync_rows=10**9, sync_seconds=0.01) as writer:
        time.sleep(0.02)
        writer.write({"id": 1})
        assert len(syncs) == 4


def test_a_pipe_can_be_written(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with RowWriter(f"/dev/fd/{writing}", sync_rows=1) as writer:
        writer.write({"id": "1"})
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b'{"id": "1"}\n'


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (RowWriter, lambda path: write_atomically(path, "x"), lambda path: convert(put(tmp_path / "r.jsonl"), path)):
        for place in (tmp_path / "file" / "x.jsonl", tmp_path / "folder.jsonl"):
            (tmp_path / "folder.jsonl").mkdir(exist_ok=True)
            with pytest.raises(UserError, match=f"{place.name}.*cannot be written"):
                write(place)


# Converting


def test_csv_flattens_objects_with_dots_and_writes_lists_as_json(tmp_path: Path) -> None:
    source = put(
        tmp_path / "rows.jsonl",
        {"image": "a,b.jpg", "error": None, "reasoning": {"element": 'a "dog"\nruns'}, "accepted": True, "list": [{"emotion": "awe"}]},
        {"image": "c.jpg", "error": {"code": "empty", "message": "é"}, "reasoning": None, "votes": {}, "n": 3, "p": 0.1},
    )
    convert(source, tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["image", "error.code", "error.message", "reasoning.element", "accepted", "list", "votes", "n", "p"]
    assert table[0] == {
        "image": "a,b.jpg", "error.code": "", "error.message": "", "reasoning.element": 'a "dog"\nruns', "accepted": "true",
        "list": '[{"emotion": "awe"}]', "votes": "", "n": "", "p": "",
    }  # fmt: skip
    assert (table[1]["error.message"], table[1]["votes"], table[1]["n"], table[1]["p"]) == ("é", "{}", "3", "0.1")


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x")', "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_marks_text_that_a_spreadsheet_would_calculate(tmp_path: Path, text: str) -> None:
    convert(put(tmp_path / "rows.jsonl", {text: {"image": text}, "n": -2, "plain": f"a{text}"}), tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", encoding="utf-8", newline="") as file:
        header, cells = csv.reader(file)
    assert header == [f"'{text}.image", "n", "plain"]
    assert cells == [f"'{text}", "-2", f"a{text}"]


def test_a_field_that_is_always_null_keeps_its_column(tmp_path: Path) -> None:
    convert(put(tmp_path / "rows.jsonl", {"a": 1, "error": None}), tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_text() == "a,error\n1,\n"


def test_parquet_keeps_nesting_and_fields_that_appear_late(tmp_path: Path) -> None:
    items = [
        {"id": "1", "error": None, "confidence": {"verb": 0.5, "ans": None}, "labels": ["a", "b"], "always_null": None},
        {"id": "2", "error": {"code": "empty", "message": "m"}, "confidence": {"verb": None, "ans": 1}, "labels": [], "late": 1},
    ]
    convert(put(tmp_path / "rows.jsonl", *items), tmp_path / "rows.parquet")
    assert list(read_rows(tmp_path / "rows.parquet")) == [{**items[0], "late": None}, {**items[1], "always_null": None}]
    assert pa.types.is_struct(pq.read_schema(tmp_path / "rows.parquet").field("confidence").type)


def test_parquet_columns_without_a_common_type_become_json_text(tmp_path: Path) -> None:
    convert(put(tmp_path / "rows.jsonl", {"a": 1, "b": {}}, {"a": "x", "b": None}, {"a": None}), tmp_path / "rows.parquet")
    assert list(read_rows(tmp_path / "rows.parquet")) == [{"a": "1", "b": "{}"}, {"a": '"x"', "b": None}, {"a": None, "b": None}]


@pytest.mark.slow
@given(ROWS)
@settings(deadline=None, max_examples=60)
def test_any_rows_convert_to_every_format(tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("convert")
    source = put(folder / "rows.jsonl", *items)
    for suffix in (".csv", ".parquet", ".jsonl"):
        convert(source, folder / f"out{suffix}")
    assert list(read_rows(folder / "out.jsonl")) == items
    assert len(list(read_rows(folder / "out.parquet"))) == (len(items) if any(items) else 0)


def test_surrogates_and_empty_files_convert(tmp_path: Path) -> None:
    source = put(tmp_path / "rows.jsonl", {"image": "caf\udce9.jpg"})
    for suffix in (".csv", ".parquet"):
        convert(source, tmp_path / f"out{suffix}")
        convert(put(tmp_path / "none.jsonl"), tmp_path / f"none{suffix}")
    assert "caf\\udce9.jpg" in (tmp_path / "out.csv").read_text()
    assert list(read_rows(tmp_path / "out.parquet")) == [{"image": "caf\\udce9.jpg"}]
    assert list(read_rows(tmp_path / "none.parquet")) == []


def test_a_failed_conversion_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("old")
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\nbroken\n')
    with pytest.raises(UserError, match="line 2"):
        convert(tmp_path / "bad.jsonl", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "old"
    assert leftovers(tmp_path) == []
    with pytest.raises(UserError, match="xlsx"):
        convert(tmp_path / "bad.jsonl", tmp_path / "out.xlsx")


# Replacing


def test_a_file_is_replaced_whole_with_the_usual_permissions_and_through_links(tmp_path: Path) -> None:
    target = tmp_path / "deep" / ("long" * 60)
    write_atomically(target, "é\udce9\n")
    assert target.read_bytes() == "é\\udce9\n".encode()
    (tmp_path / "link").symlink_to(target)
    write_atomically(tmp_path / "link", b"\x00new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_bytes() == b"\x00new"
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_rows_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    written = [{"id": "\u2028\udce9"}, {"id": "2", "confidence": 0.5}]
    write_rows(tmp_path / "new" / "a.jsonl", iter(written))
    with pytest.raises(ValueError, match="confidence"):
        write_rows(tmp_path / "new" / "a.jsonl", [{"id": "3"}, {"confidence": float("nan")}])
    assert list(read_rows(tmp_path / "new" / "a.jsonl")) == written
    assert leftovers(tmp_path / "new") == []


def test_a_failed_replacement_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "a", "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert leftovers(tmp_path) == []


def test_any_name_can_be_shown() -> None:
    assert display_name("café au lait.png") == "café au lait.png"
    assert display_name(b"caf\xe9.png") == "caf\\udce9.png"
    assert display_name(Path("a\nb\x1b[0m\u202e")) == "a\\nb\\x1b[0m\\u202e"


def test_a_file_has_one_writer_and_the_second_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with RowWriter(path, resume=True) as writer:
        for resume in (True, False):
            with pytest.raises(UserError, match=rf"rows\.jsonl is in use by process {os.getpid()} on .* since "):
                RowWriter(path, resume=resume)
        writer.write({"id": "a"})
    with RowWriter(path, resume=True) as writer:
        assert writer.done == {"a"}
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_writer_that_could_not_be_made_leaves_the_file_to_others(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"other": 1}\n')
    with pytest.raises(UserError, match="no 'id'"):
        RowWriter(path, resume=True)
    RowWriter(path, resume=True, key="other").close()


def test_locks_are_no_rows_of_a_folder(tmp_path: Path) -> None:
    with RowWriter(tmp_path / "rows.jsonl") as writer:
        writer.write({"id": "a"})
        assert [row for _, row in located_rows(tmp_path)] == [{"id": "a"}]


def test_a_file_that_is_not_there_is_met_with_the_closest_name_beside_it(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").touch()
    with pytest.raises(UserError, match=r"cannot be read \(No such file or directory\); did you mean answers\.jsonl\.$"):
        list(read_rows(tmp_path / "answer.jsonl"))


def test_a_picture_in_place_of_rows_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0\n")
    with pytest.raises(UserError, match=r"photo\.jpg, line 1: not text in UTF-8; every line must be one JSON object"):
        list(read_rows(tmp_path / "photo.jpg"))
