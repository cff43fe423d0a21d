"""Data sets of Hugging Face: images inside files become files, a streamed data set is read once, and names of splits and revisions."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from emocaliber.errors import UserError
from emocaliber.io.datasets import HubName, hub_name, is_there, rows_file, sha256_of_rows
from emocaliber.io.rows import read_rows


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCALIBER_CACHE", str(tmp_path / "cache"))


def picture(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def parquet(path: Path, shades: tuple[int, ...] = (1, 2, 1)) -> Path:
    images = [[{"bytes": picture(shade), "path": "lost.png"}] for shade in shades]
    pq.write_table(pa.table({"id": [f"r{n}" for n in range(len(shades))], "images": images, "score": [1.0, float("nan"), 2.0]}), path)
    return path


def test_images_inside_a_file_become_files(tmp_path: Path) -> None:
    rows = list(read_rows(rows_file(str(parquet(tmp_path / "s.parquet")))))
    assert [row["id"] for row in rows] == ["r0", "r1", "r2"]
    (one,), (two,), (three,) = (row["images"] for row in rows)
    assert one == three != two, "the same image is stored once"
    assert Path(one).read_bytes() == picture(1)
    assert rows[1]["score"] is None


def test_an_unpacked_file_is_unpacked_again_only_if_it_changes(tmp_path: Path) -> None:
    file = parquet(tmp_path / "s.parquet")
    first = rows_file(str(file))
    made = first.stat().st_mtime_ns
    assert rows_file(str(file)) == first
    assert first.stat().st_mtime_ns == made
    assert rows_file(str(parquet(file, (3, 4, 5)))) != first


def test_files_with_paths_are_read_where_they_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "image": ["a.jpg"]}), tmp_path / "s.parquet")
    assert rows_file(str(tmp_path / "s.parquet")) == tmp_path / "s.parquet"
    (tmp_path / "s.jsonl").write_text('{"id": "a"}\n')
    assert rows_file(str(tmp_path / "s.jsonl")) == tmp_path / "s.jsonl"
    assert not (tmp_path / "cache").exists()


def test_the_digest_of_a_source_is_that_of_its_rows(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "1.jsonl").write_text('{"id": "a"}\n')
    before = sha256_of_rows(str(tmp_path / "d"))
    (tmp_path / "d" / "2.jsonl").write_text('{"id": "b"}\n')
    assert before != sha256_of_rows(str(tmp_path / "d"))
    assert sha256_of_rows(str(tmp_path / "none.jsonl")) is None


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf:a/b", HubName("a/b", None, "train")),
        ("hf:a/b:validation", HubName("a/b", None, "validation")),
        ("hf:a/b@v2:train", HubName("a/b", "v2", "train")),
        ("a/b.jsonl", None),
    ],
)
def test_names_on_the_hub(source: str, name: HubName | None) -> None:
    assert hub_name(source) == name
    assert is_there(source) is (name is not None)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="'hf:' names no data set; write hf:OWNER/NAME"):
        hub_name("hf:")


def test_a_data_set_is_streamed_once(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (tmp_path / "set" / "data").mkdir(parents=True)
    data = datasets.Dataset.from_dict({"images": [[{"bytes": picture(n), "path": None}] for n in (1, 2)], "task": ["FI-8"] * 2})
    data.cast_column("images", getattr(datasets, "List", datasets.Sequence)(datasets.Image())).to_parquet(
        tmp_path / "set" / "data" / "train.parquet"
    )
    file = rows_file(f"hf:{tmp_path / 'set'}")
    rows = list(read_rows(file))
    assert [Path(row["images"][0]).read_bytes() for row in rows] == [picture(1), picture(2)]
    assert json.loads(file.with_name("source.json").read_text())["rows"] == 2
    (tmp_path / "set" / "data" / "train.parquet").unlink()
    assert rows_file(f"hf:{tmp_path / 'set'}") == file, "it is not asked again"


def test_a_data_set_saved_on_disk_is_unpacked(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"image": [{"bytes": picture(1), "path": None}], "task": ["FI-8"]})
    data.cast_column("image", datasets.Image()).save_to_disk(tmp_path / "saved")
    (row,) = read_rows(rows_file(str(tmp_path / "saved")))
    assert Path(row["image"]).read_bytes() == picture(1)


def test_a_data_set_that_cannot_be_streamed_gets_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with pytest.raises(UserError, match=r"hf:.*: the split 'train' cannot be streamed \(.*another split is named after a colon"):
        rows_file(f"hf:{tmp_path / 'nothing'}")
    assert not list((tmp_path / "cache" / "datasets").glob("*/rows.jsonl"))
