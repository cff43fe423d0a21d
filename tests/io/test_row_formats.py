from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from emocaliber.errors import UserError
from emocaliber.io.row_formats import Place, located_rows
from emocaliber.io.rows import convert

Row = dict[str, Any]


def put(path: Path, *rows: Row) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def put_arrow(path: Path, *rows: Row) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    return path


def read(*sources: Path) -> list[tuple[str, Row]]:
    return [(str(place), row) for place, row in located_rows(sources)]


def test_a_line_is_counted_though_blank_lines_go_before_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"a": 1}\n\n\n{"a": 2}\n')
    assert read(path) == [(f"{path}, line 2", {"a": 1}), (f"{path}, line 5", {"a": 2})]


def test_a_row_of_parquet_or_arrow_is_counted_as_a_row(tmp_path: Path) -> None:
    parquet, arrow, file = tmp_path / "rows.parquet", put_arrow(tmp_path / "rows.arrow", {"a": 1}, {"a": 2}), tmp_path / "file.arrow"
    convert(put(tmp_path / "rows.jsonl", {"a": 1}, {"a": 2}), parquet)
    feather.write_feather(pa.Table.from_pylist([{"a": 1}, {"a": 2}]), str(file), "lz4")
    for path in (parquet, arrow, file):
        assert read(path) == [(f"{path}, row 1", {"a": 1}), (f"{path}, row 2", {"a": 2})]


def test_one_path_may_be_given_without_a_list(tmp_path: Path) -> None:
    path = put(tmp_path / "rows.jsonl", {"a": 1})
    assert [row for _, row in located_rows(str(path))] == [row for _, row in located_rows(path)] == [{"a": 1}]


def test_a_folder_is_read_shard_by_shard_and_nothing_else_in_it(tmp_path: Path) -> None:
    put(tmp_path / "rank-1.jsonl", {"a": 2})
    put(tmp_path / "rank-0.jsonl", {"a": 1})
    put_arrow(tmp_path / "rank-2.arrow", {"a": 3})
    for other in (".hidden.jsonl", "metrics.json", "log.txt", "deeper/rank-9.jsonl"):
        put(tmp_path / other, {"a": 0})
    assert [row["a"] for _, row in read(tmp_path)] == [1, 2, 3]


def test_a_place_names_a_row_alike_wherever_the_files_lie(tmp_path: Path) -> None:
    put(tmp_path / "a" / "out.jsonl", {}, {})
    put(tmp_path / "b" / "out.jsonl", {})
    assert [place.name for place, _ in located_rows([tmp_path / "a", tmp_path / "b"])] == ["a/out/00001", "a/out/00002", "b/out/00001"]
    assert [place.name for place, _ in located_rows(tmp_path / "a")] == ["00001", "00002"]
    assert Place(Path("x.jsonl"), 123456).name == "123456"


def test_what_save_to_disk_writes_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the training extra is not installed")
    rows = [{"task": "FI-8", "candidates": ["awe", "fear"], "response": None, "confidence": 0.5}, {"task": "FI-2", "response": "x"}]
    data = datasets.Dataset.from_list(rows * 3)
    data.save_to_disk(str(tmp_path / "one"), num_shards=2)
    datasets.DatasetDict({"test": data}).save_to_disk(str(tmp_path / "dict"))
    for folder in (tmp_path / "one", tmp_path / "dict", tmp_path / "dict" / "test"):
        assert [row for _, row in read(folder)] == data.to_list()


def test_of_several_splits_one_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(UserError, match=rf"holds 2 splits; give the folder.*{tmp_path}/train, {tmp_path}/test"):
        read(tmp_path)


@pytest.mark.parametrize("state", ["{}", "[", '{"_data_files": [1]}', '{"_data_files": null}'])
def test_a_saved_data_set_that_does_not_say_where_its_rows_are_is_named(tmp_path: Path, state: str) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(UserError, match=r"state\.json: does not list '_data_files'"):
        read(tmp_path)


def test_no_rows_at_all_are_an_error_that_names_what_was_given(tmp_path: Path) -> None:
    for name in ("none.jsonl", "blank.jsonl"):
        (tmp_path / name).write_text("\n" if name == "blank.jsonl" else "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"none\.jsonl: there are no rows"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"none\.jsonl, .*blank\.jsonl: there are no rows"):
        read(tmp_path / "none.jsonl", tmp_path / "blank.jsonl")
    with pytest.raises(UserError, match=r"folder: holds no \.jsonl, \.parquet, \.arrow file"):
        read(tmp_path / "folder")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "torn.arrow").write_bytes(b"nothing of the kind")
    whole = put_arrow(tmp_path / "cut.arrow", {"a": "b" * 5000}).read_bytes()
    (tmp_path / "cut.arrow").write_bytes(whole[: len(whole) // 2])
    for name in ("torn.arrow", "cut.arrow", "gone.arrow", "gone.jsonl"):
        with pytest.raises(UserError, match=rf"{name}: (not a readable Arrow file|cannot be read)"):
            read(tmp_path / name)
