"""A rehearsal trains every stage in small with the user's own rows, and reports all that would have gone wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from emocaliber.__main__ import main
from emocaliber.io.rows import read_rows, write_rows
from emocaliber.models.local import chat_prompt
from emocaliber.training.inspection import LOSES, STOPS
from emocaliber.training.miniature import make_miniature, processor_of, reduced
from emocaliber.training.rehearsal import Rehearsal
from emocaliber.training.shapes import build_on_meta, model_config
from microscopic import write_base
from stand_ins import photo


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configurations of stages 1 to 3 with rows that all fit, and a base model that knows nothing."""
    folder = write_base(tmp_path_factory.mktemp("whole"))
    (folder / "stage0.toml").unlink()
    return folder


@pytest.fixture
def mine(whole: Path, tmp_path: Path) -> Path:
    """A copy of the configurations, whose rows may be changed; images stay where they are."""
    for stage in ("stage1", "stage2", "stage3"):
        samples = whole / "scenes" / stage / "samples.jsonl"
        rows = [row | {"image": str(samples.parent / row["image"])} for row in read_rows(samples)]
        write_rows(tmp_path / f"{stage}.jsonl", rows)
        text = (
            (whole / f"{stage}.toml").read_text().replace(str(samples), str(tmp_path / f"{stage}.jsonl")).replace(str(whole), str(tmp_path))
        )
        (tmp_path / f"{stage}.toml").write_text(text)
    return tmp_path


def change(file: Path, place: int, how: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    rows = list(read_rows(file))
    write_rows(file, [how(row) if number == place else row for number, row in enumerate(rows)])


def rehearsed(folder: Path, whole: Path, *more: str) -> int:
    return main(["train", "rehearse", "--config", str(folder), "--devices", "1", f"model={whole / 'base'}", *more])


@pytest.mark.slow
def test_rows_that_fit_are_trained_on_in_all_stages(mine: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearsed(mine, whole, "--out", str(mine / "kept")) == 0
    said = capsys.readouterr().out
    assert "Nothing would have stopped training" in said and f"{STOPS} (" not in said
    for stage in ("stage1", "stage2", "stage3"):
        [row] = [line.split() for line in said.splitlines() if line.startswith(f"{stage} ")]
        assert row[1:3] == ["32", "32"] and int(row[3]) > 0
        state = json.loads((mine / "kept" / stage / "checkpoints" / "checkpoint-2" / "trainer_state.json").read_text())
        steps = [entry for entry in state["log_history"] if "loss" in entry]
        assert len(steps) == 2 and all(entry["grad_norm"] > 0 for entry in steps), "backward passes are rehearsed with gradients"
        assert not (mine / stage).exists(), "the folder of the real training is not touched"


@pytest.mark.slow
def test_five_planted_mistakes_are_found_in_one_rehearsal(mine: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(mine / "stage1.jsonl", 4, lambda row: row | {"image": "gone.png"})
    change(mine / "stage1.jsonl", 7, lambda row: row | {"response": row["response"].replace("<element>", "<element>" + "long " * 400)})
    change(mine / "stage2.jsonl", 2, lambda row: row | {"ground_truth": "melancholy"})
    change(mine / "stage3.jsonl", 9, lambda row: row | {"split": "test"})
    with (mine / "stage3.toml").open("a") as file:
        file.write("\naccumulation = 3\n")
    (mine / "stage3.toml").write_text((mine / "stage3.toml").read_text().replace("group_size = 2", "group_size = 8"))
    with (mine / "stage1.toml").open("a") as file:
        file.write("\nmax_length = 400\n")
    assert rehearsed(mine, whole) == 3
    said = capsys.readouterr().out
    stopped, _, lost = said.partition(LOSES)
    assert f"{mine}/stage1.jsonl, line 5, sample" in stopped and "gone.png" in stopped
    assert "stage2.jsonl, line 3: field 'ground_truth'" in stopped and "melancholy" in stopped
    assert "stage3.jsonl, line 10: split is 'test'" in stopped
    assert "group_size must be at least 2 and divide batch_size x accumulation = 12, not 8" in stopped
    assert "stage1.jsonl, line 8: has " in lost and "max_length is 400" in lost
    assert [line.split()[:3] for line in said.splitlines() if line.startswith("stage1 ")] == [["stage1", "32", "30"]]


@pytest.mark.slow
def test_an_error_in_a_step_is_a_finding_and_the_next_stage_is_rehearsed_all_the_same(
    mine: Path, whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from emocaliber.training import rehearsal

    ran = []

    def run_stage(stage: str, config: Any, **_: Any) -> Path:
        ran.append((stage, Path(config.model).name))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(rehearsal, "run_stage", run_stage)
    assert rehearsed(mine, whole) == 3
    assert ran == [("stage1", "base"), ("stage2", "base"), ("stage3", "base")]
    assert "stage1: RuntimeError: mat1 and mat2 shapes cannot be multiplied" in capsys.readouterr().out


def test_too_few_rows_for_the_devices_are_said_before_a_step(
    mine: Path, whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emocaliber.training.rehearsal.run_stage", lambda stage, config, **_: Path(config.model))
    monkeypatch.setattr("emocaliber.training.rehearsal._answer", lambda config, rows: None)
    assert rehearsed(mine, whole, "--devices", "64") == 3
    assert "has 32 rows, but a step takes 256 samples" in capsys.readouterr().out


def test_an_image_that_two_stages_share_is_named(
    mine: Path, whole: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emocaliber.training.rehearsal.run_stage", lambda stage, config, **_: Path(config.model))
    monkeypatch.setattr("emocaliber.training.rehearsal._answer", lambda config, rows: None)
    image = str(photo(mine / "shared.png"))
    for stage in ("stage1", "stage3"):
        change(mine / f"{stage}.jsonl", 0, lambda row: row | {"image": image})
    assert rehearsed(mine, whole) == 3
    assert f"stages: stage1 and stage3 share the image {image}" in capsys.readouterr().out


def test_many_findings_of_one_kind_are_counted() -> None:
    from emocaliber.training.inspection import Finding

    report = Rehearsal("mine", findings=[Finding("stage1", STOPS, "row", f"line {line}: no image") for line in range(1, 1001)])
    said = report.text()
    assert "would have stopped training (1,000):" in said and "stage1: line 5: no image" in said
    assert "stage1: and 995 more like these" in said and "line 6" not in said


def test_its_sentences_are_broken_at_the_width_of_the_terminal_and_its_table_is_not() -> None:
    from emocaliber.training.inspection import Finding
    from emocaliber.training.rehearsal import StageReport

    sentence = "data/vec-cot/stage3.jsonl, line 10: split is 'test'; training and validation must not see the test split"
    report = Rehearsal("7b", 8, findings=[Finding("stage3", STOPS, "row", sentence)], stages=[StageReport("stage1", 32, 32)])
    whole, broken = report.text(), report.text(80)
    assert f"  stage3: {sentence}\n" in whole and "rehearsal of 7b for 8 devices" in whole
    assert max(map(len, broken.splitlines())) <= 80 and broken.split() == whole.split()
    assert "stage1    32   32     0     -              -        -" in broken


def test_the_disk_is_judged_for_all_stages_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    from emocaliber.training.checks import read_stages
    from emocaliber.training.config import ModelConfig
    from emocaliber.training.inspection import inspect_disk
    from emocaliber.training.plan import with_base_model

    configs = {stage: config for stage, config in read_stages("7b").items() if isinstance(config, ModelConfig)}
    configs = {stage: with_base_model(config, configs.values()) for stage, config in configs.items()}
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("emocaliber.training.inspection.shutil.disk_usage", lambda _: usage(600e9))
    [found] = inspect_disk(configs)
    assert found.stage == "stage1, stage2, stage3" and "take 675 GB, and here" in found.text and "has 600 GB free" in found.text
    monkeypatch.setattr("emocaliber.training.inspection.shutil.disk_usage", lambda _: usage(700e9))
    assert inspect_disk(configs) == []


def test_a_miniature_has_the_real_vocabulary_patches_and_windows() -> None:
    processor, whose = processor_of("./none", None, 0, 0)
    assert whose == "", "the tokenizer of tiny stands in"
    real = model_config("Qwen/Qwen2.5-VL-7B-Instruct")
    small = reduced(real, processor.tokenizer)
    assert real.text_config.num_hidden_layers == 28, "the real configuration is left as it is"
    for name in ("patch_size", "spatial_merge_size", "window_size"):
        assert getattr(small.vision_config, name) == getattr(real.vision_config, name)
    assert small.text_config.vocab_size == real.text_config.vocab_size
    assert sum(weight.numel() for weight in build_on_meta(small).parameters()) < 25e6


@pytest.mark.slow
def test_a_miniature_answers_about_an_image(tmp_path: Path) -> None:
    from PIL import Image

    from emocaliber.training.trainer import load_checkpoint

    processor, _ = processor_of("./none", None, 0, 200_704)
    said = make_miniature("Qwen/Qwen2.5-VL-7B-Instruct", processor, tmp_path / "base")
    assert said.startswith("a Qwen2_5_VLForConditionalGeneration as in Qwen/Qwen2.5-VL-7B-Instruct, with 2 of 28 layers, 2 of 32 vision")
    model, processor = load_checkpoint(tmp_path / "base")
    image = Image.open(photo(tmp_path / "photo.png", "teal", (500, 400)))
    inputs = processor(images=[image], text=[chat_prompt("Which emotion?", processor.tokenizer)], return_tensors="pt")
    assert torch.isfinite(model(**inputs).logits).all()


def test_a_file_in_place_of_a_folder_is_refused(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "rehearse", "--config", str(mine / "stage1.toml")]) == 2
    assert "a rehearsal needs one with stage1.toml" in capsys.readouterr().err


def test_a_tokenizer_that_is_not_there_is_said_without_asking_the_hub(mine: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rehearsed(mine, whole, "--tokenizer", "nowhere") == 2
    assert "there is no folder nowhere to read a tokenizer from. It needs config.json, tokenizer.json" in capsys.readouterr().err


def test_a_file_of_samples_that_is_not_there_is_named_once(mine: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("stage1", "stage2", "stage3"):
        (mine / f"{stage}.jsonl").unlink()
    assert rehearsed(mine, whole) == 3
    said = capsys.readouterr().out
    assert f"  stage1: there is no file {mine}/stage1.jsonl" in said
