"""`build`: from data sets' folders to the benchmark's files, the same bytes whenever it is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from emocaliber.core.samples import read_samples
from emocaliber.emotions.taxonomy import taxonomy
from emocaliber.errors import UserError
from emocaliber.io.rows import Row, read_rows
from emocaliber.vecbench import build as building
from emocaliber.vecbench import synthetic
from emocaliber.vecbench.build import BuildConfig, CustomSource, build_benchmark, read_config
from emocaliber.vecbench.manifest import SAMPLE_FILES, Manifest, read_manifest

MIKELS = taxonomy("mikels-8").labels


def picture(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade % 256, shade // 256, 7)).save(path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """FI with eight images of each emotion and a broken one; ArtPhoto with one of each."""
    for place, label in enumerate(MIKELS):
        for number in range(8):
            picture(tmp_path / "data/emotion_dataset" / label / f"{label}_{number}.jpg", 100 * place + number)
        picture(tmp_path / "data/testImages_artphoto" / f"{'sad' if label == 'sadness' else label}_0.jpg", 5000 + place)
    (tmp_path / "data/emotion_dataset/awe/awe_9.jpg").write_bytes(b"no image")
    return tmp_path / "data"


@pytest.fixture
def config(data: Path) -> BuildConfig:
    return BuildConfig(sources={"fi": data / "emotion_dataset", "artphoto": data / "testImages_artphoto"}, test_size=8)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_every_file_is_there_and_is_what_the_manifest_says(config: BuildConfig, tmp_path: Path) -> None:
    manifest = build_benchmark(config, tmp_path / "out")
    assert set(contents(tmp_path / "out")) == {*SAMPLE_FILES, "skipped.jsonl", "manifest.json", "README.md"}
    assert read_manifest(tmp_path / "out") == Manifest(**json.loads(manifest.to_json()))
    for name, said in manifest.files.items():
        data = (tmp_path / "out" / name).read_bytes()
        assert said == {"rows": data.count(b"\n"), "sha256": hashlib.sha256(data).hexdigest()}


def test_rows_are_samples_whose_images_are_where_they_were(config: BuildConfig, tmp_path: Path) -> None:
    build_benchmark(config, tmp_path / "out")
    tests, trains = (list(read_samples(tmp_path / "out" / name)) for name in ("test.jsonl", "train.jsonl"))
    assert [sample.task for sample in tests] == ["FI-8"] * 8 + ["FI-2"] * 8 + ["Artphoto-8"] * 8
    assert {sample.task for sample in trains} == {"FI-8", "FI-2"}
    assert all(Path(sample.image).is_file() for sample in tests + trains)
    assert next(read_rows(tmp_path / "out/test.jsonl"))["image"].startswith("../data/emotion_dataset/")


def test_building_twice_gives_the_same_bytes(config: BuildConfig, tmp_path: Path) -> None:
    build_benchmark(config, tmp_path / "one")
    build_benchmark(config, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_what_is_left_out_has_its_row_and_is_counted(config: BuildConfig, tmp_path: Path) -> None:
    manifest = build_benchmark(config, tmp_path / "out")
    (row,) = read_rows(tmp_path / "out/skipped.jsonl")
    assert (row["source"], row["path"], row["reason"]) == ("fi", "awe/awe_9.jpg", "broken image")
    assert manifest.sources["fi"] == {"items": 64, "unused": 0, "skipped": {"broken image": 1}}


def test_stages_share_the_training_rows(config: BuildConfig, tmp_path: Path) -> None:
    build_benchmark(config, tmp_path / "out")
    lines = [(tmp_path / "out" / f"{name}.jsonl").read_text().splitlines() for name in ("stage1", "stage2", "stage3", "train")]
    assert sorted(line for part in lines[:3] for line in part) == sorted(lines[3])
    assert [len(part) for part in lines] == [29, 14, 5, 48]


def test_a_broken_build_goes_on_and_ends_alike(config: BuildConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_benchmark(config, tmp_path / "whole")

    def killed(name: str, done: int) -> None:
        if name == "artphoto":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_benchmark(config, tmp_path / "broken", progress=killed)
    assert not (tmp_path / "broken/manifest.json").exists()
    names: list[str] = []
    build_benchmark(config, tmp_path / "broken", progress=lambda name, done: names.append(name))
    assert set(names) == {"artphoto"}, "FI was read before the interruption"
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_a_changed_data_set_is_read_anew(config: BuildConfig, tmp_path: Path, data: Path) -> None:
    build_benchmark(config, tmp_path / "out")
    picture(data / "testImages_artphoto/awe_1.jpg", 9)
    assert build_benchmark(config, tmp_path / "out").sources["artphoto"]["items"] == 9


def test_a_damaged_memory_is_not_believed(config: BuildConfig, tmp_path: Path) -> None:
    build_benchmark(config, tmp_path / "out")
    before = contents(tmp_path / "out")
    for file in (tmp_path / "out/.readings").iterdir():
        file.write_text(file.read_text()[:-9])
    build_benchmark(config, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_what_is_missing_is_said(config: BuildConfig, tmp_path: Path) -> None:
    manifest = build_benchmark(config, tmp_path / "out")
    assert manifest.missing == ["EmoSet-8", "WebEmo-7", "WebEmo-25", "WebEmo-2", "Abstract-8", "UnbiasedEmo-6"]
    assert manifest.notes[-1].endswith("give the folders of webemo, emoset, abstract, unbiasedemo to have them.")
    assert manifest.notes[-1] in (tmp_path / "out/README.md").read_text()


def test_a_folder_that_is_another_data_set_is_an_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not EmoSet-118K"):
        build_benchmark(BuildConfig(sources={"emoset": data / "emotion_dataset"}), tmp_path / "out")


def test_nothing_to_build_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one of fi, webemo"):
        build_benchmark(BuildConfig(), tmp_path / "out")


def test_the_card_says_nothing_of_this_machine(config: BuildConfig, tmp_path: Path) -> None:
    build_benchmark(config, tmp_path / "out")
    for name in ("README.md", "manifest.json"):
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text()


def test_a_linked_folder_that_changed_is_read_anew(tmp_path: Path, data: Path) -> None:
    (tmp_path / "linked/emotion_dataset").mkdir(parents=True)
    for label in MIKELS:
        (tmp_path / "linked/emotion_dataset" / label).symlink_to(data / "emotion_dataset" / label)
    config = BuildConfig(sources={"fi": tmp_path / "linked"})
    assert build_benchmark(config, tmp_path / "out").sources["fi"]["items"] == 64
    picture(data / "emotion_dataset/fear/fear_99.jpg", 9)
    assert build_benchmark(config, tmp_path / "out").sources["fi"]["items"] == 65


def test_a_task_of_ones_own_joins(data: Path, tmp_path: Path) -> None:
    for label in ("calm", "tense"):
        for number in range(5):
            picture(data / "mine" / label / f"{number}.png", number + 7 * len(label))
    own = {"Mine": CustomSource(data / "mine", labels=("calm", "tense"), test_size=4)}
    manifest = build_benchmark(BuildConfig(custom=own), tmp_path / "out")
    assert {split: count["n"] for split, count in manifest.tasks["Mine"].items()} == {"test": 4, "train": 6}


@pytest.fixture
def fake_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes of one colour, in place of the drawn ones."""

    def draw(out: Path, n: int, seed: int, task: str, *, size: int, split: str, workers: int | None) -> Iterator[int]:
        labels = taxonomy(building.TASKS[task].taxonomy).labels
        rows: list[Row] = []
        for number in range(n):
            image = f"images/scene-{seed}-{number}.png"
            picture(out / image, 31 * number + seed + 50 * len(task))
            share = dict.fromkeys(labels, 1 / len(labels))
            row = {"id": f"scene-{seed}-{number}", "image": image, "task": task, "candidates": list(labels), "ground_truth": labels[0]}
            rows.append(row | {"source": "scenes", "split": split, "posterior": share, "response": "said"})
            yield number + 1
        (out / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    monkeypatch.setattr(synthetic, "draw_samples", draw)


@pytest.mark.usefixtures("fake_scenes")
def test_scenes_give_all_nine_subtasks(tmp_path: Path) -> None:
    manifest = build_benchmark(BuildConfig(seed=3), tmp_path / "out", scenes=2)
    assert {task: {split: each["n"] for split, each in splits.items()} for task, splits in manifest.tasks.items()} == {
        **{task: {"test": 2, "train": 8} for task in ("EmoSet-8", "FI-8", "WebEmo-7", "WebEmo-25", "FI-2", "WebEmo-2")},
        **{task: {"test": 2} for task in ("Abstract-8", "Artphoto-8", "UnbiasedEmo-6")},
    }
    samples = [sample for name in ("train", "test") for sample in read_samples(tmp_path / f"out/{name}.jsonl")]
    assert all(sample.posterior and Path(sample.image).is_file() for sample in samples)
    assert len({sample.id for sample in samples}) == len(samples)
    assert "says nothing about photographs" in manifest.notes[-1]


@pytest.mark.usefixtures("fake_scenes")
def test_scenes_stand_in_only_for_data_sets_that_are_not_given(config: BuildConfig, tmp_path: Path) -> None:
    manifest = build_benchmark(config, tmp_path / "out", scenes=2)
    assert {sample.task for sample in read_samples(tmp_path / "out/test.jsonl") if sample.source == "scenes"} == set(manifest.drawn)
    assert {"FI-8", "FI-2", "Artphoto-8"}.isdisjoint(manifest.drawn)


def test_the_configuration_in_the_repository_can_be_read() -> None:
    config = read_config(Path(__file__).parents[2] / "configs/vecbench.toml")
    assert (config.seed, config.test_size, config.own_split, config.polarity["surprise"]) == (0, 1000, ("emoset",), "positive")


def test_paths_in_a_configuration_are_relative_to_it(tmp_path: Path) -> None:
    text = '[sources]\nfi = "photos"\n[custom.Mine]\npath = "mine.csv"\nlabels = ["calm", "tense"]\n'
    (tmp_path / "c.toml").write_text(text)
    config = read_config(tmp_path / "c.toml")
    assert config.sources == {"fi": tmp_path / "photos"}
    assert config.custom == {"Mine": CustomSource(tmp_path / "mine.csv", labels=("calm", "tense"))}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sed = 1", "there is no setting 'sed' here; the settings are sources"),
        ("seed = -1", "seed must not be negative"),
        ('seed = "one"', "seed must be a whole number, not 'one'"),
        ("test_size = true", "test_size must be a whole number, not True"),
        ('[sources]\nflickr = "x"', "no source 'flickr'"),
        ("[sources]\nfi = 1", "[sources]: fi must be a text, not 1"),
        ('own_split = ["flickr"]', "no source 'flickr'"),
        ('[polarity]\nsurprise = "mixed"', "polarity: surprise = 'mixed'"),
        ("[custom.Mine]\nlabels = []", "custom.Mine: no path"),
        ('[custom.Mine]\npath = "x"\npart = 1', "[custom.Mine]: there is no setting 'part' here"),
        ('[custom.Mine]\npath = "x"\ntaxonomy = "none"', "unknown taxonomy 'none'"),
        ('[custom.FI-8]\npath = "x"', "custom.FI-8: VECBench has that name itself"),
        ("= 1", "is not TOML"),
    ],
)
def test_a_faulty_configuration_is_named_with_its_key(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(UserError) as raised:
        read_config(tmp_path / "c.toml")
    assert str(raised.value).startswith(f"{tmp_path / 'c.toml'}")
    assert complaint in str(raised.value)
