"""Unreadable images are found before training starts and named with their rows; checked images are not decoded again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from emocaliber.__main__ import main
from emocaliber.errors import UserError
from emocaliber.io.images import open_images
from emocaliber.training.checks import check_stage, load_stages
from emocaliber.training.config import StageConfig, load_config
from emocaliber.training.run import run_stage
from microscopic import start_together, write_base
from stand_ins import photo


def write_samples(folder: Path, name: str, count: int = 16) -> Path:
    """A file of samples, each with an image of its own."""
    rows = []
    for place in range(count):
        image = photo(folder / "images" / f"{name}{place}.png", size=(32 + len(name), 32 + place))
        row = {"id": f"{name}-{place}", "image": f"images/{image.name}", "task": "EmoSet-8", "candidates": ["awe", "fear"]}
        rows.append(json.dumps(row | {"ground_truth": "awe", "source": "drawn", "split": "train"}))
    file = folder / f"{name}.jsonl"
    file.write_text("\n".join(rows) + "\n")
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Configurations of stages 1 and 2 of a (weightless) base model, the first with validation samples of its own."""
    (tmp_path / "images").mkdir()
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    watched = {"validation": str(write_samples(tmp_path, "watched", 4))}
    for stage, model, more in (("stage1", "base", watched), ("stage2", "stage1/model", {})):
        values = {"model": str(tmp_path / model), "out": str(tmp_path / stage), "samples": str(write_samples(tmp_path, stage))} | more
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        (tmp_path / f"{stage}.toml").write_text("\n".join([*lines, "learning_rate = 1e-5", "batch_size = 8"]))
    return tmp_path


def cut(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:60])


def complaint(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        check_stage(load_config("stage1", folder))
    return str(caught.value)


def test_a_broken_image_is_named_with_its_file_line_sample_and_reason(folder: Path) -> None:
    cut(folder / "images" / "stage13.png")
    (folder / "images" / "watched2.png").unlink()
    first, broken, missing, remedy = complaint(folder).splitlines()
    assert first == "2 of 20 images cannot be opened, and the first of them would end the training:"
    assert broken.startswith(f"  {folder}/stage1.jsonl, line 4, sample stage1-3: {folder}/images/stage13.png: ")
    assert missing.startswith(f"  {folder}/watched.jsonl, line 3, sample watched-2: ")
    assert "there is no such file" in missing
    assert remedy.startswith("Repair or replace these files, or take their rows out of the samples")


def test_all_broken_images_are_counted_and_five_are_named(folder: Path) -> None:
    for place in range(8):
        (folder / "images" / f"stage1{place}.png").unlink()
    said = complaint(folder)
    assert said.startswith("8 of 20 images")
    assert said.count("there is no such file") == 5
    assert "and 3 more" in said


def test_all_stages_images_are_checked_before_the_first_stage_begins(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(load_stages(folder)) == ["stage1", "stage2"]
    cut(folder / "images" / "stage27.png")
    assert main(["train", "all", "--config", str(folder)]) == 2
    assert "stage2.jsonl, line 8, sample stage2-7" in capsys.readouterr().err
    assert not (folder / "stage1" / "config.json").exists()


def test_scenes_that_are_drawn_by_the_same_command_are_not_checked(folder: Path) -> None:
    (folder / "images" / "stage13.png").unlink()
    check_stage(load_config("stage1", folder, ["scenes=16"]))


@pytest.mark.slow
def test_checked_images_are_not_decoded_again_until_a_file_changes(folder: Path) -> None:
    code = "import sys; from emocaliber.training import checks as c, config; c.check_stage(config.load_config('stage1', sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    image = folder / "images" / "stage13.png"
    found = image.stat()
    image.write_bytes(b"\0" * found.st_size)
    os.utime(image, ns=(found.st_atime_ns, found.st_mtime_ns))
    check_stage(load_config("stage1", folder))  # it looks as it did
    os.utime(image, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert "line 4, sample stage1-3" in complaint(folder)
    assert "line 4, sample stage1-3" in complaint(folder), "a refusal is not remembered as a pass"


def check_in_a_team(folder: Path) -> None:
    def counted(images: Sequence[str], *args: Any, **kwargs: Any) -> Any:
        opened.extend(images)
        return open_images(images, *args, **kwargs)

    opened: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emocaliber.training.checks.open_images", counted)
        try:
            check_stage(load_config("stage1", folder))
            said = "passed"
        except UserError as error:
            said = str(error)
    (folder / f"said-{os.environ['RANK']}.json").write_text(json.dumps([said, len(opened)]))


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_several_processes_share_the_main_processs_verdict(folder: Path, broken: bool) -> None:
    if broken:
        cut(folder / "images" / "stage13.png")
    assert start_together(2, check_in_a_team, folder) == [0, 0]
    (one, opened), (other, opened_too) = (json.loads((folder / f"said-{rank}.json").read_text()) for rank in range(2))
    assert one == other
    assert (opened, opened_too) == (20, 0)
    assert ("sample stage1-3" in one) is broken
    assert (one == "passed") is not broken


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage0", "stage1", "stage3"])
def test_an_image_that_disappears_during_training_ends_it_with_the_samples_name(
    base: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone_after_all(config: StageConfig, *_: Any, **__: Any) -> None:
        check_stage(config)
        image.rename(image.with_suffix(".gone"))

    overrides = [f"out={tmp_path}", "max_steps=8"] + ([] if stage == "stage0" else [f"model={base / 'base'}"])
    config = load_config(stage, base, overrides)
    image = sorted((Path(config.samples).parent / "images").iterdir())[20]
    monkeypatch.setattr("emocaliber.training.run.check_stage", gone_after_all)
    threads = torch.get_num_threads()
    try:
        with pytest.raises(UserError) as caught:
            run_stage(stage, config)
    finally:
        torch.set_num_threads(threads)
        image.with_suffix(".gone").rename(image)
    said = str(caught.value)
    assert said.startswith(f"the image of sample {image.stem} cannot be opened any more: {image}: there is no such file")
    assert "\n" not in said
    assert "the same command resumes" in said
