"""`emocaliber bench`: build, stats, audit and export, from the command line."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from emocaliber.__main__ import build_parser, main
from emocaliber.core.samples import read_samples
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.vecbench.sources import SOURCES


def picture(path: Path, seed: int) -> None:
    """Coarse noise, so that no two look alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("RGB", (6, 6), random.Random(seed).randbytes(108))
    image.resize((48, 48), Image.Resampling.BICUBIC).save(path, quality=95)


@pytest.fixture
def fi(tmp_path: Path) -> Path:
    for place, label in enumerate(taxonomy("mikels-8").labels):
        for number in range(4):
            picture(tmp_path / "emotion_dataset" / label / f"{number}.jpg", 10 * place + number)
    return tmp_path / "emotion_dataset"


@pytest.fixture
def bench(fi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    (tmp_path / "c.toml").write_text('test_size = 8\n[sources]\nfi = "emotion_dataset"\n')
    assert main(["bench", "build", str(tmp_path / "c.toml"), "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    return tmp_path / "out"


def test_build_says_what_it_built(fi: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (fi / "awe/9.jpg").write_bytes(b"no image")
    assert main(["bench", "build", "--out", str(tmp_path / "out"), "--fi", str(fi), "--seed", "4"]) == 0
    shown = capsys.readouterr().out
    assert ["FI-8", "ID", "VER", "data", "set", "8", "8"] in [line.split() for line in shown.splitlines()]
    assert "Without data: EmoSet-8" in shown
    assert f"1 files left out, in {tmp_path / 'out/skipped.jsonl'}" in shown
    assert json.loads((tmp_path / "out/manifest.json").read_text())["seed"] == 4


def test_trusting_the_images_opens_none(fi: Path, tmp_path: Path) -> None:
    (fi / "awe/9.jpg").write_bytes(b"no image")
    assert main(["bench", "build", "--out", str(tmp_path / "out"), "--fi", str(fi), "--trust-images"]) == 0
    images = [sample.image for name in ("train", "test") for sample in read_samples(tmp_path / f"out/{name}.jsonl")]
    assert str(fi / "awe/9.jpg") in [str(Path(image).resolve()) for image in images]


def test_build_without_anything_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "build", "--out", str(tmp_path / "out")]) == 2
    assert "nothing to build from" in capsys.readouterr().err


def test_stats_counts_beside_the_papers(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "stats", str(bench), "--picture", str(tmp_path / "labels.png")]) == 0
    assert "FI-8" in capsys.readouterr().out
    assert (tmp_path / "labels.png").read_bytes().startswith(b"\x89PNG")
    assert main(["bench", "stats", str(bench), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["FI-8"]["samples"] == 8


def test_audit_of_a_clean_benchmark_is_well(bench: Path) -> None:
    assert main(["bench", "audit", str(bench)]) == 0
    assert (bench / "audit.jsonl").is_file()


def test_a_leak_is_exit_code_3_and_drop_mends_it(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test, train = (next(read_samples(bench / name)).image for name in ("test.jsonl", "train.jsonl"))
    Path(train).write_bytes(Path(test).read_bytes())
    assert main(["bench", "audit", str(bench), "--drop"]) == 3
    assert "train-test leak" in capsys.readouterr().out
    cleaned = [sample.image for sample in read_samples(bench / "clean/train.jsonl")]
    assert len(cleaned) == len(list(read_samples(bench / "train.jsonl"))) - 1
    manifest = json.loads((bench / "clean/manifest.json").read_text())
    assert manifest["files"]["train.jsonl"]["rows"] == len(cleaned)
    assert manifest["notes"][-1].startswith("Without 1 samples")
    assert main(["bench", "audit", str(bench / "clean")]) == 0


def test_export_for_datasets_and_for_lmms_eval(bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "export", str(bench), "--hf", str(tmp_path / "hf"), "--images", "copy"]) == 0
    assert "test: 16 rows" in capsys.readouterr().out
    assert len(list((tmp_path / "hf/test").rglob("*.jpg"))) == 16
    assert main(["bench", "export", str(bench), "--lmms-eval", str(tmp_path / "tasks")]) == 0
    assert (tmp_path / "tasks/vecbench_fi_8.yaml").is_file()


@pytest.mark.parametrize("source", SOURCES)
def test_every_data_set_has_its_flag(source: str) -> None:
    args = build_parser().parse_args(["bench", "build", "--out", "out", f"--{source}", "there"])
    assert getattr(args, source) == Path("there")


@pytest.mark.parametrize("words", [[], ["build"], ["export", "x"], ["export", "x", "--hf", "a", "--lmms-eval", "b"]])
def test_incomplete_words_are_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["bench", *words])
    assert leaving.value.code == 2


def test_a_built_folder_is_not_built_over_with_other_settings(bench: Path, fi: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = ["bench", "build", "--fi", str(fi), "--out", str(bench)]
    rows = (bench / "test.jsonl").read_bytes()
    assert main(["bench", "audit", str(bench), "--drop"]) == 0
    assert main([*again, "--seed", "5"]) == 2
    said = capsys.readouterr().err
    assert "was made with other settings: seed was 0, and is 5; test_size was 8, and is 1000." in said
    assert "--rebuild" in said
    assert (bench / "test.jsonl").read_bytes() == rows

    (bench / "clean" / "mine.txt").touch()
    assert main(["bench", "build", "--config", str(bench.parent / "c.toml"), "--out", str(bench)]) == 0
    assert (bench / "audit.jsonl").is_file(), "the same settings leave the audit as it is"

    assert main([*again, "--seed", "5", "--rebuild"]) == 0
    assert json.loads((bench / "manifest.json").read_text())["seed"] == 5
    assert not (bench / "audit.jsonl").exists()
    assert [file.name for file in (bench / "clean").iterdir()] == ["mine.txt"]


def test_stats_counts_files_as_audit_does(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "stats", str(bench / "test.jsonl"), "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["test"]


def test_a_distance_of_hashes_that_is_impossible_is_wrong_usage(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "audit", str(bench), "--distance", "40"])
    assert "'40' is not a whole number from 0 to 16" in capsys.readouterr().err
