"""Held-out samples share no image with the training samples of the model's lineage, whatever their files are called."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emocaliber.errors import UserError
from emocaliber.training.checks import check_stages
from emocaliber.training.config import CONFIGS, Stage2Config, Stage3Config
from emocaliber.training.export import export_model
from emocaliber.training.samples import held_out_samples, lineage_sample_files, validation_samples
from stand_ins import photo


def write_samples(folder: Path, name: str, *images: Path) -> Path:
    row = {"task": "EmoSet-8", "candidates": ["awe", "fear"], "ground_truth": "awe", "source": "drawn", "split": "train"}
    rows = [{"id": f"{name}-{place}", "image": os.path.relpath(image, folder)} | row for place, image in enumerate(images)]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    return folder / f"{name}.jsonl"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which stages 0 to 3 were trained, each from its own two samples, with relative paths."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    model: str | None = None
    for number in range(4):
        images = [photo(folder / "images" / f"stage{number}-{place}.png", size=(30 + number, 40 + place)) for place in range(2)]
        write_samples(folder / "data", f"stage{number}", *images)
        out = folder / "runs" / f"stage{number}"
        (out / "model").mkdir(parents=True)
        (out / "model" / "config.json").write_text("{}")
        common = {"out": f"runs/stage{number}", "samples": f"data/stage{number}.jsonl", "learning_rate": 1e-3, "batch_size": 2}
        config = CONFIGS[f"stage{number}"](**common, **({"model": model} if model else {}))
        (out / "config.json").write_text(json.dumps({"stage": f"stage{number}"} | dataclasses.asdict(config)))
        model = f"runs/stage{number}/model"
    monkeypatch.chdir(folder)
    return folder


def settings_of(project: Path) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((project / "runs" / "stage3" / "config.json").read_text())
    return settings


def copied(image: Path) -> Path:
    return Path(shutil.copy(image, image.with_name("copy.png")))


def linked(image: Path) -> Path:
    image.with_name("link.png").symlink_to(image)
    return image.with_name("link.png")


@pytest.mark.parametrize("again", [lambda image: image, copied, linked])
@pytest.mark.parametrize("stage", range(4))
def test_an_image_of_any_stage_in_the_models_lineage_is_refused(project: Path, stage: int, again: Callable[[Path], Path]) -> None:
    images = [photo(project / "new.png", size=(80, 80)), again(project / "images" / f"stage{stage}-1.png")]
    held_out = write_samples(project, "held-out", *images)
    said = rf"the image of sample held-out-1 of .*held-out\.jsonl is also in .*data/stage{stage}\.jsonl \(sample stage{stage}-1\)"
    with pytest.raises(UserError, match=said):
        export_model(project / "runs" / "stage3", project / "mine", held_out=held_out)
    assert not (project / "mine").exists()


def test_paths_are_found_from_where_the_run_lies_whatever_the_working_directory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = project.parent / "elsewhere"
    (elsewhere / "data").mkdir(parents=True)
    write_samples(elsewhere / "data", "stage3")  # another project's file of the same name
    monkeypatch.chdir(elsewhere)
    run = project / "runs" / "stage3"
    assert [each.path for each in lineage_sample_files(run, settings_of(project))] == [
        project / "data" / f"stage{number}.jsonl" for number in (3, 2, 1, 0)
    ]
    monkeypatch.chdir(project / "runs")
    assert len(list(lineage_sample_files(Path("stage3"), settings_of(project)))) == 4


def test_samples_that_are_no_longer_there_are_named_and_nothing_is_accepted(project: Path) -> None:
    (project / "data" / "stage1.jsonl").unlink()
    held_out = write_samples(project, "held-out", photo(project / "new.png", size=(80, 80)))
    with pytest.raises(
        UserError, match=r"data/stage1\.jsonl, the samples that the settings of stage1 in .* name, is not there, so held-out"
    ):
        held_out_samples(held_out, lineage_sample_files(project / "runs" / "stage3", settings_of(project)))


def test_a_stage_that_is_no_longer_there_is_named(project: Path) -> None:
    shutil.rmtree(project / "runs" / "stage1")
    with pytest.raises(UserError, match=r"runs/stage1/model, the model that the settings of stage2 in .* name, is not there"):
        list(lineage_sample_files(project / "runs" / "stage3", settings_of(project)))


@pytest.mark.parametrize("base", ["Qwen/Qwen2.5-VL-7B-Instruct", "exported"])
def test_a_model_that_no_stage_made_ends_the_lineage(project: Path, base: str) -> None:
    (project / "exported").mkdir()
    settings = settings_of(project) | {"model": base}
    assert [each.path for each in lineage_sample_files(project / "runs" / "stage3", settings)] == [project / "data" / "stage3.jsonl"]


def test_a_checkpoint_of_a_stage_leads_to_that_stage(project: Path) -> None:
    (project / "runs" / "stage1" / "checkpoints" / "checkpoint-4").mkdir(parents=True)
    settings = settings_of(project) | {"model": "runs/stage1/checkpoints/checkpoint-4"}
    assert [each.path.stem for each in lineage_sample_files(project / "runs" / "stage3", settings)] == ["stage3", "stage1", "stage0"]


def config(project: Path, kind: type[Stage2Config] | type[Stage3Config], stage: str, model: str, held_out: Path) -> Any:
    common = {"out": str(project / "new" / stage), "samples": f"data/{stage}.jsonl", "batch_size": 2, "learning_rate": 1e-3}
    more = {"group_size": 2} if kind is Stage3Config else {}
    return kind(**common, **more, model=model, validation=str(held_out))  # type: ignore[arg-type]


def test_validation_while_training_is_checked_against_the_stages_before(project: Path) -> None:
    held_out = write_samples(project, "held-out", project / "images" / "stage0-0.png")
    with pytest.raises(UserError, match=r"^validation: the image of sample held-out-0 .* is also in .*stage0\.jsonl"):
        validation_samples(config(project, Stage3Config, "stage3", "runs/stage2/model", held_out))


def test_pending_stages_count_as_well(project: Path) -> None:
    """Of stages 2 and 3, both pending, the second validates on what the first will be trained on."""
    new = write_samples(project, "new", photo(project / "new.png", size=(80, 80)))
    held_out = write_samples(project, "held-out", project / "images" / "stage2-0.png")
    first = config(project, Stage2Config, "stage2", "runs/stage1/model", new)
    second = config(project, Stage3Config, "stage3", str(project / "new" / "stage2" / "model"), held_out)
    with pytest.raises(UserError, match=r"^validation: the image of sample held-out-0 .* is also in .*stage2\.jsonl"):
        check_stages({"stage2": first, "stage3": second})
    held_out.write_text(new.read_text())
    check_stages({"stage2": first, "stage3": second})
