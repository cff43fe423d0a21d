"""The benchmark for `datasets`: loaded by the real library."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.vecbench.build import BuildConfig, build_benchmark
from emocaliber.vecbench.export import export_hf

datasets = pytest.importorskip("datasets")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """FI, which trains and tests, and Abstract, which has votes."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    labels = taxonomy("mikels-8").labels
    for place, label in enumerate(labels):
        for number in range(4):
            image = tmp_path / "data/emotion_dataset" / label / f"{number}.jpg"
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (20 * place, 40 * number, 7)).save(image)
    abstract = tmp_path / "data/abstract"
    abstract.mkdir()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(abstract / "abstract_0001.jpg")
    header = ["'Image'", "'Amusement'", "'Anger'", "'Awe'", "'Content'", "'Disgust'", "'Excitement'", "'Fear'", "'Sad'"]
    row = ["'abstract_0001.jpg'", "'1'", "'0'", "'9'", "'0'", "'0'", "'0'", "'2'", "'0'"]
    (abstract / "ABSTRACT_groundTruth.csv").write_text(",".join(header) + "\n" + ",".join(row) + "\n")
    build_benchmark(BuildConfig(sources={"fi": tmp_path / "data/emotion_dataset", "abstract": abstract}, test_size=4), tmp_path / "bench")
    return tmp_path / "bench"


def test_row_files_load(bench: Path, tmp_path: Path) -> None:
    assert export_hf(bench, tmp_path / "hf") == {"train": 24, "test": 9}
    files = {split: str(tmp_path / "hf" / f"{split}.jsonl") for split in ("train", "test")}
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].features == loaded["test"].features
    (abstract,) = [row for row in loaded["test"] if row["task"] == "Abstract-8"]
    assert json.loads(abstract["votes"])["awe"] == 9
    assert json.loads(abstract["posterior"]) is None
    assert all(Path(row["image"]).is_file() for row in loaded["train"])


def test_the_folder_loads_by_its_card(bench: Path, tmp_path: Path) -> None:
    export_hf(bench, tmp_path / "hf")
    loaded = datasets.load_dataset(str(tmp_path / "hf"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 24, "test": 9}


@pytest.mark.parametrize("images", ["link", "copy"])
def test_with_images_they_are_opened(images: str, bench: Path, tmp_path: Path) -> None:
    export_hf(bench, tmp_path / "hf", images=images)
    loaded = datasets.load_dataset(str(tmp_path / "hf"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 24, "test": 9}
    rows = {row["id"]: row for row in loaded["test"]}
    red, green, _ = rows["Abstract-8/abstract_0001"]["image"].getpixel((0, 0))
    assert (red, green) == (1, 2)
    assert rows["Abstract-8/abstract_0001"]["candidates"] == list(taxonomy("mikels-8").labels)


def test_links_take_no_space(bench: Path, tmp_path: Path) -> None:
    export_hf(bench, tmp_path / "hf", images="link")
    assert (tmp_path / "hf/test/Abstract-8/abstract_0001.jpg").samefile(tmp_path / "data/abstract/abstract_0001.jpg")


def test_exporting_again_gives_the_same(bench: Path, tmp_path: Path) -> None:
    for _ in range(2):
        export_hf(bench, tmp_path / "hf", images="copy")
        found = {path: path.read_bytes() for path in (tmp_path / "hf").rglob("*") if path.is_file()}
    export_hf(bench, tmp_path / "other", images="copy")
    assert {path.relative_to(tmp_path / "hf"): data for path, data in found.items()} == {
        path.relative_to(tmp_path / "other"): path.read_bytes() for path in (tmp_path / "other").rglob("*") if path.is_file()
    }


def test_ids_cannot_lead_out_of_the_folder(bench: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (bench / "test.jsonl").read_text().splitlines()][:3]
    for row, name in zip(rows, ("../../evil", "a/b?", "a/b*"), strict=True):
        row["id"] = name
    (bench / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    export_hf(bench, tmp_path / "hf", images="copy")
    inside = sorted(path.relative_to(tmp_path / "hf/test").as_posix() for path in (tmp_path / "hf/test").rglob("*.jpg"))
    assert inside[0] == "_/_/evil.jpg"
    assert inside[2] == "a/b_.jpg"
    assert inside[1].startswith("a/b_-")
    assert not (tmp_path / "evil.jpg").exists()


def test_the_benchmark_is_not_exported_onto_itself(bench: Path) -> None:
    with pytest.raises(UserError, match="another folder"):
        export_hf(bench, bench)


def test_a_folder_without_a_benchmark_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bench build"):
        export_hf(tmp_path, tmp_path / "hf")


def test_an_image_that_is_gone_is_named(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "data/abstract/abstract_0001.jpg").unlink()
    with pytest.raises(UserError, match=r"the image of sample Abstract-8/abstract_0001 cannot be exported: .*there is no such file"):
        export_hf(bench, tmp_path / "hf", images="link")


@pytest.mark.parametrize("images", ["link", "copy"])
@pytest.mark.parametrize("name", ["secret.txt", "secret.jpg", "picture.txt"])
def test_a_row_of_someone_elses_cannot_take_a_file_along_that_is_no_image(name: str, images: str, bench: Path, tmp_path: Path) -> None:
    if name.startswith("picture"):
        Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    else:
        (tmp_path / name).write_text("a key")
    row = json.loads((bench / "test.jsonl").read_text().splitlines()[0]) | {"id": "evil", "image": str(tmp_path / name)}
    (bench / "test.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=rf"the image of sample evil cannot be exported: .*{name}: .* or leave out its row"):
        export_hf(bench, tmp_path / "hf", images=images)  # type: ignore[arg-type]
    assert not list((tmp_path / "hf").rglob("evil*"))
